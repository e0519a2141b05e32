"""What the reports say about each arm, looked up once: (report, arm) -> rows of its tables."""
import math

from plotting import text

LABEL_LETTERS = 40


def number(row, name):
    """A cell as float; NaN when the row, the column or the value is missing."""
    value = (row or {}).get(name, math.nan)
    return value if isinstance(value, float) else math.nan


def finite(value):
    return value is not None and math.isfinite(value)


def rows(report, name):
    table = report.table(name)
    return table.records() if table is not None else []


class Facts:
    """Rows by arm of one report. The fleet's platform selects the rows of simulated tables."""

    def __init__(self, report, index):
        self.report, self.index = report, index
        self.platform = report.fleet_platform()
        self._tables = {}

    def row(self, table, arm, **where):
        """First row of the arm whose other columns have these values; {} when there is none."""
        for row in self.rows(table, arm):
            if all(row.get(column) == value for column, value in where.items()):
                return row
        return {}

    def rows(self, table, arm):
        if table not in self._tables:
            by_arm = {}
            for row in rows(self.report, table):
                by_arm.setdefault(row.get("arm"), []).append(row)
            self._tables[table] = by_arm
        return self._tables[table].get(arm, [])

    def provenance(self, table, column):
        found = self.report.tables.get(table)
        return found.descriptions.get(column, {}).get("provenance", "") if found else ""

    def meaning(self, table, column):
        found = self.report.tables.get(table)
        return found.descriptions.get(column, {}).get("meaning", "") if found else ""

    def arms(self):
        """Names in the spec's order; the arms of other tables where there is no table arms."""
        names = [row["arm"] for row in rows(self.report, "arms")]
        if not names:
            for table in self.report.tables.values():
                names += table.columns.get("arm", [])
            names = [name for name in names if not name.startswith("control.")]
        names = names or [row["strategy"] for table in ("fleet_cases", "plan") for row in rows(self.report, table)]
        return list(dict.fromkeys(names))


def label(name):
    """A name as shown: one line, no control characters, cut in the middle."""
    return text.clean(name, LABEL_LETTERS)


def describe_arm(row):
    """What an arm of the table arms keeps, in words."""
    strategy, kind = row.get("strategy", ""), row.get("value_type", "")
    if strategy == "full":
        words = f"full KV, {kind}"
    elif strategy == "recompute":
        words = "history ids only, recomputed at each request"
    elif strategy == "item_table":
        words = f"history ids plus one table of all items, {kind}"
    elif strategy == "low_rank":
        words = f"{number(row, 'rank'):.0f} principal coefficients of each K and V, {kind}"
    elif strategy == "vq":
        words = (f"{number(row, 'subspaces'):.0f} product codes of each K and V, "
                 f"{2 ** number(row, 'code_bits'):.0f} codewords each")
    elif strategy == "collective":
        share = number(row, "pool_share_of_catalogue")
        words = (f"CollectiveKV, {kind}, d_u = {number(row, 'd_u'):.0f}, "
                 f"m = {number(row, 'm'):,.0f} (m/V = {share:.2g})")
        if row.get("keying") == "item":
            words += ", codes per item"
        if row.get("sides") in ("k", "v"):
            words += f", {row['sides'].upper()} alone"
        if row.get("scope") == "released":
            words += ", short branch only"
        if row.get("start") in ("full", "full_silu"):
            words += f", started from {row['start']}"
        if row.get("teacher") in ("full", "full_silu"):
            words += f", distilled from {row['teacher']}"
    else:
        words = ", ".join(filter(None, [strategy, kind]))
    if str(row.get("weights", "")).endswith("silu"):
        words += ", SiLU"
    return text.clean(words, 120)
