#!/usr/bin/python3
"""scripts/checks/hygiene must see each planted defect and accept a clean folder."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "scripts/checks/hygiene"

# Joined from pieces so that this file itself stays clean.
DEFECTS = {
    "absolute path": "see /ho" + "me/someone/file",
    "temporary path": "write to /t" + "mp/ckvsim.out",
    "unfinished mark": "// TO" + "DO later",
    "unfinished work": "this is a stu" + "b",
    "conflict marker": "<" * 7 + " ours",
    "trailing blanks": "int x; " + " ",
}


def run_check(content, name="note.txt"):
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / name).write_text(content)
        return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)


class Hygiene(unittest.TestCase):
    def test_clean_file_passes(self):
        result = run_check("a line about results/local and ${TMPDIR}\n")
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_every_defect_is_seen_with_its_line(self):
        for name, line in DEFECTS.items():
            with self.subTest(name):
                result = run_check(f"first\n{line}\n")
                self.assertEqual(result.returncode, 1, f"{name} was not seen")
                self.assertIn("note.txt:2:", result.stdout)

    def test_long_file_warns_without_failing(self):
        result = run_check("int x;\n" * 600, "long.cpp")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("warning: long.cpp", result.stdout)

    def test_big_file_is_refused(self):
        self.assertEqual(run_check("x" * 5_000_001, "blob.bin").returncode, 1)


if __name__ == "__main__":
    unittest.main()
