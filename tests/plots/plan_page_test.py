"""scripts/report on made-up plans. Usage: plan_page_test.py <ckvsim_test_report>"""
import os
import subprocess
import sys
import tempfile
import unittest

import browser
from made_plans import LOADS, QUESTIONS, check, plan, question
from made_reports import copy
from plotting.report import load_reports
from reporting import page

MAKE_REPORT = ""


class PlanPage(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-plan-page-")
        self.addCleanup(scratch.cleanup)
        self.base = os.path.join(scratch.name, "base.h5")
        subprocess.run([MAKE_REPORT, self.base, "base"], check=True)

    def planned(self, *content):
        return copy(self.base, self.base + ".plan.h5", lambda file: plan(file, *content))

    def content(self, *content, others=()):
        return page.content(load_reports([self.planned(*content), *others]))

    def said(self, *content):
        run = self.content(*content)["runs"][0]
        return run["title"], " ".join(one["text"] for one in run["sentences"])

    def test_the_headline_answers_how_many_nodes(self):
        title, words = self.said()
        self.assertEqual(title, "Fewest nodes for 100 M users: hstu 8 [8, 9] with collective")
        self.assertIn("hstu, 10 M users: fewest nodes with p99 within 30 ms: collective 2, full_fp16 12 [11, 13]. "
                      "The smallest is decided by load: GPU time.", words)
        self.assertIn("collective 8 [8, 9]. The smallest is decided by load: GPU time; infeasible: full_fp16.", words)

    def test_what_is_infeasible_says_why(self):
        _, words = self.said()
        self.assertIn("hstu, full_fp16 at 100 M users: infeasible: even 65536 nodes miss the SLO (p99 41 ms): flash reads.", words)
        self.assertIn("hstu, item_table: does not apply: K and V of hstu do not depend on the item alone.", words)
        twice = question("item_table", "item_table", 1e7, None, applies=0, reason="item_table does not apply to hstu: by sequence")
        self.assertIn("hstu, item_table: does not apply: by sequence.", self.said([*QUESTIONS[:1], twice], [], [])[1])
        self.assertEqual(self.said([question("full", "full", 1e7, None, reason="no room")], [], [])[0],
                         "Fewest nodes for 10 M users: no fleet has p99 within 30 ms")

    def test_errors_are_said_and_their_absence_too(self):
        self.assertIn("The same nodes in 2 of 3 re-runs, within the plan's interval in 3; hit ratios are off by up to 0.2 points.",
                      self.said()[1])
        self.assertIn("No answer was re-run in full", self.said(QUESTIONS, [])[1])

    def test_one_node_that_is_enough_is_not_decided_by_anything(self):
        words = self.said([question("collective", "collective", 1e7, 1, bound="nothing")], [], [])[1]
        self.assertIn("collective 1. One node is enough for the smallest.", words)
        self.assertNotIn("nothing.", words)

    def test_rows_of_given_nodes_hold_loads(self):
        (row,) = self.content(LOADS, [], [])["comparison"]["rows"]
        self.assertEqual((row["words"], row["cells"]["p_nodes"]["text"]), ("10 M users, 8 nodes given", "8 given"))
        self.assertEqual((row["cells"]["p_load"]["text"], row["cells"]["p_load"]["interval"]), ("150 k/s", "[140 k/s, 160 k/s]"))
        self.assertEqual(row["cells"]["p_roomy"]["text"], "2/s")  # a load, not nodes

    def test_given_nodes_carry_a_load(self):
        title, words = self.said(LOADS, [], [])
        self.assertEqual(title, "Highest load of given fleets with p99 within 30 ms")
        self.assertIn("hstu, 10 M users on 8 nodes: highest load with p99 within 30 ms: full_fp16 150 k/s.", words)

    def test_rows_of_the_comparison(self):
        table = self.content()["comparison"]
        rows = {(row["arm"], row["words"]): row for row in table["rows"]}
        self.assertEqual(len(rows), len(QUESTIONS))
        good, bad = rows["full_fp16", "10 M users"], rows["full_fp16", "100 M users"]
        self.assertEqual((good["cells"]["p_nodes"]["text"], good["cells"]["p_nodes"]["interval"]), ("12", "[11, 13]"))
        self.assertEqual((bad["cells"]["p_nodes"]["text"], bad["refused"]), ("infeasible", "infeasible"))
        self.assertEqual({cell["sort"] for cell in bad["cells"].values()}, {""})  # no number to sort by
        self.assertEqual(rows["item_table", "10 M users"]["refused"], "does not apply")
        self.assertIn("USD per million requests", [column["title"] for column in table["columns"]])
        self.assertNotIn("95 %", table["explain"])

    def test_figures_hold_feasible_fleets_only(self):
        panels = {p["id"]: p for p in self.content()["panels"]}
        self.assertLessEqual({"plan-nodes", "plan-front", "plan-error"}, set(panels))
        (view,) = panels["plan-nodes"]["views"]
        full = next(s for s in view["series"] if s["arm"] == "full_fp16")
        self.assertEqual((full["x"], full["y"], full["low"], full["high"]), ([1e7], [12], [11], [13]))
        self.assertNotIn("item_table", {s["arm"] for s in view["series"]})
        self.assertEqual(view["note"], "full_fp16 at 100 M users: infeasible; item_table at 10 M, 100 M users: does not apply")
        front = panels["plan-front"]["views"]
        self.assertEqual([s["name"] for s in front[1]["series"]], ["collective", "full_fp16 (beaten)"])

    def test_full_runs_without_an_answer_are_no_zero(self):
        rows = [{"question": n, **row} for n, row in enumerate(QUESTIONS)]
        found = self.content(QUESTIONS, [check(0, rows[0], 0), check(4, rows[4], 3)])
        (view,) = next(p for p in found["panels"] if p["id"] == "plan-error")["views"]
        self.assertEqual([s["y"] for s in view["series"]], [[0.5]])
        self.assertEqual(view["note"], "1 of 2 full runs miss the SLO at the plan's nodes and all 8 steps above")

    def test_where_no_full_run_ends_on_a_number_the_words_say_so(self):
        rows = [{"question": n, **row} for n, row in enumerate(QUESTIONS)]
        found = self.content(QUESTIONS, [check(0, rows[0], 0), check(4, rows[4], 0, side="below")])
        words = next(p["missing"] for p in found["missing"] if p["id"] == "plan-error")
        self.assertIn("1 of 2 full runs still meet the SLO all 8 steps below the plan: fewer nodes would do", words)
        self.assertIn("1 of 2 full runs miss the SLO", words)
        self.assertNotIn("--check", words)
        words = next(p["missing"] for p in self.content(QUESTIONS, [])["missing"] if p["id"] == "plan-error")
        self.assertIn("--check", words)

    def test_questions_of_executed_runs_are_not_asked(self):
        self.assertEqual({p["id"] for p in self.content(LOADS, [], [])["missing"]}, {"plan-nodes", "plan-front", "plan-error"})

    def test_a_plan_beside_a_run_of_arms(self):
        found = self.content(others=[self.base])
        self.assertLessEqual({"plan-nodes", "memory"}, {p["id"] for p in found["panels"]})
        self.assertEqual({row["run"] for row in found["comparison"]["rows"]}, {0, 1})
        self.assertIn("95 %", found["comparison"]["explain"])

    @unittest.skipIf(browser.missing(), browser.missing())
    def test_the_table_sorts_filters_and_holds_no_markup_of_reasons(self):
        rows = [*QUESTIONS[:1], question("full_fp16", "full", 1e8, None, reason="<img src=x onerror=alert(1)>"), *QUESTIONS[4:]]
        html = self.base + ".html"
        with open(html, "w", encoding="utf-8") as file:
            file.write(page.render(load_reports([self.planned(rows, [])])))
        for dark in (False, True):
            with browser.Browser(html, dark=dark) as shown:
                shown.draw_all()
                texts = "return [...document.querySelectorAll('#comparison-table tbody tr')].filter(r => !r.hidden)" \
                        ".map(r => r.cells[1].textContent.trim().split('[')[0])"
                shown.js("[...document.querySelectorAll('#comparison-table thead button')][1].click()")
                self.assertEqual(shown.js(texts), ["2", "8", "12", "infeasible"])
                shown.js("[...document.querySelectorAll('#comparison-table thead button')][1].click()")
                self.assertEqual(shown.js(texts), ["12", "8", "2", "infeasible"])
                shown.js("const i = document.querySelector('input.filter'); i.value = 'collective'; i.dispatchEvent(new Event('input'))")
                self.assertEqual(shown.js(texts), ["8", "2"])
                self.assertEqual(shown.js("return document.images.length"), 0)
                self.assertEqual(shown.errors(), [])


if __name__ == "__main__":
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
