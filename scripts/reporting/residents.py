"""Panels of the residency measurement: users that one budget holds, and how fast they are served."""
from plotting import text

from .facts import finite, number
from .panels import axis, bars_view, panel

_PLACES = {"memory": "in memory", "file": "in a file on storage"}
_PERCENTILES = [("p50_ns", "p50", "#0072B2"), ("p99_ns", "p99", "#D55E00")]
_STAGES = [("queue", "queue", "#BDBDBD"), ("fetch", "fetch", "#56B4E9"), ("decode", "decode", "#0072B2"),
           ("score", "score", "#009E73"), ("host", "host", "#E69F00")]


def _found(known_runs, table, tier):
    return [(known, arm, row) for known in known_runs for arm in known.arms()
            for row in known.rows(table, arm) if row.get("tier") == tier]


def _users_view(known_runs, tier):
    rows = [(known, arm, {"users": number(row, "users")}) for known, arm, row in _found(known_runs, "residency", tier)]
    if not rows:
        return None
    budgets = {number(row, "budget_bytes") for _, _, row in _found(known_runs, "residency", tier)}
    given = " or ".join(text.size(budget) for budget in sorted(budgets) if finite(budget))
    short = [arm for _, arm, row in _found(known_runs, "residency", tier) if row.get("limited_by") == "users"]
    note = f"At least so many, the workload has no more users: {', '.join(short)}" if short else ""
    return bars_view(f"{_PLACES[tier]}, {given}", axis("users held and served", "count", "log"), rows,
                     [("users", "users", "#0072B2")], "measured", stacked=False, note=note)


def users(known_runs):
    return panel("residents", "How many users does one budget of bytes hold?",
                 "Further right is better. Every user's entry was really made, kept and served; the budget covers entries "
                 "and their records, in memory also the strategy's own shared tables.",
                 "Measured: real bytes on this machine.", [_users_view(known_runs, tier) for tier in _PLACES])


def _latency_view(known_runs, tier):
    rows = [(known, arm, {key: number(row, key) for key, _, _ in _PERCENTILES})
            for known, arm, row in _found(known_runs, "residency_latency", tier) if row.get("stage") == "total"]
    rows = [row for row in rows if any(finite(value) for value in row[2].values())]
    if not rows:
        return None
    return bars_view(f"{_PLACES[tier]}: p50 and p99", axis("latency of a request", "ns", "log"), rows, _PERCENTILES, "measured",
                     stacked=False)


def _stage_view(known_runs, tier):
    rows = {}
    for known, arm, row in _found(known_runs, "residency_latency", tier):
        rows.setdefault((known, arm), {})[row.get("stage")] = number(row, "mean_ns")
    if not rows:
        return None
    return bars_view(f"{_PLACES[tier]}: stages", axis("mean time per request", "ns"),
                     [(known, arm, stages) for (known, arm), stages in rows.items()], _STAGES, "measured")


def latency(known_runs):
    return panel("residents-latency", "How fast are the users that it holds served?",
                 "The same request rate for every strategy. fetch: reading the entry from "
                 "storage; decode: attention over the history.", "Measured: wall clock on this machine, open loop.",
                 [view(known_runs, tier) for tier in _PLACES for view in (_latency_view, _stage_view)])


def figures(known_runs):
    return [one for one in (users(known_runs), latency(known_runs)) if one["views"]]
