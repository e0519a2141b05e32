#!/usr/bin/python3
"""The tables of the training step against made-up measurements whose verdicts are known."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CAMPAIGN = Path(__file__).resolve().parents[2] / "scripts/lib/training_campaign"


def value(low, median, high, rounds=5):
    return {"low": low, "median": median, "high": high, "rounds": [median] * rounds}


def row(m, batch, ratio, share, measured=None, peak=900.0):
    return {"dataset": "zipf", "model": "sim", "m": m, "batch": batch, "tokens": 100.0 * batch, "unique": 20.0 * batch,
            "bound": value(5, 5, 5), "ours_ms": value(90, 100, 110), "textbook_ms": value(500, 600, 700), "ratio": ratio,
            "share": share, "routed_share": share, "measured_samples": measured or batch, "micro_batch": 64, "peak_mib": peak,
            "check": {"relative": 1e-6}, "rounds": len(ratio["rounds"]), "textbook_memory_mib": 4096, "textbook_peak_mib": 900.0,
            "textbook": [size(64, ratio, batch), size(16, ratio, batch)]}


def size(micro_batch, ratio=None, measured=None, peak=900.0):
    """What a row says of one size of the textbook's micro-batches; without a ratio: it does not fit."""
    entry = {"micro_batch": micro_batch, "textbook_peak_mib": peak, "fits": ratio is not None}
    if ratio is not None:
        entry |= {"measured_samples": measured, "textbook_ms": value(500, 600, 700), "ratio": ratio}
    return entry


def old_row(peak, peak_both):
    """Of a program that measured the peak of both arms in one process and one size of micro-batches."""
    old = row(2048, 2048, value(8, 8, 8), value(1, 1, 1), peak=peak) | {"peak_both_mib": peak_both}
    for key in ("textbook", "textbook_memory_mib", "textbook_peak_mib"):
        del old[key]
    return old


class TrainingCampaign(unittest.TestCase):
    def show(self, rows, other_rows=None, provenance=None):
        """The tables of one file, or of two."""
        with tempfile.TemporaryDirectory() as folder:
            context = {"threads": 2, "torch": "1.13.0", "blas": "OpenBLAS", "textbook_memory_gib": 4.0}
            document = {"context": context, **({"provenance": provenance} if provenance else {})}
            files = {"training.json": rows} if other_rows is None else {"a.json": rows, "b.json": other_rows}
            for name, its_rows in files.items():
                (Path(folder) / name).write_text(json.dumps({**document, "rows": its_rows}))
            named = [] if other_rows is None else [Path(folder) / name for name in files]
            done = subprocess.run([sys.executable, CAMPAIGN, folder, "--show", *named], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return (Path(folder) / "tables.md").read_text()

    def line(self, text, *words):
        found = [x for x in text.split("\n") if x.startswith("|") and all(w in x for w in words)]
        self.assertEqual(len(found), 1, text)
        return [cell.strip() for cell in found[0].strip("|").split("|")]

    def test_a_target_is_met_by_the_whole_range_between_quartiles(self):
        text = self.show([row(2048, 2048, value(5.1, 5.5, 6), value(1, 1.1, 1.2)),
                          row(10000, 2048, value(3, 4, 5), value(0.7, 0.85, 0.9), peak=5000.0),
                          row(10000, 256, value(1, 1.1, 1.2), value(0.5, 0.6, 0.7))])
        self.assertEqual(self.line(text, "textbook / ours at m = 2,048")[1:], [">= 5", "64", "5.50 (5.10-6.00)", "met"])
        self.assertEqual(self.line(text, "batch 2,048: share")[4], "undecided")
        self.assertEqual(self.line(text, "batch 256: share")[4], "not met")
        self.assertEqual(self.line(text, "batch 2,048: our peak")[1:], ["< 4096", "", "5000", "not met"])

    def test_two_rounds_decide_nothing(self):
        text = self.show([row(2048, 2048, value(6, 6, 6, rounds=2), value(1, 1, 1))])
        self.assertEqual(self.line(text, "textbook / ours at m = 2,048")[4], "undecided: fewer than three rounds")

    def test_a_part_of_the_batch_is_named(self):
        text = self.show([row(2048, 2048, value(6, 6, 6), value(1, 1, 1), measured=128)])
        cells = self.line(text, "zipf (SIM)", "204,800", "training.json")
        self.assertEqual((cells[8], cells[10]), ("128", "~6.00 (6.00-6.00)"))

    def test_one_size_of_micro_batches_is_no_best_one(self):
        fast = row(2048, 2048, value(6, 6, 6), value(1, 1, 1))
        slow = row(2048, 2048, value(4, 4, 4), value(1, 1, 1))
        for one in (fast, slow):
            one["textbook"] = one["textbook"][:1] + [size(1024, peak=5000.0)]
        verdict = lambda text: self.line(text, "textbook / ours at m = 2,048")[4]
        self.assertEqual(verdict(self.show([fast])), "undecided: one size of micro-batches alone")
        self.assertEqual(verdict(self.show([slow])), "not met")

    def test_every_size_is_listed_with_its_measured_peak(self):
        one = row(2048, 2048, value(6, 6, 6), value(1, 1, 1))
        one["textbook"].append(size(1024, peak=5000.0))
        text = self.show([one])
        self.assertEqual(self.line(text, "| 1,024 |")[3:], ["1,024", "5,000", "no", "", "", ""])
        self.assertEqual(self.line(text, "| 16 | 900 |")[5:], ["yes", "all", "600 (500-700)", "6.00 (6.00-6.00)"])

    def test_a_textbook_above_its_memory_says_nothing_about_a_target(self):
        one = row(2048, 2048, value(8, 8, 8), value(1, 1, 1)) | {"textbook_peak_mib": 4097.0}
        for rows in ([one], [old_row(766.0, 7910.0)]):
            text = self.show(rows)
            self.assertIn("not admissible: the textbook took at least", self.line(text, "textbook / ours at m = 2,048")[4])
            self.assertIn("not admissible", self.line(text, "204,800", "training.json")[10])

    def test_the_peak_of_both_arms_bounds_that_of_the_textbook(self):
        text = self.show([old_row(700.0, 800.0)])
        self.assertEqual(self.line(text, "204,800", "training.json")[14], "100 to 800")
        self.assertEqual(self.line(text, "textbook / ours at m = 2,048")[4], "undecided: one size of micro-batches alone")
        text = self.show([old_row(700.0, 4500.0)])
        self.assertIn("not measured", self.line(text, "textbook / ours at m = 2,048")[4])

    def test_files_name_what_they_were_measured_with(self):
        rows = [row(2048, 2048, value(6, 6, 6), value(1, 1, 1))]
        self.assertIn('- commit: "abc"\n', self.show(rows, provenance={"commit": "abc", "cpu": "Xeon"}))
        text = self.show(rows, rows)
        self.assertEqual(text.count('- commit: "not recorded"\n'), 2)
        for name in ("a.json", "b.json"):
            self.line(text, "204,800", name)

    def test_cells_that_were_not_measured_are_listed(self):
        text = self.show([{"dataset": "zipf", "m": 512, "batch": 8192, "skipped": "the file has 9 samples"}])
        self.assertIn("m = 512, batch 8192: skipped: the file has 9 samples", text)
        none = {"dataset": "zipf", "model": "sim", "m": 512, "batch": 8192, "error": "no micro-batch of the textbook fits 4.0 GiB",
                "textbook": [size(1, peak=5000.0)]}
        text = self.show([none])
        self.assertIn("batch 8192: error: no micro-batch of the textbook fits 4.0 GiB", text)
        self.assertEqual(self.line(text, "| 5,000 |")[5], "no")


if __name__ == "__main__":
    unittest.main()
