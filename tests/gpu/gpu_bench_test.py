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
SIZES = ["--batch", "8", "--tokens", "12"]
SMALL = ["--heads", "1", "--head-dim", "32", "--items", "50", "--candidates", "1,5",
         "--repetitions", "2", "--copy-bytes", "1048576", "--memory-share", "0.02"]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


class GpuBench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = Path(cls.folder.name) / "out.json"
        cls.done = run(EMULATED, "-o", str(path), *SIZES, *SMALL)
        cls.result = json.loads(path.read_text()) if path.is_file() else {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_it_runs_to_its_end_and_says_what_it_ran_on(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertIn("EMULATION", self.result["device"]["name"])

    def test_every_case_is_right(self):
        self.assertEqual({row["result"] for row in self.result["correctness"]}, {"right"})

    def test_every_compiled_variant_of_every_kernel_is_checked(self):
        split, tile, others, cases = set(), set(), set(), {"merged": 0, "silu": 0, "1 index bytes": 0}
        for row in self.result["correctness"]:
            plan = row["plan"]
            if plan["kernel"] == "split":
                split.add((row["type"], *(plan[k] for k in ("queries", "wide_loads", "lanes", "loads_of_a_lane"))))
            elif plan["kernel"] == "tile":
                tile.add((row["type"], plan["dims"]))
            else:
                others.add(plan["kernel"])
            cases["merged"] += plan.get("splits", 1) > 1
            for what in ("silu", "1 index bytes"):
                cases[what] += what in row["case"]
        # attention_dispatch.cuh: wide loads by 8, 16 or 32 lanes and twice by 32, values one by one or eight by 32 lanes;
        # blocks of one query and of four.
        ways = [(True, 8, 1), (True, 16, 1), (True, 32, 1), (True, 32, 2), (False, 32, 1), (False, 32, 8)]
        types = ("fp32", "fp16")
        self.assertEqual(split, {(t, q, *way) for t in types for q in (1, 4) for way in ways})
        self.assertEqual(tile, {(t, dims) for t in types for dims in (64, 128, 256)})
        self.assertEqual(others, {"copy", "gather"})
        self.assertGreater(min(cases.values()), 20, cases)

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

    def test_what_was_fetched_is_checked(self):
        for row in self.result["fetch"]:
            if row["method"] == "fetch beside decode":
                self.assertLess(row["largest_error"], 1e-4)
            else:
                self.assertEqual(row["bytes_compared"], row["bytes"])

    def test_plans_are_compared(self):
        """Both kernels at both numbers of candidates; the chosen plan is one of those that were measured."""
        groups = {}
        for row in self.result["plans"]:
            self.assertLess(row["largest_error"], 1e-4)
            groups.setdefault((row["strategy"], row["type"], row["batch"], row["candidates"]), []).append(row)
        self.assertEqual({key[2:] for key in groups}, {(batch, count) for batch in (1, 8) for count in (8, 32)})
        self.assertEqual(len(groups), 8 * 4)
        for rows in groups.values():
            self.assertEqual({row["plan"]["kernel"] for row in rows}, {"split", "tile"})
            self.assertEqual([row["chosen"] for row in rows].count(True), 1)

    def test_plans_with_splits_are_compared_with_one_split(self):
        path = Path(self.folder.name) / "splits.json"
        done = run(EMULATED, "-o", str(path), "--batch", "1", "--tokens", "140", *SMALL, "--parts", "plans")
        self.assertEqual(done.returncode, 0, done.stderr)
        splits = {}
        for row in json.loads(path.read_text())["plans"]:
            key = row["strategy"], row["type"], row["candidates"], row["plan"]["kernel"]
            splits.setdefault(key, []).append(row["plan"]["splits"])
        self.assertEqual(set(map(tuple, splits.values())), {(1, 2)})

    def test_residents_are_served(self):
        for row in self.result["residency"]:
            self.assertGreaterEqual(row["resident_users"], 8)
            self.assertLess(row["largest_error"], 1e-4)

    def test_single_requests_run_as_graphs(self):
        self.assertEqual(len(self.result["small"]), 8)
        for row in self.result["small"]:
            for how in ("launched", "as_graph"):
                self.assertEqual(len(row[how]["ms"]), 2)
                self.assertLess(row[how]["largest_error"], 1e-4)

    def test_bad_command_lines(self):
        for bad in (["--head-dim", "12"], ["--batch", "0"], ["--parts", "all"], ["--memory-share", "2"]):
            self.assertEqual(run(EMULATED, *bad).returncode, 2, bad)
        done = run(EMULATED, *SIZES, *SMALL, "--parts", "small", "-o", self.folder.name)
        self.assertEqual(done.returncode, 5)
        self.assertIn(self.folder.name, done.stderr)

    @unittest.skipIf(DEVICE is None, "built without CUDA")
    def test_without_a_gpu_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run(DEVICE, *SIZES, *SMALL, "-o", str(Path(folder) / "out.json"))
            if done.returncode == 0:
                self.skipTest("there is a GPU")
            self.assertEqual(done.returncode, 5)
            self.assertIn("no GPU (", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
