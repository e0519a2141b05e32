"""Fleet studies that search: the regime map (search = max_load) and the nodes needed (search = nodes), in words and as panels."""
import math

from plotting import searches, text

from . import facts
from .facts import finite, number
from .panels import axis, bars_view, clean, panel


_TIE = text.percent(searches.TIE - 1, 2)


def _regime_rows(known):
    """Rows of the regime map, complete ones only."""
    wanted = ("model", "tiers", "catalogue_items", "candidates", "users", "efficiency", "margin", "figure", "winner")
    return [row for row in facts.rows(known.report, "fleet_regimes")
            if row.get("among") == "all" and row.get("winner") and all(name in row for name in wanted)]


def is_map(known):
    return searches.searched(known.report) == "max_load" and bool(_regime_rows(known))


def is_nodes(known):
    return searches.searched(known.report) == "nodes"


def searches_something(known):
    return searches.searched(known.report) != ""


def _sentence(words, *provenance, tone="plain"):
    return {"text": words, "provenance": list(provenance), "tone": tone}


def _ways(known):
    return dict.fromkeys(row["strategy"] for row in facts.rows(known.report, "fleet_cases"))


# ------------------------------------------------------------------------------------- regimes


def _wins(rows):
    """([(strategy, wins beyond a tie, its largest margin)], most wins first; ties)"""
    found, ties = {}, 0
    for row in rows:
        if row["margin"] < searches.TIE:
            ties += 1
            continue
        count, most = found.get(row["winner"], (0, 0.0))
        margin = row["margin"] if math.isfinite(row["margin"]) else 0.0
        found[row["winner"]] = (count + 1, max(most, margin))
    return sorted(((name, *pair) for name, pair in found.items()), key=lambda one: -one[1]), ties


def map_sentences(known):
    """One a model: who wins how often, by how much at most, and how often nobody does."""
    cells = searches.cells(_regime_rows(known))
    found = []
    for model in dict.fromkeys(key[0] for key in cells):
        rows = [row for key, row in cells.items() if key[0] == model]
        wins, ties = _wins(rows)
        words = [f"{facts.label(name)} in {count}" + (f" (by up to {searches.times(most)})" if most else "")
                 for name, count, most in wins]
        words += [f"nobody in {ties} (within {_TIE})"] if ties else []
        kind = text.clean(rows[0].get("model_class") or "", 12)
        found.append(_sentence(
            f"{facts.label(model)}{f' (K and V per {kind})' if kind else ''}: of {len(rows)} regimes of catalogue, "
            f"candidates and tiers, most load is carried by {', '.join(words)}.", "derived"))
    doubt = sum(row["doubt"] for row in cells.values())
    if doubt:
        found.append(_sentence(f"{doubt} of {len(cells)} regimes have another winner at another share of the nominal rates: "
                               "marked ? in the map.", "derived", tone="caution"))
    return found


def map_title(known):
    cells = searches.cells(_regime_rows(known))
    wins, ties = _wins(cells.values())
    words = ", ".join(f"{facts.label(name)} {count}" for name, count, _ in wins[:3])
    return f"Most load in {len(cells)} regimes: {words}" + (f"; {ties} {'tie' if ties == 1 else 'ties'}" if ties else "")


def _cell(row, names):
    if row is None:
        return None
    margin, pools = row["margin"], number(row, "collective_margin")
    second = facts.label(row.get("second") or "")
    alone = not math.isfinite(margin)
    tie = not alone and margin < searches.TIE
    words = "the only one" if alone else f"tie: {names.get(row.get('second'), second)}" if tie else searches.times(margin)
    load = text.count(row["figure"], 2) + "/s"
    told = [facts.label(row["winner"]), f"{load} a node",
            "no other strategy within the promise" if alone else f"{searches.times(margin)} of {second}"]
    if finite(pools):
        told.append(f"best CollectiveKV {searches.times(pools)} of the best without pools")
    if row["doubt"]:
        told.append("another winner at another share of the nominal rates")
    return {"arm": row["winner"], "head": names.get(row["winner"], facts.label(row["winner"])), "words": words,
            "foot": load, "tie": bool(tie), "doubt": bool(row["doubt"]), "told": told}


def _map_views(known):
    rows = _regime_rows(known)
    cells, names = searches.cells(rows), searches.short_names(_ways(known))
    items = sorted({key[2] for key in cells}, reverse=True)
    candidates = sorted({key[3] for key in cells})
    views = []
    for model, tiers in dict.fromkeys(key[:2] for key in cells):
        lines = [[_cell(cells.get((model, tiers, v, c)), names) for c in candidates] for v in items]
        views.append({"label": f"{facts.label(model)}, {searches.TIERS.get(tiers, text.clean(tiers, 30))}", "kind": "map",
                      "series": [], "columns": [f"{c:g}" for c in candidates], "rows_named": [text.count(v) for v in items],
                      "x": axis("candidates of a request", "number"), "y": axis("catalogue items", "count"), "cells": lines})
    return views


# --------------------------------------------------------------------------------------- nodes


def _needs(known):
    """{(model, users, tiers): {strategy: (low, middle, high) nodes, infeasible ones infinite; None: does not apply}}"""
    rows = [row for row in searches.node_cases(known.report) if finite(number(row, "nodes"))]
    found = {}
    for row in rows:
        key = (row["model"], number(row, "users"), row.get("tiers") or "")
        found.setdefault(key, {}).setdefault(row["strategy"], []).append(row)
    return {key: {name: searches.needed(cases) for name, cases in ways.items()} for key, ways in found.items()}


def _efficiencies(known):
    return sorted({number(row, "efficiency") for row in facts.rows(known.report, "fleet_cases")
                   if finite(number(row, "efficiency"))})


def _place(key, needs):
    model, users, tiers = key
    words = [facts.label(model), f"{text.count(users)} users"]
    if len({other[2] for other in needs}) > 1:
        words.append(searches.TIERS.get(tiers, text.clean(tiers, 30)))
    return ", ".join(words)


def _range(need):
    low, middle, high = need
    if low == high:
        return f"{middle:,.0f}"
    return f"{middle:,.0f} ({low:,.0f} to {f'{high:,.0f}' if math.isfinite(high) else 'none'})"


def _order(ways):
    """Strategies that some number of nodes serves, fewest first; then the others."""
    served = {name: need for name, need in ways.items() if need is not None and math.isfinite(need[1])}
    rest = [name for name in ways if name not in served]
    return sorted(served.items(), key=lambda pair: pair[1][1]), rest


def node_sentences(known):
    needs, found = _needs(known), []
    for key, ways in needs.items():
        served, rest = _order(ways)
        words = ", ".join(f"{facts.label(name)} {_range(need)}" for name, need in served) or "none of the strategies can"
        never = [facts.label(name) for name in rest if ways[name] is not None]
        words += f"; no number of nodes keeps it with {', '.join(never)}" if never else ""
        found.append(_sentence(f"{_place(key, needs)}: fewest nodes that keep the promise: {words}.", "simulated"))
    rates = _efficiencies(known)
    if len(rates) > 1:
        found.append(_sentence(f"Numbers are at {text.percent(rates[len(rates) // 2])} of nominal rates, in brackets the range from "
                               f"{text.percent(rates[0])} to {text.percent(rates[-1])}: not a confidence interval.", "simulated", tone="caution"))
    return found


def node_title(known):
    needs = _needs(known)
    most = max((key[1] for key in needs), default=math.nan)
    parts = []
    for key, ways in needs.items():
        served, _ = _order(ways)
        if key[1] == most and served:
            best = [name for name, need in served if need[1] == served[0][1][1]]
            who = " and ".join(facts.label(name) for name in best) if len(best) < 3 else f"{len(best)} strategies"
            parts.append(f"{facts.label(key[0])} {_range(served[0][1])} with {who}")
    return f"Fewest nodes for {text.count(most)} users: " + ("; ".join(parts[:3]) or "no fleet keeps the promise")


def _node_views(known):
    needs, views = _needs(known), []
    for key, ways in sorted(needs.items(), key=lambda pair: -pair[0][1]):  # most users first
        rows = [(known, name, {"nodes": need[1], "low": need[0], "high": need[2]} if need is not None else {})
                for name, need in ways.items()]
        most = max((v for need in ways.values() if need for v in need if math.isfinite(v)), default=1.0)
        view = bars_view(_place(key, needs), axis("nodes", "number", reach=clean(1.1 * most)), rows, [("nodes", "nodes", "#0072B2")],
                         "simulated", stacked=False)
        view["series"][0]["low"] = [clean(values.get("low")) for _, _, values in rows]
        view["series"][0]["high"] = [clean(values.get("high")) for _, _, values in rows]
        refused = [facts.label(name) for name, need in ways.items() if need is None]
        never = [facts.label(name) for name, need in ways.items() if need is not None and not math.isfinite(need[1])]
        view["note"] = " ".join(filter(None, [
            f"Does not apply: {', '.join(refused)}." if refused else "",
            f"No number of nodes keeps the promise: {', '.join(never)}." if never else ""]))
        views.append(view)
    return views


def figures(known_runs, where):
    """Panels of the runs that search; `where` names their platforms."""
    maps = [view for known in known_runs if is_map(known) for view in _map_views(known)]
    nodes = [view for known in known_runs if is_nodes(known) for view in _node_views(known)]
    found = []
    if maps:
        found.append(panel("fleet-regimes", "Which way of keeping histories wins, and by how much?",
                           "Each cell: the strategy that carries the most load within the promise, its margin over the second, "
                           f"and its load a node. Grey: a tie, within {_TIE}. ?: another winner at another share "
                           "of the nominal rates. Choose model and tiers above the map.",
                           where + " Derived: table fleet_regimes, middle share of nominal rates.", maps))
    if nodes:
        found.append(panel("fleet-nodes", "How many nodes does each way of keeping histories need?",
                           "Further left is cheaper. Dot: the middle share of nominal rates; bar: the range over the shares "
                           "of this study. No dot: see the note below the figure.", where, nodes))
    return found
