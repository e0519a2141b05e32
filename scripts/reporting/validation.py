"""Reports of `ckvsim validate-sim` (tables fidelity_...): headline and figure of the held-out points."""
from plotting import text

from . import facts
from .facts import finite, number
from .panels import axis, panel, series

METRICS = {  # metric -> (words, shown as)
    "mean_ns": ("mean latency", "percent"),
    "p50_ns": ("p50 latency", "percent"),
    "p99_ns": ("p99 latency", "percent"),
    "throughput_per_s": ("throughput", "percent"),
    "hit_ratio": ("hit ratio", "points"),
}
_SPREAD = 0.012  # points of one load stand side by side, in shares of the load


def is_validation(known):
    return known.report.table("fidelity_points") is not None


def _judged(known, metric=None):
    return [row for row in facts.rows(known.report, "fidelity_points")
            if row["verdict"] != "insufficient" and metric in (None, row["metric"])]


def _held(known):
    """(points that hold, points)"""
    points = {}
    for row in _judged(known):
        points.setdefault(row["point"], []).append(row["verdict"] == "within")
    return sum(map(all, points.values())), len(points)


def _by_noise(known, metric):
    rows = _judged(known, metric)
    return sum(row["verdict"] == "within" and abs(row["error"]) > row["target"] for row in rows), len(rows)


def title(known):
    held, points = _held(known)
    return f"The simulation matches executed runs at {held} of {points} held-out points"


def _sentence(words, *provenance, tone="plain"):
    return {"text": words, "provenance": list(provenance), "tone": tone}


def _error_sentence(known, metric):
    rows = _judged(known, metric)
    if not rows:
        return _sentence(f"{METRICS[metric][0]}: too few samples to judge.", "derived", tone="caution")
    errors = sorted(abs(row["error"]) for row in rows)
    worst = max(rows, key=lambda row: abs(row["error"]))
    unit = (lambda v: f"{100 * v:.2f} points") if METRICS[metric][1] == "points" else (lambda v: f"{100 * v:.1f} %")
    held = sum(row["verdict"] == "within" for row in rows)
    return _sentence(
        f"{METRICS[metric][0].capitalize()}: within its bound at {held} of {len(rows)} points; error "
        f"{unit(errors[len(errors) // 2])} in the median, at most {unit(errors[-1])} "
        f"({facts.label(worst['arm'])} at {worst['load']:g} times what it can serve).",
        "measured", "simulated", "derived")


def sentences(known):
    """Most important first."""
    found = [_error_sentence(known, metric) for metric in ("mean_ns", "p99_ns", "throughput_per_s", "hit_ratio")]
    boundary = []
    for row in facts.rows(known.report, "fidelity_regimes"):
        if row["axis"] == "load":
            boundary.append(f"{row['value']} × load: {number(row, 'held'):g} of {number(row, 'points'):g}")
    if boundary:
        found.append(_sentence("Points where every metric is within its bound, by load: " + "; ".join(boundary) + ".",
                               "derived"))
    noise, rows = _by_noise(known, "mean_ns")
    if rows and 2 * noise > rows:
        found.append(_sentence(f"{noise} of {rows} points hold only because executed passes differ so much from each "
                               "other: they say little about the simulation.", "derived", tone="caution"))
    return found


def _view(known_runs, metric):
    words, shown = METRICS[metric]
    lines, target = [], 0.0
    for known in known_runs:
        if not is_validation(known):
            continue
        rows = _judged(known, metric)
        target = rows[0]["target"] if rows else target
        names = list(dict.fromkeys(row["arm"] for row in rows))
        for arm in names:
            own = [row for row in rows if row["arm"] == arm and finite(number(row, "error"))]
            middle = (len(names) - 1) / 2
            place = 1 + _SPREAD * 6 * (names.index(arm) - middle)
            xs, seen = [], {}
            for row in own:
                seen[row["load"]] = seen.get(row["load"], -1) + 1
                xs.append(row["load"] * (place + _SPREAD * seen[row["load"]] / 2))
            lines.append(series(known, arm, "derived", xs, [row["error"] for row in own],
                                low=[row["error"] - row["repeat_error"] for row in own],
                                high=[row["error"] + row["repeat_error"] for row in own]))
    if not lines:
        return None
    limit = f"{100 * target:g} " + ("points" if shown == "points" else "%")
    return {"label": words, "kind": "points",
            "x": axis("load, in shares of what the arm can serve", "number", "log"),
            "y": axis("simulated against executed", shown), "series": lines,
            "marks": [{"y": target, "label": f"+{limit}"}, {"y": -target, "label": f"−{limit}"}]}


def figure(known_runs):
    return panel("validation", "Where can the simulation be trusted?",
                 "One point a held-out setting; its bar is the difference between executed passes. Points between the "
                 "dashed lines meet the target; where bars are longer than that, the machine itself does not repeat.",
                 "Executed: measured (wall clock). Simulated: virtual time on a calibration measured between the passes "
                 "on other lengths and candidates. Differences: derived.",
                 [_view(known_runs, metric) for metric in METRICS], "needs a report of ckvsim validate-sim")
