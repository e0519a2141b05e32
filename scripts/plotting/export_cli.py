"""Command line of scripts/export: every table of one or more reports as files."""
import argparse
import os
import re
import sys

from .errors import BACKEND, OK, PlotError

_EXAMPLES = """examples:
  scripts/export results/local/quickstart.h5 -o tables
      tables/accuracy.csv, tables/memory.csv, ... and tables/columns.csv: unit, provenance and meaning
  scripts/export before.h5 after.h5 -o tables --format json
      one file a table; each holds both reports with units, provenance and meanings

tables/origin.json holds spec, commit, machine, notes and hash. One table on the screen:
scripts/plot --csv TABLE, scripts/plot --latex-table TABLE, ckvsim show.

exit codes: 0 ok, 2 command line, 4 a report that is missing, foreign, damaged or too new, 5 output
cannot be written or a package is missing."""


def _write(folder, name, content):
    # A table of another program could be called anything.
    path = os.path.join(folder, re.sub(r"[^\w.-]", "_", name))
    try:
        with open(path + ".partial", "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        os.replace(path + ".partial", path)
    except OSError as failure:
        raise PlotError(BACKEND, f"{path}: cannot write ({failure.strerror}). "
                                 "give another folder with -o") from failure
    print(path)


def _run(options):
    from . import export
    from .report import load_reports
    reports = load_reports(options.reports)
    try:
        os.makedirs(options.output, exist_ok=True)
    except OSError as failure:
        raise PlotError(BACKEND, f"{options.output}: cannot create folder ({failure.strerror}). "
                                 "give another folder with -o") from failure
    for name in sorted({name for report in reports for name in report.tables}):
        if options.format == "json":
            _write(options.output, name + ".json", export.as_json(reports, name))
        else:
            _write(options.output, name + ".csv", export.as_csv(reports, name))
    if options.format == "csv":
        _write(options.output, "columns.csv", export.dictionary_csv(reports))
    _write(options.output, "origin.json", export.origin_json(reports))


def main(arguments):
    """Returns the process exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/export", description="Every table of ckvsim reports as CSV or JSON files.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", metavar="report.h5", help="written by `ckvsim run`")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for the files")
    parser.add_argument("--format", choices=("csv", "json"), default="csv",
                        help="default: %(default)s")
    try:
        _run(parser.parse_args(arguments))
    except PlotError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.exit_code
    except ModuleNotFoundError as failure:
        print(f"error: Python package {failure.name} is missing. apt install python3-h5py "
              "python3-numpy, and run with /usr/bin/python3", file=sys.stderr)
        return BACKEND
    return OK
