"""Reports of every published schema version, and one that lacks a column that came later, open in ckvsim."""
import shutil
import sys
import unittest

import h5py

from harness import CKVSIM, SOURCE, Scratch, launch

sys.path.insert(0, str(SOURCE / "scripts"))
from plotting import seal  # noqa: E402  (needs the path above)

KEPT = sorted((SOURCE / "results/compat").glob("schema-*.h5"))
LATER = "repeat_error_relative"


class Compat(Scratch):
    def arms(self, path):
        with h5py.File(path) as file:
            return [name.decode() for name in file["tables/arms/arm"][()]]

    def test_kept_reports_open(self):
        self.assertIn("schema-1.h5", [path.name for path in KEPT])
        for path in KEPT:
            with self.subTest(path=path.name):
                shown = launch([CKVSIM, "show", path], self.folder)
                self.assertEqual(shown.code, 0, str(shown))
                for arm in self.arms(path):
                    self.assertIn(arm, shown.out)
                self.assertEqual(launch([CKVSIM, "diff", path, path], self.folder).code, 0)

    def test_a_column_that_came_later_is_named_and_not_compared(self):
        kept = SOURCE / "results/compat"
        older, newer = kept / "schema-1-older.h5", kept / "schema-1.h5"
        shown = launch([CKVSIM, "show", older, "fidelity"], self.folder)
        self.assertEqual(shown.code, 0, str(shown))
        self.assertIn(f"column {LATER}: not in this report", shown.out)
        for left, right, side in ((older, newer, "left"), (newer, older, "right")):
            difference = launch([CKVSIM, "diff", left, right], self.folder)
            self.assertEqual(difference.code, 0, str(difference))
            self.assertIn(f"column fidelity.{LATER} is missing {side}", difference.out)

    def test_a_key_is_never_optional(self):
        path = self.folder / "keyless.h5"
        shutil.copy(KEPT[0], path)
        with h5py.File(path, "r+") as file:
            del file["tables/fidelity/arm"]
        seal.renew(str(path))
        refused = launch([CKVSIM, "show", path], self.folder)
        self.assertEqual(refused.code, 4, str(refused))
        self.assertIn("has no dataset arm", refused.err)


if __name__ == "__main__":
    unittest.main()
