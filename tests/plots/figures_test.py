"""scripts/plot on made-up reports: what it draws. Usage: figures_test.py <ckvsim_test_report>"""
import json
import os
import shutil

import h5py
import numpy as np

from figures_case import (ARMS, FIGURES, VARIANTS, PlotTest, main, png_size, run, run_program, setUpModule,  # noqa: F401
                          svg_text)


class Fleet(PlotTest):
    """A fleet study has one figure of its own, and a spec with arms has not."""

    def fleet_report(self, events=False):
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
            if not events:
                return
            bins = [(case, bin) for case in range(4) for bin in range(60)]
            table("fleet_series", case=[case for case, _ in bins], bin=[bin for _, bin in bins],
                  start_s=[bin / 6 for _, bin in bins], requests=[100] * 240, shed=[0] * 240,
                  lost=[5 if bin == 30 else 0 for _, bin in bins], p99_ns=[1e6] * 240,
                  hit_ratio=[0.5 if bin > 20 else 1.0 for _, bin in bins])
            table("fleet_events", case=[0, 0, 1, 1, 2, 2, 3, 3], event=[0, 1] * 4, kind=["refresh", "crash"] * 4,
                  at_s=[3.5, 5.0] * 4, ends_s=[3.5, 5.2] * 4, times=[2, 1] * 4)
        return self.edited("fleet-events.h5" if events else "fleet.h5", add)

    def test_events_are_marked_over_the_series_of_every_point(self):
        folder = os.path.join(self.folder, "fleet-events-figures")
        result = run(self.fleet_report(events=True), "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(sorted(os.listdir(folder)), ["captions.md", "fleet_events.svg", "fleet_load.svg"])
        words = svg_text(os.path.join(folder, "fleet_events.svg"))
        for word in ("twin, 10 k/s", "twin, 100 k/s", "new model", "crash", "<b>pool"):
            self.assertIn(word, words)
        self.assertIn("not of a fleet study with events", self.text("fleet_events", "base"))

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
                          "2 ranks × 1 thread", "2020-01-01T00:00:00Z",
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
                      "no loss", "no history", "mean pool", "mean keys", "m1", "du0", "random indices",
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


if __name__ == "__main__":
    main(__doc__)
