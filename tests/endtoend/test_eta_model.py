"""ETA in whole runs on the CI spec: every arm of SIM, signatures in the ledger, served as the reference says, equal for any number
of ranks, and weights of one model refused under the other's spec."""
import json
import unittest

from harness import CI, CKVSIM, ETA, SPEC, OwnModel, hashes, launch, settings

NO_WALL_CLOCK = settings(measurements__executed__enabled="false")


class Eta(OwnModel):
    model = settings(model=ETA)

    def test_a_whole_run_serves_it(self):
        outcome = self.must_run("whole.h5")
        self.assertIn("model ETA", launch([CKVSIM, "show", "whole.h5"], self.folder).out)
        sections = [line.split() for line in self.shown("whole.h5", "memory_sections").splitlines() if " search " in line]
        self.assertTrue(sections)
        for row in sections:
            self.assertIn("2", row, "16 bits a token, in any arm: " + " ".join(row))
        self.assertIn("item_table.search", self.shown("whole.h5", "memory_shared"))
        self.assertIn("full_silu", self.shown("whole.h5", "serving_check"))
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

    def test_the_other_models_weights_and_keys_are_refused(self):
        foreign = settings(files__weights_dir=self.folder / "weights")
        outcome = self.run_spec("x.h5", extra=[*NO_WALL_CLOCK, *foreign])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of model 'sim', the spec's /model/kind is 'eta'", outcome.err)
        for change, words in (({"model__search_dim": 8}, "/model/search_dim: 8 has no effect here (it applies when kind = sim)"),
                              ({"model__hash_bits": 24}, "/model/hash_bits: 24"),
                              ({"model": json.dumps({**CI["model"], "hash_bits": 16})},
                               "/model/hash_bits: 16 has no effect here (it applies when kind is eta or sdim)")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                self.assertIn(words, outcome.err)


if __name__ == "__main__":
    unittest.main()
