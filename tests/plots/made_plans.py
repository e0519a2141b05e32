"""Made-up reports of `ckvsim plan`, as its tables would hold them."""
from made_reports import add_table, set_spec

NAN = float("nan")
STRATEGIES = [("full_fp16", "full"), ("item_table", "item_table"), ("collective", "collective")]


def question(strategy, keeping, users, nodes, model="hstu", reason="", applies=1, **more):
    """One row of table plan; nodes None: infeasible."""
    feasible = nodes is not None
    row = {"find": "nodes", "model": model, "model_class": "sequence", "strategy": strategy, "keeping": keeping,
           "type": "fp16", "users": float(users), "catalogue_items": 1e7, "candidates": 128, "tiers": "hbm_dram",
           "policy": "lru", "efficiency": 0.7, "applies": applies, "feasible": int(feasible), "reason": reason,
           # As the program writes it: what an infeasible search tried last, never an answer.
           "nodes": nodes if feasible else 65536, "nodes_low": nodes if feasible else 0,
           "nodes_high": nodes if feasible else 65536, "requests_per_second": 0.02 * users,
           "load_low": 0.02 * users, "load_high": 0.02 * users, "without_memory_limit": 2.0, "memory_bound": 0,
           "bound": "GPU time" if feasible else "", "best": int(feasible), "checked": "estimated" if feasible else "",
           "hit_ratio": 0.5, "p50_ns": 4e6, "p99_ns": 2e7, "gpu_busy": 0.8, "cost_per_million": 0.5 * (nodes or NAN),
           "energy_per_million": 0.1 * (nodes or NAN), "evaluations": 5, "requests": 500000}
    return {**row, **more}


QUESTIONS = [
    question("full_fp16", "full", 1e7, 12, memory_bound=1, nodes_low=11, nodes_high=13),
    question("full_fp16", "full", 1e8, None, reason="even 65536 nodes miss the SLO (p99 41 ms): flash reads"),
    question("item_table", "item_table", 1e7, None, applies=0, reason="K and V of hstu do not depend on the item alone"),
    question("item_table", "item_table", 1e8, None, applies=0, reason="K and V of hstu do not depend on the item alone"),
    question("collective", "collective", 1e7, 2), question("collective", "collective", 1e8, 8, nodes_low=8, nodes_high=9),
]
LOADS = [question("full_fp16", "full", 1e7, 8, find="load", requests_per_second=1.5e5, load_low=1.4e5, load_high=1.6e5)]


def front_row(number, row, nodes=None):
    return {"question": number, **{name: row[name] for name in ("model", "strategy", "tiers", "policy", "users", "p99_ns",
                                                                "requests_per_second", "gpu_busy", "cost_per_million",
                                                                "energy_per_million")}, "nodes": nodes or row["nodes"]}


def check(number, row, nodes_full, p99_error=0.05, skipped="", side=None):
    """One row of table plan_error; side "": as reports were before they told it."""
    ran = not skipped
    return {"question": number, **{name: row[name] for name in ("model", "strategy", "tiers", "policy", "users", "nodes")},
            "finalist": 1, "skipped": skipped, "nodes_full": nodes_full,
            **({} if side == "" else {"nodes_full_is": "" if skipped else side or ("exact" if nodes_full else "above")}),
            "nodes_agree": int(nodes_full == row["nodes"]),
            "nodes_within": int(row["nodes_low"] <= nodes_full <= row["nodes_high"]),
            "hit_ratio_error": 0.002 if ran else NAN, "p50_error": 0.01 if ran else NAN,
            "p99_error": p99_error if ran else NAN, "busy_error": -0.004 if ran else NAN}


def _table(file, name, rows):
    add_table(file, name, "made up", [(key, "1", "key" if key == "question" else "simulated", [row[key] for row in rows])
                                      for key in rows[0]])


def plan(file, questions=None, checks=None, front=None, **attributes):
    """Makes a report a plan. By default full KV cannot serve 10^8 users."""
    for name in list(file["tables"]):
        del file["tables"][name]
    set_spec(file, {"study": "fleet", "name": "made-plan", "fleet": {"slo_ms": 30}})
    rows = [{"question": number, **row} for number, row in enumerate(questions or QUESTIONS)]
    _table(file, "plan", rows)
    file["tables/plan"].attrs.update({"slo": "p99 within 30 ms", "load": "0.02 requests a second and user",
                                      "platform": "made-up node (nominal)", "currency": "USD", "watts": "not given idle, 9 busy",
                                      **attributes})
    good = [row for row in rows if row["feasible"] == 1 and row["find"] == "nodes"]
    if front is None:
        front = [front_row(row["question"], row) for row in good if row["strategy"] == "collective"]
    if front:
        _table(file, "plan_front", front)
    if checks is None:
        checks = [check(row["question"], row, row["nodes"] + (row["users"] > 1e7)) for row in good]
    if checks:
        _table(file, "plan_error", checks)
        file["tables/plan_error"].attrs["check_steps"] = "8"
