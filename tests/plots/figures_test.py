"""scripts/plot on made-up reports. Usage: figures_test.py <ckvsim_test_report>"""
import contextlib
import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLOT = os.path.join(ROOT, "scripts", "plot")
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from plotting import cli, seal  # noqa: E402  (needs the path above)

FIGURES = ["memory_vs_users", "accuracy_front", "accuracy_auc", "latency_cdf", "stages",
           "fidelity", "workload"]
ARMS = ["full_fp32", "full_fp16", "full_silu", "item_table", "recompute", "collective_fp32",
        "collective_fp16", "collective_item", "collective_m50"]
VARIANTS = ["base", "other", "sparse", "gaps", "no_power", "hostile"]
MAKE_REPORT = ""


class Result:
    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def run(*arguments):
    """scripts/plot in this process (imports take longer than most figures)."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = cli.main(list(arguments))
        except SystemExit as request:  # argparse: --help, usage
            code = request.code
    return Result(code, stdout.getvalue(), stderr.getvalue())


def run_program(*arguments):
    """The same as its own process."""
    done = subprocess.run([sys.executable, "-B", PLOT, *arguments], capture_output=True,
                          text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def svg_text(path):
    """All text of an SVG; fails when the file is not well-formed XML."""
    return "\n".join("".join(e.itertext()) for e in xml.parse(path).getroot().iter()
                     if e.tag.endswith("}text"))


def png_size(path):
    with open(path, "rb") as file:
        header = file.read(24)
    assert header[:8] == b"\x89PNG\r\n\x1a\n", path
    return struct.unpack(">II", header[16:24])


def setUpModule():
    """The reports of all tests."""
    PlotTest.folder = tempfile.mkdtemp(prefix="ckvsim-plots-")
    unittest.addModuleCleanup(shutil.rmtree, PlotTest.folder)
    for variant in VARIANTS:
        PlotTest.reports[variant] = os.path.join(PlotTest.folder, variant + ".h5")
        subprocess.run([MAKE_REPORT, PlotTest.reports[variant], variant], check=True)


class PlotTest(unittest.TestCase):
    folder = ""
    reports = {}
    drawn = {}

    def path(self, figure, *variants, kind="svg"):
        """A figure of these reports, drawn once (as PNG too) by the first test that asks."""
        folder = os.path.join(self.folder, "figures-" + "-".join(variants))
        if (figure, variants) not in self.drawn:
            result = run(*(self.reports[v] for v in variants), "-o", folder, "--only", figure)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.drawn[figure, variants] = True
        return os.path.join(folder, f"{figure}.{kind}")

    def text(self, figure, *variants):
        return svg_text(self.path(figure, *variants))

    def edited(self, name, change, variant="base"):
        path = os.path.join(self.folder, name)
        shutil.copy(self.reports[variant], path)
        with h5py.File(path, "r+") as file:
            change(file)
        seal.renew(path)
        return path

    def refuse(self, code, words, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertTrue(result.stderr.startswith(("error: ", "usage: ")), result.stderr)
        self.assertIn(words, result.stderr)


class Fleet(PlotTest):
    """A fleet study has one figure of its own, and a spec with arms has not."""

    def fleet_report(self):
        def add(file):
            def table(name, **columns):
                group = file["tables"].create_group(name)
                group.attrs["meaning"] = "test"
                group.attrs["wall_clock"] = 0
                rows = len(next(iter(columns.values())))
                group.attrs["rows"] = rows
                for column, values in columns.items():
                    text = isinstance(values[0], str)
                    data = group.create_dataset(
                        column, data=values,
                        dtype=h5py.string_dtype() if text else ("i8" if isinstance(values[0], int) else "f8"))
                    for attribute in ("unit", "provenance", "meaning"):
                        data.attrs[attribute] = "1"
            table("fleet_cases", case=[0, 1, 2, 3], model=["twin"] * 4, model_class=["item"] * 4,
                  strategy=["full", "full", "<b>pool", "<b>pool"], keeping=["full"] * 2 + ["collective"] * 2,
                  users=[1e6] * 4, nodes=[2] * 4, requests_per_second=[1e4, 1e5, 1e4, 1e5],
                  efficiency=[0.7] * 4)
            table("fleet", case=[0, 1, 2, 3], p99_ns=[1e6, 5e7, 9e5, float("nan")])
        return self.edited("fleet.h5", add)

    def test_a_fleet_study_gets_its_own_figure(self):
        folder = os.path.join(self.folder, "fleet-figures")
        result = run(self.fleet_report(), "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(sorted(os.listdir(folder)), ["captions.md", "fleet_load.svg"])
        words = svg_text(os.path.join(folder, "fleet_load.svg"))
        for word in ("twin: K and V depend on the item", "1 M users on 2 nodes", "<b>pool"):
            self.assertIn(word, words)

    def test_other_reports_say_that_they_are_none(self):
        self.assertIn("not of a fleet study", self.text("fleet_load", "base"))


class Files(PlotTest):
    def test_all_figures_in_both_formats(self):
        folder = os.path.join(self.folder, "both")
        result = run(self.reports["sparse"], "-o", folder, "--format", " png , svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        expected = sorted(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))
        expected = sorted([*expected, "captions.md"])
        self.assertEqual(sorted(os.listdir(folder)), expected)
        self.assertEqual(sorted(map(os.path.basename, result.stdout.split())), expected)

    def test_figures_are_not_trivial(self):
        for name in FIGURES:
            png = self.path(name, "base", kind="png")
            width, height = png_size(png)
            self.assertGreater(width, 1200)
            self.assertGreater(height, 500)
            self.assertGreater(os.path.getsize(png), 20000)
            self.assertGreater(os.path.getsize(self.path(name, "base")), 8000)

    def test_default_folder_is_beside_the_report(self):
        result = run(self.reports["sparse"], "--only", "workload", "--format", "svg")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "sparse-plots", "workload.svg")))

    def test_equal_reports_give_equal_files(self):
        again = os.path.join(self.folder, "again")
        self.assertEqual(run_program(self.reports["base"], "-o", again, "--format", "svg", "--only",
                                     "memory_vs_users", "accuracy_front").returncode, 0)
        for name in ("memory_vs_users", "accuracy_front"):
            with open(os.path.join(again, name + ".svg"), "rb") as a, \
                    open(self.path(name, "base"), "rb") as b:
                self.assertEqual(a.read(), b.read())


class Content(PlotTest):
    def test_every_figure_names_its_provenance(self):
        for name in FIGURES:
            text = self.text(name, "base")
            self.assertRegex(text, "measured|derived", name)
            for words in ("spec fixture", "commit 000000000000 (clean)", "Made-up CPU",
                          "2 ranks × 1 threads", "2020-01-01T00:00:00Z",
                          "logical hash 0123456789abcdef"):
                # A long line may be wrapped: compare without line ends.
                self.assertIn(words, " ".join(text.split()), name)

    def test_arms_are_named(self):
        for name in FIGURES:
            if name == "workload":
                continue
            text = self.text(name, "base")
            for arm in ARMS:
                self.assertIn(arm, text, name)

    def test_simulated_figures_name_platform_and_calibration(self):
        for name in ("latency_cdf", "stages"):
            text = " ".join(self.text(name, "base").split())
            self.assertIn("simulated on platform h100-node 8899aabbccddeeff", text)
            self.assertIn("calibrated-host 0011223344556677", text)

    def test_fleet_panel_shows_the_platform_and_not_the_twin(self):
        # full_fp32: 48000 requests; mean 0.06 of the executed 926.32 us on the platform.
        text = self.text("latency_cdf", "base")
        self.assertIn("926 µs", text)
        self.assertIn("55.6 µs", text)
        self.assertNotIn("945 µs", text)  # the calibrated twin's

    def test_capacities_below_every_curve_give_way_to_common_sizes(self):
        def shrink(file):
            spec = json.loads(file["spec"][0])
            spec["fleet"]["platform_node"] = {"hbm_cache_bytes": 4096, "dram_cache_bytes": 8192}
            del file["spec"]
            file["spec"] = np.array([json.dumps(spec).encode()])
        path = self.edited("toy.h5", shrink)
        folder = os.path.join(self.folder, "toy")
        result = run(path, "-o", folder, "--only", "memory_vs_users", "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        text = svg_text(os.path.join(folder, "memory_vs_users.svg"))
        self.assertIn("one 80 GB GPU", text)
        self.assertNotIn("4.1 kB", text)

    def test_users_that_fit(self):
        # (80 GB - 11.1 MB) / (16 B * 300): collective_fp32.
        self.assertIn("16.7 M", self.text("memory_vs_users", "base"))

    def test_verdicts_controls_and_margin(self):
        text = self.text("accuracy_front", "base")
        for words in ("undecided", "equivalent", "worse", "reference", "verdict margin 0.03",
                      "no loss", "no history", "mean pool", "m1", "random indices",
                      "other history"):
            self.assertIn(words, " ".join(text.split()))
        self.assertNotIn("No power", text)

    def test_no_power_is_said_in_both_accuracy_figures(self):
        for name in ("accuracy_front", "accuracy_auc"):
            self.assertIn("No power", self.text(name, "no_power"))

    def test_oracle(self):
        self.assertIn("oracle 0.7310", self.text("accuracy_auc", "base"))

    def test_far_simulation_error_is_written_out(self):
        self.assertIn("+45.0 %", self.text("fidelity", "base"))


class Missing(PlotTest):
    def test_missing_tables(self):
        for name in FIGURES:
            text = self.text(name, "sparse")
            if name == "memory_vs_users":
                self.assertIn("full_fp32", text)
            else:
                self.assertIn("not measured", text, name)

    def test_nan_is_never_a_number(self):
        memory = self.text("memory_vs_users", "gaps")
        self.assertIn("not measured: full_fp32, full_fp16, full_silu", memory)
        front = " ".join(self.text("accuracy_front", "gaps").split())
        self.assertIn("Not drawn: collective_fp32 (lift not measured)", front)
        self.assertIn("too few samples", self.text("fidelity", "gaps"))
        latency = self.text("latency_cdf", "gaps").split("\n")
        self.assertEqual(latency.count("–"), 2 * len(ARMS))  # p99 in both panels
        for name in FIGURES:
            self.assertNotIn("nan", self.text(name, "gaps").lower(), name)

    def test_unmeasured_stage_leaves_a_visible_hole(self):
        self.assertIn("not attributed", self.text("stages", "gaps"))

    def test_not_comparable_run_is_marked(self):
        for name in ("latency_cdf", "stages"):
            self.assertIn("NOT COMPARABLE: 2 logical nodes on 1 ranks", self.text(name, "gaps"))
            self.assertNotIn("NOT COMPARABLE", self.text(name, "base"))

    def test_all_values_missing(self):
        def erase(file):
            for table in file["tables"].values():
                for column in table.values():
                    if column.dtype.kind == "f":
                        column[...] = np.nan
        path = self.edited("erased.h5", erase)
        folder = os.path.join(self.folder, "erased")
        result = run(path, "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for name in FIGURES:
            self.assertIn("not measured", svg_text(os.path.join(folder, name + ".svg")), name)

    def test_empty_tables(self):
        def empty(file):
            for name in list(file["tables"]):
                table = file["tables"][name]
                table.attrs["rows"] = 0
                for column in list(table):
                    kind = table[column].dtype
                    del table[column]
                    table.create_dataset(column, (0,), dtype=kind)
        path = self.edited("empty.h5", empty)
        folder = os.path.join(self.folder, "empty")
        result = run(path, "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for name in FIGURES:
            self.assertIn("not measured", svg_text(os.path.join(folder, name + ".svg")), name)

    def test_one_arm(self):
        def keep_first(file):
            for table in file["tables"].values():
                if "arm" not in table:
                    continue
                keep = np.array([a == table["arm"][0] for a in table["arm"][()]])
                for column in list(table):
                    values = table[column][()][keep]
                    del table[column]
                    table[column] = values
                table.attrs["rows"] = int(keep.sum())
        path = self.edited("one.h5", keep_first)
        folder = os.path.join(self.folder, "one")
        result = run(path, "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))


class Several(PlotTest):
    def test_both_reports_are_named_everywhere(self):
        for name in FIGURES:
            text = " ".join(self.text(name, "base", "other").split())
            self.assertIn("fixture: spec fixture", text, name)
            self.assertIn("fixture-other: spec fixture-other", text, name)
            self.assertIn("DIRTY tree", text, name)
            self.assertIn("logical hash fedcba9876543210", text, name)

    def test_a_report_without_a_table_beside_one_with(self):
        for name in FIGURES:
            if name == "memory_vs_users":  # in both
                continue
            self.assertIn("full_fp32" if name != "workload" else "mean 300",
                          self.text(name, "sparse", "base"), name)

    def test_equal_spec_names_get_distinct_labels(self):
        copy = os.path.join(self.folder, "copy.h5")
        shutil.copy(self.reports["base"], copy)
        folder = os.path.join(self.folder, "twice")
        result = run(self.reports["base"], copy, "-o", folder, "--format", "svg", "--only",
                     "stages")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        text = svg_text(os.path.join(folder, "stages.svg"))
        self.assertIn("fixture (base)", text)
        self.assertIn("fixture (copy)", text)

    def test_six_reports(self):
        folder = os.path.join(self.folder, "six")
        only = ["memory_vs_users", "accuracy_front", "workload"]
        result = run(*self.reports.values(), "-o", folder, "--format", "svg", "--only", *only)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for name in only:
            text = " ".join(svg_text(os.path.join(folder, name + ".svg")).split())
            for variant in VARIANTS[1:]:
                self.assertIn(f"spec fixture-{variant}", text)


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
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
