"""The GPU benchmark program: with emulated kernels it runs to its end and its JSON is complete; where CUDA is built but no
GPU is there, it says so and ends with exit code 5.

usage: gpu_bench_test.py EMULATED_PROGRAM [DEVICE_PROGRAM]
"""
import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

EMULATED = sys.argv[1]
DEVICE = sys.argv[2] if len(sys.argv) > 2 else None
SMALL = ["--batch", "8", "--tokens", "12", "--heads", "1", "--head-dim", "32", "--items", "50", "--candidates", "1,5",
         "--repetitions", "2", "--copy-bytes", "1048576", "--memory-share", "0.02"]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


class GpuBench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = Path(cls.folder.name) / "out.json"
        cls.done = run(EMULATED, "-o", str(path), *SMALL)
        cls.result = json.loads(path.read_text()) if path.is_file() else {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_it_runs_to_its_end_and_says_what_it_ran_on(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertIn("EMULATION", self.result["device"]["name"])

    def test_every_case_is_right(self):
        self.assertGreater(len(self.result["correctness"]), 90)
        self.assertEqual({row["result"] for row in self.result["correctness"]}, {"right"})

    def test_every_strategy_is_decoded_at_every_number_of_candidates(self):
        rows = self.result["decode"]
        self.assertEqual(len(rows), 8 * 2)
        for row in rows:
            self.assertLess(row["largest_error"], 1e-4)
            self.assertEqual(len(row["ms"]), 2)
            self.assertTrue(math.isfinite(row["speed_ratio_to_full"]))
        self.assertEqual({row["candidates"] for row in rows}, {1, 5})

    def test_bytes_are_those_of_the_formulas(self):
        rows = {(row["strategy"], row["type"]): row for row in self.result["decode"] if row["candidates"] == 1}
        self.assertEqual(rows["full", "fp32"]["entry_bytes"], 8 * 12 * 2 * 32 * 4)
        self.assertEqual(rows["full", "fp16"]["entry_bytes"], 8 * 12 * 2 * 32 * 2)
        self.assertEqual(rows["item_table", "fp16"]["entry_bytes"], 8 * 12 * 4)
        self.assertEqual(rows["collective m=500", "fp16"]["entry_bytes"], 8 * 12 * (2 * 2 + 2 * 2))

    def test_fetch_has_both_arms_by_every_method_and_labels_pageable(self):
        methods = {}
        for row in self.result["fetch"]:
            methods.setdefault((row["strategy"], row["type"]), []).append(row["method"])
            self.assertEqual(row["pageable"], row["method"].startswith("PAGEABLE"))
            self.assertIn("speed_ratio_to_full", row)
        self.assertEqual(len(methods), 8)
        self.assertEqual(len({tuple(m) for m in methods.values()}), 1)

    def test_residents_are_served(self):
        for row in self.result["residency"]:
            self.assertGreaterEqual(row["resident_users"], 8)
            self.assertLess(row["largest_error"], 1e-4)

    def test_single_requests_run_as_graphs(self):
        self.assertEqual(len(self.result["small"]), 8)
        self.assertEqual({len(row["as_graph"]["ms"]) for row in self.result["small"]}, {2})

    def test_bad_command_lines(self):
        for bad in (["--head-dim", "12"], ["--batch", "0"], ["--parts", "all"], ["--memory-share", "2"]):
            self.assertEqual(run(EMULATED, *bad).returncode, 2, bad)
        done = run(EMULATED, *SMALL, "--parts", "small", "-o", self.folder.name)
        self.assertEqual(done.returncode, 5)
        self.assertIn(self.folder.name, done.stderr)

    @unittest.skipIf(DEVICE is None, "built without CUDA")
    def test_without_a_gpu_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run(DEVICE, *SMALL, "-o", str(Path(folder) / "out.json"))
            if done.returncode == 0:
                self.skipTest("there is a GPU")
            self.assertEqual(done.returncode, 5)
            self.assertIn("no GPU (", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
