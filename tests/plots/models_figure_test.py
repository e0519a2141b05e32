"""Lift kept over several reports, side by side. Usage: models_figure_test.py <ckvsim_test_report>"""
import os
import unittest

import figures_case
from figures_case import PlotTest, run, setUpModule, svg_text  # noqa: F401  (unittest calls setUpModule)


class ModelsFigureTest(PlotTest):
    def drawn_from(self, name, *variants):
        folder = os.path.join(self.folder, name)
        done = run(*(self.reports[variant] for variant in variants), "--only", "accuracy_models", "--format", "svg", "-o", folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return svg_text(os.path.join(folder, "accuracy_models.svg"))

    def test_every_report_is_a_panel_and_every_arm_a_row_of_all(self):
        shown = self.drawn_from("two", "base", "other")
        self.assertEqual(shown.count("lift kept, %"), 2)
        for arm in ("full_fp32", "collective_fp16", "control.mean_pool"):
            self.assertEqual(shown.count(arm), 1, "rows are shared")
        self.assertNotIn("not in this report", shown)

    def test_what_a_report_does_not_hold_is_said(self):
        self.assertIn("not in this report", self.drawn_from("sparse", "base", "hostile"))
        self.assertIn("No power", self.drawn_from("powerless", "base", "no_power"))

    def test_a_report_alone_is_left_to_the_front(self):
        done = run(self.reports["base"], "--format", "svg", "-o", os.path.join(self.folder, "alone"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("accuracy_models.svg", os.listdir(os.path.join(self.folder, "alone")))


if __name__ == "__main__":
    figures_case.main(__doc__)
