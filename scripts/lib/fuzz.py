#!/usr/bin/python3
"""Damages valid inputs and checks how ckvsim takes them: it may accept or refuse them with a documented exit code and a
message, never crash, hang or exit silently.

usage: fuzz.py --ckvsim PROGRAM [--seconds N] [--seed S] [--keep FOLDER]
Exit codes: 0 all handled, 1 findings; each offending input is kept in FOLDER with the command that shows it.
"""
import argparse
import copy
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 20
NUMBERS = [0, 1, -1, 2**31, 2**32, 2**63, 2**64 - 1, -2**63, 1e308, -1e308, 1e-308, 0.5, float("nan"), float("inf")]
TEXTS = ["", " ", "x" * 5000, "../..", "\u0000", "\u00e9\u4e16", "full", "NaN", "-1", "/dev/null"]

HISTORY_HEADER = "user_id\thistory_len\tlast_time_ms\twatch_seq\tlong_watch_seq\tlike_seq"
IMPRESSION_HEADER = ("user_id\tvideo_id\ttime_ms\tis_click\tlong_view\tis_like\tplay_time_ms\tduration_ms\ttab\tsplit")
FEATURE_HEADER = ("video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,"
                  "server_height,music_id,music_type,tag")


def paths(node, prefix=()):
    """Every position in a JSON document."""
    yield prefix
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from paths(child, prefix + (key,))


def damage_json(document, rng):
    """A copy with one to three edits: removed, renamed, retyped, extreme, duplicated."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places = [place for place in paths(document) if place]
        if not places:
            break
        place = rng.choice(places)
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        key = place[-1]
        edit = rng.randrange(5)
        if edit == 0:
            del parent[key]
        elif edit == 1 and isinstance(parent, dict):
            parent[rng.choice([str(key) + "x", str(key)[:-1], "unknown_key"])] = parent.pop(key)
        elif edit == 2:
            parent[key] = rng.choice([None, True, [], {}, [[]], rng.choice(TEXTS)])
        elif edit == 3:
            parent[key] = rng.choice(NUMBERS)
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[key] = [copy.deepcopy(parent[key])]
    return json.dumps(document).encode()


def damage_bytes(data, rng):
    """One to eight flips, cuts, repeats or insertions."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1) if data else 0
        edit = rng.randrange(5)
        if edit == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif edit == 1:
            del data[at:at + rng.choice([1, 8, 64, len(data)])]
        elif edit == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 64])))
        elif edit == 3:
            data[at:at] = data[max(0, at - 64):at]
        elif data:
            data[at % len(data)] = rng.choice([0, 9, 10, 13, 32, 34, 45, 48, 57, 123, 255])
    return bytes(data)


def small_dataset():
    """A hand-made dataset in the KuaiRand-Pure text form: 4 users, 12 videos."""
    history, impressions = [HISTORY_HEADER], [IMPRESSION_HEADER]
    start_ms = 1650800000000
    for user in range(4):
        videos = [str(1 + (user * 3 + i) % 12) for i in range(5 + user)]
        history.append(f"{user}\t{len(videos)}\t{start_ms}\t{' '.join(videos)}\t{' '.join(videos[:2])}\t")
        for i in range(6):
            split = "val" if i < 3 else "test"
            time_ms = start_ms + 86400000 * (1 + 2 * i) + user
            impressions.append(f"{user}\t{1 + (user + i) % 12}\t{time_ms}\t{i % 2}\t0\t0\t1000\t9000\t1\t{split}")
    features = [FEATURE_HEADER] + [f"{v},{v % 3},NORMAL,2022-04-01,ShortImport,1,9000,720,1280,{v},9,{v % 5}" for v in range(1, 13)]
    return {"history.tsv": "\n".join(history) + "\n", "impressions.tsv": "\n".join(impressions) + "\n",
            "video_features_basic_pure.csv": "\n".join(features) + "\n"}


class Fuzzer:
    def __init__(self, ckvsim, keep, seed, work):
        self.ckvsim, self.keep, self.work = str(Path(ckvsim).resolve()), Path(keep), Path(work)
        self.rng = random.Random(seed)
        self.findings, self.outcomes = [], {}
        self.specs = {path: json.loads(path.read_text()) for path in sorted((ROOT / "workloads/specs").glob("*.json"))}
        self.platforms = {path: json.loads(path.read_text()) for path in sorted((ROOT / "workloads/platforms").glob("*.json"))}
        self.reports = sorted(ROOT.glob("results/golden/*/report.h5")) + sorted(ROOT.glob("results/campaigns/*/report.h5"))
        self.dataset = small_dataset()

    def check(self, kind, arguments, files):
        """Runs ckvsim; anything but a documented code with a message is a finding."""
        try:
            done = subprocess.run([self.ckvsim, *arguments], cwd=ROOT, capture_output=True, timeout=TIMEOUT_S, check=False)
            code, message = done.returncode, done.stderr.decode(errors="replace")
        except subprocess.TimeoutExpired:
            code, message = "hang", f"no end after {TIMEOUT_S} s"
        self.outcomes[(kind, code)] = self.outcomes.get((kind, code), 0) + 1
        if code == 0 or (code in (2, 3, 4, 5) and message.strip()):
            return
        folder = self.keep / f"{kind}-{len(self.findings):03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        (folder / "message.txt").write_text(f"exit: {code}\n{' '.join(arguments)}\n{message}")
        self.findings.append(f"{kind}: exit {code}, input kept in {folder}: {message.strip()[:200]}")

    def spec(self):
        source = self.rng.choice(list(self.specs))
        path = self.work / "spec.json"
        whole = self.rng.random() < 0.7
        path.write_bytes(damage_json(self.specs[source], self.rng) if whole else damage_bytes(source.read_bytes(), self.rng))
        self.check("spec", ["validate", str(path)], [path])

    def override(self):
        source = self.rng.choice(list(self.specs))
        place = self.rng.choice([p for p in paths(self.specs[source]) if p])
        value = self.rng.choice([json.dumps(self.rng.choice(NUMBERS)), self.rng.choice(TEXTS).replace("\0", ""), "[", "{}"])
        self.check("override", ["validate", str(source), "--set", "/" + "/".join(map(str, place)) + "=" + value], [])

    def report(self):
        path = self.work / "report.h5"
        path.write_bytes(damage_bytes(self.rng.choice(self.reports).read_bytes(), self.rng))
        self.check("report", ["show", str(path)], [path])

    def tables(self):
        folder = self.work / "dataset"
        folder.mkdir(exist_ok=True)
        victim = self.rng.choice(list(self.dataset))
        for name, text in self.dataset.items():
            data = text.encode()
            (folder / name).write_bytes(damage_bytes(data, self.rng) if name == victim else data)
        self.check("dataset", ["import", "kuairand-pure", str(folder), "-q", "-o", str(self.work / "dataset.h5")],
                   list(folder.iterdir()))

    def dataset_file(self):
        """A damaged imported dataset, read by a spec that needs it."""
        whole = self.work / "whole.h5"
        if not whole.exists():
            folder = self.work / "whole"
            folder.mkdir(exist_ok=True)
            for name, text in self.dataset.items():
                (folder / name).write_text(text)
            subprocess.run([self.ckvsim, "import", "kuairand-pure", str(folder), "-q", "-o", str(whole)], cwd=ROOT,
                           capture_output=True, check=True)
        path = self.work / "damaged.h5"
        path.write_bytes(damage_bytes(whole.read_bytes(), self.rng))
        spec = copy.deepcopy(self.specs[ROOT / "workloads/specs/quickstart.json"])
        spec["workload"] = {"kind": "dataset", "dataset_path": str(path)}
        spec_path = self.work / "dataset_spec.json"
        spec_path.write_text(json.dumps(spec))
        self.check("dataset-file", ["prepare", str(spec_path), "-q", "-o", str(self.work / "samples.ckvt")], [path, spec_path])

    def run(self, seconds):
        kinds = [self.spec, self.override, self.tables, self.dataset_file] + ([self.report] if self.reports else [])
        end, cases = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            kinds[cases % len(kinds)]()
            cases += 1
        for (kind, code), count in sorted(self.outcomes.items(), key=str):
            print(f"{kind:14} exit {code!s:5} {count:6} times")
        print("\n".join(self.findings))
        print(f"{cases - len(self.findings)} passed, {len(self.findings)} failed")
        return 1 if self.findings else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ckvsim", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1, help="equal seeds damage alike")
    parser.add_argument("--keep", default="build/fuzz")
    options = parser.parse_args()
    print(f"fuzzing for {options.seconds:.0f} s, seed {options.seed}")
    with tempfile.TemporaryDirectory() as work:
        return Fuzzer(options.ckvsim, options.keep, options.seed, work).run(options.seconds)


if __name__ == "__main__":
    sys.exit(main())
