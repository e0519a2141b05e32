"""Command line of scripts/campaign."""
import argparse
import fcntl
import os
import subprocess
import sys
import time
import traceback

from .campaign_file import CampaignError, load
from .cells import DONE, Cell
from .programs import Programs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EPILOG = """\
For every cell: the trials (each family of arms has the same number, on the same subsample), training of all
seeds with the settings that each arm's trials found best on the tune split, the run, the report. Arms that cannot
serve a cell's model are set aside with the reason. Then tables.md and figures over all cells. A cell is run again
when its spec or the trials change; a killed command goes on where it was.

examples:
  scripts/campaign workloads/campaigns/accuracy.json --list
  scripts/campaign workloads/campaigns/accuracy.json
  scripts/campaign workloads/campaigns/accuracy.json --only kuairand-pure-hstu -n 2
  scripts/campaign workloads/campaigns/accuracy.json --tables      (no run; cells that are missing say so)

exit codes: 0 done, 1 defect, 2 command line, 3 campaign file or spec, 4 missing or broken data, 5 environment
"""


def _parser():
    parser = argparse.ArgumentParser(prog="scripts/campaign", description="Runs many specs for one question and tabulates them.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG)
    parser.add_argument("campaign", metavar="CAMPAIGN.json", help="cells, trials: see workloads/campaigns")
    parser.add_argument("-o", "--output", metavar="DIR", help="reports, tables.md and figures (default: results/local/campaigns/NAME)")
    parser.add_argument("-n", "--ranks", type=int, default=2, help="MPI ranks of each run (default: 2)")
    parser.add_argument("--only", metavar="CELL", nargs="+", default=[], help="run only these cells")
    parser.add_argument("--list", action="store_true", help="say what is done and what is not, run nothing")
    parser.add_argument("--tables", action="store_true", help="write tables and figures, run nothing")
    parser.add_argument("--work", metavar="DIR", help="samples, weights and trials (default: results/local/campaigns/NAME/work)")
    parser.add_argument("--build", metavar="DIR", default="build/release", help="build folder with the programs (default: build/release)")
    return parser


def _draw(cells, folder):
    reports = [cell.report for cell in cells if cell.state() == DONE]
    if reports:
        subprocess.run([sys.executable, "-B", "scripts/plot", *reports, "-o", os.path.join(folder, "plots"), "--only",
                        "accuracy_models"], check=True, stdout=subprocess.DEVNULL)


def _run(options, source):
    campaign = load(source)
    folder = options.output or os.path.join("results/local/campaigns", campaign["name"])
    scratch = options.work or os.path.join("results/local/campaigns", campaign["name"], "work")
    cells = [Cell(campaign, entry, folder, scratch) for entry in campaign["cells"]]
    if unknown := sorted(set(options.only) - {cell.name for cell in cells}):
        raise CampaignError(2, f"--only {unknown[0]}: no such cell (cells: {', '.join(cell.name for cell in cells)})")
    if options.ranks < 1:
        raise CampaignError(2, f"-n {options.ranks}: expected a positive number of ranks")
    called = Programs(options.build, options.ranks)
    for cell in cells:  # every spec is refused before any work
        cell.resolve(called)
    if options.list:
        for cell in cells:
            print(f"{cell.name:28s}{cell.state():10s}{cell.spec}")
        return
    asked = [cell for cell in cells if not options.only or cell.name in options.only]
    waiting = [] if options.tables else [cell for cell in asked if cell.state() != DONE]
    if waiting:
        called.need_trainer()
        called.held.append(lock(scratch))
    os.makedirs(folder, exist_ok=True)
    begun = time.monotonic()
    for number, cell in enumerate(waiting, 1):
        def say(step, cell=cell, number=number):
            minutes = (time.monotonic() - begun) / 60
            print(f"\n== {cell.name} (cell {number} of {len(waiting)}, at {minutes:.1f} min): {step}", flush=True)
        cell.execute(called, say)
        _write_tables(campaign, cells, source, folder)
    _write_tables(campaign, cells, source, folder)
    _draw(cells, folder)
    print(os.path.join(folder, "tables.md"))


def lock(folder):
    """A descriptor that excludes a second queue in this folder, and one while programs that a killed queue started go on."""
    os.makedirs(folder, exist_ok=True)
    held = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        raise CampaignError(5, f"{folder}: another scripts/campaign, or a program that it started, is at work here. "
                               "wait for it or give another --work") from failure
    return held


def _write_tables(campaign, cells, source, folder):
    from . import tables
    path = os.path.join(folder, "tables.md")
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.write(tables.build(campaign, cells, source))
    os.replace(path + ".partial", path)


def main(arguments):
    """Returns the process exit code."""
    options = _parser().parse_args(arguments)
    source = os.path.abspath(options.campaign)
    for name in ("output", "work", "build"):  # paths are relative to where the user stands, defaults to the repository
        if (value := getattr(options, name)) and value != _parser().get_default(name):
            setattr(options, name, os.path.abspath(value))
    os.chdir(ROOT)
    try:
        _run(options, os.path.relpath(source, ROOT) if source.startswith(ROOT + os.sep) else source)
    except CampaignError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        print("interrupted; repeat the command to go on", file=sys.stderr)
        return 1
    except Exception:  # a defect of ours: keep what is needed to report it
        traceback.print_exc()
        print("error: scripts/campaign failed in a way it should not; please report the lines above", file=sys.stderr)
        return 1
    return 0
