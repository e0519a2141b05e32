"""scripts/plot on made-up plans. Usage: plan_figures_test.py <ckvsim_test_report>"""
import os

from figures_case import PlotTest, main, png_size, run, setUpModule, svg_text  # noqa: F401  (unittest calls it)
from made_plans import LOADS, NAN, QUESTIONS, check, front_row, plan, question
from plotting import plans
from plotting.report import load_report

FIGURES = ["plan_error", "plan_front", "plan_nodes"]


class PlanFigures(PlotTest):
    def plan(self, name, *content, **attributes):
        return self.edited(name + ".h5", lambda file: plan(file, *content, **attributes))

    def pictures(self, path, *more):
        """{figure: its text on one line} of what a report gets when nothing is asked for."""
        folder = path + "-figures"
        result = run(path, "-o", folder, "--format", "svg", *more)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        names = [name for name in sorted(os.listdir(folder)) if name.endswith(".svg")]
        return {name[:-4]: " ".join(svg_text(os.path.join(folder, name)).split("\n")) for name in names}

    def picture(self, figure, path):
        return self.pictures(path, "--only", figure)[figure]

    def test_a_plan_gets_its_three_figures_and_no_others(self):
        self.assertEqual(list(self.pictures(self.plan("default"))), FIGURES)

    def test_nodes_stand_with_their_interval(self):
        words = self.picture("plan_nodes", self.plan("nodes"))
        for word in ("collective  8 [8, 9]", "full_fp16  12 [11, 13]", "p99 within 30 ms", "0.02 requests a second and user",
                     "70% of nominal rates", "hstu: K and V per sequence", "made-up node (nominal)"):
            self.assertIn(word, words)

    def test_infeasible_is_a_reason_and_never_a_number(self):
        words = self.picture("plan_nodes", self.plan("infeasible"))
        self.assertIn("full_fp16 at 100 M users: infeasible: even 65536 nodes miss the SLO (p99 41 ms): flash reads", words)
        # For all users: they are not listed.
        self.assertIn("item_table: does not apply: K and V of hstu do not depend on the item alone", words)
        self.assertNotIn("65,536", words)  # what the search tried last is no answer
        self.assertNotIn("nan", words)
        self.assertNotIn("item_table  0", words)

    def test_where_nothing_is_feasible_the_figure_says_so(self):
        path = self.plan("never", [question("full_fp16", "full", 1e8, None, reason="flash reads")], [], [])
        drawn = self.pictures(path)
        self.assertEqual(list(drawn), ["plan_nodes"])
        self.assertIn("no fleet meets the SLO", drawn["plan_nodes"])

    def test_the_best_tiers_speak_for_a_strategy(self):
        rows = [question("full_fp16", "full", 1e7, 30, best=0, tiers="hbm"), question("full_fp16", "full", 1e7, 12),
                question("full_fp16", "full", 1e7, None, reason="no room", tiers="nvme")]
        report = load_report(self.plan("best", rows, [], []))
        (row,) = plans.smallest(report)
        self.assertEqual((row["nodes"], plans.state(row)), (12, plans.FEASIBLE))

    def test_a_sweep_is_shown_at_its_middle(self):
        rows = [question("full_fp16", "full", 1e7, nodes, efficiency=e) for e, nodes in ((0.5, 40), (0.7, 30), (0.9, 20))]
        path = self.plan("sweep", rows, [], [])
        (row,) = plans.smallest(load_report(path))
        self.assertEqual(row["nodes"], 30)
        self.assertIn("the middle of the sweep of efficiency", self.picture("plan_nodes", path))

    def test_the_front_names_the_beaten_and_cost(self):
        words = self.picture("plan_front", self.plan("front", [*QUESTIONS[:3], question("collective", "collective", 1e7, 2)], [],
                                     [front_row(3, {**QUESTIONS[4]})]))
        for word in ("collective 2", "full_fp16 12", "USD per million requests", "SLO 30 ms", "hstu, 10 M users"):
            self.assertIn(word, words)

    def test_energy_has_a_panel_only_where_it_says_more_than_nodes(self):
        words = self.picture("plan_front", self.plan("bound"))
        self.assertIn("Energy per request is proportional to nodes (an upper bound", words)
        self.assertNotIn("kWh per million requests", words)
        rows = [question("full_fp16", "full", 1e7, 12, energy_per_million=0.7), question("collective", "collective", 1e7, 2)]
        self.assertIn("kWh per million requests", self.picture("plan_front", self.plan("energy", rows, [], [])))
        rows = [question("collective", "collective", 1e7, 2, energy_per_million=NAN, cost_per_million=NAN)]
        words = self.picture("plan_front", self.plan("unknown", rows, [], []))
        self.assertIn("Energy: not given by the platform", words)
        self.assertNotIn("per million requests", words)
        self.assertNotIn("nan", words)

    def test_errors_count_what_agrees_and_what_was_not_run(self):
        rows = [{"question": n, **row} for n, row in enumerate(QUESTIONS)]
        checks = [check(0, rows[0], 13), check(4, rows[4], 2), check(5, rows[5], 0, skipped="too many users")]
        words = self.picture("plan_error", self.plan("errors", QUESTIONS, checks))
        self.assertIn("The same nodes in 1 of 2 re-runs, within the plan's interval in 2; 1 not re-run", words)
        self.assertNotIn("steps", words)
        checks[0] = check(0, rows[0], 0)  # no number of nodes was found: not zero nodes
        words = self.picture("plan_error", self.plan("none", QUESTIONS, checks))
        self.assertIn("▲: full runs miss the SLO at the plan's nodes and all 8 steps above", words)
        self.assertNotIn("▼", words)
        self.assertIn("within the plan's interval in 1", words)

    def test_full_runs_that_need_fewer_nodes_are_told_from_those_that_never_do(self):
        rows = [{"question": n, **row} for n, row in enumerate(QUESTIONS)]
        words = self.picture("plan_error", self.plan("below", QUESTIONS, [check(0, rows[0], 0, side="below"), check(4, rows[4], 2)]))
        self.assertIn("▼: full runs still meet the SLO all 8 steps below the plan: fewer nodes would do", words)
        self.assertNotIn("▲", words)
        old = [check(0, rows[0], 0, side=""), check(4, rows[4], 2, side="")]
        words = self.picture("plan_error", self.plan("older", QUESTIONS, old))
        self.assertIn("✖: full runs find no number of nodes near the plan", words)
        self.assertNotIn("▲", words)

    def test_given_nodes_alone_have_no_figures_of_their_own(self):
        path = self.plan("loads", LOADS, [], [])
        self.assertEqual(list(self.pictures(path)), [])
        self.assertIn("looked for nodes", self.picture("plan_nodes", path))

    def test_figures_are_not_trivial_and_go_into_papers(self):
        path = self.plan("paper")
        run(path, "-o", path + "-png", "--format", "png")
        for figure in FIGURES:
            width, height = png_size(os.path.join(path + "-png", figure + ".png"))
            self.assertGreater(width, 900)
            self.assertGreater(height, 500)
        self.assertEqual(run(path, "-o", path + "-paper", "--paper").returncode, 0)
        with open(os.path.join(path + "-paper", "captions.tex"), encoding="utf-8") as file:
            self.assertIn("ckvsimCaptionPlanNodes", file.read())

    def test_other_reports_say_that_they_are_none(self):
        for figure in FIGURES:
            self.assertIn("No report of ckvsim plan", self.text(figure, "base"))


if __name__ == "__main__":
    main(__doc__)
