"""Failures that end the program with a message and an exit code."""
OK, INTERNAL, USAGE, NO_PYARROW, DATA, OUTPUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class ConversionError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def bad_row(table, row, message):
    """row counts from 0 within the file; people count from 1."""
    return ConversionError(DATA, f"{table.name}: row {row + 1}: {message}")
