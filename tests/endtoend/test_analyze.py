"""`ckvsim analyze`: every table filled within its range, the same for 1 and 2 ranks, missing weights refused."""
import unittest

import h5py

from harness import CKVSIM, SPEC, Scratch, launch, mpirun, settings


class Analyze(Scratch):
    def analyze(self, output, ranks=1, extra=()):
        return launch([*mpirun(ranks), CKVSIM, "analyze", SPEC, *self.base, "-q", "-o", output, *extra], self.folder)

    def test_tables_are_filled_and_ranks_do_not_matter(self):
        for name, ranks in (("one.h5", 1), ("two.h5", 2)):
            outcome = self.analyze(name, ranks)
            self.assertEqual(outcome.code, 0, str(outcome))
        same = launch([CKVSIM, "diff", "one.h5", "two.h5"], self.folder)
        self.assertEqual(same.code, 0, str(same))
        with h5py.File(self.folder / "one.h5") as file:
            tables = {name: {column: data[:] for column, data in file["tables"][name].items()}
                      for name in ("analysis_energy", "analysis_users", "analysis_pools", "analysis_routers")}
        energy = tables["analysis_energy"]
        for rank, share in zip(energy["rank"], energy["energy_share"]):
            self.assertGreater(share, 0)
            self.assertLessEqual(share, 1 + 1e-9)
            if rank == max(energy["rank"]):
                self.assertAlmostEqual(share, 1)
        self.assertEqual({(site, side) for site, side in zip(energy["site"], energy["side"])},
                         {(b"short", b"k"), (b"short", b"v"), (b"long", b"k"), (b"long", b"v")})
        self.assertTrue(all(abs(value) <= 1 for name in ("leading_cosine", "rest_cosine", "leading_between", "rest_between")
                            for value in tables["analysis_users"][name]))
        pools = tables["analysis_pools"]
        for rows, items, tokens, effective in zip(pools["rows"], pools["rows_of_items"], pools["rows_of_tokens"], pools["effective_rows"]):
            self.assertLessEqual(tokens, items)
            self.assertLessEqual(items, rows)
            self.assertLessEqual(effective, tokens + 1e-9)
        self.assertTrue(all(0 <= value <= 1 for value in tables["analysis_routers"]["tokens_changed"]))

    def test_missing_weights_are_named(self):
        outcome = self.analyze("none.h5", 2, settings(files__weights_dir=self.folder / "nowhere"))
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("nowhere/full_seed", outcome.err)
        self.assertIn("ckvsim prepare", outcome.err)
        self.assertFalse((self.folder / "none.h5").exists())


if __name__ == "__main__":
    unittest.main()
