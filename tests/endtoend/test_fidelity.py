"""ckvsim validate-sim on the CI spec: its tables hang together, refusals come before work, the picture is drawn."""
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import CKVSIM, ENVIRONMENT, SOURCE, mpirun  # noqa: E402  (needs the path above)

SMALL = ["--loads", "0.5,2", "--candidates", "16", "--lengths", "20,64", "--requests", "300", "--seconds-per-pass", "0.1",
         "--calibration-seconds", "1", "--repeats", "2", "-q"]
METRICS = ["mean_ns", "p50_ns", "p99_ns", "throughput_per_s", "hit_ratio"]


def has_h5py():
    return subprocess.run(["/usr/bin/python3", "-c", "import h5py, matplotlib"], capture_output=True, check=False).returncode == 0


class Fidelity(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-fidelity-test-")
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.report = self.folder / "fidelity.h5"
        self.content = json.loads((SOURCE / "workloads/specs/ci.json").read_text())
        del self.content["$schema"]
        self.content["arms"] = [arm for arm in self.content["arms"] if arm["name"] in ("full_fp32", "collective_fp16")]

    def validate(self, *arguments, prefix=(), threads=1):
        spec = self.folder / "spec.json"
        spec.write_text(json.dumps(self.content))
        command = [*prefix, CKVSIM, "validate-sim", spec, "-o", self.report, *SMALL, "-t", threads, *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False,
                              cwd=SOURCE, env=ENVIRONMENT)

    def rows(self, table):
        """Rows of a table as dictionaries of texts."""
        done = subprocess.run(["/usr/bin/python3", str(SOURCE / "scripts/plot"), str(self.report), "--csv", table],
                              check=True, capture_output=True, text=True, timeout=120)
        return list(csv.DictReader(line for line in done.stdout.splitlines() if not line.startswith("#")))

    def refused(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse(self.report.exists())

    @unittest.skipUnless(has_h5py(), "needs Debian's python3-h5py and python3-matplotlib")
    def test_points_bounds_and_regimes_hang_together(self):
        done = self.validate()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("simulated against executed on held-out points", done.stdout)
        points = self.rows("fidelity_points")
        arms = {row["arm"] for row in points}
        self.assertEqual(len(points), len(arms) * 2 * 2 * 2 * len(METRICS), "arms x loads x lengths x tiers x metrics")
        targets = dict(zip(METRICS, (0.03, 0.03, 0.05, 0.03, 0.005)))
        held = {}
        for row in points:
            if row["verdict"] == "insufficient":
                continue
            error, repeat, bound = (float(row[name]) for name in ("error", "repeat_error", "bound"))
            self.assertAlmostEqual(bound, max(targets[row["metric"]], 1.5 * repeat), places=6)
            self.assertEqual(row["verdict"], "within" if abs(error) <= bound else "outside")
            held.setdefault(row["point"], []).append(row["verdict"] == "within")
            if row["metric"] == "mean_ns":
                self.assertAlmostEqual(error, float(row["simulated"]) / float(row["executed"]) - 1, places=5)
        regimes = self.rows("fidelity_regimes")
        for axis in ("arm", "load", "candidates", "max_tokens", "oversubscription"):
            own = [row for row in regimes if row["axis"] == axis]
            self.assertEqual(sum(int(row["points"]) for row in own), len(held), axis)
            self.assertEqual(sum(int(row["held"]) for row in own), sum(all(v) for v in held.values()), axis)
        stages = self.rows("fidelity_stages")
        for side in ("executed_ns", "simulated_ns"):
            parts = sum(float(row[side]) for row in stages if row["stage"] != "total")
            total = sum(float(row[side]) for row in stages if row["stage"] == "total")
            self.assertAlmostEqual(parts / total, 1.0, places=4, msg=side)
        platform = json.loads(pathlib.Path(str(self.report) + ".platform.json").read_text())
        self.assertEqual(platform["kind"], "measured")
        figures = self.folder / "figures"
        drawn = subprocess.run(["/usr/bin/python3", str(SOURCE / "scripts/plot"), str(self.report), "-o", str(figures)],
                               capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(drawn.returncode, 0, drawn.stderr)
        self.assertIn("fidelity_regimes.svg", os.listdir(figures))

    def test_lengths_beyond_the_model_are_refused(self):
        self.refused(self.validate("--lengths", "65"), 2, "--lengths 65", "/model/max_tokens")

    def test_a_spec_without_executed_traffic_is_refused(self):
        self.refused(self.validate("--set", "/measurements/executed/enabled=false"), 3, "/measurements/executed/enabled")

    def test_more_threads_than_cores_are_refused(self):
        self.refused(self.validate(threads=4000), 2, "4000 threads", "--threads")

    @unittest.skipUnless(shutil.which("mpirun"), "needs mpirun")
    def test_ranks_are_refused(self):
        self.refused(self.validate(prefix=mpirun(2)), 2, "without mpirun")

    def test_traffic_of_a_few_requests_is_refused(self):
        log = self.folder / "few.csv"
        log.write_text("time_s,user\n0.5,1\n0.7,2\n")
        self.content["measurements"]["executed"]["traffic"] = {"kind": "recorded", "path": str(log)}
        done = self.validate()
        self.refused(done, 4, "2 requests", "needs 100")


if __name__ == "__main__":
    unittest.main(verbosity=2)
