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
            "check": {"relative": 1e-6}, "rounds": len(ratio["rounds"])}


class TrainingCampaign(unittest.TestCase):
    def show(self, rows):
        with tempfile.TemporaryDirectory() as folder:
            context = {"threads": 2, "torch": "1.13.0", "blas": "OpenBLAS"}
            (Path(folder) / "training.json").write_text(json.dumps({"context": context, "rows": rows}))
            done = subprocess.run([sys.executable, CAMPAIGN, folder, "--show"], capture_output=True, text=True, check=False)
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
        self.assertEqual(self.line(text, "textbook / ours at m = 2,048")[1:], [">= 5", "5.50 (5.10-6.00)", "met"])
        self.assertEqual(self.line(text, "batch 2,048: share")[3], "undecided")
        self.assertEqual(self.line(text, "batch 256: share")[3], "not met")
        self.assertEqual(self.line(text, "batch 2,048: our peak")[1:], ["< 4096", "5000", "not met"])

    def test_two_rounds_decide_nothing(self):
        text = self.show([row(2048, 2048, value(6, 6, 6, rounds=2), value(1, 1, 1))])
        self.assertEqual(self.line(text, "textbook / ours at m = 2,048")[3], "undecided")

    def test_a_part_of_the_batch_is_named(self):
        text = self.show([row(2048, 2048, value(6, 6, 6), value(1, 1, 1), measured=128)])
        cells = self.line(text, "zipf (SIM)", "204,800")
        self.assertEqual((cells[8], cells[10]), ("128", "~6.00 (6.00-6.00)"))

    def test_cells_that_were_not_measured_are_listed(self):
        text = self.show([{"dataset": "zipf", "m": 512, "batch": 8192, "skipped": "the file has 9 samples"}])
        self.assertIn("m = 512, batch 8192: skipped: the file has 9 samples", text)


if __name__ == "__main__":
    unittest.main()
