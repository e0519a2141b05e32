"""Reads a report written by `ckvsim run` (layout: sim/report/report_content.cpp).

Text comes back as str, integers and reals as float64 arrays with NaN for "not measured".
The seal is checked (seal.py); the content hash inside is left to `ckvsim show`.
"""
import json
import os

import h5py
import numpy as np

from . import seal
from .errors import DataError

SCHEMA_VERSION = 1  # metrics::kReportSchemaVersion


class Table:
    """Columns of equal length. `table[name]` refuses a missing column, `get` gives NaN."""

    def __init__(self, path, name, columns, attributes, descriptions, rows):
        self.path = path
        self.name = name
        self.columns = columns  # name -> list of str | float64 array
        self.attributes = attributes
        self.descriptions = descriptions  # name -> {"unit", "provenance", "meaning"}
        self.rows = rows

    def __len__(self):
        return self.rows

    def __getitem__(self, column):
        if column not in self.columns:
            raise DataError(
                self.path,
                f"table {self.name} has no column {column} (written by another version). "
                "use the scripts/plot of the commit that wrote the report",
            )
        return self.columns[column]

    def get(self, column):
        if column in self.columns:
            return self.columns[column]
        return np.full(self.rows, np.nan)

    def records(self):
        """Rows as dictionaries."""
        names = list(self.columns)
        return [
            {name: self.columns[name][row] for name in names} for row in range(self.rows)
        ]


class Report:
    def __init__(self, path):
        self.path = path
        self.label = ""  # set by load_reports: distinguishes the reports of one figure
        self.tables = {}
        self.spec = {}
        self.provenance = {}
        self.notes = []
        self.logical_hash = ""

    @property
    def spec_name(self):
        name = self.spec.get("name")
        return name if isinstance(name, str) and name else "unnamed"

    def table(self, name):
        """The table, or None when the report has none or it has no rows."""
        table = self.tables.get(name)
        return table if table is not None and len(table) > 0 else None

    def spec_value(self, *keys):
        """A number of the resolved spec, None when absent."""
        value = self.spec
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number else None

    def fleet_platform(self):
        """Name of the fleet's platform (provenance holds "<name> <digest>"), None when unknown."""
        text = self.provenance.get("platform", "")
        return text.rsplit(" ", 1)[0] if text else None


def _text(value):
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", errors="replace")
    return str(value)


def _texts(dataset):
    return [_text(bytes(value)) for value in np.asarray(dataset[()]).reshape(-1)]


def _read_table(path, group):
    name = group.name.rsplit("/", 1)[-1]
    rows = int(group.attrs.get("rows", -1))
    columns = {}
    descriptions = {}
    for column, dataset in group.items():
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
            raise DataError(path, f"table {name}: {column} is not a column (damaged)")
        if len(dataset) != rows:
            raise DataError(
                path, f"table {name}: column {column} has another length than the table says"
            )
        if dataset.dtype.kind in "SO":
            columns[column] = _texts(dataset)
        else:
            columns[column] = np.asarray(dataset[()], dtype=np.float64)
        descriptions[column] = {
            key: _text(dataset.attrs.get(key, "")) for key in ("unit", "provenance", "meaning")
        }
    attributes = {key: _text(value) for key, value in group.attrs.items()}
    return Table(path, name, columns, attributes, descriptions, rows)


def _check_header(path, file):
    if _text(file.attrs.get("creator", "")) != "ckvsim" or "schema_version" not in file.attrs:
        raise DataError(
            path,
            "is an HDF5 file but not a ckvsim report (no creator and schema_version). "
            "pass a file written by `ckvsim run`",
        )
    version = int(file.attrs["schema_version"])
    if version > SCHEMA_VERSION:
        raise DataError(
            path,
            f"has report schema {version}, newer than this program's {SCHEMA_VERSION}. "
            "use a newer scripts/plot",
        )
    if version < 1:
        raise DataError(path, f"has report schema {version} (unknown)")


def _read(path):
    report = Report(path)
    with h5py.File(path, "r") as file:
        _check_header(path, file)
        report.spec = json.loads(_texts(file["spec"])[0])
        if not isinstance(report.spec, dict):
            raise ValueError("the spec is not a JSON object")
        report.notes = _texts(file["notes"])
        report.provenance = {key: _text(v) for key, v in file["provenance"].attrs.items()}
        report.logical_hash = _text(file["hash"].attrs["logical"])
        for name, group in file["tables"].items():
            report.tables[name] = _read_table(path, group)
    return report


def load_report(path):
    """Raises DataError for anything that is not a readable report."""
    if not os.path.exists(path):
        raise DataError(path, "does not exist")
    if not os.path.isfile(path):
        raise DataError(path, "is not a regular file")
    try:
        seal.check(path)
        return _read(path)
    except PermissionError as failure:
        raise DataError(path, "cannot be read (no permission)") from failure
    except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError,
            AttributeError) as failure:
        reason = " ".join(str(failure).split())[:200]
        raise DataError(path, f"is not a complete report ({reason}). run the spec again") \
            from failure


def load_reports(paths):
    """Reports with distinct labels: the spec's name, with the file's name where specs repeat."""
    reports = [load_report(path) for path in paths]
    names = [report.spec_name for report in reports]
    for report in reports:
        report.label = report.spec_name
        if names.count(report.spec_name) > 1:
            stem = os.path.splitext(os.path.basename(report.path))[0]
            report.label = f"{report.spec_name} ({stem})"
    labels = [report.label for report in reports]
    for number, report in enumerate(reports, 1):
        if labels.count(report.label) > 1:
            report.label += f" #{number}"
    return reports
