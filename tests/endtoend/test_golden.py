"""The CI spec gives the report kept in results/golden: integers exactly, floats within their columns' tolerances.

A difference on purpose is recorded with `scripts/dev bless`, and the commit says why.
"""
import unittest

from harness import CKVSIM, SOURCE, Scratch, launch, settings

GOLDEN = SOURCE / "results/golden/ci.h5"
NO_WALL_CLOCK = settings(measurements__executed__enabled="false")


class Golden(Scratch):
    def test_report_equals_the_golden_one_on_1_and_3_ranks(self):
        for ranks in (1, 3):
            with self.subTest(ranks=ranks):
                self.must_run("now.h5", ranks, NO_WALL_CLOCK)
                difference = launch([CKVSIM, "diff", GOLDEN, "now.h5"], self.folder)
                self.assertEqual(difference.code, 0, str(difference))

    def test_a_changed_workload_is_a_difference(self):
        self.must_run("other.h5", 1, [*NO_WALL_CLOCK, *settings(workload__synthetic__repeat_probability=0.3)])
        difference = launch([CKVSIM, "diff", GOLDEN, "other.h5"], self.folder)
        self.assertEqual(difference.code, 6, str(difference))


if __name__ == "__main__":
    unittest.main()
