"""The figure of `ckvsim analyze` on a made-up report. Usage: energy_test.py <ckvsim_test_report>"""
import os
import unittest

import figures_case
import made_reports
from figures_case import PlotTest, run, setUpModule, svg_text  # noqa: F401  (unittest calls setUpModule)
from plotting.report import load_reports  # noqa: E402  (made_reports adds the path)
from reporting import page  # noqa: E402

SITES = [("short", "k"), ("short", "v"), ("long", "k"), ("long", "v")]
RANKS = [1, 2, 4, 8]


def analysis(file):
    rows = [(weights, seed, site, side, rank) for weights in ("full", "full_silu") for seed in (1, 2)
            for site, side in SITES for rank in RANKS]
    made_reports.add_table(file, "analysis_energy", "energy of keys and values in their leading directions", [
        ("weights", "text", "key", [row[0] for row in rows]), ("seed", "1", "key", [row[1] for row in rows]),
        ("site", "text", "key", [row[2] for row in rows]), ("side", "text", "key", [row[3] for row in rows]),
        ("rank", "1", "key", [row[4] for row in rows]),
        ("energy_share", "1", "measured", [{1: 0.5, 2: 0.8, 4: 0.95, 8: 1.0}[row[4]] for row in rows])])


class EnergyTest(PlotTest):
    def test_a_curve_for_every_site_and_variant(self):
        report = self.edited("analysis.h5", analysis)
        folder = os.path.join(self.folder, "energy")
        done = run(report, "--only", "energy", "--format", "svg", "-o", folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = svg_text(os.path.join(folder, "energy.svg"))
        for wanted in ("short branch, keys", "long branch, values", "full_silu", "90 %"):
            self.assertIn(wanted, shown)

    def test_the_page_answers_how_compressible_keys_and_values_are(self):
        panels = {panel["title"]: panel for panel in page.content(load_reports([self.edited("page.h5", analysis)]))["panels"]}
        views = panels["How compressible are keys and values?"]["views"]
        self.assertGreater(len(views), 0)
        self.assertEqual(views[0]["kind"], "line")

    def test_other_reports_have_no_such_figure(self):
        folder = os.path.join(self.folder, "none")
        self.assertEqual(run(self.reports["base"], "--format", "svg", "-o", folder).returncode, 0)
        self.assertFalse(os.path.exists(os.path.join(folder, "energy.svg")))


if __name__ == "__main__":
    figures_case.main(__doc__)
