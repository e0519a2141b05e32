"""Command line of scripts/report. The page's path on stdout, diagnostics on stderr."""
import argparse
import os
import sys
import traceback

from plotting.errors import BACKEND, INTERNAL, OK, USAGE, PlotError

_EXAMPLES = """examples:
  scripts/report results/local/quickstart.h5
      results/local/quickstart.html: open it in any browser, send it by mail, print it
  scripts/report before.h5 after.h5 -o compare.html
      several runs side by side, with a column that names the run

The page is one file, needs no network and forbids itself any (content security policy).

exit codes: 0 ok, 1 defect of this program, 2 command line, 4 a report that is missing, foreign,
damaged or too new, 5 output cannot be written or a package is missing."""


def _parser():
    parser = argparse.ArgumentParser(
        prog="scripts/report", description="One offline HTML page from ckvsim reports (HDF5).",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="*", metavar="report.h5", help="written by `ckvsim run`")
    parser.add_argument("-o", "--output", metavar="FILE",
                        help="the page (default: <first report>.html beside it)")
    return parser


def _write(path, content):
    """Complete files only: temporary name, then rename."""
    partial = f"{path}.partial"
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError as failure:
        try:
            os.unlink(partial)
        except OSError:
            pass
        raise PlotError(BACKEND, f"{path}: cannot write ({failure.strerror}). "
                                 "give another file with -o") from failure


def _run(options):
    from plotting.report import load_reports

    from . import page
    if not options.reports:
        raise PlotError(USAGE, "no report given. scripts/report --help shows examples")
    output = options.output or os.path.splitext(options.reports[0])[0] + ".html"
    if any(os.path.realpath(output) == os.path.realpath(path) for path in options.reports):
        raise PlotError(USAGE, f"{output}: is a report and would be overwritten. "
                               "give another file with -o")
    _write(output, page.render(load_reports(options.reports)))
    print(output)


def main(arguments):
    """Returns the process exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except PlotError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.exit_code
    except ModuleNotFoundError as failure:
        print(f"error: Python package {failure.name} is missing. "
              "apt install python3-h5py python3-jinja2 python3-numpy libjs-chart.js, and run with "
              "/usr/bin/python3", file=sys.stderr)
        return BACKEND
    except Exception:  # a defect of ours: keep what is needed to report it
        traceback.print_exc()
        print("error: scripts/report failed in a way it should not; please report the lines above",
              file=sys.stderr)
        return INTERNAL
    return OK
