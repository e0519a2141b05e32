"""scripts/report on made-up reports, without a browser. Usage: page_test.py <ckvsim_test_report>"""
import contextlib
import html.parser
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import made_reports
from made_reports import INJECTION, ROOT, copy

from reporting import cli, colors, page  # noqa: E402  (made_reports adds the path)
from plotting.report import load_report, load_reports  # noqa: E402

REPORT = os.path.join(ROOT, "scripts", "report")
GOLDEN = os.path.join(ROOT, "results", "golden", "ci.h5")
VARIANTS = ["base", "other", "sparse", "gaps", "no_power", "leaked"]
MAKE_REPORT = ""


class Page(html.parser.HTMLParser):
    """Elements, attributes and text of a page, as a browser would see them."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.data, self.scripts = [], [], "", []
        self.inside = None
        self.feed(source)
        self.json = json.loads(self.data)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside = dict(attributes).get("type", tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.inside = None

    def handle_data(self, data):
        if self.inside == "application/json":
            self.data += data
        elif self.inside is None:
            self.text.append(data)
        elif self.inside == "script":
            self.scripts.append(data)

    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))

    def count(self, tag):
        return sum(one == tag for one, _ in self.elements)


def setUpModule():
    PageTest.folder = tempfile.mkdtemp(prefix="ckvsim-page-")
    unittest.addModuleCleanup(shutil.rmtree, PageTest.folder)
    for variant in VARIANTS:
        subprocess.run([MAKE_REPORT, PageTest.path(variant), variant], check=True)


class PageTest(unittest.TestCase):
    folder = ""
    pages = {}

    @classmethod
    def path(cls, name, ending="h5"):
        return os.path.join(cls.folder, f"{name}.{ending}")

    def page(self, *names):
        if names not in self.pages:
            self.pages[names] = Page(page.render(load_reports([self.path(n) for n in names])))
        return self.pages[names]

    def content(self, name):
        return page.content(load_reports([self.path(name)]))

    def run_cli(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(list(arguments))
            except SystemExit as request:
                code = request.code
        return code, out.getvalue(), err.getvalue()


class Content(PageTest):
    def test_headline_says_what_was_found(self):
        found = self.content("base")["runs"][0]
        self.assertEqual(found["title"],
                         "CollectiveKV keeps 96 % [90, 101] of what histories are worth at 0.39 % of "
                         "the bytes; item_table keeps all of it at 0.2 %")
        words = " ".join(one["text"] for one in found["sentences"])
        self.assertIn("m = 1,000, m/V = 0.042) keeps 95.8 % (95 % interval 90.2 to 101.4 %)", words)
        self.assertIn("item_table changes no score and needs 0.195 % of the bytes; it applies because",
                      words)
        self.assertIn("outside its target", words)
        for one in found["sentences"]:
            self.assertTrue(one["provenance"], one)

    def test_no_power_forbids_a_ranking(self):
        found = self.content("no_power")["runs"][0]
        self.assertIn("cannot judge accuracy", found["title"])
        self.assertIn("cannot rank the strategies", found["sentences"][0]["text"])
        self.assertNotIn("keeps 96", " ".join(one["text"] for one in found["sentences"]))

    def test_a_suspected_leak_comes_first_and_clean_data_say_so(self):
        found = self.content("leaked")
        run = found["runs"][0]
        self.assertTrue(run["title"].endswith("; labels may have leaked"), run["title"])
        self.assertIn("candidate_in_history tells clicks with AUC 0.702 (95 % interval 0.699 to 0.705)", run["sentences"][0]["text"])
        self.assertIn("Users who return to items look the same", run["sentences"][0]["text"])
        self.assertIn("collective_fp32 has AUC 0.760", run["sentences"][1]["text"])
        self.assertEqual([one["tone"] for one in run["sentences"][:2]], ["caution", "caution"])
        controls = {name: next(p for p in self.content(name)["panels"] if p["id"] == "controls")["explain"]
                    for name in ("leaked", "base")}
        self.assertIn("AUC 0.501 to 0.702 (suspicious; table leakage)", controls["leaked"])
        self.assertIn("AUC 0.501 to 0.512 (nothing suspicious; table leakage)", controls["base"])
        self.assertNotIn("leaked", " ".join(one["text"] for one in self.content("base")["runs"][0]["sentences"]))

    def test_a_report_without_the_table_says_nothing_of_leaks(self):
        def change(file):
            del file["tables/leakage"]
        copy(self.path("leaked"), self.path("unprobed"), change)
        found = self.content("unprobed")
        controls = next(p for p in found["panels"] if p["id"] == "controls")
        self.assertTrue(controls["explain"].endswith("du0 = the user-specific values)."), controls["explain"])
        self.assertNotIn("leak", " ".join([found["runs"][0]["title"], *(one["text"] for one in found["runs"][0]["sentences"])]))

    def test_missing_parts_are_not_measured_and_never_zero(self):
        found = self.content("sparse")
        self.assertEqual({one["id"] for one in found["panels"]}, {"memory", "sections"})
        self.assertIn("accuracy", {one["id"] for one in found["missing"]})
        self.assertIn("p99 here", found["comparison"]["absent"])
        words = self.page("sparse").words()
        self.assertIn("Not measured in this run: History lift kept, Verdict, AUC, p50 here", words)
        gaps = self.content("gaps")["comparison"]
        cell = next(row for row in gaps["rows"] if row["arm"] == "collective_fp16")["cells"]["lift"]
        self.assertEqual((cell["text"], cell["sort"], cell["missing"]), ("not measured", "", True))
        front = next(p for p in self.content("gaps")["panels"] if p["id"] == "accuracy")
        self.assertIn("collective_fp16", front["views"][0]["note"])
        self.assertNotIn("collective_fp16", [s["arm"] for s in front["views"][0]["series"]])

    def test_stage_bars_add_up_to_the_mean_total(self):
        report = load_report(self.path("base"))
        stages = next(p for p in self.content("base")["panels"] if p["id"] == "stages")["views"][0]
        table = report.tables["executed_latency"].records()
        for number, row in enumerate(stages["rows"]):
            total = next(r["mean_ns"] for r in table if r["arm"] == row["arm"] and r["pass"] == 1
                         and r["stage"] == "total")
            self.assertAlmostEqual(sum(s["values"][number] for s in stages["series"]) / total, 1, 6)

    def test_every_column_of_numbers_names_its_provenance(self):
        for column in self.content("base")["comparison"]["columns"]:
            self.assertIn(column["provenance"], ("measured", "simulated", "derived"), column)
        for one in self.content("base")["panels"]:
            self.assertTrue(one["claim"])
            for view in one["views"]:
                for series in view["series"]:
                    self.assertIn(series["provenance"], ("measured", "simulated", "derived"), series)

    def test_two_reports_stand_side_by_side(self):
        found = self.page("base", "other")
        self.assertIn("fixture-other", found.words())
        rows = page.content(load_reports([self.path("base"), self.path("other")]))["comparison"]["rows"]
        self.assertEqual([(r["arm"], r["run"]) for r in rows[:2]], [("full_fp32", 0), ("full_fp32", 1)])
        self.assertEqual(len(rows), 18)
        memory = next(p for p in found.json["panels"] if p["id"] == "memory")["views"][0]["series"]
        self.assertEqual({s["run"] for s in memory}, {0, 1})

    def test_unknown_tables_become_tables_and_figures(self):
        made_reports.with_load_sweep(self.path("base"), self.path("load"))
        found = self.content("load")
        panels = {one["id"]: one for one in found["panels"]}
        view = panels["load"]["views"][0]
        self.assertEqual((view["y"]["format"], view["x"]["title"]), ("ns", "offered"))
        self.assertEqual([s["arm"] for s in view["series"]], ["full_fp32", "collective_fp16"])
        self.assertEqual(view["series"][0]["y"], [1e6, 2e6, 4e6, 8e6])
        self.assertEqual(view["marks"][0]["y"], 5e6)  # the spec's slo_ms
        self.assertEqual(len(panels["time"]["views"][0]["series"][0]["x"]), 20)
        self.assertEqual([one["id"] for one in found["missing"]], ["svd"])
        self.assertIn("load_sweep", [one["name"] for one in found["tables"]])

    def test_tables_hold_every_value_of_the_report(self):
        report = load_report(GOLDEN)
        data = {one["name"]: one for one in Page(page.render([report])).json["tables"]}
        self.assertEqual(set(data), set(report.tables))
        for name, table in report.tables.items():
            columns = {one["name"]: one for one in data[name]["columns"]}
            self.assertEqual(set(columns), set(table.columns), name)
            for column, one in columns.items():
                self.assertEqual(len(one.get("values", one.get("codes"))), len(table), (name, column))
                self.assertEqual(one["meaning"], table.descriptions[column]["meaning"])
        auc = {c["name"]: c for c in data["accuracy"]["columns"]}["auc"]["values"]
        for shown, stored in zip(auc, report.tables["accuracy"]["auc"]):
            self.assertAlmostEqual(shown, stored, 8)

    def test_graphics_stand_out_from_both_backgrounds(self):
        self.assertAlmostEqual(colors.contrast("#000000", "#ffffff"), 21, 1)
        for look in self.content("base")["looks"].values():
            self.assertGreaterEqual(colors.contrast(look["light"], colors.LIGHT), 3, look)
            self.assertGreaterEqual(colors.contrast(look["dark"], colors.DARK), 3, look)


class Safety(PageTest):
    def test_hostile_texts_stay_text(self):
        made_reports.hostile(self.path("base"), self.path("hostile"))
        plain, bad = self.page("base"), self.page("hostile")
        for tag in ("script", "style", "meta", "link"):
            self.assertEqual(bad.count(tag), plain.count(tag), tag)
        self.assertEqual(bad.count("img"), 0)
        for _, attributes in bad.elements:
            self.assertFalse([name for name in attributes if name.startswith("on")], attributes)
        self.assertEqual(bad.scripts, plain.scripts)
        self.assertIn("<img src=x onerror=window.injected=1>", bad.words())
        self.assertNotIn("<", bad.data)

    def test_policy_forbids_the_network_and_foreign_scripts(self):
        source = page.render(load_reports([self.path("base")]))
        policy = next(a["content"] for t, a in self.page("base").elements
                      if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertNotIn("http", policy)
        for tag, attributes in self.page("base").elements:
            for name in ("src", "href", "action", "style"):
                value = attributes.get(name, "")
                self.assertFalse(value and not value.startswith(("#", "data:,")), (tag, name, value))
        self.assertEqual(len(re.findall(r"'sha256-", policy)), 3)
        self.assertIn("MIT", source)

    def test_equal_reports_give_equal_pages(self):
        self.assertEqual(page.render(load_reports([self.path("base")])),
                         page.render(load_reports([self.path("base")])))

    def test_a_sweep_of_200_strategies_stays_under_10_megabytes(self):
        made_reports.sweep(self.path("base"), self.path("sweep"), 200)
        found = page.content(load_reports([self.path("sweep")]))
        self.assertEqual(len(found["comparison"]["rows"]), 200)
        size = len(page.render(load_reports([self.path("sweep")])).encode("utf-8"))
        self.assertLess(size, 10e6)
        # Arms beyond the palette still differ in colour or marker.
        self.assertGreater(len({(v["light"], v["marker"]) for v in found["looks"].values()}), 150)


class CommandLine(PageTest):
    def refuse(self, code, words, *arguments):
        result, out, err = self.run_cli(*arguments)
        self.assertEqual((result, out), (code, ""), err)
        self.assertTrue(err.startswith(("error: ", "usage: ")), err)
        self.assertIn(words, err)
        self.assertNotIn("Traceback", err)

    def test_writes_one_file_and_names_it(self):
        target = self.path("page", "html")
        done = subprocess.run([sys.executable, "-B", REPORT, self.path("base"), "-o", target],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, target + "\n", ""))
        with open(target, encoding="utf-8") as file:
            self.assertTrue(file.read().startswith("<!doctype html>"))
        self.assertFalse(os.path.exists(target + ".partial"))

    def test_refuses_what_is_not_a_report(self):
        truncated = self.path("truncated")
        with open(self.path("base"), "rb") as source, open(truncated, "wb") as file:
            file.write(source.read()[:40000])
        with open(self.path("text"), "w", encoding="utf-8") as file:
            file.write("no report")
        import h5py
        with h5py.File(self.path("foreign"), "w") as file:
            file["x"] = 1
        newer = copy(self.path("base"), self.path("newer"),
                     lambda file: file.attrs.__setitem__("schema_version", 999))
        self.refuse(4, "is truncated", truncated)
        self.refuse(4, "is not a ckvsim report", self.path("text"))
        self.refuse(4, "is an HDF5 file but not a ckvsim report", self.path("foreign"))
        self.refuse(4, "has report schema 999, newer than", newer)
        self.refuse(4, "does not exist", self.path("nowhere"))

    def test_refuses_bad_command_lines_and_outputs(self):
        self.refuse(2, "no report given")
        self.refuse(2, "would be overwritten", self.path("base"), "-o", self.path("base"))
        self.refuse(5, "cannot write", self.path("base"), "-o",
                    os.path.join(self.folder, "no", "such", "page.html"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
