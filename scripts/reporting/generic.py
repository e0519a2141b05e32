"""Any table of a report: as data for a sortable table, and as a figure where it has the shape of one.

A table that no panel knows (a load sweep, a time series, a spectrum, ...) gets a figure when one of
its key columns is a number: that is x, the other keys name the lines, every other number is a
choice of y. New tables of the registry appear without code here.
"""
import math
import re

import numpy as np
from plotting import text

from . import facts
from .facts import finite
from .panels import axis, clean, panel

# Tables with figures of their own, or whose numeric key is no axis.
KNOWN = {"arms", "memory", "memory_sections", "memory_shared", "memory_curve", "accuracy",
         "accuracy_seeds", "accuracy_splits", "leakage", "oracle", "serving_check", "executed_latency", "executed_cdf",
         "executed_cache", "simulated_latency", "simulated_cdf", "simulated_cache", "fidelity",
         "fidelity_points", "fidelity_stages", "fidelity_regimes",
         "workload", "history_lengths", "popularity", "expansion", "training", "phases",
         "fleet", "fleet_cases", "fleet_latency", "fleet_series", "fleet_tiers", "fleet_speed",
         "fleet_classes", "fleet_events", "fleet_shared_tables", "fleet_regimes",
         "plan", "plan_front", "plan_error", "plan_speed", "residency", "residency_latency"}

# Questions that a table may answer, by its name: (id, title, explanation, pattern).
QUESTIONS = [
    ("load", "How does latency grow with load, and where does it break the promise?",
     "Further right is more load. A line that crosses the dashed promise (SLO) needs more machines.",
     re.compile(r"load|sweep|capacity")),
    ("time", "How does the fleet behave over time?",
     "Each point is one window of the run.", re.compile(r"series|timeline|window|over_time")),
    ("svd", "How compressible are keys and values?",
     "Energy kept by the first components: a curve that rises early compresses well.",
     re.compile(r"svd|energy|spectrum|singular")),
]
_FIRST = ["p99", "mean", "p50", "hit_ratio", "throughput", "energy"]
_MOST_VIEWS, _MOST_POINTS = 16, 60000
_FROM_ZERO = ("ns", "bytes", "1/s", "users", "requests")


def shown_unit(unit, name=""):
    """Unit of the registry -> format of assets/format.js."""
    if unit == "1" and re.search(r"share|ratio|quantile|utilisation|energy", name):
        return "percent"
    return {"bytes": "bytes", "ns": "ns", "1/s": "rate", "users": "count",
            "requests": "count"}.get(unit, "number")


def _keys(table):
    keys = [c for c, d in table.descriptions.items() if d["provenance"] == "key"]
    numeric = [c for c in keys if isinstance(table.columns[c], np.ndarray)]
    return [c for c in keys if c not in numeric], numeric


def _order(column):
    return next((i for i, word in enumerate(_FIRST) if word in column), len(_FIRST))


def _axis_column(table, numeric):
    """The key with the most values."""
    return max(numeric, key=lambda c: len(np.unique(table.columns[c][np.isfinite(table.columns[c])])),
               default=None)


def _lines(known, table, x, y, others):
    groups = {}
    for row, record in enumerate(table.records()):
        if not (finite(record[x]) and finite(record[y])):
            continue
        name = tuple(_plain(record[c]) for c in others)
        groups.setdefault(name, []).append((record[x], record[y], record.get("arm", "")))
    found = []
    for name, points in groups.items():
        points.sort()
        found.append({"arm": points[0][2], "name": text.clean(" · ".join(name) or known.report.label,
                                                              60),
                      "run": known.index, "provenance": table.descriptions[y]["provenance"],
                      "x": [clean(p[0]) for p in points], "y": [clean(p[1]) for p in points]})
    return found


def _plain(value):
    return value if isinstance(value, str) else f"{value:.6g}"


def _slo_ns(known, table):
    """A promised latency in ns: an attribute or key named slo..._ns, _us or _ms."""
    factors = {"ns": 1.0, "us": 1e3, "ms": 1e6}
    found = []

    def look(name, value):
        match = re.search(r"slo.*_(ns|us|ms)$", str(name))
        if match and isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(float(value) * factors[match[1]])
        if isinstance(value, dict):
            for key, inner in value.items():
                look(f"{name}_{key}" if "slo" in str(name) else key, inner)

    for name, value in table.attributes.items():
        try:
            look(name, float(value))
        except ValueError:
            pass
    look("", known.report.spec)
    return found[0] if found else None


def _views(known_runs, name):
    tables = [(k, k.report.table(name)) for k in known_runs]
    tables = [(k, t) for k, t in tables if t is not None and len(t) <= _MOST_POINTS]
    if not tables:
        return []
    first_known, first = tables[0]
    text_keys, numeric = _keys(first)
    x = _axis_column(first, numeric)
    if x is None or len(np.unique(first.columns[x])) < 2:
        return []
    values = [c for c in first.columns if isinstance(first.columns[c], np.ndarray)
              and first.descriptions[c]["provenance"] in ("measured", "simulated", "derived")]
    others = text_keys + [c for c in numeric if c != x]
    positive = first.columns[x][np.isfinite(first.columns[x])]
    spread = positive.min() > 0 and positive.max() / positive.min() > 100
    slo = _slo_ns(first_known, first)
    views = []
    for y in sorted(values, key=_order)[:_MOST_VIEWS]:
        lines = [line for k, t in tables if x in t.columns and y in t.columns
                 for line in _lines(k, t, x, y, [c for c in others if c in t.columns])]
        if not lines:
            continue
        unit = first.descriptions[y]["unit"]
        marks = [{"y": slo, "label": f"promise (SLO) {text.duration(slo)}"}] \
            if slo and unit == "ns" else []
        views.append({"label": _spoken(y), "kind": "line", "marks": marks,
                      "x": axis(_titled(x, first), shown_unit(first.descriptions[x]["unit"], x),
                                "log" if spread else "linear"),
                      "y": axis(_titled(y, first), shown_unit(unit, y), zero=unit in _FROM_ZERO),
                      "series": lines,
                      "note": text.clean(first.descriptions[y]["meaning"], 200)})
    return views


def _spoken(column):
    """"p99_ns" -> "p99": the values carry the unit."""
    return text.clean(re.sub(r"_(ns|bytes|per_s)$", "", column).replace("_", " "), 40)


def _titled(column, table):
    unit = table.descriptions[column]["unit"]
    words = _spoken(column)
    plain = unit in ("", "1", "ns", "bytes", "text") or shown_unit(unit, column) in ("count", "rate")
    return words if plain else f"{words} ({text.clean(unit, 20)})"


def _question(name):
    """Index of the question that a table's name answers; their number where it answers none."""
    return next((i for i, q in enumerate(QUESTIONS) if q[3].search(name)), len(QUESTIONS))


def figures(known_runs):
    """Panels of the tables without a figure of their own, and the named questions left open."""
    names = list(dict.fromkeys(n for k in known_runs for n in k.report.tables if n not in KNOWN))
    names.sort(key=_question)
    panels, answered = [], set()
    for name in names:
        views = _views(known_runs, name)
        if not views:
            continue
        question = QUESTIONS[_question(name)] if _question(name) < len(QUESTIONS) else None
        meaning = next(k.report.tables[name].attributes.get("meaning", "") for k in known_runs
                       if name in k.report.tables)
        claim = f"Table {text.clean(name, 60)}: {text.clean(meaning, 300)}."
        if question and question[0] not in answered:
            answered.add(question[0])
            panels.append(panel(question[0], question[1], question[2], claim, views))
        else:
            panels.append(panel("table-" + re.sub(r"\W", "-", name),
                                text.clean(name.replace("_", " "), 60), "", claim, views))
    missing = [panel(name, title, explain, "", [], f"no table of this kind ({name}) in the report") for name, title, explain, _ in QUESTIONS
               if name not in answered]
    return panels + missing


def table_data(report, index, name):
    """Columns for the page: numbers rounded to 9 digits, repeated texts stored once."""
    table = report.tables[name]
    columns = []
    for column, values in table.columns.items():
        described = table.descriptions[column]
        one = {"name": text.clean(column, 80), "unit": text.clean(described["unit"], 40),
               "provenance": text.clean(described["provenance"], 20),
               "meaning": text.clean(described["meaning"], 400)}
        if isinstance(values, np.ndarray):
            one["values"] = [_json_number(v) for v in values.tolist()]
        else:
            known = {value: i for i, value in enumerate(dict.fromkeys(values))}
            one["texts"] = [text.clean(value, 300) if value else "" for value in known]
            one["codes"] = [known[value] for value in values]
        columns.append(one)
    keys = [c for c in columns if c["provenance"] == "key"]
    rest = [c for c in columns if c["provenance"] != "key"]
    attributes = table.attributes
    return {"run": index, "name": text.clean(name, 80), "rows": len(table),
            "meaning": text.clean(attributes.get("meaning", ""), 400),
            "calibration": text.clean(attributes["calibration"], 80)
            if attributes.get("calibration") else "",
            "wall_clock": attributes.get("wall_clock") == "1", "columns": keys + rest}


def _json_number(value):
    if not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.9g}")
