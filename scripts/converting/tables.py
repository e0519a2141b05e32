"""What the converter needs of a table: name, columns, rows, batches(columns). RowTable offers it for plain dicts."""
from .errors import DATA, ConversionError, bad_row

BATCH_ROWS = 65536


class RowTable:
    """A list of dicts with equal keys."""

    def __init__(self, name, rows, columns=None):
        self.name = name
        self._rows = rows
        self.columns = list(columns if columns is not None else (rows[0] if rows else []))
        self.rows = len(rows)

    def batches(self, columns, batch_rows=BATCH_ROWS):
        for begin in range(0, len(self._rows), batch_rows):
            part = self._rows[begin:begin + batch_rows]
            yield [[row[column] for row in part] for column in columns]


def require_columns(table, columns):
    for column in columns:
        if column not in table.columns:
            raise ConversionError(DATA, f"{table.name}: has no column {column!r}; it has {', '.join(table.columns)}")
    if table.rows == 0:
        raise ConversionError(DATA, f"{table.name}: has no rows")


def first_column(table, wanted, candidates):
    """The column named by the option, or else the first candidate that the table has; None = there is none."""
    if wanted is not None:
        return wanted
    return next((column for column in candidates if column in table.columns), None)


def each_row(table, columns, progress, batch_rows=BATCH_ROWS):
    """(row number from 0, values in the order of columns), batch by batch."""
    row = 0
    for batch in table.batches(columns, batch_rows):
        for values in zip(*batch):
            yield row, values
            row += 1
        progress.show(f"{table.name}: {row:,} of {table.rows:,} rows")


def whole(table, row, column, value, low, high):
    """value as int; whole floats (1.0) count, since some exports store labels so."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int):
        shown = "nothing" if value is None else f"{value!r} ({type(value).__name__})"
        raise bad_row(table, row, f"column {column} holds {shown}, not a whole number")
    if not low <= value <= high:
        raise bad_row(table, row, f"column {column} holds {value}, outside {low} .. {high}")
    return int(value)
