#!/usr/bin/python3
"""Compares two Google Benchmark JSON files by the ratio new/old of the median real time over repetitions.

usage: compare_benchmarks.py OLD.json NEW.json
       compare_benchmarks.py --save NEW.json BASELINE.json     (keeps medians, spread and context; drops host names)
A regression needs both: the median slower by more than 10 % and by more than three times the larger spread (median
absolute deviation) of the two. Baselines of another CPU, thread count or build type are shown but never judged.
Exit codes: 0 no regression, 4 unreadable file, 6 regression.
"""
import json
import statistics
import sys
from pathlib import Path

RELATIVE_THRESHOLD = 0.10
SPREAD_FACTOR = 3.0
UNIT_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
CONTEXT_KEYS = ("date", "num_cpus", "mhz_per_cpu", "cpu_scaling_enabled", "library_build_type", "caches")


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def summarise(document):
    """Median and spread in ns of each benchmark, from its single repetitions."""
    samples = {}
    for row in document["benchmarks"]:
        if row.get("run_type", "iteration") == "iteration" and not row.get("error_occurred"):
            samples.setdefault(row.get("run_name", row["name"]), []).append(row["real_time"] * UNIT_NS[row["time_unit"]])
    result = {}
    for name, values in samples.items():
        median = statistics.median(values)
        spread = statistics.median(abs(value - median) for value in values)
        result[name] = {"median_ns": median, "spread_ns": spread, "repetitions": len(values)}
    return result


def load(path):
    """Either our baseline or a raw Google Benchmark file -> (context, summary)."""
    document = json.loads(Path(path).read_text())
    if document.get("format") == "ckvsim-baseline-1":
        return document["context"], document["benchmarks"]
    context = {key: document["context"][key] for key in CONTEXT_KEYS if key in document["context"]}
    context["cpu"] = document["context"].get("cpu", cpu_model())
    return context, summarise(document)


def save(source, target):
    context, benchmarks = load(source)
    Path(target).write_text(json.dumps({"format": "ckvsim-baseline-1", "context": context, "benchmarks": benchmarks},
                                       indent=1, sort_keys=True) + "\n")
    print(f"{target}: {len(benchmarks)} benchmarks")
    return 0


def judge(old, new):
    ratio = new["median_ns"] / old["median_ns"]
    slower_ns = new["median_ns"] - old["median_ns"]
    noise_ns = SPREAD_FACTOR * max(old["spread_ns"], new["spread_ns"])
    if ratio > 1 + RELATIVE_THRESHOLD and slower_ns > noise_ns:
        return ratio, "REGRESSED"
    if ratio < 1 - RELATIVE_THRESHOLD and -slower_ns > noise_ns:
        return ratio, "faster"
    return ratio, "same"


def compare(old_path, new_path):
    if not Path(old_path).exists():
        print(f"no baseline {old_path}; write one with: scripts/dev bench --save")
        return 0
    old_context, old = load(old_path)
    new_context, new = load(new_path)
    differing = [key for key in ("cpu", "num_cpus", "library_build_type") if old_context.get(key) != new_context.get(key)]
    if differing:
        print("not comparable, shown only: " + "; ".join(
            f"{key} {old_context.get(key)} -> {new_context.get(key)}" for key in differing))
    width = max([len(name) for name in new] + [9])
    print(f"{'benchmark':{width}}  {'old':>12}  {'new':>12}  new/old")
    regressions = 0
    for name, row in new.items():
        if name not in old:
            print(f"{name:{width}}  {'-':>12}  {row['median_ns']:>9.0f} ns  new")
            continue
        ratio, verdict = judge(old[name], row)
        regressions += verdict == "REGRESSED" and not differing
        print(f"{name:{width}}  {old[name]['median_ns']:>9.0f} ns  {row['median_ns']:>9.0f} ns  {ratio:6.2f}  {verdict}")
    for name in old:
        if name not in new:
            print(f"{name:{width}}  not run")
    return 6 if regressions else 0


def main(arguments):
    try:
        if len(arguments) == 3 and arguments[0] == "--save":
            return save(arguments[1], arguments[2])
        if len(arguments) == 2:
            return compare(*arguments)
    except (OSError, ValueError, KeyError) as error:
        print(f"compare_benchmarks: {error}", file=sys.stderr)
        return 4
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
