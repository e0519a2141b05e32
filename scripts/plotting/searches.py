"""What fleet studies that search have found: regimes and nodes. Figures and the page share it; draws nothing."""
import math
import re

from . import text

TIE = 1.05  # below this margin a winner is no winner: runs are short and the search stops at 2 %
TIERS = {"hbm": "GPU memory only", "hbm_dram": "GPU + host memory",
          "hbm_dram_nvme": "GPU + host memory + flash"}
_STORED_AS = re.compile(r"_(fp32|fp16|bf16|int8|int4|m\d+|du?\d+)$")


def searched(report):
    """"max_load", "nodes" or "" when the study searched nothing."""
    cases = report.table("fleet_cases")
    if cases is None or "search" not in cases.columns:
        return ""
    kinds = [word.split(":")[0] for word in cases["search"]]
    return next((kind for kind in kinds if kind in ("max_load", "nodes")), "")


def short_names(strategies):
    """{strategy: words for a cell}: without the stored type where that leaves no doubt."""
    wanted = {}
    for name in strategies:
        stem = name
        while _STORED_AS.search(stem):
            stem = _STORED_AS.sub("", stem)
        wanted[name] = stem
    stems = list(wanted.values())
    return {name: text.clean((stem if stems.count(stem) == 1 else name).replace("_", " ")
                             .replace("collective item", "coll. item"), 15)
            for name, stem in wanted.items()}


def middle(values):
    values = sorted(set(values))
    return values[len(values) // 2]


def cells(rows):
    """Rows by (model, tiers, V, C) at the middle efficiency and user count, each with `doubt`: another
    strategy wins by more than a tie at another efficiency."""
    rows = [row for row in rows if row["among"] == "all"]
    users, efficiency = middle(r["users"] for r in rows), middle(r["efficiency"] for r in rows)
    winners, found = {}, {}
    for row in rows:
        if row["users"] != users:
            continue
        key = (row["model"], row["tiers"], row["catalogue_items"], row["candidates"])
        if not row["margin"] < TIE:
            winners.setdefault(key, set()).add(row["winner"])
        if row["efficiency"] == efficiency:
            found[key] = row
    return {key: {**row, "doubt": bool(winners.get(key, set()) - {row["winner"]})}
            for key, row in found.items()}


def times(ratio):
    return f"{ratio:.2f}×" if ratio < 2 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:,.0f}×"


def needed(cases):
    """(low, middle, high) nodes over the efficiencies, infeasible ones as infinity; None when the
    strategy does not apply to the model."""
    found = sorted((row["efficiency"], row["nodes"] if row["meets_slo"] == 1 else math.inf)
                   for row in cases if not row.get("refusal"))
    if not found:
        return None
    nodes = [value for _, value in found]
    return min(nodes), nodes[len(nodes) // 2], max(nodes)


def node_cases(report):
    """Rows of fleet_cases with their results; a case without results does not meet the SLO."""
    results = {row["case"]: row for row in report.table("fleet").records()} if report.table("fleet") else {}
    return [{"meets_slo": 0.0, **row, **results.get(row["case"], {})}
            for row in report.table("fleet_cases").records()]
