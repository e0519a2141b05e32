"""The same report for any number of ranks; one flipped token is seen."""
import unittest

from harness import CKVSIM, Scratch, hashes, launch, settings

NO_WALL_CLOCK = settings(measurements__executed__enabled="false")


class Determinism(Scratch):
    def test_hashes_and_tables_are_equal_on_1_2_3_and_4_ranks(self):
        first = self.must_run("ranks1.h5", 1, NO_WALL_CLOCK)
        self.assertEqual(sorted(hashes(first)), ["logical", "scores"])
        for ranks in (2, 3, 4):
            other = self.must_run(f"ranks{ranks}.h5", ranks, NO_WALL_CLOCK)
            self.assertEqual(hashes(first), hashes(other), f"on {ranks} ranks")
            difference = launch([CKVSIM, "diff", "ranks1.h5", f"ranks{ranks}.h5"], self.folder)
            self.assertEqual(difference.code, 0, str(difference))

    def test_threads_change_nothing(self):
        one = self.must_run("threads1.h5", 1, [*NO_WALL_CLOCK, "-t", "1"])
        three = self.must_run("threads3.h5", 1, [*NO_WALL_CLOCK, "-t", "3"])
        self.assertEqual(hashes(one), hashes(three))

    def test_one_flipped_token_changes_the_logical_hash(self):
        plain = self.must_run("plain.h5", 2, NO_WALL_CLOCK)
        flipped = self.must_run("flipped.h5", 2, [*NO_WALL_CLOCK, "--perturb-token", "7,0"])
        self.assertNotEqual(hashes(plain)["logical"], hashes(flipped)["logical"])
        difference = launch([CKVSIM, "diff", "plain.h5", "flipped.h5"], self.folder)
        self.assertEqual(difference.code, 6, str(difference))

    def test_another_seed_changes_the_logical_hash(self):
        plain = self.must_run("seed_a.h5", 1, NO_WALL_CLOCK)
        other = self.must_run("seed_b.h5", 1, [*NO_WALL_CLOCK, *settings(seed=99)])
        self.assertNotEqual(hashes(plain)["logical"], hashes(other)["logical"])


if __name__ == "__main__":
    unittest.main()
