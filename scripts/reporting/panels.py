"""The figures' data. A panel is plain data for assets/plots.js:

{"id", "title", "explain", "claim" (where the numbers come from), "views": [view]}
A view is one choice of the panel's selector. Kinds:
  line, points  x against y (numbers); series of {"arm", "run", "x", "y", "low", "high"}
  bars, dots    one row an arm, series of {"name", "color", "values"}; bars are stacked
  columns       histogram: categories and series
Absent numbers are None. A panel without a view says why in "missing".
"""
from plotting import palette, text

from . import facts, leakage
from .facts import finite, number


def panel(name, title, explain, claim, views, missing="no such measurement in this report"):
    return {"id": name, "title": title, "explain": explain, "claim": claim,
            "views": [view for view in views if view], "missing": missing}


def axis(title, shown, scale="linear", **more):
    """shown: bytes, ns, count, percent, points, rate or number."""
    return {"title": title, "format": shown, "scale": scale, **more}


def clean(value):
    return float(f"{value:.9g}") if finite(value) else None


def series(known, arm, provenance, x, y, low=None, high=None, name=None):
    found = {"arm": arm, "name": facts.label(name or arm), "run": known.index,
             "provenance": provenance, "x": [clean(v) for v in x], "y": [clean(v) for v in y]}
    if low is not None:
        found["low"], found["high"] = [clean(v) for v in low], [clean(v) for v in high]
    return found


def without_values(names):
    shown = [facts.label(name) for name in dict.fromkeys(names)]
    return "Not measured: " + ", ".join(shown) if shown else ""


# ---------------------------------------------------------------------------------------- memory

_TIERS = [(80e9, "one 80 GB GPU"), (2e12, "2 TB of host memory")]
_SMALLEST_TIER_BYTES = 1e9  # smaller ones are experiments in miniature


def _tiers(known_runs):
    tiers = {}
    for kind in ("hbm", "dram"):
        for known in known_runs:
            value = known.report.spec_value("fleet", "platform_node", kind + "_cache_bytes")
            if value and value >= _SMALLEST_TIER_BYTES:
                tiers.setdefault(value, f"{kind.upper()} cache of a node, {text.size(value)}")
    return list(tiers.items()) or _TIERS


def memory_vs_users(known_runs):
    lines, missing = [], []
    for known in known_runs:
        for arm in known.arms():
            rows = [r for r in known.rows("memory_curve", arm) if finite(number(r, "bytes"))]
            rows.sort(key=lambda r: r["users"])
            if not rows:
                missing.append(arm)
                continue
            lines.append(series(known, arm, known.provenance("memory_curve", "bytes"),
                                [r["users"] for r in rows], [r["bytes"] for r in rows]))
    view = {"label": "", "kind": "line", "x": axis("users", "count", "log"),
            "y": axis("memory", "bytes", "log"), "series": lines,
            "marks": [{"y": value, "label": label} for value, label in _tiers(known_runs)],
            "note": without_values(missing)}
    return panel("memory", "How much memory do the histories of all users take?",
                 "Lower is better. Every line grows with the number of users; where it crosses a "
                 "dashed line that memory is full.",
                 "Derived: users × bytes per user + shared bytes once, at this workload's mean "
                 "entry.", [view if lines else None])


def _sections_view(known_runs):
    names, rows = {}, []
    for known in known_runs:
        for arm in known.arms():
            parts = {}
            for row in known.rows("memory_sections", arm):
                key = f"{row.get('site', '')} {row.get('section', '')}"
                parts[key] = parts.get(key, 0.0) + number(row, "user_bytes_mean")
                names[key] = None
            rows.append((known, arm, parts))
    if not names:
        return None
    colors = list(palette.STAGES.values()) + ["#8F6300", "#7A2E00", "#003C5F", "#00543D",
                                              "#7C3A60", "#555555"]
    return bars_view("", axis("bytes per user", "bytes"), rows,
                     [(key, _section_words(key), colors[i % len(colors)])
                      for i, key in enumerate(names)], "derived")


def _section_words(key):
    """"short short_k_index" -> "short k index"."""
    site, _, section = text.clean(key, 60).partition(" ")
    words = section.removeprefix(site + "_").replace("_", " ")
    return words if words == site or site == "all" else f"{site} {words}"


def memory_sections(known_runs):
    return panel("sections", "What is a user's entry made of?",
                 "Mean entry of a user, by attention site and part. Shorter is better.",
                 "Derived from the storage layout over all users.",
                 [_sections_view(known_runs)])


def bars_view(label, value_axis, rows, parts, provenance, stacked=True, **more):
    """rows: (known, arm, {key: value}); parts: (key, name, color)."""
    several = len({known.index for known, _, _ in rows}) > 1
    return {"label": label, "kind": "bars" if stacked else "dots", "x": value_axis,
            "rows": [{"arm": arm, "run": known.index, "name": facts.label(arm)
                      + (" · " + facts.label(known.report.label) if several else "")}
                     for known, arm, _ in rows],
            "series": [{"name": name, "color": color, "provenance": provenance,
                        "values": [clean(values.get(key)) for _, _, values in rows]}
                       for key, name, color in parts], **more}


# -------------------------------------------------------------------------------------- accuracy


def _front_view(known_runs, controls):
    found, missing = [], []
    for known in known_runs:
        rows = [r for r in facts.rows(known.report, "accuracy")
                if (r.get("kind") == "control") == controls]
        for row in rows:
            arm, kept = row["arm"], number(row, "lift_kept")
            size = number(row, "bytes_per_interaction")
            if not finite(kept) or not (controls or size > 0):
                missing.append(arm)
                continue
            found.append((known, row, kept, size))
        missing += [a for a in known.arms() if rows and not controls
                    and not known.row("accuracy", a)]
    return found, missing


def _margin_band(known_runs):
    values = {known.report.spec_value("measurements", "accuracy", "margin") for known in known_runs}
    margin = values.pop() if len(values) == 1 else None
    return None if margin is None else {"low": 1.0 - margin, "high": 1.0,
                                        "label": f"allowed loss {100 * margin:g} %"}


def accuracy_front(known_runs):
    found, missing = _front_view(known_runs, controls=False)
    points = [series(known, row["arm"], known.provenance("accuracy", "lift_kept"), [size], [kept],
                     [number(row, "lift_low")], [number(row, "lift_high")])
              for known, row, kept, size in found]
    view = {"label": "", "kind": "points",
            "x": axis("bytes per interaction kept for a user", "bytes", "log"),
            "y": axis("history lift kept", "percent", clip=[-1.0, 2.5]), "series": points,
            "band": _margin_band(known_runs),
            "marks": [{"y": 1.0, "label": "full KV"}], "note": without_values(missing)}
    return panel("accuracy", "How much accuracy is kept, and for how many bytes?",
                 "Up is better, left is smaller. 100 % is full KV, 0 % is no history at all. "
                 "Vertical bars are 95 % intervals: a bar that reaches the green band may be as "
                 "good as full KV, a bar that ends below it is worse.",
                 "Lift: measured on test impressions through the cache as served. Bytes: derived.",
                 [view if points else None],
                 "accuracy was switched off or no weights were trained")


def accuracy_controls(known_runs):
    found, _ = _front_view(known_runs, controls=True)
    rows = [(known, row["arm"], {"lift": kept, "low": number(row, "lift_low"),
                                 "high": number(row, "lift_high")})
            for known, row, kept, _ in found]
    if not rows:
        return panel("controls", "Can these data tell good from bad?", "", "", [])
    view = bars_view("", axis("history lift kept", "percent"), rows,
                     [("lift", "control", palette.GREY)], "measured", stacked=False)
    view["series"][0]["low"] = [clean(v["low"]) for _, _, v in rows]
    view["series"][0]["high"] = [clean(v["high"]) for _, _, v in rows]
    for row in view["rows"]:
        row["name"] = row["name"].removeprefix("control.").replace("_", " ")
    view["marks"] = [{"x": 1.0, "label": "full KV"}, {"x": 0.0, "label": "no history"}]
    return panel("controls", "Can these data tell good from bad?",
                 "Controls that should do badly. One that reaches 100 % means that the data cannot "
                 "show what it leaves out (for example: mean pool = attention, mean keys = K, m1 = the pool, "
                 "du0 = the user-specific values)."
                 + leakage.panel_words(known_runs),
                 "Measured like the strategies, with 95 % intervals.", [view])
