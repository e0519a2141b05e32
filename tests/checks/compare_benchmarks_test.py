#!/usr/bin/python3
"""The benchmark comparer against stored shapes of Google Benchmark's JSON: regression, noise, other machine, baseline."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[2] / "scripts/lib/compare_benchmarks.py"


def google_benchmark(times_us, cpu="A"):
    rows = [{"name": "decode/full", "run_name": "decode/full", "run_type": "iteration", "real_time": time,
             "cpu_time": time, "time_unit": "us"} for time in times_us]
    rows.append({"name": "decode/full_mean", "run_name": "decode/full", "run_type": "aggregate", "real_time": 1e9,
                 "cpu_time": 1e9, "time_unit": "us"})
    return {"context": {"host_name": "secret", "cpu": cpu, "num_cpus": 2, "library_build_type": "release"}, "benchmarks": rows}


class CompareBenchmarks(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, document):
        path = Path(self.folder.name) / name
        path.write_text(json.dumps(document))
        return str(path)

    def run_compare(self, *arguments):
        return subprocess.run([sys.executable, COMPARE, *arguments], capture_output=True, text=True, check=False)

    def compare(self, old, new):
        return self.run_compare(self.file("old.json", old), self.file("new.json", new))

    def test_slower_beyond_noise_is_a_regression(self):
        result = self.compare(google_benchmark([100, 101, 99]), google_benchmark([130, 131, 129]))
        self.assertEqual(result.returncode, 6, result.stdout)
        self.assertIn("1.30  REGRESSED", result.stdout)

    def test_slower_within_noise_is_the_same(self):
        result = self.compare(google_benchmark([80, 100, 120]), google_benchmark([95, 115, 140]))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("same", result.stdout)

    def test_small_but_certain_slowdown_is_the_same(self):
        result = self.compare(google_benchmark([100, 100, 100]), google_benchmark([105, 105, 105]))
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_other_cpu_is_shown_but_not_judged(self):
        result = self.compare(google_benchmark([100]), google_benchmark([200], cpu="B"))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("not comparable", result.stdout)

    def test_saved_baseline_compares_like_its_source_and_names_no_host(self):
        source = self.file("new.json", google_benchmark([100, 101, 99]))
        baseline = str(Path(self.folder.name) / "baseline.json")
        self.assertEqual(self.run_compare("--save", source, baseline).returncode, 0)
        self.assertNotIn("secret", Path(baseline).read_text())
        self.assertIn("1.00  same", self.run_compare(baseline, source).stdout)

    def test_missing_baseline_is_no_failure_and_broken_file_is(self):
        new = self.file("new.json", google_benchmark([100]))
        self.assertEqual(self.run_compare(str(Path(self.folder.name) / "none.json"), new).returncode, 0)
        broken = Path(self.folder.name) / "broken.json"
        broken.write_text("{")
        self.assertEqual(self.run_compare(str(broken), new).returncode, 4)


if __name__ == "__main__":
    unittest.main()
