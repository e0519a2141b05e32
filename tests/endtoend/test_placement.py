"""Pools of K or V alone in whole runs on the CI spec: prepared, trained and served as they were trained, their bytes in the ledger,
timed, equal for any number of ranks, and refused where there is no pool."""
import json
import pathlib
import unittest

from harness import CI, CKVSIM, HSTU, SDIM, SPEC, TWIN, OwnModel, hashes, launch, settings

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
NO_WALL_CLOCK = settings(measurements__executed__enabled="false")
NO_SERVING = [*NO_WALL_CLOCK, *settings(measurements__simulated__enabled="false")]
SIM = json.dumps(CI["model"])
D = CI["model"]["attention_dim"]


def pools(name, sides, scope="all", **strategy):
    return {"name": name, "weights": {"variant": "collective", "scope": scope, "sides": sides, "d_u": 1, "m": 32},
            "strategy": {"kind": "collective", "value_type": "fp16", "index_bytes": 2, **strategy}}


def arms_of(scope="all"):
    full = {"name": "full_fp32", "weights": {"variant": "full"}, "strategy": {"kind": "full"}}
    return [full, *(pools("pools_" + sides, sides, scope) for sides in ("both", "k", "v"))]


BY_ITEM = [pools("item_" + sides, sides, keying="item") for sides in ("k", "v")]
INT8 = [pools("int8_" + sides, sides, value_type="int8") for sides in ("k", "v")]


class Placement(OwnModel):
    model = settings(arms=json.dumps([*arms_of(), *BY_ITEM, *INT8]))

    def test_a_whole_run_serves_them(self):
        outcome = self.must_run("whole.h5")
        self.assertIn("scores", hashes(outcome))
        sections = self.shown("whole.h5", "memory_sections")
        held = {name: {line.split()[2] for line in sections.splitlines() if line.startswith(name + " ")}
                for name in ("pools_both", "pools_k", "pools_v", "item_k", "int8_v")}
        self.assertEqual(held["pools_k"], {f"{site}_{part}" for site in ("short", "long") for part in ("k_index", "k_user", "v")}
                         | {"search"})
        self.assertEqual(held["pools_v"], {f"{site}_{part}" for site in ("short", "long") for part in ("v_index", "v_user", "k")}
                         | {"search"})
        self.assertEqual(held["item_k"], {"ids"})
        self.assertEqual(held["int8_v"], held["pools_v"])
        self.assertFalse({"short_k", "short_v"} & held["pools_both"])
        shared = self.shown("whole.h5", "memory_shared")
        of_arm = {name: [line.split()[1] for line in shared.splitlines() if line.startswith(name + " ")] for name in ("pools_k", "item_v")}
        self.assertIn("short.k.pool", of_arm["pools_k"])
        self.assertNotIn("short.v.pool", of_arm["pools_k"])
        self.assertIn("item_table.long.k", of_arm["item_v"])
        self.assertIn("item_table.long.v.index", of_arm["item_v"])
        latency = self.shown("whole.h5", "executed_latency") + self.shown("whole.h5", "simulated_latency")
        for name in ("pools_k", "pools_v", "item_k", "int8_v"):
            self.assertIn(name, latency)
            self.assertIn(name, self.shown("whole.h5", "accuracy"))
        summary = launch([CKVSIM, "show", "whole.h5"], self.folder).out
        lines = {line.split()[0]: line for line in reversed(summary.splitlines()) if line.startswith("pools_")}
        self.assertIn(" all/k ", lines["pools_k"])
        self.assertIn(" all/v ", lines["pools_v"])
        self.assertIn(" all ", lines["pools_both"])
        paper = (1 + 1 + D) / (2 * D)
        self.assertIn(f"{100 * paper:.3g}", lines["pools_k"], "an index and a value of one side, all of the other")

    def test_three_ranks_give_the_hashes_of_one(self):
        one = hashes(self.must_run("one.h5", 1, NO_WALL_CLOCK))
        three = hashes(self.must_run("three.h5", 3, NO_WALL_CLOCK))
        self.assertIn("logical", one)
        self.assertEqual(one, three)

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_trained_weights_are_served_as_they_were_trained(self):
        for name, model, scope in (("sim", SIM, "all"), ("twin", TWIN, "all"), ("hstu", HSTU, "all"), ("sdim", SDIM, "released")):
            with self.subTest(name):
                own = settings(model=model, arms=json.dumps(arms_of(scope)), files__weights_dir=self.folder / name)
                for command in ([CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", name + ".ckvt"], [TRAINER, name + ".ckvt", "-q"]):
                    made = launch(command, self.folder)
                    self.assertEqual(made.code, 0, str(made))
                self.must_run(name + ".h5", extra=[*NO_SERVING, *own])
                check = [line.split() for line in self.shown(name + ".h5", "serving_check").replace(",", "").splitlines()
                         if line.startswith(("full", "collective", "no_history"))]
                stems = {f"collective_{scope}{side}_du1_m32" for side in ("", "_k", "_v")}
                self.assertLessEqual(stems | {f"collective_{scope}_du1_m1"}, {row[1] for row in check})
                for row in check:
                    self.assertLessEqual(float(row[4]), 1e-5, " ".join(row))
                accuracy = self.shown(name + ".h5", "accuracy")
                for arm in ("pools_both", "pools_k", "pools_v"):
                    self.assertIn(arm, accuracy)

    def test_weights_of_the_other_side_are_refused(self):
        (self.folder / "swapped").mkdir()
        for file in (self.folder / "own").iterdir():
            (self.folder / "swapped" / file.name.replace("_k_", "_x_").replace("_v_", "_k_").replace("_x_", "_v_")).write_bytes(
                file.read_bytes())
        outcome = self.run_spec("x.h5", extra=[*NO_SERVING, *settings(files__weights_dir=self.folder / "swapped")])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of variant 'collective_all_v_du1_m32', not 'collective_all_k_du1_m32'", outcome.err)

    def test_what_has_no_pools_has_no_sides(self):
        for change, words in (({"arms__0__weights__sides": "k"}, "/arms/0/weights/sides: \"k\" has no effect here"),
                              ({"arms__1__weights__sides": "q"}, "/arms/1/weights/sides: \"q\" is not known; allowed: both, k, v"),
                              ({"arms__2__strategy__value_type": "int4"}, "is not kept by 'collective'"),
                              ({"arms__2__strategy__kind": "full"}, "cannot serve 'collective' weights")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                self.assertIn(words, outcome.err)


if __name__ == "__main__":
    unittest.main()
