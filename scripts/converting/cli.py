"""Command line of scripts/convert_reczoo. The import command on stdout, progress and diagnostics on stderr."""
import argparse
import os
import pathlib
import shlex
import sys
import time
import traceback

from . import parquet
from .errors import INTERNAL, INTERRUPTED, OK, OUTPUT, USAGE, ConversionError
from .layout import FILES, load
from .writer import convert

_EXAMPLE = """example:
  build/pyarrow/bin/python scripts/convert_reczoo data/KuaiVideo_x2 -o results/local/kuaivideo
  build/release/bin/ckvsim import log results/local/kuaivideo/events.tsv ... -o kuaivideo.dataset.h5
      (the first command prints the second in full)

The folder holds item_info, user_info, train, valid and test, each .parquet. What is kept and what is not: see
sim/docs/datasets.md, "reczoo".

exit codes: 0 ok, 1 defect of this program, 2 command line, 3 pyarrow is not installed, 4 a file that is missing,
damaged or contradicts itself, 5 output cannot be written, 130 interrupted. Nothing is left behind unless it is 0."""


class Progress:
    """At most one line every two seconds."""

    def __init__(self, quiet):
        self._next = float("inf") if quiet else time.monotonic() + 2

    def show(self, text):
        now = time.monotonic()
        if now >= self._next:
            print(text, file=sys.stderr, flush=True)
            self._next = now + 2


def _count(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def parser():
    options = argparse.ArgumentParser(
        prog="scripts/convert_reczoo", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_EXAMPLE,
        description="Turns MicroVideo1.7M_x2, KuaiVideo_x2 or Ebnerd_small_x1 (parquet) into an event log for "
                    "`ckvsim import log`. Needs pyarrow.")
    options.add_argument("folder", type=pathlib.Path, help="folder with the five parquet files")
    options.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="DIR", help="new folder for the result")
    options.add_argument("--name", help="name of the dataset in reports (default: the folder's name)")
    options.add_argument("--label", metavar="COLUMN", help="0/1 column (default: is_click, click or label)")
    options.add_argument("--category", metavar="COLUMN", help="item_info column for the category, or none (default: cate_id or "
                                                              "category, if there is one)")
    options.add_argument("--history", choices=("auto", "positive", "all"), default="auto",
                         help="which impressions the sequences consist of (default: auto, what fits the sequences best)")
    options.add_argument("--histories", choices=("exact", "approximate"), default="exact",
                         help="exact: each impression sees its first seq_len items, users are cut where that needs it; "
                              "approximate: users stay whole, the share of differing histories is printed (default: exact)")
    options.add_argument("--max-history", type=_count, default=0, metavar="N",
                         help="stored events kept per segment, the newest; 0 = all (default: 0)")
    options.add_argument("--max-rows", type=_count, default=200_000_000, metavar="N",
                         help="refuse to write more (default: 200000000; the import takes 24 bytes a row)")
    options.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return options


def _run(options):
    parquet.require_pyarrow()
    if os.path.lexists(options.output):
        raise ConversionError(USAGE, f"{options.output}: exists; name a new folder or remove it")
    tables = {name: parquet.ParquetTable(options.folder / f"{name}.parquet") for name in FILES}
    name = options.name or options.folder.resolve().name
    facts, arguments = convert(tables, options.output, name, options, Progress(options.quiet), load)
    for key, value in facts.items():
        print(f"{key:36}{value:>16,}" if isinstance(value, int) else f"{key:36}{value:>16}", file=sys.stderr)
    print("ckvsim import " + shlex.join([*arguments, "-o", f"{name}.dataset.h5"]))


def main(arguments):
    options = parser().parse_args(arguments)  # exits with 2 itself
    try:
        _run(options)
        return OK
    except ConversionError as error:
        print(f"convert_reczoo: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"convert_reczoo: {error.filename or options.output}: cannot be written ({error.strerror})", file=sys.stderr)
        return OUTPUT
    except KeyboardInterrupt:
        print("convert_reczoo: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        return INTERNAL
