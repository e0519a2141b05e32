"""Reports of `ckvsim plan` (tables plan, plan_front, plan_error): headline, rows of the comparison, and figures."""
import math

from plotting import plans, text
from plotting.plan_error import headline as error_words
from plotting.plan_front import energy_says_more
from plotting.plan_nodes import nodes_words

from . import facts
from .facts import finite, number
from .panels import axis, clean, panel, series

BRACKETS = "Brackets of nodes and loads hold the range over replicates and the search's steps."
_REASONS_SHOWN = 6


def is_plan(known):
    return plans.is_plan(known.report)


def _sentence(words, *provenance, tone="plain"):
    return {"text": words, "provenance": list(provenance), "tone": tone}


def _slo(known):
    return text.clean(plans.attribute(known.report, "slo") or "the SLO", 60)


def _platform(known):
    return text.clean(plans.attribute(known.report, "platform") or "platform unknown", 60)


def _scenarios(known):
    """{(model, users): rows}, one row a strategy, in the study's order."""
    found = {}
    for row in plans.smallest(known.report):
        found.setdefault((row["model"], row["users"]), []).append(row)
    return found


def _place(model, users):
    return f"{facts.label(model)}, {text.count(users)} users"


def _served(rows):
    """Strategies that some fleet serves, fewest nodes first."""
    return sorted((row for row in rows if plans.state(row) == plans.FEASIBLE), key=lambda row: row["nodes"])


# ------------------------------------------------------------------------------------ headline


def _decides(row):
    if row["nodes"] == 1 and row["bound"] == "nothing":
        return "One node is enough for the smallest"
    words = "memory" if row["memory_bound"] == 1 else "load"
    return f"The smallest is decided by {words}" + (f": {text.clean(row['bound'], 50)}" if row["bound"] else "")


def _need_sentence(known, model, users, rows):
    served = _served(rows)
    words = ", ".join(f"{facts.label(row['strategy'])} {nodes_words(row)}" for row in served)
    if served:
        words += f". {_decides(served[0])}"
    unserved = [facts.label(row["strategy"]) for row in rows if plans.state(row) == plans.INFEASIBLE]
    words += f"; infeasible: {', '.join(unserved)}" if unserved and served else ""
    return _sentence(f"{_place(model, users)}: fewest nodes with {_slo(known)}: "
                     f"{words or 'no strategy has a fleet that keeps it'}.", "simulated",
                     tone="plain" if served else "caution")


def _reason_sentences(known):
    """Why strategies have no number of nodes; the reasons of other tiers and policies behind the first."""
    found = {}
    for row in plans.smallest(known.report):
        if plans.state(row) != plans.FEASIBLE:
            why = "; ".join(text.clean(one, 160) for one in plans.reasons(known.report, row)[:2])
            found.setdefault((row["model"], row["strategy"], plans.state(row), why), []).append(row["users"])
    every = len({users for _, users in _scenarios(known)})
    sentences = [_sentence(f"{facts.label(model)}, {facts.label(strategy)}"
                           + (f" at {', '.join(text.count(u) for u in users)} users" if len(users) < every else "")
                           + f": {state}: {why}.", "simulated")
                 for (model, strategy, state, why), users in list(found.items())[:_REASONS_SHOWN]]
    if len(found) > _REASONS_SHOWN:
        sentences.append(_sentence(f"{len(found) - _REASONS_SHOWN} more are in the table below.", "simulated"))
    return sentences


def _load_sentences(known):
    """The other question: what given nodes carry."""
    found = {}
    for row in plans.carried(known.report):
        found.setdefault((row["model"], row["users"], row["nodes"]), []).append(row)
    sentences = []
    for (model, users, nodes), rows in found.items():
        rows = sorted(rows, key=lambda row: -row["requests_per_second"])
        words = ", ".join(f"{facts.label(row['strategy'])} {text.count(row['requests_per_second'])}/s" for row in rows)
        sentences.append(_sentence(f"{_place(model, users)} on {nodes:,.0f} nodes: highest load with {_slo(known)}: {words}.",
                                   "simulated"))
    return sentences


def _error_sentence(known):
    rows, skipped = plans.checks(known.report)
    if not rows:
        return _sentence("No answer was re-run in full: all are estimates from a sample of users.", "simulated", tone="caution")
    same = all(row["nodes_within"] == 1 for row in rows)
    hits = max((abs(row["hit_ratio_error"]) for row in rows), default=math.nan)
    return _sentence(f"{error_words(rows, skipped)}; hit ratios are off by up to {100 * hits:.2g} points.", "simulated", "derived",
                     tone="good" if same else "caution")


def sentences(known):
    """Most important first."""
    found = [_need_sentence(known, *key, rows) for key, rows in _scenarios(known).items()]
    found += _load_sentences(known) + _reason_sentences(known) + [_error_sentence(known)]
    load = text.clean(plans.attribute(known.report, "load") or "unknown", 100)
    return found + [_sentence(f"Load: {load}. Brackets: range over replicates and the search's steps; what the model leaves out is "
                              f"not in them. All times are virtual, on {_platform(known)}; nothing was executed.",
                              "simulated", tone="caution")]


def title(known):
    scenarios = _scenarios(known)
    if not scenarios:
        return f"Highest load of given fleets with {_slo(known)}"
    most = max(users for _, users in scenarios)
    parts = []
    for (model, users), rows in scenarios.items():
        served = _served(rows) if users == most else []
        if served:
            best = [facts.label(row["strategy"]) for row in served if row["nodes"] == served[0]["nodes"]]
            who = " and ".join(best) if len(best) < 3 else f"{len(best)} strategies"
            parts.append(f"{facts.label(model)} {nodes_words(served[0])} with {who}")
    return f"Fewest nodes for {text.count(most)} users: " + ("; ".join(parts[:3]) or f"no fleet has {_slo(known)}")


# ----------------------------------------------------------------------------------- comparison


COLUMNS = [  # key, title, column, how it reads; without one the column is text
    ("p_nodes", "Nodes needed", "nodes", lambda v: f"{v:,.0f}"),
    ("p_load", "Load of the fleet", "requests_per_second", lambda v: text.count(v) + "/s"),
    ("p_roomy", "Without memory limit", "without_memory_limit", lambda v: f"{v:,.0f}"),
    ("p_bound", "What gives out", "bound", None),
    ("p_tiers", "Tiers", "tiers", None),
    ("p_policy", "Policy", "policy", None),
    ("p_hit", "Found in any tier", "hit_ratio", text.percent),
    ("p_p99", "p99 of the plan", "p99_ns", text.duration),
    ("p_busy", "GPUs busy", "gpu_busy", text.percent),
    ("p_cost", "Cost per million requests", "cost_per_million", lambda v: f"{v:.3g}"),
    ("p_energy", "kWh per million requests", "energy_per_million", lambda v: f"{v:.3g}"),
    ("p_checked", "Checked", "checked", None),
]


def _cell(row, key, column, shown, absent_cell):
    if plans.state(row) != plans.FEASIBLE:
        cell = absent_cell()
        return {**cell, "text": plans.state(row) if key == "p_nodes" else "–"}
    value = row.get(column) if shown is None else number(row, column)
    if not (bool(value) if shown is None else finite(value)):
        return absent_cell()
    words = text.clean(value, 40) if shown is None else shown(value)
    if column == "tiers":
        words = words.replace("_", " + ")
    given = row["find"] == "load"
    if given and column == "nodes":
        words += " given"
    if given and column == "without_memory_limit":
        words = text.count(value) + "/s"
    return {"text": words, "sort": value if shown is None else repr(value), "missing": False, "verdict": "",
            "interval": _interval(row, key, shown)}


def _interval(row, key, shown):
    low, high = {"p_nodes": ("nodes_low", "nodes_high"), "p_load": ("load_low", "load_high")}.get(key, (None, None))
    return f"[{shown(row[low])}, {shown(row[high])}]" if low and row[low] != row[high] else ""


def comparison_rows(known, absent_cell):
    """Rows for comparison.table(): a model, number of users and strategy each; then what given nodes carry."""
    found = []
    for row in [*plans.smallest(known.report), *plans.carried(known.report)]:
        served = plans.state(row) == plans.FEASIBLE
        words = f"{text.count(row['users'])} users" + ("" if row["find"] == "nodes" else f", {row['nodes']:,.0f} nodes given")
        found.append({"arm": row["strategy"], "run": known.index, "label": facts.label(f"{row['model']} · {row['strategy']}"),
                      "run_label": facts.label(known.report.label), "words": words, "exact": False,
                      "refusal": "" if served else text.clean(plans.reason(row), 200), "refused": "" if served else plans.state(row),
                      "cells": {key: _cell(row, key, column, shown, absent_cell) for key, _, column, shown in COLUMNS}})
    return found


def comparison_columns(known_runs):
    def described(column, what):
        return next(filter(None, (what(known)("plan", column) for known in known_runs)), "")
    currencies = {plans.attribute(known.report, "currency") for known in known_runs} - {""}
    money = text.clean(" or ".join(sorted(currencies)), 20)
    return [{"key": key, "title": f"{money} per million requests" if key == "p_cost" and money else words,
             "numeric": shown is not None, "provenance": described(column, lambda known: known.provenance),
             "meaning": described(column, lambda known: known.meaning)} for key, words, column, shown in COLUMNS]


# -------------------------------------------------------------------------------------- figures


def _nodes_views(known):
    views, rows = [], plans.smallest(known.report)
    for model in dict.fromkeys(row["model"] for row in rows):
        mine, lines = [row for row in rows if row["model"] == model], []
        for strategy in dict.fromkeys(row["strategy"] for row in mine):
            good = sorted((row for row in mine if row["strategy"] == strategy and plans.state(row) == plans.FEASIBLE),
                          key=lambda row: row["users"])
            if good:
                lines.append(series(known, strategy, "simulated", [row["users"] for row in good], [row["nodes"] for row in good],
                                    [row["nodes_low"] for row in good], [row["nodes_high"] for row in good]))
        absent = {}
        for row in mine:
            if plans.state(row) != plans.FEASIBLE:
                absent.setdefault((row["strategy"], plans.state(row)), []).append(text.count(row["users"]))
        note = "; ".join(f"{facts.label(name)} at {', '.join(users)} users: {state}" for (name, state), users in absent.items())
        if lines:
            several = len({row["users"] for row in mine}) > 1
            views.append({"label": facts.label(model), "kind": "line" if several else "points", "marks": [], "series": lines,
                          "x": axis("users", "count", "log", **({"room": 1.2} if several else {})), "y": axis("nodes", "number", "log"), "note": note, "interval": "range"})
    return views


def _front_view(known, model, users, column, y_axis, marks):
    front, beaten = plans.front(known.report, model, users)
    lines = []
    for rows, words in ((front, ""), (beaten, " (beaten)")):
        for strategy in dict.fromkeys(row["strategy"] for row in rows):
            mine = sorted((row for row in rows if row["strategy"] == strategy and finite(number(row, column))),
                          key=lambda row: row["nodes"])
            if mine:
                lines.append(series(known, strategy, "simulated", [row["nodes"] for row in mine], [row[column] for row in mine],
                                    name=strategy + words))
    return {"label": f"{_place(model, users)}: {y_axis['title']}", "kind": "line", "marks": marks, "series": lines,
            "x": axis("nodes", "number", "log", room=1.3), "y": y_axis} if lines else None


def _front_views(known):
    slo = known.report.spec_value("fleet", "slo_ms")
    marks = [{"y": slo * 1e6, "label": f"SLO {slo:g} ms"}] if slo else []
    views = []
    for model, users in sorted(_scenarios(known), key=lambda key: -key[1]):
        views.append(_front_view(known, model, users, "p99_ns", axis("p99 latency", "ns", "log"), marks))
        front, beaten = plans.front(known.report, model, users)
        if energy_says_more(front + beaten):
            views.append(_front_view(known, model, users, "energy_per_million",
                                     axis("kWh per million requests", "number", "log"), []))
    return views


def _beyond_words(known):
    """How many re-runs end on no number of nodes, and on which side."""
    rows, _ = plans.checks(known.report)
    counts = {side: sum(plans.beyond(row) == side for row in rows) for side in (plans.BELOW, plans.ABOVE, plans.UNKNOWN)}
    return "; ".join(text.clean(f"{count} of {len(rows)} full runs {plans.beyond_words(known.report, side)}", 160)
                     for side, count in counts.items() if count)


def _no_errors(planned):
    """Why no re-run is a point of the figure."""
    words = "; ".join(filter(None, map(_beyond_words, planned)))
    return words or "give ckvsim plan --check N to re-run answers in full"


def _error_view(known):
    rows, _ = plans.checks(known.report)
    lines = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == strategy and row["nodes_full"] > 0]
        if mine:
            lines.append({**series(known, strategy, "simulated", [row["nodes"] for row in mine],
                                   [row["nodes_full"] / row["nodes"] - 1 for row in mine])})
    note = _beyond_words(known)
    most = max((abs(clean(value)) for line in lines for value in line["y"]), default=0.0)
    return {"label": "", "kind": "points", "marks": [{"y": 0.0, "label": "the same nodes"}], "series": lines,
            "x": axis("nodes by the plan", "number", "log"),
            "y": axis("full runs need more nodes by", "percent", min=-1.2 * max(most, 0.1), max=1.2 * max(most, 0.1)),
            "note": note} if lines else None


def figures(known_runs):
    """Panels of the plans among the reports; none without one."""
    planned = [known for known in known_runs if is_plan(known)]
    if not planned:
        return []
    where = "Simulated: virtual time on " + "; ".join(dict.fromkeys(_platform(known) for known in planned)) + "."
    return [
        panel("plan-nodes", "How many nodes does each way of keeping histories need?",
              "Lower is cheaper. Bars: range over replicates and the search's steps. A line ends where no number of nodes keeps the "
              "SLO: the note says who, the table above why.", where,
              [view for known in planned for view in _nodes_views(known)], "the plan asked for the load of given nodes only"),
        panel("plan-front", "Which fleets does no other one beat?",
              "Left is fewer nodes and less money, lower is faster (or less energy). Lines: fleets that no other one beats in nodes, "
              "cost, energy and p99 at once; \"beaten\": a strategy's smallest fleet that is not among them.",
              where + " Cost and energy: derived from the platform file.",
              [view for known in planned for view in _front_views(known)], "no fleet is within the SLO"),
        panel("plan-error", "Does the sample give the nodes that a full run gives?",
              "Each point: one answer re-run with all users of a node and its real tiers. On the dashed line both say the same.",
              where, [_error_view(known) for known in planned], _no_errors(planned))]


def hides(panel_id):
    """Questions that a page of plans alone does not ask."""
    return not panel_id.startswith("plan-")
