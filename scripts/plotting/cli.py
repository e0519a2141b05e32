"""Command line of scripts/plot. Results (paths, tables) on stdout, diagnostics on stderr."""
import argparse
import os
import sys
import traceback

from .errors import BACKEND, INTERNAL, OK, USAGE, PlotError

FORMATS = ("png", "svg", "pdf")

_EXAMPLES = """examples:
  scripts/plot results/local/quickstart.h5
      all figures, PNG and SVG, into results/local/quickstart-plots/, with captions.md
  scripts/plot run.h5 -o paper --paper
      PDF and SVG without title and provenance, which captions.md and captions.tex hold
  scripts/plot run.h5 -o figures --format svg --only accuracy_front memory_vs_users
  scripts/plot before.h5 after.h5 -o compare
      overlays: colour and marker = arm, line style and label = report (its spec's name)
  scripts/plot run.h5 --csv memory > memory.csv
  scripts/plot run.h5 --latex-table accuracy --columns arm,auc,auc_low,auc_high,verdict

exit codes: 0 ok, 1 defect of this program, 2 command line, 4 a report that is missing, foreign,
damaged or too new, 5 output cannot be written or a Python package is missing."""


def _parser():
    parser = argparse.ArgumentParser(
        prog="scripts/plot", description="Figures and tables from ckvsim reports (HDF5).",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="*", metavar="report.h5", help="written by `ckvsim run`")
    parser.add_argument("-o", "--output", metavar="DIR",
                        help="folder for the figures (default: <first report>-plots beside it)")
    parser.add_argument("--format", metavar="LIST",
                        help="comma-separated: png (150 dpi), svg, pdf "
                             "(default: png,svg; with --paper pdf,svg)")
    parser.add_argument("--paper", action="store_true",
                        help="figures for a paper: title and provenance go into the captions")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[],
                        help="only these figures (see --list)")
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    parser.add_argument("--tables", action="store_true", help="list the reports' tables and exit")
    parser.add_argument("--csv", metavar="TABLE", help="print a table as CSV instead of drawing")
    parser.add_argument("--latex-table", metavar="TABLE",
                        help="print a table as a LaTeX tabular (booktabs) instead of drawing")
    parser.add_argument("--columns", metavar="LIST",
                        help="comma-separated columns of --csv or --latex-table (default: all)")
    return parser


def _split(value, allowed, what):
    names = [part.strip() for part in value.split(",") if part.strip()]
    for name in names:
        if allowed is not None and name not in allowed:
            raise PlotError(USAGE, f"{what}: unknown name {name!r} (known: {', '.join(allowed)})")
    if not names:
        raise PlotError(USAGE, f"{what}: empty")
    return names


def _write(path, save):
    """Complete files only: temporary name, then rename."""
    partial = f"{path}.partial"
    try:
        save(partial)
        os.replace(partial, path)
    except OSError as failure:
        try:
            os.unlink(partial)
        except OSError:
            pass
        raise PlotError(BACKEND, f"{path}: cannot write ({failure.strerror}). "
                                 "give another folder with -o") from failure


def _draw(options, reports, formats, chosen):
    from . import layout, style
    folder = options.output or os.path.splitext(options.reports[0])[0] + "-plots"
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as failure:
        raise PlotError(BACKEND, f"{folder}: cannot create folder ({failure.strerror}). "
                                 "give another folder with -o") from failure
    arms = style.Arms(reports)
    texts = []
    for figure in chosen:
        drawing = figure.draw(reports, arms)
        texts.append((figure.NAME, drawing.caption))
        layout.freeze(drawing)
        for kind in formats:
            path = os.path.join(folder, f"{figure.NAME}.{kind}")
            # No date: equal reports give equal files; the provenance line holds the run's date.
            metadata = {"Title": figure.TITLE}
            metadata.update({"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {}))
            _write(path, lambda partial: drawing.savefig(partial, format=kind,
                                                         metadata=metadata, facecolor="white"))
            print(path)
    _write_captions(folder, texts, options.paper)


def _write_captions(folder, texts, paper):
    from . import captions
    kinds = {"captions.md": captions.as_markdown, "captions.tex": captions.as_latex}
    for name, build in kinds.items():
        if paper or name.endswith(".md"):
            path = os.path.join(folder, name)

            def save(partial, build=build):
                with open(partial, "w", encoding="utf-8") as file:
                    file.write(build(texts))
            _write(path, save)
            print(path)


def _export(options, reports):
    from . import export
    columns = _split(options.columns, None, "--columns") if options.columns else None
    if options.csv:
        sys.stdout.write(export.as_csv(reports, options.csv, columns))
    if options.latex_table:
        sys.stdout.write(export.as_latex(reports, options.latex_table, columns))


def _list_tables(reports):
    for report in reports:
        for name in sorted(report.tables):
            table = report.tables[name]
            print(f"{report.path}\t{name}\t{len(table)} rows\t{table.attributes['meaning']}")


def _run(options):
    from . import figures, style
    from .report import load_reports
    if options.list:
        for figure in figures.ALL:
            print(f"{figure.NAME:18s}{figure.SHOWS}")
        return
    if not options.reports:
        raise PlotError(USAGE, "no report given. scripts/plot --help shows examples")
    formats = _split(options.format or ("pdf,svg" if options.paper else "png,svg"), FORMATS,
                     "--format")
    names = [n for group in options.only for n in _split(group, list(figures.BY_NAME), "--only")]
    chosen = [figures.BY_NAME[n] for n in dict.fromkeys(names)]
    if options.columns and not (options.csv or options.latex_table):
        raise PlotError(USAGE, "--columns: needs --csv or --latex-table")
    reports = load_reports(options.reports)
    if options.tables:
        _list_tables(reports)
    elif options.csv or options.latex_table:
        _export(options, reports)
    else:
        style.apply(options.paper)
        _draw(options, reports, formats, chosen or figures.for_reports(reports))


def main(arguments):
    """Returns the process exit code."""
    options = _parser().parse_args(arguments)
    try:
        import warnings
        # Scripts that DejaVu lacks show as boxes in PNG; SVG keeps the text.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        _run(options)
    except PlotError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.exit_code
    except ModuleNotFoundError as failure:
        print(f"error: Python package {failure.name} is missing. "
              "apt install python3-h5py python3-matplotlib python3-numpy, and run with "
              "/usr/bin/python3", file=sys.stderr)
        return BACKEND
    except BrokenPipeError:  # `| head`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        return OK
    except Exception:  # a defect of ours: keep what is needed to report it
        traceback.print_exc()
        print("error: scripts/plot failed in a way it should not; please report the lines above",
              file=sys.stderr)
        return INTERNAL
    return OK
