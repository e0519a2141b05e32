"""Figures of serving: latency distributions, percentiles, stages, hit ratios, fidelity."""
from plotting import palette, text
from plotting.shares import stage_share_ns

from . import facts
from .facts import finite, number
from .panels import axis, bars_view, panel, series, without_values

_PERCENTILES = [("p50_ns", "p50", "#0072B2"), ("p90_ns", "p90", "#009E73"),
                ("p99_ns", "p99", "#D55E00"), ("p999_ns", "p99.9", "#7A2E00")]
_METRICS = {  # metric -> (words, target, shown as)
    "mean_ns": ("mean latency", 0.03, "percent"),
    "p50_ns": ("p50 latency", 0.03, "percent"),
    "p99_ns": ("p99 latency", 0.05, "percent"),
    "throughput_per_s": ("throughput", None, "percent"),
    "hit_ratio": ("hit ratio", 0.005, "points"),
}


def _twins(known_runs):
    """(label, latency table, cdf table, cache table, where, provenance)"""
    names = dict.fromkeys(text.clean(k.platform, 40) for k in known_runs if k.platform)
    fleet = " / ".join(names) or "platform unknown"
    return [("This machine (measured)", "executed_latency", "executed_cdf", "executed_cache",
             lambda known: {"pass": 1.0}, "measured"),
            (f"Fleet of {fleet} (simulated)", "simulated_latency", "simulated_cdf",
             "simulated_cache", lambda known: {"platform": known.platform}, "simulated")]


def _claim(known_runs):
    names = dict.fromkeys(text.clean(k.report.provenance.get("calibration", "none"), 60)
                          for k in known_runs)
    return ("This machine: measured (wall clock, first pass, warm-up excluded, open loop). Fleet: "
            f"simulated in virtual time (calibration: {'; '.join(names)}).")


def _matches(row, where):
    return all(row.get(key) == value for key, value in where.items() if key in row)


def _cdf_view(known_runs, twin):
    label, latency, table, _, where, provenance = twin
    lines, missing = [], []
    for known in known_runs:
        for arm in known.arms():
            rows = [r for r in known.rows(table, arm) if _matches(r, where(known))
                    and finite(number(r, "latency_ns"))]
            if not rows:
                missing.append(arm)
                continue
            rows.sort(key=lambda r: r["quantile"])
            lines.append(series(known, arm, provenance, [r["latency_ns"] for r in rows],
                                [r["quantile"] for r in rows]))
    if not lines:
        return None
    return {"label": label, "kind": "line", "x": axis("latency of a request", "ns", "log"),
            "y": axis("share of requests at or below", "percent", min=0.0, max=1.0),
            "series": lines, "note": without_values(missing), "small": True}


def latency_cdf(known_runs):
    return panel("latency", "How long does a request take?",
                 "Further left is faster. Read across at 99 % for the slowest request in a hundred.",
                 _claim(known_runs), [_cdf_view(known_runs, twin) for twin in _twins(known_runs)],
                 "serving was switched off")


def _rows_of(known_runs, pick):
    found, missing = [], []
    for known in known_runs:
        for arm in known.arms():
            values = pick(known, arm)
            if any(finite(v) for v in values.values()):
                found.append((known, arm, values))
            else:
                missing.append(arm)
    return found, missing


def _percentile_view(known_runs, twin):
    label, table, _, _, where, provenance = twin

    def pick(known, arm):
        row = known.row(table, arm, stage="total", **where(known))
        return {key: number(row, key) for key, _, _ in _PERCENTILES}

    found, missing = _rows_of(known_runs, pick)
    if not found:
        return None
    parts = [part for part in _PERCENTILES if any(finite(v[part[0]]) for _, _, v in found)]
    return bars_view(label, axis("latency of a request", "ns"), found, parts, provenance,
                     stacked=False, note=without_values(missing))


def percentiles(known_runs):
    return panel("percentiles", "Which strategy is fastest, typically and in the tail?",
                 "p50 is the typical request, p99 the slowest in a hundred. Further left is faster. "
                 "A percentile is given only with ten samples beyond it.",
                 _claim(known_runs),
                 [_percentile_view(known_runs, twin) for twin in _twins(known_runs)],
                 "serving was switched off")


def _stage_view(known_runs, twin):
    label, table, _, _, where, provenance = twin

    def pick(known, arm):
        rows = {r.get("stage"): r for r in known.rows(table, arm) if _matches(r, where(known))}
        total = rows.get("total")
        return {stage: stage_share_ns(rows.get(stage), total) for stage in palette.STAGES}

    found, missing = _rows_of(known_runs, pick)
    if not found:
        return None
    return bars_view(label, axis("mean time per request", "ns"), found,
                     [(stage, stage, color) for stage, color in palette.STAGES.items()],
                     provenance, note=without_values(missing))


def stages(known_runs):
    return panel("stages", "Where does the time of a request go?",
                 "Mean over all requests. queue: waiting for a server and for a batch to fill; "
                 "fetch: host memory to GPU; prefill: computing what the cache missed; decode: "
                 "attention over the history; score: candidates through the model; host: the rest.",
                 _claim(known_runs), [_stage_view(known_runs, twin) for twin in _twins(known_runs)],
                 "serving was switched off")


def _cache_view(known_runs, twin):
    label, _, _, table, where, _ = twin
    parts = [("hbm_hits", "found in the first tier (HBM)", "#0072B2"),
             ("dram_hits", "found in the second tier (DRAM)", "#56B4E9"),
             ("misses", "computed again", "#BDBDBD"),
             ("rejected", "too large to keep", "#7A2E00")]

    def pick(known, arm):
        row = known.row(table, arm, **where(known))
        requests = number(row, "requests")
        # Rejected requests are misses as well, in the counters.
        counts = {key: number(row, key) / requests if requests > 0 else float("nan")
                  for key, _, _ in parts}
        if finite(counts["misses"]) and counts["rejected"] > 0 and sum(counts.values()) > 1.0001:
            counts["misses"] -= counts["rejected"]
        return counts

    found, missing = _rows_of(known_runs, pick)
    if not found:
        return None
    return bars_view(label, axis("share of requests", "percent", max=1.0), found, parts,
                     "measured" if table == "executed_cache" else "simulated",
                     note=without_values(missing))


def hits(known_runs):
    return panel("hits", "How often is a user's history already in the cache?",
                 "More blue is better: what is not found must be fetched or computed again.",
                 _claim(known_runs), [_cache_view(known_runs, twin) for twin in _twins(known_runs)],
                 "serving was switched off")


def _fidelity_view(known_runs, metric):
    words, target, shown = _METRICS[metric]

    def pick(known, arm):
        row = next((r for r in known.rows("fidelity", arm) if r.get("metric") == metric), {})
        if shown == "points":
            return {"simulated": number(row, "simulated") - number(row, "executed"),
                    "repeat": number(row, "repeat") - number(row, "executed")}
        return {"simulated": number(row, "error_relative"),
                "repeat": number(row, "repeat_error_relative")}

    found, missing = _rows_of(known_runs, pick)
    if not found:
        return None
    view = bars_view(words, axis("difference from the first executed pass", shown), found,
                     [("simulated", "simulated", "#D55E00"),
                      ("repeat", "executed again", "#0072B2")], "derived", stacked=False,
                     note=without_values(missing))
    view["marks"] = [{"x": 0.0, "label": "executed"}]
    if target:
        shown_target = f"{100 * target:g} " + ("points" if shown == "points" else "%")
        view["band"] = {"low": -target, "high": target, "label": f"target {shown_target}"}
    return view


def fidelity(known_runs):
    return panel("fidelity", "Can the simulation be trusted?",
                 "The same requests, executed twice and simulated. A simulated point as close to "
                 "zero as “executed again” is as good as it can be.",
                 "Executed: measured. Simulated: virtual time on this machine's calibration. "
                 "Differences: derived.",
                 [_fidelity_view(known_runs, metric) for metric in _METRICS],
                 "needs both an executed and a simulated run")


def _histogram(known_runs):
    bins = {}
    for known in known_runs:
        for row in facts.rows(known.report, "history_lengths"):
            bins[number(row, "tokens_low"), number(row, "tokens_high")] = None
    order = sorted(bins)
    if not order:
        return None
    found = []
    for known in known_runs:
        rows = {(r["tokens_low"], r["tokens_high"]): number(r, "users")
                for r in facts.rows(known.report, "history_lengths")}
        total = sum(v for v in rows.values() if finite(v))
        if total > 0:
            found.append({"name": facts.label(known.report.label), "run": known.index,
                          "provenance": "derived",
                          "values": [rows.get(edge, 0.0) / total for edge in order]})
    names = [f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}" for low, high in order]
    return {"label": "History lengths", "kind": "columns", "categories": names,
            "x": axis("interactions in a user's history", "number"),
            "y": axis("share of users", "percent"), "series": found} if found else None


def _popularity(known_runs, column, label, title, scale):
    lines = []
    for known in known_runs:
        rows = sorted(facts.rows(known.report, "popularity"), key=lambda r: r["rank"])
        if rows:
            lines.append(series(known, "", "derived", [r["rank"] for r in rows],
                                [number(r, column) for r in rows], name=known.report.label))
    return {"label": label, "kind": "line", "series": lines,
            "x": axis("items, most frequent first", "count", "log"),
            "y": axis(title, "percent", scale)} if lines else None


def workload(known_runs):
    return panel("workload", "What do users and items look like?",
                 "Long histories make caches expensive; a few items that make up most interactions "
                 "make shared tables effective.",
                 "Derived: counted over every stored history.",
                 [_histogram(known_runs),
                  _popularity(known_runs, "cumulative", "Concentration on few items",
                              "share of all interactions", "linear"),
                  _popularity(known_runs, "share", "Popularity of single items",
                              "share of all interactions", "log")])
