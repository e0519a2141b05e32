"""The residency measurement as figure and panels, on a made-up report. Usage: residents_test.py <ckvsim_test_report>"""
import os
import unittest

import figures_case
import made_reports
from figures_case import PlotTest, run, setUpModule, svg_text  # noqa: F401  (unittest calls setUpModule)

from plotting.report import load_reports  # noqa: E402  (made_reports adds the path)
from reporting import page  # noqa: E402

ARMS = ["full_fp32", "item_table"]
STAGES = ["queue", "fetch", "decode", "score", "host", "total"]


def residency(places):
    """Tables of two arms; the second runs out of users, a percentile of the first is missing."""
    rows = [(arm, place) for arm in ARMS for place in places]
    detailed = [(arm, place, stage) for arm, place in rows for stage in STAGES]
    latency = [1e6 * (1 + i) for i in range(len(detailed))]

    def change(file):
        made_reports.add_table(file, "residency", "users that one byte budget holds", [
            ("arm", "text", "key", [arm for arm, _ in rows]), ("tier", "text", "key", [place for _, place in rows]),
            ("budget_bytes", "bytes", "input", [2 << 30] * len(rows)),
            ("users", "users", "derived", [12345 if arm == ARMS[0] else 678901 for arm, _ in rows]),
            ("limited_by", "text", "derived", ["budget" if arm == ARMS[0] else "users" for arm, _ in rows])])
        made_reports.add_table(file, "residency_latency", "latency of requests against resident users", [
            ("arm", "text", "key", [arm for arm, _, _ in detailed]), ("tier", "text", "key", [place for _, place, _ in detailed]),
            ("stage", "text", "key", [stage for _, _, stage in detailed]), ("mean_ns", "ns", "measured", latency),
            ("p50_ns", "ns", "measured", latency),
            ("p99_ns", "ns", "measured", [float("nan") if arm == ARMS[0] else 9e9 for arm, _, _ in detailed])])
    return change


class ResidentsTest(PlotTest):
    def made(self, name, places):
        return self.edited(name, residency(places))

    def out(self, name):
        return os.path.join(self.folder, name)

    def test_the_figure_names_users_and_latencies_of_both_places(self):
        report = self.made("both.h5", ["memory", "file"])
        done = run(report, "--only", "residents", "--format", "svg", "-o", self.out("both"))
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = svg_text(self.out("both/residents.svg"))
        for wanted in ("12,345", "at least 678,901", "in memory, 2.15 GB", "in a file on storage, 2.15 GB", "9 s"):
            self.assertIn(wanted, shown)
        with open(self.out("both/captions.md"), encoding="utf-8") as file:
            self.assertIn("Measured on this machine", file.read())

    def test_without_a_file_there_is_one_row_of_axes(self):
        done = run(self.made("one.h5", ["memory"]), "--only", "residents", "--format", "svg", "-o", self.out("one"))
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = svg_text(self.out("one/residents.svg"))
        self.assertIn("in memory", shown)
        self.assertNotIn("in a file", shown)

    def test_reports_without_the_measurement_have_neither_figure_nor_panel(self):
        run(self.reports["base"], "--format", "svg", "-o", self.out("none"))
        self.assertFalse(os.path.exists(self.out("none/residents.svg")))
        shown = {panel["id"] for panel in page.content(load_reports([self.reports["base"]]))["panels"]}
        self.assertFalse({"residents", "residents-latency"} & shown)

    def test_the_page_shows_what_is_held_and_how_fast_it_is_served(self):
        panels = {panel["id"]: panel for panel in page.content(load_reports([self.made("page.h5", ["memory", "file"])]))["panels"]}
        users = panels["residents"]["views"]
        self.assertEqual([view["label"] for view in users], ["in memory, 2.15 GB", "in a file on storage, 2.15 GB"])
        self.assertEqual(users[0]["series"][0]["values"], [12345.0, 678901.0])
        self.assertIn("item_table", users[0]["note"])
        latency = panels["residents-latency"]["views"]
        self.assertEqual(len(latency), 4)
        self.assertEqual(latency[0]["series"][1]["values"], [None, 9e9])
        self.assertIn("fetch", [one["name"] for one in latency[1]["series"]])
        self.assertNotIn("table-residency", panels)


if __name__ == "__main__":
    figures_case.main(__doc__)
