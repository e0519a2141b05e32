"""What `ckvsim plan` has found: the smallest fleet of every strategy. Figures and the page share it; draws nothing."""
import math
import re

from .searches import middle

FEASIBLE, INFEASIBLE, REFUSED = "feasible", "infeasible", "does not apply"
# Beside model and users; each varies only where the study sweeps it.
_REST = ("catalogue_items", "candidates", "efficiency")
_SAID_TWICE = re.compile(r"^\S+ does not apply to \S+: ")


def is_plan(report):
    return report.table("plan") is not None


def _questions(report, find):
    table = report.table("plan")
    return [row for row in table.records() if row["find"] == find] if table is not None else []


def state(row):
    """FEASIBLE, INFEASIBLE or REFUSED; a number of nodes stands for something in the first only."""
    return REFUSED if row["applies"] != 1 else FEASIBLE if row["feasible"] == 1 else INFEASIBLE


def reason(row):
    """Why there is no number of nodes; without what state() says already."""
    return _SAID_TWICE.sub("", row["reason"])


def rest_of(rows):
    """{column: middle value} of catalogue, candidates and efficiency."""
    return {name: middle(row[name] for row in rows) for name in _REST} if rows else {}


def swept(rows):
    """Names of those that the study varies."""
    return [name for name in _REST if len({row[name] for row in rows}) > 1]


def smallest(report):
    """One row a model, users and strategy, at the middle of what else is swept: the best of its tiers and policies, or, where
    none meets the SLO, the first with its reason. In the study's order."""
    rows = _questions(report, "nodes")
    at = rest_of(rows)
    rows = [row for row in rows if all(row[name] == value for name, value in at.items())]
    found = {}
    for row in rows:
        key = (row["model"], row["users"], row["strategy"])
        if key not in found or row["best"] == 1:
            found[key] = row
    return list(found.values())


def reasons(report, row):
    """Why each of the tiers and policies of an infeasible strategy fails, without repeats."""
    rows = [other for other in _questions(report, "nodes")
            if all(other[name] == row[name] for name in ("model", "users", "strategy", *_REST))]
    return list(dict.fromkeys(reason(other) for other in rows if other["reason"]))


def carried(report):
    """Rows of the other question: the highest load of given nodes, the best of each model, users, nodes and strategy."""
    return [row for row in _questions(report, "load") if row["best"] == 1]


def attribute(report, name):
    table = report.table("plan")
    value = table.attributes.get(name, "") if table is not None else ""
    return value if value != "not given" else ""


def costs_of_nodes(rows):
    """Money of a million requests a node, the same for all fleets of one load; NaN when not given."""
    found = [row["cost_per_million"] / row["nodes"] for row in rows
             if math.isfinite(row["cost_per_million"]) and row["nodes"] > 0]
    return found[0] if found else math.nan


def front(report, model, users):
    """(rows of plan_front, smallest fleets that it leaves out) of one scenario, at the middle of what else is swept."""
    best = [row for row in smallest(report) if (row["model"], row["users"]) == (model, users) and state(row) == FEASIBLE]
    questions = {row["question"] for row in _questions(report, "nodes")
                 if all(row[name] == value for name, value in rest_of(_questions(report, "nodes")).items())}
    table = report.table("plan_front")
    rows = [row for row in table.records() if (row["model"], row["users"]) == (model, users)
            and row["question"] in questions] if table is not None else []
    on = {(row["question"], row["nodes"]) for row in rows}
    return rows, [row for row in best if (row["question"], row["nodes"]) not in on]


# Why full runs of an answer end on no number of nodes: they only go some steps from the plan's.
BELOW, ABOVE, UNKNOWN = "below", "above", "unknown"


def beyond(row):
    """BELOW, ABOVE or UNKNOWN (older reports do not say) where a row of checks() has no nodes_full; otherwise nothing."""
    if row["nodes_full"] > 0:
        return ""
    side = row.get("nodes_full_is")
    return side if side in (BELOW, ABOVE) else UNKNOWN


def beyond_words(report, side):
    """What full runs say then."""
    table = report.table("plan_error")
    steps = table.attributes.get("check_steps") if table is not None else None
    steps = f"all {steps} steps" if steps else "all steps"
    return {BELOW: f"still meet the SLO {steps} below the plan: fewer nodes would do",
            ABOVE: f"miss the SLO at the plan's nodes and {steps} above",
            UNKNOWN: "find no number of nodes near the plan (the report does not say on which side)"}[side]


def checks(report):
    """([rows of plan_error that were run, with nodes_low and nodes_high of their answers], [rows that were not])"""
    table = report.table("plan_error")
    if table is None:
        return [], []
    answers = {row["question"]: row for row in report.table("plan").records()}
    rows = [{**row, **{name: answers[row["question"]][name] for name in ("nodes_low", "nodes_high")}}
            for row in table.records() if row["question"] in answers]
    return [row for row in rows if not row["skipped"]], [row for row in rows if row["skipped"]]
