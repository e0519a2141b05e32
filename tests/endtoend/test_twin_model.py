"""TWIN in whole runs on the CI spec: served as trained, nothing stored for the search, equal for any number of ranks, and
weights of one model refused under the other's spec."""
import unittest

from harness import CKVSIM, SPEC, TWIN, TWIN_ARMS, OwnModel, hashes, launch, settings

MODEL = settings(model=TWIN, arms=TWIN_ARMS)
NO_WALL_CLOCK = settings(measurements__executed__enabled="false")


class Twin(OwnModel):
    model = MODEL

    def test_a_whole_run_serves_it(self):
        outcome = self.must_run("whole.h5")
        self.assertIn("model TWIN", launch([CKVSIM, "show", "whole.h5"], self.folder).out)
        self.assertNotIn("search", self.shown("whole.h5", "memory_sections"))
        self.assertIn("long_k_index", self.shown("whole.h5", "memory_sections"))
        self.assertIn("full_silu", self.shown("whole.h5", "serving_check"))
        accuracy = self.shown("whole.h5", "accuracy")
        for arm in ("full_int8", "low_rank_4", "vq"):
            self.assertIn(arm, accuracy)
        for table in ("executed_latency", "simulated_latency"):
            self.assertIn("full_int8", self.shown("whole.h5", table))
        self.assertIn("scores", hashes(outcome))

    def test_three_ranks_give_the_hashes_of_one(self):
        one = hashes(self.must_run("one.h5", 1, NO_WALL_CLOCK))
        three = hashes(self.must_run("three.h5", 3, NO_WALL_CLOCK))
        self.assertIn("logical", one)
        self.assertEqual(one, three)

    def test_the_other_models_weights_and_keys_are_refused(self):
        foreign = settings(files__weights_dir=self.folder / "weights")
        outcome = self.run_spec("x.h5", extra=[*NO_WALL_CLOCK, *foreign])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of model 'sim', the spec's /model/kind is 'twin'", outcome.err)
        for change, words in (({"model__search_dim": 8}, "/model/search_dim: 8 has no effect here (it applies when kind = sim)"),
                              ({"arms__8__strategy__search_keys": "item_table"}, "there are no search keys")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                self.assertIn(words, outcome.err)


if __name__ == "__main__":
    unittest.main()
