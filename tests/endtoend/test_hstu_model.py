"""HSTU in whole runs on the CI spec: K and V of every layer in the ledger, served as the reference says, equal for any number of
ranks, and refused where something would be kept per item."""
import json
import unittest

import h5py

from harness import CKVSIM, HSTU, HSTU_ARMS, SPEC, TEST_WEIGHTS, OwnModel, hashes, launch, mpirun, settings

MODEL = settings(model=HSTU, arms=HSTU_ARMS)
NO_WALL_CLOCK = settings(measurements__executed__enabled="false")


class Hstu(OwnModel):
    model = MODEL

    def test_a_whole_run_serves_it(self):
        outcome = self.must_run("whole.h5")
        self.assertIn("model HSTU", launch([CKVSIM, "show", "whole.h5"], self.folder).out)
        sections = self.shown("whole.h5", "memory_sections")
        for section in ("layer1_k", "layer2_v", "layer1_v_index", "layer2_k_user"):
            self.assertIn(section, sections)
        self.assertNotIn("short_k", sections)
        self.assertIn("layer2.v.pool", self.shown("whole.h5", "memory_shared"))
        self.assertIn("full_fp32: appended events are exact until", outcome.out)
        self.assertNotIn("recompute: appended events", outcome.out)
        self.assertIn("scores", hashes(outcome))
        self.assertIn("Control mean_keys is left out", outcome.out)
        accuracy = self.shown("whole.h5", "accuracy")
        self.assertNotIn("control.mean_keys", accuracy)
        self.assertIn("full_int8", accuracy)
        rows = [line.split() for line in self.shown("whole.h5", "memory_sections").splitlines()
                if "full_int8" in line and " layer2_v " in line]
        self.assertTrue(rows)
        for row in rows:
            self.assertIn("20", row, "16 codes, a scale and a zero a token: " + " ".join(row))
        shared = self.shown("whole.h5", "memory_shared")
        for arm, what in (("low_rank_4", "layer2.k.basis"), ("vq", "layer1.v.codebook")):
            self.assertIn(arm, accuracy)
            self.assertTrue([line for line in shared.splitlines() if arm in line and what in line], arm + " " + what)
            for latency in ("executed_latency", "simulated_latency"):
                self.assertNotIn(arm, self.shown("whole.h5", latency))
        for arm in ("full_fp32", "full_int8", "recompute", "collective_fp16"):
            self.assertIn(arm, self.shown("whole.h5", "executed_latency"))
            self.assertIn(arm, self.shown("whole.h5", "simulated_latency"))

    def test_pools_of_int8_are_served(self):
        change = settings(arms__7__strategy__value_type="int8", measurements__executed__enabled="false",
                          measurements__simulated__enabled="false")
        self.must_run("pools.h5", extra=change)
        self.assertIn("collective_fp16", self.shown("pools.h5", "accuracy"))

    def test_three_ranks_give_the_hashes_of_one(self):
        one = hashes(self.must_run("one.h5", 1, NO_WALL_CLOCK))
        three = hashes(self.must_run("three.h5", 3, NO_WALL_CLOCK))
        self.assertIn("logical", one)
        self.assertEqual(one, three)

    def test_windows_are_judged_beside_fresh_entries(self):
        full = {"weights": {"variant": "full"}, "strategy": {"kind": "full"}, "measure": ["accuracy"]}
        arms = [{**full, "name": "full_fp32"},
                *({**full, "name": name, "window": window} for name, window in (
                    ("slide", {"policy": "slide"}), ("fresh", {"policy": "reencode", "block_tokens": 1}),
                    ("block", {"policy": "drop_block", "block_tokens": 5}))),
                {**full, "name": "recompute", "strategy": {"kind": "recompute"}}]
        change = [*NO_WALL_CLOCK, *settings(arms=json.dumps(arms), measurements__simulated__enabled="false", model__max_tokens=16,
                                            files__weights_dir=self.folder / "short")]
        made = launch([TEST_WEIGHTS, SPEC, *self.base, *change], self.folder)
        self.assertEqual(made.code, 0, str(made))
        one = self.must_run("windows.h5", 1, change)
        self.assertEqual(hashes(one), hashes(self.must_run("windows3.h5", 3, change)))
        rows = {line.split()[0]: line.split() for line in self.shown("windows.h5", "accuracy_seeds").splitlines() if line.strip()}
        self.assertEqual(rows["fresh"][2:], rows["recompute"][2:], "encoded after every event: nothing is stale")
        for arm in ("slide", "block"):
            self.assertNotEqual(rows[arm][2:], rows["recompute"][2:], arm)
        self.assertIn("slide: appended events are exact until", one.out)
        self.assertNotIn("fresh: appended events", one.out)

    def test_what_it_does_not_have_is_refused(self):
        for change, words in (({"model__top_k": 8}, "/model/top_k: 8 has no effect here (it applies when kind is neither sdim nor hstu)"),
                              ({"arms__0__strategy__kind": "item_table"}, "depend on the tokens before"),
                              ({"arms__0__strategy__kind": "low_rank"}, "/arms/0/measure: includes latency, but strategy 'low_rank' serves "
                               "model 'hstu' for its accuracy and bytes alone"),
                              ({"arms__3__measure": '["latency"]'}, "/arms/3/measure"),
                              ({"arms__7__strategy__value_type": "int4"}, "is not kept by 'collective'"),
                              ({"arms__6__weights__scope": "released"}, "it has no short branch")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                self.assertIn(words, outcome.err)

    def test_weights_are_analysed_layer_by_layer(self):
        for name, ranks in (("one.analysis.h5", 1), ("two.analysis.h5", 2)):
            outcome = launch([*mpirun(ranks), CKVSIM, "analyze", SPEC, *self.base, "-q", "-o", name, "--users", "40"], self.folder)
            self.assertEqual(outcome.code, 0, str(outcome))
        same = launch([CKVSIM, "diff", "one.analysis.h5", "two.analysis.h5"], self.folder)
        self.assertEqual(same.code, 0, str(same))
        with h5py.File(self.folder / "one.analysis.h5") as file:
            tables = {name: {column: data[:] for column, data in file["tables"][name].items()}
                      for name in ("analysis_energy", "analysis_users", "analysis_pools", "analysis_routers")}
        sides = {(site, side) for site in (b"layer1", b"layer2") for side in (b"k", b"v")}
        for name, table in tables.items():
            self.assertEqual(set(zip(table["site"], table["side"])), sides, name)
        energy = tables["analysis_energy"]
        for rank, share in zip(energy["rank"], energy["energy_share"]):
            self.assertGreater(share, 0)
            if rank == max(energy["rank"]):
                self.assertAlmostEqual(share, 1)
        self.assertEqual(set(tables["analysis_users"]["users"]), {40})
        self.assertTrue(all(abs(value) <= 1 for name in ("leading_cosine", "rest_cosine", "leading_between", "rest_between")
                            for value in tables["analysis_users"][name]))
        pools = tables["analysis_pools"]
        self.assertEqual(list(pools["rows_of_items"]), list(pools["rows_of_tokens"]))
        self.assertTrue(all(0 < tokens <= rows for tokens, rows in zip(pools["rows_of_tokens"], pools["rows"])))
        routers = tables["analysis_routers"]
        for name in ("items_changed", "tokens_changed"):
            for weights, value in zip(routers["weights"], routers[name]):
                if weights.endswith(b"_m1"):
                    self.assertEqual(value, 0, "one row for all")
                else:
                    self.assertTrue(0 < value <= 1, f"{name} {value}")


if __name__ == "__main__":
    unittest.main()
