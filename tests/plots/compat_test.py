"""Reports of every published schema version open in the scripts. Usage: compat_test.py <ckvsim_test_report>"""
import glob
import os
import subprocess
import tempfile
import unittest

from made_reports import ROOT
from plotting.report import load_report

KEPT = sorted(glob.glob(os.path.join(ROOT, "results", "compat", "schema-*.h5")))


class Compat(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="ckvsim-compat-")
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def script(self, name, *arguments):
        done = subprocess.run([os.path.join(ROOT, "scripts", name), *arguments], cwd=self.folder,
                              capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, f"{name}: {done.stderr}")
        return done.stdout

    def test_schema_1_is_kept(self):
        self.assertIn("schema-1.h5", [os.path.basename(path) for path in KEPT])

    def test_page_names_every_arm(self):
        for path in KEPT:
            with self.subTest(path=path):
                self.script("report", path, "-o", "page.html")
                with open(os.path.join(self.folder, "page.html"), encoding="utf-8") as file:
                    page = file.read()
                for row in load_report(path).table("arms").records():
                    self.assertIn(row["arm"].replace("_", "_<wbr>"), page)

    def test_figure_and_export(self):
        for path in KEPT:
            with self.subTest(path=path):
                self.script("plot", path, "--only", "memory_vs_users", "--format", "svg", "-o", "figures")
                self.assertGreater(os.path.getsize(os.path.join(self.folder, "figures", "memory_vs_users.svg")), 5000)
                self.script("export", path, "-o", "tables")
                written = {os.path.splitext(os.path.basename(name))[0] for name in
                           glob.glob(os.path.join(self.folder, "tables", "**", "*.csv"), recursive=True)}
                self.assertEqual(set(load_report(path).tables) - written, set())

    def test_a_column_that_came_later_leaves_a_hole(self):
        older = os.path.join(ROOT, "results", "compat", "schema-1-older.h5")
        self.assertNotIn("repeat_error_relative", load_report(older).table("fidelity").columns)
        self.script("plot", older, "--only", "fidelity", "--format", "svg", "-o", "older")


if __name__ == "__main__":
    import sys
    del sys.argv[1:2]  # the program that other tests make reports with
    unittest.main()
