"""scripts/report on made-up fleet studies. Usage: fleet_page_test.py <ckvsim_test_report>"""
import os
import subprocess
import sys
import tempfile
import unittest

import browser
from made_reports import add_table, copy, set_spec, texts
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

    def classes(self):
        """A point of two strategies: classes of histories, of activity and of sign-up; some without a p99."""
        nan = float("nan")
        rows = [  # case, by, class, from, to, p99
            (0, "history", 0, 0, 64, 1e6), (0, "history", 1, 64, 128, nan), (0, "history", 9, 16384, 65536, 9e6),
            (1, "history", 0, 0, 64, 2e6), (1, "history", 1, 64, 128, nan), (1, "history", 9, 16384, 65536, nan),
            (0, "activity", 0, 0.0, 0.5, 3e6), (0, "activity", 3, 0.9, 0.99, 4e6), (0, "activity", 4, 0.99, 1.0, 5e6),
            (1, "activity", 0, 0.0, 0.5, nan),
            (0, "sign_up", 0, 0.0, 1.0, 6e6), (0, "sign_up", 1, 1.0, 2.0, 7e6)]

        def change(file):
            study(file, [1000])
            columns = list(map(list, zip(*rows)))
            add_table(file, "fleet_classes", "measured requests by who asked", [
                ("case", "1", "key", columns[0]), ("by", "text", "key", columns[1]), ("class", "1", "key", columns[2]),
                ("from", "see by", "input", list(map(float, columns[3]))), ("to", "see by", "input", list(map(float, columns[4]))),
                ("p99_ns", "ns", "simulated", columns[5])])
            add_table(file, "fleet_events", "events", [
                ("case", "1", "key", [0, 0]), ("event", "1", "key", [0, 1]), ("lost", "requests", "simulated", [3.0, 4.0])])
        return copy(self.base, self.base + ".classes.h5", change)

    def test_classes_of_users_have_a_view_a_grouping(self):
        found = page.content(load_reports([self.classes()]))
        panels = {p["id"]: p for p in found["panels"]}
        self.assertNotIn("table-fleet_classes", panels)
        self.assertNotIn("table-fleet_events", panels)
        history, activity, sign_up = panels["fleet-classes"]["views"]
        self.assertEqual([s["name"] for s in history["series"]], ["below 64 events", "16,384 events or more"])
        self.assertEqual([s["values"] for s in history["series"]], [[1e6, 2e6], [9e6, None]])
        self.assertEqual([row["arm"] for row in history["rows"]], ["full", "collective"])
        self.assertIn("64 to 127 events", history["note"])
        self.assertEqual([s["name"] for s in activity["series"]],
                         ["least active 50 %", "90 to 99 %, by activity", "most active 1 %"])
        self.assertEqual([row["arm"] for row in activity["rows"]], ["full"])  # not measured is no zero
        self.assertIn("collective", activity["note"])
        self.assertEqual([(s["name"], s["values"]) for s in sign_up["series"]],
                         [("there from the start", [6e6]), ("signed up during the run", [7e6])])

    def test_a_report_without_classes_of_users_says_so(self):
        found = self.content([1000])
        self.assertIn("fleet-classes", {p["id"] for p in found["missing"]})

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

    def regimes(self, winner="collective"):
        """Two regimes at one share of the nominal rates: a win and a tie."""
        def change(file):
            study(file, [1000])
            cases = file["tables/fleet_cases"]
            cases["search"] = texts(["max_load: highest load"] * len(cases["case"]))
            cases["search"].attrs.update({"unit": "text", "provenance": "input", "meaning": "what was searched"})
            add_table(file, "fleet_regimes", "regimes", [
                ("among", "text", "key", ["all", "all"]), ("model", "text", "key", ["hstu", "hstu"]),
                ("model_class", "text", "key", ["sequence", "sequence"]), ("tiers", "text", "key", ["hbm", "hbm"]),
                ("users", "users", "key", [1e6, 1e6]), ("efficiency", "1", "key", [0.7, 0.7]),
                ("catalogue_items", "items", "key", [1e6, 1e4]), ("candidates", "1", "key", [128.0, 128.0]),
                ("winner", "text", "derived", [winner, "full"]), ("second", "text", "derived", ["full", "collective"]),
                ("figure", "1/s", "derived", [4e6, 2e6]), ("margin", "1", "derived", [2.5, 1.01]),
                ("collective_margin", "1", "derived", [2.5, 0.99])])
        return copy(self.base, self.base + ".map.h5", change)

    def test_a_search_for_load_has_a_map_of_winners(self):
        found = page.content(load_reports([self.regimes()]))
        self.assertEqual(found["runs"][0]["title"], "Most load in 2 regimes: collective 1; 1 tie")
        self.assertIn("carried by collective in 1 (by up to 2.5×), nobody in 1 (within 5 %)",
                      " ".join(one["text"] for one in found["runs"][0]["sentences"]))
        (view,) = next(p for p in found["panels"] if p["id"] == "fleet-regimes")["views"]
        (won,), (tied,) = view["cells"]
        self.assertEqual((view["rows_named"], view["columns"]), (["1 M", "10 k"], ["128"]))
        self.assertEqual((won["arm"], won["words"], won["foot"], won["tie"]), ("collective", "2.5×", "4 M/s", False))
        self.assertEqual((tied["words"], tied["tie"]), ("tie: collective", True))
        self.assertNotIn("fleet-load", {p["id"] for p in found["panels"] + found["missing"]})

    @unittest.skipIf(browser.missing(), browser.missing())
    def test_the_map_is_read_by_keys_and_holds_no_markup_of_names(self):
        html = self.base + ".html"
        with open(html, "w", encoding="utf-8") as file:
            file.write(page.render(load_reports([self.regimes("<img src=x onerror=alert(1)>")])))
        with browser.Browser(html) as shown:
            run = shown.driver.execute_script
            run("document.getElementById('panel-fleet-regimes').scrollIntoView()")
            shown.until("document.querySelector('.map td')")
            run("document.querySelector('.map').focus();"
                "document.querySelector('.map').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true}))")
            self.assertIn("1 M items, 128 candidates; <img", run("return document.querySelector('.told').textContent"))
            self.assertEqual(run("return document.images.length"), 0)
            run("document.querySelector('#panel-fleet-regimes .behind').open = true")
            shown.until("document.querySelectorAll('#panel-fleet-regimes .behind tbody tr').length === 2")
            self.assertEqual([line for line in shown.driver.get_log("browser") if line["level"] == "SEVERE"], [])

    def test_a_search_for_nodes_gives_ranges_and_names_who_cannot(self):
        def change(file):
            study(file, [1000])
            del file["tables/fleet_cases"], file["tables/fleet"]
            add_table(file, "fleet_cases", "cases", [
                ("case", "1", "key", [0, 1, 2, 3, 4]), ("model", "text", "input", ["hstu"] * 5),
                ("strategy", "text", "input", ["full", "full", "collective", "collective", "item_table"]),
                ("keeping", "text", "input", ["full", "full", "collective", "collective", "item_table"]),
                ("requests_per_second", "1/s", "input", [1000.0] * 5), ("users", "users", "input", [1e6] * 5),
                ("efficiency", "1", "input", [0.5, 0.9, 0.5, 0.9, 0.5]), ("nodes", "nodes", "simulated", [9.0, 9.0, 4.0, 3.0, 1.0]),
                ("search", "text", "input", ["nodes: fewest"] * 5), ("refusal", "text", "input", [""] * 4 + ["no item table"])])
            add_table(file, "fleet", "results", [
                ("case", "1", "key", [2, 3]), ("offered", "requests", "simulated", [1000.0] * 2),
                ("entry_bytes", "bytes", "derived", [1e4] * 2), ("p99_ns", "ns", "simulated", [5e6] * 2),
                ("meets_slo", "0 or 1", "derived", [1.0] * 2)])
        found = page.content(load_reports([copy(self.base, self.base + ".nodes.h5", change)]))
        self.assertEqual(found["runs"][0]["title"], "Fewest nodes for 1 M users: hstu 3 (3 to 4) with collective")
        self.assertIn("collective 3 (3 to 4); no number of nodes keeps it with full.", found["runs"][0]["sentences"][0]["text"])
        (view,) = next(p for p in found["panels"] if p["id"] == "fleet-nodes")["views"]
        series = view["series"][0]
        self.assertEqual((series["values"], series["low"], series["high"]), ([None, 3, None], [None, 3, None], [None, 4, None]))
        self.assertEqual(view["note"], "Does not apply: item_table. No number of nodes keeps the promise: full.")

    def test_an_unknown_table_of_regimes_is_shown_open(self):
        def change(file):
            study(file, [1000])
            add_table(file, "fleet_regimes", "regimes", [
                ("among", "text", "key", ["all", "all", "exact"]), ("users", "users", "key", [1e6, 1e7, 1e6]),
                ("winner", "text", "derived", ["collective", "collective", "made_up_winner"])])
        path = copy(self.base, self.base + ".regimes.h5", change)
        self.assertNotIn("fleet-regimes", {p["id"] for p in page.content(load_reports([path]))["panels"]})  # too few columns
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
