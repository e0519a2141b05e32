#!/usr/bin/python3
"""scripts/checks/docs_code must see code in a document that differs from its file, and --write must mend it."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "scripts/checks/docs_code"
SOURCE = "before\n//! [part]\nint x = 1;\n//! [part]\nafter\n#! [other]\ny = 2\n#! [other]\n"
PAGE = "# Page\n<!-- code: a.cpp part -->\n```cpp\nint x = 1;\n```\n<!-- code: a.cpp other -->\n```python\ny = 2\n```\n"


class DocsCode(unittest.TestCase):
    def run_check(self, page, *arguments, source=SOURCE):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "a.cpp").write_text(source)
            (Path(folder) / "page.md").write_text(page)
            done = subprocess.run([sys.executable, CHECK, *arguments, folder], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, (Path(folder) / "page.md").read_text()

    def test_equal_code_passes(self):
        self.assertEqual(self.run_check(PAGE)[:2], (0, "2 blocks of code\n"))

    def test_every_defect_is_seen(self):
        for name, page in {
                "other code": PAGE.replace("x = 1", "x = 2"),
                "missing file": PAGE.replace("a.cpp part", "b.cpp part"),
                "missing section": PAGE.replace("a.cpp part", "a.cpp nothing"),
                "no block": PAGE.replace("```cpp\nint x = 1;\n```\n", ""),
        }.items():
            with self.subTest(name):
                code, out, after = self.run_check(page)
                self.assertEqual(code, 1, out)
                self.assertIn("page.md", out)
                self.assertEqual(after, page, "a check must not write")

    def test_a_section_that_is_not_closed_is_refused(self):
        self.assertEqual(self.run_check(PAGE, source=SOURCE.replace("//! [part]\nafter", "after"))[0], 1)

    def test_write_copies_the_code(self):
        code, out, after = self.run_check(PAGE.replace("x = 1", "x = 2"), "--write")
        self.assertEqual((code, after), (0, PAGE), out)


if __name__ == "__main__":
    unittest.main()
