"""scripts/plot: hostile names, tables for other programs, refusals. Usage: plot_inputs_test.py <ckvsim_test_report>"""
import csv
import io
import json
import os
import shutil
import unittest

import h5py
import numpy as np

from figures_case import ARMS, FIGURES, PlotTest, main, run, run_program, setUpModule  # noqa: F401  (unittest calls it)
from plotting import seal  # noqa: E402  (figures_case sets the path)


class Hostile(PlotTest):
    def test_names_are_drawn_as_text(self):
        for name in FIGURES:
            if name == "workload":
                continue
            text = self.text(name, "hostile")
            self.assertIn('full <b>&"quoted"</b>', text, name)
            self.assertIn("$\\frac{1}{0}$ _^{", text, name)
            self.assertIn("../../etc/passwd", text, name)
            self.assertNotIn("w" * 40, text, name)

    def test_export_keeps_names_apart(self):
        rows = list(csv.DictReader(io.StringIO(
            run(self.reports["hostile"], "--csv", "memory").stdout)))
        self.assertEqual(len(rows), len(ARMS))
        self.assertEqual(rows[6]["arm"], 'a, "b"; c')
        latex = run(self.reports["hostile"], "--latex-table", "memory", "--columns", "arm").stdout
        self.assertIn(r"\$\textbackslash{}frac\{1\}\{0\}\$ \_\textasciicircum{}\{", latex)


class Export(PlotTest):
    def test_csv_round_trip(self):
        rows = list(csv.DictReader(io.StringIO(
            run(self.reports["base"], "--csv", "accuracy").stdout)))
        with h5py.File(self.reports["base"]) as file:
            stored = file["tables/accuracy/auc"][()]
        self.assertEqual([float(row["auc"]) for row in rows], list(stored))
        control = next(row for row in rows if row["arm"] == "control.m1")
        self.assertEqual(control["bytes_per_interaction"], "")  # missing, not zero

    def test_latex(self):
        text = run(self.reports["gaps"], "--latex-table", "memory", "--columns",
                   "arm,allocated_user_bytes").stdout
        self.assertIn(r"full\_fp32 & -- \\", text)

    def test_two_reports_get_a_report_column(self):
        rows = list(csv.DictReader(io.StringIO(
            run(self.reports["base"], self.reports["other"], "--csv", "memory").stdout)))
        self.assertEqual({row["report"] for row in rows}, {"fixture", "fixture-other"})

    def test_lists(self):
        listed = run("--list").stdout
        for name in FIGURES:
            self.assertIn(name, listed)
        self.assertIn("memory_curve", run(self.reports["base"], "--tables").stdout)
        self.assertIn("examples:", run("--help").stdout)


class Refusals(PlotTest):
    def test_exit_code_reaches_the_shell(self):
        result = run_program(os.path.join(self.folder, "absent.h5"))
        self.assertEqual(result.returncode, 4)
        self.assertRegex(result.stderr, r"^error: .*absent.h5: does not exist\n$")

    def test_command_line(self):
        report = self.reports["base"]
        self.refuse(2, "no report given")
        self.refuse(2, "unrecognized", report, "--frobnicate")
        self.refuse(2, "unknown name 'gif'", report, "--format", "gif")
        self.refuse(2, "unknown name 'nonsense'", report, "--only", "nonsense")
        self.refuse(2, "no column nonsense", report, "--csv", "memory", "--columns", "nonsense")
        self.refuse(2, "needs --csv", report, "--columns", "arm")
        self.refuse(4, "table nonsense", report, "--csv", "nonsense")

    def test_not_a_report(self):
        text = os.path.join(self.folder, "text.h5")
        with open(text, "w", encoding="utf-8") as file:
            file.write("not HDF5\n")
        foreign = os.path.join(self.folder, "foreign.h5")
        with h5py.File(foreign, "w") as file:
            file["x"] = 1
        self.refuse(4, "does not exist", os.path.join(self.folder, "absent.h5"))
        self.refuse(4, "is not a regular file", self.folder)
        dataset = os.path.join(self.folder, "dataset.h5")
        with open(dataset, "wb") as file:
            file.write(b"ckvsim dataset, HDF5 after these".ljust(512, b"\0"))
        self.refuse(4, "is not a ckvsim report", text)
        self.refuse(4, "is an HDF5 file but not a ckvsim report", foreign)
        self.refuse(4, "is a ckvsim dataset, not a report", dataset)

    def test_schema_versions(self):
        def set_version(version):
            return lambda file: file.attrs.modify("schema_version", np.int64(version))
        self.refuse(4, "newer than this program's 1", self.edited("newer.h5", set_version(2)))
        self.refuse(4, "(unknown)", self.edited("older.h5", set_version(0)))

    def test_damage(self):
        truncated = os.path.join(self.folder, "truncated.h5")
        with open(self.reports["base"], "rb") as source, open(truncated, "wb") as target:
            target.write(source.read(60000))
        self.refuse(4, "is truncated: 59488 of", truncated)
        longer = os.path.join(self.folder, "longer.h5")
        shutil.copy(self.reports["base"], longer)
        with open(longer, "ab") as file:
            file.write(b"x")
        self.refuse(4, "was damaged or changed", longer)

    @unittest.skipIf(seal.xxhash is None, "needs python3-xxhash")
    def test_one_changed_byte(self):
        path = os.path.join(self.folder, "flipped.h5")
        shutil.copy(self.reports["base"], path)
        with open(path, "r+b") as file:
            file.seek(100000)
            byte = file.read(1)
            file.seek(100000)
            file.write(bytes([byte[0] ^ 1]))
        self.refuse(4, "was damaged or changed", path)

    def test_incomplete_content(self):
        def shorten(file):
            del file["tables/memory_curve/bytes"]
            file["tables/memory_curve/bytes"] = np.zeros(3)
        self.refuse(4, "another length", self.edited("short.h5", shorten))

        def break_spec(file):
            del file["spec"]
            file["spec"] = np.array([b"{not json"])
        self.refuse(4, "is not a complete report", self.edited("spec.h5", break_spec))
        for lost in ("spec", "notes", "provenance", "hash", "tables"):
            self.refuse(4, "is not a complete report",
                        self.edited(lost + ".h5", lambda file, name=lost: file.pop(name)))

        def drop_column(file):
            del file["tables/memory_curve/bytes"]
        self.refuse(4, "no column bytes", self.edited("column.h5", drop_column))

    def test_output_cannot_be_written(self):
        blocked = os.path.join(self.folder, "blocked")
        with open(blocked, "w", encoding="utf-8"):
            pass
        self.refuse(5, "cannot create folder", self.reports["base"], "-o", blocked)
        folder = os.path.join(self.folder, "occupied")
        os.makedirs(os.path.join(folder, "workload.svg"))
        self.refuse(5, "cannot write", self.reports["base"], "-o", folder, "--only", "workload",
                    "--format", "svg")
        self.assertEqual(os.listdir(folder), ["workload.svg"])  # nothing half-written stays


if __name__ == "__main__":
    main(__doc__)
