"""Tables of one or more reports as CSV, JSON or a LaTeX tabular. Missing values stay missing: empty
in CSV, null in JSON, a dash in LaTeX."""
import csv
import io
import json
import math

import numpy as np

from .errors import DATA, USAGE, PlotError

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
          "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
          "\n": " ", "\r": " ", "\t": " "}


def _collect(reports, name, wanted):
    """(columns, units, rows of values); a leading column `report` where there are several."""
    tables = [(report, report.tables.get(name)) for report in reports]
    present = [(report, table) for report, table in tables if table is not None]
    if not present:
        known = sorted({key for report in reports for key in report.tables})
        raise PlotError(DATA, f"table {name}: in none of the reports (they hold: "
                              f"{', '.join(known) or 'no tables'})")
    columns = list(dict.fromkeys(c for _, table in present for c in table.columns))
    unknown = [c for c in wanted or [] if c not in columns]
    if unknown:
        raise PlotError(USAGE, f"table {name}: no column {', '.join(unknown)} (it has: "
                               f"{', '.join(columns)})")
    columns = wanted or columns
    described = {c: table.descriptions[c] for _, table in present for c in table.columns}
    rows = []
    for report, table in present:
        for record in table.records():
            values = [record.get(c, math.nan) for c in columns]
            rows.append(([report.label] if len(reports) > 1 else []) + values)
    lead = ["report"] if len(reports) > 1 else []
    units = ["text"] * len(lead) + [described[c]["unit"] for c in columns]
    return lead + columns, units, rows


def _number(value, missing, precise):
    if not math.isfinite(value):
        return missing if math.isnan(value) else str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value)) if precise else f"{value:.4g}"


def as_csv(reports, name, columns=None):
    header, _, rows = _collect(reports, name, columns)
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([v if isinstance(v, str) else _number(v, "", True) for v in row])
    return output.getvalue()


def as_json(reports, name):
    """{"table", "meaning", "reports": [{"report", "attributes", "columns": [...]}]}; a column holds
    name, unit, provenance, meaning and values."""
    held = [(report, report.tables[name]) for report in reports if name in report.tables]
    described = [{"report": report.label,
                  "attributes": {k: v for k, v in table.attributes.items()
                                 if k not in ("meaning", "rows")},
                  "columns": [{"name": column, **table.descriptions[column],
                               "values": _json_values(values)}
                              for column, values in table.columns.items()]}
                 for report, table in held]
    return json.dumps({"table": name, "meaning": held[0][1].attributes.get("meaning", ""),
                       "reports": described}, ensure_ascii=False, allow_nan=False) + "\n"


def _json_values(values):
    if not isinstance(values, np.ndarray):
        return values
    return [None if math.isnan(v) else str(v) if math.isinf(v)
            else int(v) if v.is_integer() and abs(v) < 1e15 else v for v in values.tolist()]


def dictionary_csv(reports):
    """What every column of every table means: the file that makes the others readable."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["table", "column", "unit", "provenance", "meaning"])
    seen = set()
    for table in (t for report in reports for _, t in sorted(report.tables.items())):
        for column, one in table.descriptions.items():
            if (table.name, column) not in seen:
                seen.add((table.name, column))
                writer.writerow([table.name, column, one["unit"], one["provenance"], one["meaning"]])
    return output.getvalue()


def origin_json(reports):
    """Spec, provenance, notes and hash of every report."""
    return json.dumps([{"report": r.label, "spec": r.spec, "provenance": r.provenance,
                        "notes": r.notes, "logical_hash": r.logical_hash} for r in reports],
                      indent=1, ensure_ascii=False) + "\n"


def escape_latex(value):
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(c, c) for c in value if c in _LATEX or c.isprintable())


def as_latex(reports, name, columns=None):
    """A booktabs tabular; units under the names."""
    header, units, rows = _collect(reports, name, columns)
    numeric = [unit != "text" for unit in units]
    lines = [r"% requires \usepackage{booktabs}",
             r"\begin{tabular}{" + "".join("r" if n else "l" for n in numeric) + "}", r"\toprule",
             " & ".join(map(escape_latex, header)) + r" \\",
             " & ".join(escape_latex(u) if u not in ("text", "1") else "" for u in units) + r" \\",
             r"\midrule"]
    for row in rows:
        cells = [escape_latex(v) if isinstance(v, str) else _number(v, "--", False) for v in row]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join(lines + [r"\bottomrule", r"\end{tabular}", ""])
