"""scripts/export, captions and paper figures, and the guide's Python. Usage: export_test.py <ckvsim_test_report>"""
import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from made_reports import ROOT

from plotting import cli, export_cli  # noqa: E402  (made_reports adds the path)
from plotting.report import load_report  # noqa: E402

MAKE_REPORT = ""


def setUpModule():
    ExportTest.folder = tempfile.mkdtemp(prefix="ckvsim-export-")
    unittest.addModuleCleanup(shutil.rmtree, ExportTest.folder)
    for variant in ("base", "gaps"):
        subprocess.run([MAKE_REPORT, ExportTest.path(variant + ".h5"), variant], check=True)


class ExportTest(unittest.TestCase):
    folder = ""

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def run_main(self, main, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(arguments))
        self.assertEqual((code, err.getvalue()), (0, ""))
        return out.getvalue().split()

    def test_csv_holds_every_table_and_says_what_columns_mean(self):
        written = self.run_main(export_cli.main, self.path("gaps.h5"), "-o", self.path("csv"))
        report = load_report(self.path("gaps.h5"))
        self.assertEqual({os.path.basename(p) for p in written},
                         {f"{name}.csv" for name in report.tables} | {"columns.csv", "origin.json"})
        with open(self.path("csv/accuracy.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), len(report.tables["accuracy"]))
        for row, value in zip(rows, report.tables["accuracy"]["lift_kept"]):
            self.assertEqual(row["lift_kept"] == "", value != value)  # missing stays missing
            if value == value:
                self.assertEqual(float(row["lift_kept"]), value)
        with open(self.path("csv/columns.csv"), encoding="utf-8") as file:
            meanings = {(r["table"], r["column"]): r for r in csv.DictReader(file)}
        self.assertEqual(meanings["accuracy", "auc"]["provenance"], "measured")
        self.assertEqual(len(meanings), sum(len(t.columns) for t in report.tables.values()))

    def test_json_holds_both_reports_with_descriptions(self):
        self.run_main(export_cli.main, self.path("base.h5"), self.path("gaps.h5"), "-o",
                      self.path("json"), "--format", "json")
        with open(self.path("json/memory_curve.json"), encoding="utf-8") as file:
            found = json.load(file)
        self.assertEqual([r["report"] for r in found["reports"]], ["fixture", "fixture-gaps"])
        columns = {c["name"]: c for c in found["reports"][1]["columns"]}
        stored = load_report(self.path("gaps.h5")).tables["memory_curve"]["bytes"]
        self.assertEqual([v is None for v in columns["bytes"]["values"]], [v != v for v in stored])
        self.assertEqual(columns["bytes"]["unit"], "bytes")
        with open(self.path("json/origin.json"), encoding="utf-8") as file:
            origin = json.load(file)
        self.assertEqual(origin[0]["spec"]["name"], "fixture")
        self.assertEqual(origin[0]["logical_hash"], "0123456789abcdef")

    def test_refuses_what_it_cannot_read_or_write(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(export_cli.main([self.path("none.h5"), "-o", self.path("x")]), 4)
            self.assertEqual(export_cli.main([self.path("base.h5"), "-o", self.path("base.h5/x")]), 5)
        self.assertIn("does not exist", err.getvalue())
        self.assertIn("cannot create folder", err.getvalue())

    def test_paper_figures_are_vectors_and_captions_say_the_rest(self):
        written = self.run_main(cli.main, self.path("base.h5"), "-o", self.path("paper"), "--paper",
                                "--only", "accuracy_front", "memory_vs_users")
        self.assertEqual([os.path.basename(p) for p in written],
                         ["accuracy_front.pdf", "accuracy_front.svg", "memory_vs_users.pdf",
                          "memory_vs_users.svg", "captions.md", "captions.tex"])
        with open(self.path("paper/accuracy_front.pdf"), "rb") as file:
            self.assertTrue(file.read().startswith(b"%PDF-"))
        with open(self.path("paper/accuracy_front.svg"), encoding="utf-8") as file:
            drawn = file.read()
        self.assertIn("bytes per interaction kept", drawn)
        self.assertNotIn("0123456789abcdef", drawn)  # the caption's part
        with open(self.path("paper/captions.md"), encoding="utf-8") as file:
            caption = file.read()
        for words in ("## accuracy_front", "95 % interval", "measured on test impressions",
                      "logical hash 0123456789abcdef"):
            self.assertIn(words, caption)
        with open(self.path("paper/captions.tex"), encoding="utf-8") as file:
            latex = file.read()
        self.assertIn(r"\newcommand{\ckvsimCaptionAccuracyFront}{", latex)
        self.assertIn(r"95 \% interval", latex)

    def test_the_guides_three_lines_of_python_read_a_report(self):
        with open(os.path.join(ROOT, "sim", "docs", "user_guide.md"), encoding="utf-8") as file:
            blocks = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)
        block = next(b for b in blocks if "results/local/quickstart.h5" in b)
        self.assertEqual(len(block.strip().splitlines()), 3)
        code = block.replace("results/local/quickstart.h5", self.path("base.h5"))
        done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("collective_fp16", done.stdout)
        self.assertIn("0.958", done.stdout)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
