"""scripts/report on made-up fleet studies. Usage: fleet_page_test.py <ckvsim_test_report>"""
import os
import subprocess
import sys
import tempfile
import unittest

import browser
from made_reports import add_table, copy, set_spec
from plotting.report import load_reports
from reporting import page

MAKE_REPORT = ""


def study(file, loads):
    """One model, full KV and CollectiveKV at these loads; full KV breaks the promise at 2,000 requests/s."""
    for name in list(file["tables"]):
        del file["tables"][name]
    set_spec(file, {"study": "fleet", "name": "made-fleet", "fleet": {"slo_ms": 30}})
    points = [(load, name) for load in loads for name in ("full", "collective")] + [(loads[0], "item_table")]
    numbers, served = list(range(len(points))), len(points) - 1
    add_table(file, "fleet_cases", "cases", [
        ("case", "1", "key", numbers), ("model", "text", "input", ["hstu"] * len(points)),
        ("strategy", "text", "input", [name for _, name in points]),
        ("keeping", "text", "input", [name for _, name in points]),
        ("requests_per_second", "1/s", "input", [float(load) for load, _ in points]),
        ("users", "users", "input", [1e6] * len(points)),
        ("refusal", "text", "input", [""] * served + ["item_table does not apply to hstu"])])
    p99 = [60e6 if name == "full" and load >= 2000 else 5e6 for load, name in points[:served]]
    add_table(file, "fleet", "results", [
        ("case", "1", "key", numbers[:served]), ("offered", "requests", "simulated", [1000.0] * served),
        ("entry_bytes", "bytes", "derived", [1e6 if n == "full" else 1e4 for _, n in points[:served]]),
        ("p50_ns", "ns", "simulated", [1e6] * served), ("p99_ns", "ns", "simulated", p99),
        ("meets_slo", "0 or 1", "derived", [float(value < 30e6) for value in p99]),
        ("limited_by", "text", "derived", ["nvme"] * served)])
    file["tables/fleet"].attrs["platform"] = "made-up node"
    add_table(file, "fleet_latency", "stages", [
        ("case", "1", "key", [0, 0, 0]), ("stage", "text", "key", ["queue", "append", "total"]),
        ("count", "requests", "simulated", [100, 50, 100]), ("mean_ns", "ns", "simulated", [4e5, 2e5, 5e5])])


class FleetPage(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-fleet-page-")
        self.addCleanup(scratch.cleanup)
        self.base = os.path.join(scratch.name, "base.h5")
        subprocess.run([MAKE_REPORT, self.base, "base"], check=True)

    def content(self, loads, *others):
        path = copy(self.base, self.base + ".fleet.h5", lambda file: study(file, loads))
        return page.content(load_reports([path, *others]))

    def test_a_sweep_names_the_load_that_each_strategy_carries(self):
        found = self.content([1000, 2000])
        run = found["runs"][0]
        self.assertEqual(run["title"], "1 M users, largest load within 30 ms: hstu 2 k/s with collective")
        words = " ".join(one["text"] for one in run["sentences"])
        self.assertIn("collective 2 k/s (the largest tried), full 1 k/s.", words)
        self.assertIn("a user's entry takes 10 kB (collective) to 1 MB (full)", words)
        view = next(p for p in found["panels"] if p["id"] == "fleet-load")["views"][0]
        full = next(s for s in view["series"] if s["arm"] == "full")
        self.assertEqual((full["x"], full["y"]), ([1000, 2000], [5e6, 60e6]))
        self.assertEqual(view["marks"][0]["y"], 30e6)

    def test_one_point_compares_strategies(self):
        found = self.content([2000])
        self.assertEqual(found["runs"][0]["title"],
                         "1 M users, 2 k requests/s: 1 of 2 simulated fleets answer within 30 ms")
        self.assertIn("to 60 ms (full, busiest device: nvme)",
                      " ".join(one["text"] for one in found["runs"][0]["sentences"]))
        self.assertEqual(next(p for p in found["panels"] if p["id"] == "fleet-load")["views"][0]["kind"], "dots")
        stages = next(p for p in found["panels"] if p["id"] == "fleet-stages")["views"][0]
        self.assertEqual(sum(s["values"][0] or 0 for s in stages["series"]), 5e5)

    def test_nothing_is_said_of_accuracy(self):
        found = self.content([1000, 2000])
        said = [found["runs"][0]["title"], *(one["text"] for one in found["runs"][0]["sentences"]),
                *(p["title"] for p in found["panels"] + found["missing"]), *found["comparison"]["absent"]]
        for word in ("accura", "lift", "auc", "worth"):
            self.assertNotIn(word, " ".join(said).lower())

    def test_a_refused_strategy_keeps_its_reason_and_no_number(self):
        row = self.content([1000])["comparison"]["rows"][-1]
        self.assertEqual(row["refusal"], "item_table does not apply to hstu")
        self.assertTrue(row["cells"]["f_p99"]["missing"])

    def test_regimes_are_counted_and_shown_open(self):
        def change(file):
            study(file, [1000])
            add_table(file, "fleet_regimes", "regimes", [
                ("among", "text", "key", ["all", "all", "exact"]), ("users", "users", "key", [1e6, 1e7, 1e6]),
                ("winner", "text", "derived", ["collective", "collective", "made_up_winner"])])
        path = copy(self.base, self.base + ".regimes.h5", change)
        words = " ".join(one["text"] for one in page.content(load_reports([path]))["runs"][0]["sentences"])
        self.assertIn("Best of 2 regimes (all): collective in 2.", words)
        self.assertIn("Best of 1 regimes (exact): made_up_winner in 1.", words)
        if browser.missing():
            return
        html = self.base + ".html"
        with open(html, "w", encoding="utf-8") as file:
            file.write(page.render(load_reports([path])))
        with browser.Browser(html) as shown:
            shown.until("document.querySelector('details.table[open] tbody tr')")
            rows = shown.driver.execute_script(
                "return [...document.querySelectorAll('details.table[open] tbody tr')].map(r => r.textContent)")
        self.assertEqual(len(rows), 3)
        self.assertIn("made_up_winner", rows[2])

    def test_a_fleet_beside_a_run_of_arms(self):
        found = self.content([1000], self.base)
        self.assertEqual({row["run"] for row in found["comparison"]["rows"]}, {0, 1})
        ids = {p["id"] for p in found["panels"]}
        self.assertLessEqual({"fleet-load", "accuracy", "memory"}, ids)
        self.assertIn("CollectiveKV keeps", found["runs"][1]["title"])


if __name__ == "__main__":
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
