"""The comparison table: one row an arm and run, one column a question."""
import math
from collections import namedtuple

from plotting import text

from . import facts, fleet, plan
from .facts import finite, number

NOT_MEASURED = "not measured"

# shown: how a value reads; low, high: columns of its interval.
Column = namedtuple("Column", "key title table column where shown low high")

VERDICTS = {
    "reference": "identical",
    "better": "better",
    "equivalent": "as good",
    "worse": "worse",
    "undecided": "undecided",
    "no_power": "cannot tell",
}


def _share(value):
    return text.percent(value, 3)


def _exact(value):
    return f"{value:.4f}"


def _rate(value):
    return text.count(value) + "/s"


_FLEET = {"platform": "FLEET", "stage": "total"}
_HERE = {"pass": 1.0, "stage": "total"}
COLUMNS = [
    Column("bytes", "Bytes per user", "memory", "user_bytes", {}, text.size, None, None),
    Column("share", "of full KV", "memory", "real_ratio", {}, _share, None, None),
    Column("shared", "Shared bytes", "memory", "predicted_shared_bytes", {}, text.size, None,
           None),
    Column("lift", "History lift kept", "accuracy", "lift_kept", {}, _share, "lift_low",
           "lift_high"),
    Column("verdict", "Verdict", "accuracy", "verdict", {}, None, None, None),
    Column("auc", "AUC", "accuracy", "auc", {}, _exact, "auc_low", "auc_high"),
    Column("p50", "p50 here", "executed_latency", "p50_ns", _HERE, text.duration, None, None),
    Column("p99", "p99 here", "executed_latency", "p99_ns", _HERE, text.duration, None, None),
    Column("fleet_p50", "p50 fleet", "simulated_latency", "p50_ns", _FLEET, text.duration, None,
           None),
    Column("fleet_p99", "p99 fleet", "simulated_latency", "p99_ns", _FLEET, text.duration, None,
           None),
    Column("hits", "Hit ratio here", "executed_cache", "hit_ratio", {"pass": 1.0}, _share, None,
           None),
    Column("fleet_hits", "Hit ratio fleet", "simulated_cache", "hit_ratio",
           {"platform": "FLEET"}, _share, None, None),
    Column("rate", "Requests here", "executed_cache", "throughput_per_s", {"pass": 1.0}, _rate,
           None, None),
]


def user_bytes(row):
    """Predicted bytes of a mean user's entry."""
    users = number(row, "users")
    return number(row, "predicted_user_bytes") / users if users > 0 else math.nan


def _value(known, column, arm):
    where = {key: known.platform if value == "FLEET" else value
             for key, value in column.where.items()}
    row = known.row(column.table, arm, **where)
    if column.column == "user_bytes":
        return user_bytes(row), {}
    if column.key == "verdict":
        return row.get("verdict", ""), row
    return number(row, column.column), row


def _interval(column, row):
    if not column.low:
        return ""
    low, high = number(row, column.low), number(row, column.high)
    if not (finite(low) and finite(high)) or low == high:
        return ""
    return f"[{column.shown(low).removesuffix(' %')}, {column.shown(high)}]"


def _cell(known, column, arm):
    value, row = _value(known, column, arm)
    if column.key == "verdict":
        return {"text": VERDICTS.get(value, text.clean(value, 30)) if value else NOT_MEASURED,
                "sort": value, "missing": not value, "verdict": value, "interval": ""}
    if not finite(value):
        return _absent()
    return {"text": column.shown(value), "sort": repr(value), "missing": False, "verdict": "",
            "interval": _interval(column, row)}


def _absent():
    return {"text": NOT_MEASURED, "sort": "", "missing": True, "verdict": "", "interval": ""}


def _column(known_runs, column):
    stored = "predicted_user_bytes" if column.column == "user_bytes" else column.column
    provenance = meaning = ""
    for known in known_runs:
        provenance = provenance or known.provenance(column.table, stored)
        meaning = meaning or known.meaning(column.table, stored)
    if column.column == "user_bytes":
        meaning = "predicted bytes of all users' entries / users"
    return {"key": column.key, "title": column.title, "provenance": provenance,
            "meaning": meaning, "numeric": column.key != "verdict"}


def table(known_runs):
    """{"columns", "rows", "explain"}; columns that no run measured are left out and named in "absent"."""
    rows = []
    studies = [known for known in known_runs if fleet.is_fleet(known) or plan.is_plan(known)]
    for known in studies:
        rows += (plan if plan.is_plan(known) else fleet).comparison_rows(known, _absent)
    for known in known_runs:
        if known in studies:
            continue
        for arm in known.arms():
            row = known.row("arms", arm)
            cells = {column.key: _cell(known, column, arm) for column in COLUMNS}
            rows.append({"arm": arm, "label": facts.label(arm), "run": known.index,
                         "run_label": facts.label(known.report.label),
                         "words": facts.describe_arm(row) if row else "",
                         "refusal": "" if number(row, "applies") != 0.0
                         else text.clean(row.get("refusal", ""), 200),
                         "exact": number(row, "exact") == 1.0, "cells": cells})
    for row in rows:
        for key in [c.key for c in COLUMNS] + [c[0] for c in (*fleet.COLUMNS, *plan.COLUMNS)]:
            row["cells"].setdefault(key, _absent())
    order = {}  # the runs' rows of one arm side by side
    for row in rows:
        order.setdefault(row["arm"], len(order))
    if not studies:
        rows.sort(key=lambda row: (order[row["arm"]], row["run"]))
    shown = [c for c in COLUMNS if any(not row["cells"][c.key]["missing"] for row in rows)]
    absent = [c.title for c in COLUMNS if c not in shown and len(studies) < len(known_runs)]
    columns = [_column(known_runs, c) for c in shown]
    columns += [c for c in (*fleet.comparison_columns(studies), *plan.comparison_columns(studies))
                if any(not row["cells"][c["key"]]["missing"] for row in rows)]
    return {"columns": columns, "rows": rows, "absent": absent, "explain": " ".join(_explained(known_runs))}


def _explained(known_runs):
    """What the words and brackets of the table mean, sentence by sentence."""
    planned = [plan.is_plan(known) for known in known_runs]
    words = [] if all(planned) else ["“Here” is this machine, measured; “fleet” is simulated. Brackets hold 95 % intervals."]
    return words + ([plan.BRACKETS] if any(planned) else [])
