"""Fleet studies (tables fleet_...): headline, rows of the comparison, and figures.

A study crosses strategies with loads, users, nodes and more. What varies most usefully is the figures'
x; a study of one point gets one row a strategy. Everything is virtual time; nothing was executed.
"""
import re

from plotting import palette, text

from . import facts, fleet_classes, fleet_searches
from .facts import finite, number
from .panels import axis, bars_view, clean, panel

TABLES = {"fleet", "fleet_cases", "fleet_latency", "fleet_series"}
STAGES = {**{name: color for name, color in palette.STAGES.items() if name != "host"},
          "append": "#56B4E9"}
# What a study may sweep: (column of fleet_cases, words, format); the first that varies is x.
AXES = [("requests_per_second", "requests per second, whole fleet", "rate"),
        ("users", "users of the fleet", "count"), ("nodes", "nodes", "number"),
        ("efficiency", "share of nominal rates", "percent"),
        ("candidates", "candidates of a request", "number"),
        ("catalogue_items", "items of the catalogue", "count")]
_PERCENTILES = [("p50_ns", "p50", "#56B4E9"), ("p99_ns", "p99", "#0072B2"),
                ("p999_ns", "p99.9", "#003C5F")]


def cases(known):
    """Rows of fleet_cases with their results, if they have any, in the study's order."""
    results = {row["case"]: row for row in facts.rows(known.report, "fleet")}
    return [{**case, **results.get(case["case"], {})}
            for case in facts.rows(known.report, "fleet_cases")]


def is_fleet(known):
    return known.report.table("fleet_cases") is not None


def middle(rows, axes):
    """Rows at the middle value of each of these columns."""
    for name, _, _ in axes:
        values = sorted({number(row, name) for row in rows})
        rows = [row for row in rows if number(row, name) == values[len(values) // 2]]
    return rows


def _served(known):
    return [row for row in cases(known) if finite(number(row, "offered"))]


def _varying(rows):
    """The axes that vary; what a study searched for is a result and no axis."""
    searched = {str(row.get("search") or "").split(":")[0] for row in rows}
    results = {name for kind, name in (("max_load", "requests_per_second"), ("nodes", "nodes")) if kind in searched}
    return [a for a in AXES if a[0] not in results and len({r.get(a[0]) for r in rows}) > 1]


def _models(rows):
    return list(dict.fromkeys(row["model"] for row in rows))


def _point(row, axes):
    """ "3 k requests/s, 4 nodes" of the columns that vary."""
    shown = {"requests_per_second": lambda v: text.count(v) + " requests/s",
             "users": lambda v: text.count(v) + " users", "nodes": lambda v: f"{v:g} nodes",
             "efficiency": lambda v: f"{v:.0%} of nominal rates",
             "candidates": lambda v: f"{v:g} candidates",
             "catalogue_items": lambda v: text.count(v) + " items"}
    return ", ".join(shown[name](number(row, name)) for name, _, _ in axes)


def slo_ns(known):
    value = known.report.spec_value("fleet", "slo_ms")
    return float(value) * 1e6 if isinstance(value, (int, float)) else None


def _platform(known):
    found = known.report.table("fleet")
    return text.clean(found.attributes.get("platform", "platform unknown") if found else
                      "platform unknown", 60)


# ------------------------------------------------------------------------------------ headline


def _sentence(words, *provenance, tone="plain"):
    return {"text": words, "provenance": list(provenance), "tone": tone}


def _most(rows, key, sign=1):
    rows = [row for row in rows if finite(number(row, key))]
    return min(rows, key=lambda row: sign * number(row, key), default=None)


def _carried(rows):
    """{strategy: largest load that meets the promise}"""
    found = {}
    for row in rows:
        if number(row, "meets_slo") == 1.0:
            found[row["strategy"]] = max(found.get(row["strategy"], 0.0),
                                         number(row, "requests_per_second"))
    return found


def _sizes(model, rows):
    small, large = _most(rows, "entry_bytes"), _most(rows, "entry_bytes", -1)
    if small is None or small["strategy"] == large["strategy"]:
        return []
    return [_sentence(f"{facts.label(model)}: a user's entry takes "
                      f"{text.size(number(small, 'entry_bytes'))} ({facts.label(small['strategy'])}) "
                      f"to {text.size(number(large, 'entry_bytes'))} "
                      f"({facts.label(large['strategy'])}).", "derived")]


def _load(model, rows, searched):
    carried = _carried(rows)
    if not carried:
        return [_sentence(f"{facts.label(model)}: no strategy keeps the promise at any load of this "
                          "study.", "simulated", tone="caution")]
    order = sorted(carried.items(), key=lambda pair: -pair[1])
    most = max(number(row, "requests_per_second") for row in rows)
    words = ", ".join(f"{facts.label(name)} {text.count(load)}/s"
                      + (" (the largest tried)" if load == most and not searched else "") for name, load in order)
    none = [facts.label(name) for name in dict.fromkeys(row["strategy"] for row in rows)
            if name not in carried]
    words += f"; none of the loads: {', '.join(none)}" if none else ""
    return [_sentence(f"{facts.label(model)}: largest load of this study within the promise: "
                      f"{words}.", "simulated")]


def _tail(model, rows):
    fast, slow = _most(rows, "p99_ns"), _most(rows, "p99_ns", -1)
    if fast is None:
        return []
    words = (f"{facts.label(model)}: 99 of 100 requests finish within "
             f"{text.duration(number(fast, 'p99_ns'))} ({facts.label(fast['strategy'])})")
    if slow["case"] != fast["case"]:
        words += f" to {text.duration(number(slow, 'p99_ns'))} ({facts.label(slow['strategy'])}"
        busiest = text.clean(slow.get("limited_by") or "", 20)
        words += f", busiest device: {busiest})" if slow.get("limited_by") else ")"
    return [_sentence(words + ".", "simulated")]


def _refusals(known):
    refused = {}
    for row in cases(known):
        if row.get("refusal"):
            refused[row["model"], row["strategy"]] = row["refusal"]
    return [_sentence(f"{text.clean(why, 200)}.", "derived") for why in list(refused.values())[:6]]


def sentences(known):
    rows, axes = _served(known), _varying(_served(known))
    sweep = any(name == "requests_per_second" for name, _, _ in axes)
    fixed = axes[1:] if sweep else axes
    sweep = sweep or fleet_searches.is_map(known)
    rows = middle(rows, fixed)
    at = f" Sizes and loads above: at {_point(rows[0], fixed)}, the middle of this study." if fixed and rows and not \
        fleet_searches.is_nodes(known) else ""
    nodes = fleet_searches.is_nodes(known)
    found = fleet_searches.node_sentences(known) if nodes else []
    found += fleet_searches.map_sentences(known) if fleet_searches.is_map(known) else []
    for model in _models(rows):
        mine = [row for row in rows if row["model"] == model]
        found += _sizes(model, mine)
        if not nodes:
            found += _load(model, mine, fleet_searches.is_map(known)) if sweep else _tail(model, mine)
    found += _refusals(known)
    return found + [_sentence(f"All times are virtual, on {_platform(known)}; nothing was executed.{at}",
                              "simulated", tone="caution")]


def title(known):
    rows = _served(known)
    if not rows:
        return text.clean(known.report.spec_name, 60)
    if fleet_searches.is_nodes(known):
        return fleet_searches.node_title(known)
    if fleet_searches.is_map(known):
        return fleet_searches.map_title(known)
    users = text.count(max(number(row, "users") for row in rows))
    promise = f"within {text.duration(slo_ns(known))}" if slo_ns(known) else "within the promise"
    kept = sum(number(row, "meets_slo") == 1.0 for row in rows)
    axes = _varying(rows)
    if not axes:
        return (f"{users} users, {text.count(number(rows[0], 'requests_per_second'))} requests/s: "
                f"{kept} of {len(rows)} simulated fleets answer {promise}")
    if axes[0][0] != "requests_per_second":
        return f"Up to {users} users: {kept} of {len(rows)} simulated fleets answer {promise}"
    rows, best = middle(rows, axes[1:]), []
    for model in _models(rows):
        carried = _carried([row for row in rows if row["model"] == model])
        if carried:
            most = max(carried.values())
            names = [facts.label(name) for name, load in carried.items() if load == most]
            names = " and ".join(names) if len(names) < 3 else f"{len(names)} strategies"
            best.append(f"{facts.label(model)} {text.count(most)}/s with {names}")
    return f"{users} users, largest load {promise}: " + ("; ".join(best[:3]) or "none")


# ----------------------------------------------------------------------------------- comparison

COLUMNS = [  # key, title, column, how it reads
    ("f_load", "Load", "requests_per_second", lambda v: text.count(v) + "/s"),
    ("f_nodes", "Nodes", "nodes", lambda v: f"{v:,.0f}"),
    ("f_entry", "Entry of a user", "entry_bytes", text.size),
    ("f_hbm", "Found in GPU memory", "hbm_ratio", text.percent),
    ("f_hit", "Found anywhere", "hit_ratio", text.percent),
    ("f_p50", "p50 fleet", "p50_ns", text.duration),
    ("f_p99", "p99 fleet", "p99_ns", text.duration),
    ("f_good", "Within the promise", "good_ratio", text.percent),
    ("f_shed", "Refused requests", "shed", lambda v: f"{v:,.0f}"),
    ("f_limit", "Busiest device", "limited_by", None),
]


def comparison_rows(known, absent_cell):
    """Rows for comparison.table(): a model and strategy each, at the middle of what is swept."""
    axes = _varying(cases(known))
    found = []
    for row in chosen(cases(known), axes):
        cells = {}
        for key, _, column, shown in COLUMNS:
            value = row.get(column) if shown is None else number(row, column)
            there = bool(value) if shown is None else finite(value)
            cells[key] = absent_cell() if not there else {
                "text": shown(value) if shown else text.clean(value, 30),
                "sort": repr(value) if shown else value, "missing": False, "verdict": "",
                "interval": ""}
        found.append({"arm": row["strategy"], "run": known.index,
                      "label": facts.label(f"{row['model']} · {row['strategy']}"),
                      "run_label": facts.label(known.report.label),
                      "words": _point(row, axes),
                      "refusal": text.clean(row["refusal"], 200) if row.get("refusal") else "",
                      "exact": False, "cells": cells})
    return found


def comparison_columns(known_runs):
    def described(column, what):
        found = [what(known)(table, column) for known in known_runs for table in
                 ("fleet", "fleet_cases")]
        return next(filter(None, found), "")
    return [{"key": key, "title": words, "numeric": shown is not None,
             "provenance": described(column, lambda known: known.provenance),
             "meaning": described(column, lambda known: known.meaning)}
            for key, words, column, shown in COLUMNS]


# -------------------------------------------------------------------------------------- figures


def _line(known, strategy, name, x, y):
    return {"arm": strategy, "name": text.clean(name, 60), "run": known.index,
            "provenance": "simulated", "x": [clean(v) for v in x], "y": [clean(v) for v in y]}


def _promise(known):
    slo = slo_ns(known)
    return [{"y": slo, "label": f"promise (SLO) {text.duration(slo)}"}] if slo else []


def _load_view(known, model, rows, axes):
    mine = [row for row in rows if row["model"] == model]
    label = facts.label(model)
    if not axes:
        return bars_view(label, axis("latency of a request", "ns"),
                         [(known, row["strategy"], {k: number(row, k) for k, _, _ in _PERCENTILES})
                          for row in mine], _PERCENTILES, "simulated", stacked=False)
    column, words, shown = axes[0]
    lines = {}
    for row in mine:
        if finite(number(row, "p99_ns")):
            name = " · ".join(filter(None, [row["strategy"], _point(row, axes[1:])]))
            lines.setdefault((row["strategy"], name), []).append(
                (number(row, column), number(row, "p99_ns")))
    series = [_line(known, strategy, name, *zip(*sorted(points)))
              for (strategy, name), points in lines.items()]
    return {"label": label, "kind": "line", "marks": _promise(known), "series": series,
            "x": axis(words, shown, "log" if column != "efficiency" else "linear"),
            "y": axis("p99 latency", "ns", "log")} if series else None


def chosen(rows, axes):
    """One case a model and strategy, at the middle of everything that is swept."""
    once = {}
    for row in middle(rows, axes):
        once.setdefault((row["model"], row["strategy"]), row)
    return list(once.values())


def _stage_view(known, model, rows):
    latency = {}
    for row in facts.rows(known.report, "fleet_latency"):
        latency.setdefault(row["case"], {})[row["stage"]] = row
    found = []
    for row in rows:
        stages = latency.get(row["case"], {})
        served = number(stages.get("total"), "count")
        if row["model"] == model and served > 0:
            found.append((known, row["strategy"],
                          {s: number(stages.get(s), "mean_ns") * number(stages.get(s), "count")
                           / served for s in STAGES}))
    return bars_view(facts.label(model), axis("mean time per request", "ns"), found,
                     [(s, s, color) for s, color in STAGES.items()], "simulated") if found else None


def _series_views(known, model, rows):
    by_case = {}
    for row in facts.rows(known.report, "fleet_series"):
        by_case.setdefault(row["case"], []).append(row)
    views = []
    for column, words, shown in (("mean_ns", "mean latency", "ns"),
                                 ("hit_ratio", "found in any tier", "percent")):
        series = []
        for row in rows:
            points = [(number(p, "start_s"), number(p, column)) for p in by_case.get(row["case"], [])
                      if finite(number(p, column))]
            if row["model"] == model and points:
                series.append(_line(known, row["strategy"], row["strategy"], *zip(*sorted(points))))
        if series:
            views.append({"label": f"{facts.label(model)}: {words}", "kind": "line", "marks": [],
                          "series": series, "x": axis("virtual time (s)", "number"),
                          "y": axis(words, shown)})
    return views


def figures(known_runs):
    """Panels of the fleet studies among the reports; none without one."""
    loads, stages, classes, times, claims, at = [], [], [], [], [], []
    for known in known_runs:
        rows = _served(known)
        axes = _varying(rows)
        picked = chosen(rows, axes)
        for model in _models(rows):
            loads += [] if fleet_searches.searches_something(known) else [_load_view(known, model, rows, axes)]
            stages.append(_stage_view(known, model, picked))
            classes += fleet_classes.views(known, model, [row for row in picked if row["model"] == model])
            times += _series_views(known, model, picked)
        if rows:
            claims.append(_platform(known))
            at += [_point(picked[0], axes)] if axes and picked else []
    if not claims:
        return []
    where = "Simulated: virtual time on " + "; ".join(dict.fromkeys(claims)) + "."
    here = f" Shown at {'; '.join(at)}." if at else ""
    # Where a study searched, every p99 is as near to the promise as the search got: nothing to see.
    seen = any(not fleet_searches.searches_something(known) for known in known_runs)
    return [*fleet_searches.figures(known_runs, where),
            *([panel("fleet-load", "How fast is the fleet, and where does it break the promise?",
                  "p99 by strategy, from the intended start of a request. A line that crosses the "
                  "dashed promise (SLO) needs more machines; it ends where every request is refused.",
                  where, loads)] if seen else []),
            panel("fleet-stages", "Where does the time of a fleet's request go?",
                  "Mean over all requests. queue: waiting for a GPU and for a batch; fetch: from "
                  "lower tiers to GPU memory; prefill: computing what no tier held; append: new "
                  "events; decode: attention over the history; score: candidates." + here,
                  where, stages),
            fleet_classes.figure(classes, where, here),
            panel("fleet-time", "How does the fleet behave over time?",
                  "Each point is an equal part of the run, warm-up included." + here, where, times)]


def hides(panel_id):
    """Questions that a page of fleet studies alone does not ask: they need executed runs."""
    return not re.match(r"fleet-|table-", panel_id)
