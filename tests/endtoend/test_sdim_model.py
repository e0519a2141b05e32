"""SDIM in whole runs on the CI spec: sums of a fixed size in the ledger, served as the reference says, equal for any number of
ranks, trained weights served as they were trained, and weights, keys and arms of other models refused."""
import json
import pathlib
import shutil
import unittest

from harness import CI, CKVSIM, SDIM, SDIM_ARMS, SPEC, OwnModel, hashes, launch, settings

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
NO_WALL_CLOCK = settings(measurements__executed__enabled="false")
ROWS = 6 * 2 ** 2
FEATURES = 2  # of a synthetic catalogue: item and cluster


class Sdim(OwnModel):
    model = settings(model=SDIM, arms=SDIM_ARMS)

    def test_a_whole_run_serves_it(self):
        outcome = self.must_run("whole.h5")
        self.assertIn("model SDIM", launch([CKVSIM, "show", "whole.h5"], self.folder).out)
        sections = self.shown("whole.h5", "memory_sections")
        sums = {line.split()[0]: line.split() for line in sections.splitlines() if " long_sums " in line}
        self.assertEqual(set(sums), {arm["name"] for arm in CI["arms"]} - {"recompute", "item_table", "collective_item"})
        for name, value_bytes in (("full_fp32", 4), ("full_fp16", 2), ("collective_released_fp16", 2)):
            self.assertIn("long", sums[name])
            shown = float(sums[name][-2]) * {"B": 1, "KiB": 1024}[sums[name][-1]]
            width = FEATURES * CI["model"]["feature_dim"]
            self.assertEqual(shown, ROWS * value_bytes * width, "as much for every history")
        for absent in ("long_k", "long_v", " search "):
            self.assertNotIn(absent, sections)
        shared = self.shown("whole.h5", "memory_shared")
        self.assertIn("item_table.signatures", shared)
        self.assertNotIn("item_table.search", shared)
        check = [line.split() for line in self.shown("whole.h5", "serving_check").splitlines() if "full_silu" in line]
        self.assertTrue(check)
        arms = self.shown("whole.h5", "arms")
        latency = self.shown("whole.h5", "executed_latency") + self.shown("whole.h5", "simulated_latency")
        for arm in CI["arms"]:
            self.assertIn(arm["name"], arms)
            if "latency" in arm.get("measure", ["latency"]):
                self.assertIn(arm["name"], latency)
        self.assertIn("scores", hashes(outcome))

    def test_three_ranks_give_the_hashes_of_one(self):
        one = hashes(self.must_run("one.h5", 1, NO_WALL_CLOCK))
        three = hashes(self.must_run("three.h5", 3, NO_WALL_CLOCK))
        self.assertIn("logical", one)
        self.assertEqual(one, three)

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_trained_weights_are_served_as_they_were_trained(self):
        own = settings(files__weights_dir=self.folder / "trained", training__epochs=8, training__learning_rate=0.01)
        for command in ([CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", "samples.ckvt"], [TRAINER, "samples.ckvt", "-q"]):
            made = launch(command, self.folder)
            self.assertEqual(made.code, 0, str(made))
        self.must_run("trained.h5", extra=[*NO_WALL_CLOCK, *own])
        lines = self.shown("trained.h5", "serving_check").replace(",", "").splitlines()
        table = [line.split() for line in lines if line.startswith(("full", "collective", "mean_pool"))]
        self.assertLess({"full", "full_silu", "collective_released_du1_m32", "mean_pool"}, {row[1] for row in table})
        for row in table:
            difference, differing, choices = float(row[4]), int(row[5]), int(row[6])
            self.assertLessEqual(difference, 1e-5)
            self.assertGreaterEqual(choices, 0 if row[0] == "mean_pool" else 6 * CI["workload"]["synthetic"]["items"])
            self.assertLessEqual(differing, 0.01 * choices, "embeddings within rounding of a plane")

    def test_weights_are_analysed_at_the_site_that_has_them(self):
        outcome = launch([CKVSIM, "analyze", SPEC, *self.base, "-q", "-o", "analysis.h5"], self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))
        energy = self.shown("analysis.h5", "analysis_energy")
        self.assertIn(" short ", energy)
        self.assertNotIn(" long ", energy)

    def test_a_file_under_anothers_name_is_refused(self):
        mine = self.folder / "renamed"
        shutil.copytree(self.folder / "own", mine)
        shutil.copy(mine / "full_silu_seed1.ckvt", mine / "full_seed1.ckvt")
        outcome = self.run_spec("x.h5", extra=[*NO_WALL_CLOCK, *settings(files__weights_dir=mine)])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of variant 'full_silu', not 'full'", outcome.err)

    def test_the_other_models_weights_keys_and_arms_are_refused(self):
        without_pools = json.dumps([arm for arm in CI["arms"] if "scope" not in arm["weights"]])
        foreign = settings(files__weights_dir=self.folder / "weights", arms=without_pools)
        outcome = self.run_spec("x.h5", extra=[*NO_WALL_CLOCK, *foreign])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of model 'sim', the spec's /model/kind is 'sdim'", outcome.err)
        for change, words in (({"model__hashes": 9}, "hashes 6, the spec's /model/hashes is 9"),
                              ({"model__hash_bits": 3}, "hash_bits 2, the spec's /model/hash_bits is 3"),
                              ({"model__max_tokens": 32}, "the spec's /model/max_tokens is 32"),
                              ({"model__tower": "[5]"}, "another /model/tower")):
            with self.subTest(words):
                outcome = self.run_spec("x.h5", extra=[*NO_WALL_CLOCK, *settings(measurements__simulated__enabled="false", **change)])
                self.assertEqual(outcome.code, 4, str(outcome))
                self.assertIn(words, outcome.err)
        for change, words in (({"model__top_k": 8}, "/model/top_k: 8 has no effect here (it applies when kind is neither sdim nor hstu)"),
                              ({"model__search_dim": 8}, "/model/search_dim: 8 has no effect here (it applies when kind = sim)"),
                              ({"model__hash_bits": 16}, "/model/hash_bits: 16 is not allowed; allowed: 1 .. 8"),
                              ({"model__hashes": 0}, "/model/hashes: 0 is not allowed; allowed: 1 .. 64"),
                              ({"arms": json.dumps(CI["arms"])}, "scope 'all' means nothing to model 'sdim'")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                self.assertIn(words, outcome.err)


if __name__ == "__main__":
    unittest.main()
