"""What scripts/cluster/slurm and scripts/cluster/hosts share: their inputs, checked before anything starts."""
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
USAGE, MISSING_TOOL, HOSTS = 2, 3, 5
NAME = re.compile(r"[A-Za-z0-9][\w.@:+-]*")


class Refused(Exception):
    """What is wrong and what to do; the program ends with this exit code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def split_arguments(arguments):
    """(before, after) the first "--": ours and ckvsim's."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1:]


def positive(text):
    """A whole number above 0, for argparse."""
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise ValueError(text)
    return int(text)


positive.__name__ = "number above 0"  # argparse: invalid number above 0 value


def find_spec(path):
    """(absolute path, name of the study) of a spec that can be read as JSON."""
    path = Path(path)
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise Refused(USAGE, f"{path}: cannot read the spec ({failure.strerror}). "
                             "give a file of workloads/specs or your own") from failure
    except ValueError as failure:
        raise Refused(USAGE, f"{path}: is not JSON ({failure}). `ckvsim validate` tells more") from failure
    name = spec.get("name") if isinstance(spec, dict) else None
    clean = re.sub(r"[^\w.-]+", "-", name if isinstance(name, str) else path.stem).strip("-.")
    return path.resolve(), clean or "ckvsim"


def find_binary(given):
    """The program to start: --bin, else the release build, else the dev build."""
    tried = [Path(given)] if given else [ROOT / "build" / preset / "bin" / "ckvsim" for preset in ("release", "dev")]
    for path in tried:
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise Refused(USAGE, f"{' and '.join(map(str, tried))}: no program there. "
                         "build it with scripts/dev build release, or name it with --bin")


def checked_name(text, option):
    """A host, partition or account that cannot be mistaken for an option or a second word."""
    if not NAME.fullmatch(text):
        raise Refused(USAGE, f"{option}: {text!r} is no name (letters, digits and . _ - @ : + only)")
    return text


def has_output(arguments):
    """Whether ckvsim's arguments name a report."""
    return any(a in ("-o", "--output") or a.startswith("--output=") or re.match(r"-o.", a) for a in arguments)


def end(run):
    """Exit with run()'s code, or with a refusal's."""
    try:
        sys.exit(run())
    except Refused as refusal:
        print(f"{os.path.basename(sys.argv[0])}: {refusal}", file=sys.stderr)
        sys.exit(refusal.code)
