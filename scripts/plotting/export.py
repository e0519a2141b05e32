"""A table of one or more reports as CSV or as a LaTeX tabular. Missing values stay missing: empty
in CSV, a dash in LaTeX."""
import csv
import io
import math

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


def _escape(value):
    return "".join(_LATEX.get(c, c) for c in value if c in _LATEX or c.isprintable())


def as_latex(reports, name, columns=None):
    """A booktabs tabular; units under the names."""
    header, units, rows = _collect(reports, name, columns)
    numeric = [unit != "text" for unit in units]
    lines = [r"% requires \usepackage{booktabs}",
             r"\begin{tabular}{" + "".join("r" if n else "l" for n in numeric) + "}", r"\toprule",
             " & ".join(map(_escape, header)) + r" \\",
             " & ".join(_escape(u) if u not in ("text", "1") else "" for u in units) + r" \\",
             r"\midrule"]
    for row in rows:
        cells = [_escape(v) if isinstance(v, str) else _number(v, "--", False) for v in row]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join(lines + [r"\bottomrule", r"\end{tabular}", ""])
