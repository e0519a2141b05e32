"""scripts/plot on made-up fleet studies that search. Usage: fleet_figures_test.py <ckvsim_test_report>"""
import os

from figures_case import PlotTest, main, png_size, run, setUpModule, svg_text  # noqa: F401  (unittest calls it)
from made_reports import add_table, set_spec
from plotting import fleet_nodes, fleet_regimes

STRATEGIES = [("full_int8", "full"), ("item_table_fp16", "item_table"), ("collective_m1000", "collective")]


def table(file, name, rows):
    """A table whose rows are dictionaries."""
    add_table(file, name, "made up", [(key, "1", "simulated", [row[key] for row in rows]) for key in rows[0]])


def cases(search, points):
    """points: (strategy, keeping, model, efficiency, nodes, refusal)"""
    return [{"case": number, "model": model, "model_class": "item", "strategy": strategy, "keeping": keeping,
             "users": 1e6, "nodes": nodes, "requests_per_second": 1e4, "efficiency": efficiency, "refusal": refusal,
             "search": search + ": made up"}
            for number, (strategy, keeping, model, efficiency, nodes, refusal) in enumerate(points)]


def regime(items, winner, margin, efficiency=0.7, among="all", pools=0.96):
    return {"model": "twin", "model_class": "item", "users": 1e6, "catalogue_items": items, "candidates": 8,
            "tiers": "hbm", "efficiency": efficiency, "among": among, "winner": winner, "figure": 41000.0,
            "second": "item_table_fp16", "margin": margin, "collective_best": "collective_m1000",
            "collective_margin": pools}


class FleetFigures(PlotTest):
    def study(self, name, fill):
        def change(file):
            for old in list(file["tables"]):
                del file["tables"][old]
            set_spec(file, {"study": "fleet", "name": "made-fleet", "fleet": {"slo_ms": 30},
                            "traffic": {"requests_per_second": 1e4}})
            fill(file)
            file["tables/fleet"].attrs["platform"] = "made-up node (nominal)"
        return self.edited(name + ".h5", change)

    def drawn_by_default(self, path):
        """{figure: its text} of what a report gets when nothing is asked for."""
        folder = path + "-figures"
        result = run(path, "-o", folder, "--format", "svg")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        names = [name for name in sorted(os.listdir(folder)) if name.endswith(".svg")]
        return {name[:-4]: " ".join(svg_text(os.path.join(folder, name)).split("\n")) for name in names}

    def regimes(self, name, rows):
        def fill(file):
            points = [(strategy, keeping, "twin", 0.7, 4, "") for strategy, keeping in STRATEGIES]
            table(file, "fleet_cases", cases("max_load", points))
            table(file, "fleet", [{"case": number, "meets_slo": 1.0} for number in range(len(points))])
            if rows:
                table(file, "fleet_regimes", rows)
        return self.study(name, fill)

    def test_a_regime_names_winner_margin_and_pools(self):
        drawn = self.drawn_by_default(self.regimes("winner", [
            regime(1e6, "full_int8", 1.31), regime(1e6, "item_table_fp16", 3.0, among="without_pools")]))
        self.assertEqual(list(drawn), ["fleet_regimes"])
        words = drawn["fleet_regimes"]
        for word in ("full 1.31× 41 k/s · coll. 0.96×", "p99 = 30 ms", "1 M users (250 k a node)",
                     "platform made-up node (nominal)", "twin: K, V per item"):
            self.assertIn(word, words)
        for word in ("3.0×", "tie", "none", "another winner"):
            self.assertNotIn(word, words)

    def test_a_small_margin_is_a_tie_and_a_lone_strategy_has_none(self):
        words = self.drawn_by_default(self.regimes("tie", [
            regime(1e6, "full_int8", 1.04), regime(1e9, "full_int8", float("nan"), pools=float("nan"))]))["fleet_regimes"]
        self.assertIn("full tie: item table 41 k/s", words)
        self.assertIn("full the only one 41 k/s", words)
        self.assertIn("tie (within 5%)", words)
        self.assertNotIn("nan", words)

    def test_a_regime_without_any_strategy_is_said(self):
        rows = [regime(1e6, "full_int8", 2.0), {**regime(1e9, "full_int8", 2.0), "candidates": 64}]
        words = self.drawn_by_default(self.regimes("none", rows))["fleet_regimes"]
        self.assertEqual(words.split().count("none"), 2)  # two of the four cells
        empty = self.drawn_by_default(self.regimes("nothing", []))
        self.assertIn("No strategy meets the SLO", empty["fleet_regimes"])

    def doubt(self, *rows):
        (cell,) = fleet_regimes._cells(list(rows)).values()
        return cell["doubt"]

    def test_another_winner_at_another_efficiency_is_a_question(self):
        middle = regime(1e6, "full_int8", 2.0)
        self.assertFalse(self.doubt(middle, regime(1e6, "full_int8", 1.5, 0.5), regime(1e6, "full_int8", 1.5, 0.9)))
        self.assertTrue(self.doubt(middle, regime(1e6, "full_int8", 1.5, 0.5), regime(1e6, "recompute", 1.5, 0.9)))
        # A tie elsewhere is no other winner; another winner makes a tie here one.
        self.assertFalse(self.doubt(middle, regime(1e6, "recompute", 1.01, 0.5), regime(1e6, "full_int8", 1.5, 0.9)))
        self.assertTrue(self.doubt(regime(1e6, "full_int8", 1.01), regime(1e6, "recompute", 1.2, 0.5),
                                   regime(1e6, "full_int8", 1.01, 0.9)))
        words = self.drawn_by_default(self.regimes("doubt", [
            middle, regime(1e6, "recompute", 2.0, 0.5), regime(1e6, "full_int8", 2.0, 0.9)]))["fleet_regimes"]
        self.assertIn("? another winner within 50% to 90%", words)

    def test_short_names_stay_apart(self):
        self.assertEqual(fleet_regimes.short_names(["full_fp16", "full_int8", "collective_item_m1000", "collective_m50"]),
                         {"full_fp16": "full fp16", "full_int8": "full int8", "collective_item_m1000": "coll. item",
                          "collective_m50": "collective"})

    def nodes(self, name, points, meets):
        def fill(file):
            table(file, "fleet_cases", cases("nodes", points))
            served = [number for number, point in enumerate(points) if not point[-1]]
            table(file, "fleet", [{"case": number, "meets_slo": float(meets[number])} for number in served])
        return self.study(name, fill)

    def test_nodes_with_their_range(self):
        points = [("full_int8", "full", "twin", e, n, "") for e, n in ((0.5, 40), (0.7, 30), (0.9, 20))]
        points += [("pool", "collective", "twin", e, 512, "") for e in (0.5, 0.7, 0.9)]
        points += [("item_table_fp16", "item_table", "twin", e, 8, "no") for e in (0.5, 0.7, 0.9)]
        points += [("slow", "recompute", "twin", e, 7, "") for e in (0.5, 0.7, 0.9)]
        drawn = self.drawn_by_default(self.nodes("nodes", points, [1] * 3 + [0] * 3 + [0] * 3 + [0, 1, 1]))
        self.assertEqual(list(drawn), ["fleet_nodes"])
        words = drawn["fleet_nodes"]
        for word in ("30  (20–40)", "✕ no fleet meets the SLO", "does not apply", "7 (none at the lowest rates)",
                     "twin, 1 M users", "at 10 k requests/s", "Dot: 70%", "50% to 90%", "made-up node (nominal)"):
            self.assertIn(word, words)
        self.assertNotIn("512", words)

    def test_needed_nodes(self):
        def case(efficiency, nodes, meets, refusal=""):
            return {"efficiency": efficiency, "nodes": nodes, "meets_slo": meets, "refusal": refusal}
        infinity = float("inf")
        self.assertEqual(fleet_nodes.needed([case(0.9, 2, 1), case(0.5, 4, 1), case(0.7, 3, 1)]), (2, 3, 4))
        self.assertEqual(fleet_nodes.needed([case(0.9, 2, 1), case(0.5, 9, 0), case(0.7, 9, 0)]),
                         (2, infinity, infinity))
        self.assertIsNone(fleet_nodes.needed([case(0.7, 9, 0, "does not apply")]))

    def test_nothing_feasible_is_still_a_figure(self):
        points = [("full_int8", "full", "twin", 0.7, 512, "")]
        words = self.drawn_by_default(self.nodes("infeasible", points, [0]))["fleet_nodes"]
        self.assertIn("✕ no fleet meets the SLO", words)

    def test_large_maps_are_not_trivial(self):
        rows = [{**regime(10.0 ** power, "full_int8", 2.0), "candidates": c} for power in (4, 6, 8) for c in (1, 8, 64)]
        path = self.regimes("large", rows)
        run(path, "-o", path + "-png", "--format", "png")
        width, height = png_size(os.path.join(path + "-png", "fleet_regimes.png"))
        self.assertGreater(width, 1200)
        self.assertGreater(height, 500)

    def test_other_reports_say_that_they_are_none(self):
        self.assertIn("No report of a fleet study with search = max_load", self.text("fleet_regimes", "base"))
        self.assertIn("No report of a fleet study with search = nodes", self.text("fleet_nodes", "base"))


if __name__ == "__main__":
    main(__doc__)
