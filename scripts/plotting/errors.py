"""Failures that the user can act on, with the exit codes of sim/core/error.hpp."""

OK = 0
INTERNAL = 1
USAGE = 2
DATA = 4
BACKEND = 5


class PlotError(Exception):
    """Message grammar as in the C++ programs: where: what (why). what to do."""

    def __init__(self, exit_code, message):
        super().__init__(message)
        self.exit_code = exit_code


class DataError(PlotError):
    """A report that is missing, foreign, damaged or too new."""

    def __init__(self, path, message):
        super().__init__(DATA, f"{path}: {message}")
