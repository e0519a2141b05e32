"""scripts/dev scaling on a fleet of 2,000 users: its table, its JSON, and a hash that depends on the ranks."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import CKVSIM, SOURCE  # noqa: E402  (needs the path above)

SCALING = SOURCE / "scripts/lib/scaling"
TINY = {"/fleet/users": 2000, "/fleet/nodes": 2, "/traffic/requests": 400, "/traffic/requests_per_second": 2000}


def has_h5py():
    return subprocess.run(["/usr/bin/python3", "-c", "import h5py, numpy"], capture_output=True, check=False).returncode == 0


@unittest.skipUnless(shutil.which("mpirun") and has_h5py(), "needs mpirun and Debian's python3-h5py")
class Scaling(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-scaling-test-")
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        spec = json.loads((SOURCE / "workloads/specs/fleet-ci.json").read_text())
        spec["models"], spec["strategies"] = spec["models"][:1], spec["strategies"][:2]
        for pointer, value in TINY.items():
            room, key = pointer[1:].split("/")
            spec[room][key] = value
        self.spec = self.write(spec)
        self.content = spec

    def write(self, spec):
        path = self.folder / "tiny.json"
        path.write_text(json.dumps({key: value for key, value in spec.items() if key != "$schema"}))
        return path

    def scaling(self, *arguments, path=os.environ["PATH"]):
        command = [SCALING, self.spec, "--bin", CKVSIM, "--output", self.folder / "out", *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=200, check=False,
                              env=dict(os.environ, PATH=path))

    def result(self, *arguments):
        done = self.scaling(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "out.md").read_text().strip(), done.stdout.strip())
        return json.loads((self.folder / "out.json").read_text()), done.stdout

    def test_strong_and_weak(self):
        cores = len(os.sched_getaffinity(0))
        result, text = self.result("--ranks", f"1,{cores + 1}")
        strong, weak = result["series"]["strong"], result["series"]["weak"]
        self.assertEqual(len({row["logical_hash"] for row in strong}), 1)
        self.assertEqual([row["oversubscribed"] for row in strong], [False, True])
        self.assertIn(f"| {cores + 1} (over-subscribed) |", text)
        self.assertEqual(strong[0]["requests"], strong[1]["requests"])
        self.assertEqual(weak[0]["logical_hash"], strong[0]["logical_hash"])
        self.assertNotEqual(weak[1]["logical_hash"], strong[0]["logical_hash"])
        self.assertAlmostEqual(weak[1]["requests"] / weak[0]["requests"], cores + 1, delta=0.2 * (cores + 1))
        for row in strong + weak:
            self.assertGreater(row["seconds"], 0)
        self.assertAlmostEqual(strong[1]["speedup"], strong[0]["seconds"] / strong[1]["seconds"])
        self.assertAlmostEqual(weak[1]["efficiency"], weak[0]["seconds"] / weak[1]["seconds"])

    def test_a_result_that_depends_on_the_ranks_is_found(self):
        launcher = self.folder / "mpirun"
        launcher.write_text(f'#!/bin/bash\nexec {shutil.which("mpirun")} "$@" --set "/seed=$4"\n')  # --bind-to none -n RANKS
        launcher.chmod(0o755)
        done = self.scaling("--strong", "--ranks", "1,2", path=f"{self.folder}:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("different hashes on different numbers of ranks", done.stderr)

    def test_searches_scale_strongly_only(self):
        self.write({**self.content, "search": "max_load"})
        done = self.scaling("--weak")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cases are dealt to ranks", done.stderr)

    def test_a_failed_run_shows_its_message(self):
        done = self.scaling("--ranks", "1", "--", "--set", "/fleet/slo_ms=1e-6")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/fleet/slo_ms", done.stderr)

    def test_refusals(self):
        for words, arguments in (("rising list", ("--ranks", "2,1")), ("at least 1", ("--repeat", "0")),
                                 ("no program there", ("--bin", "missing")), ("not allowed with", ("--weak", "--strong"))):
            done = self.scaling(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
        self.spec = SOURCE / "workloads/specs/ci.json"
        self.assertIn("is no fleet study", self.scaling().stderr)


if __name__ == "__main__":
    unittest.main()
