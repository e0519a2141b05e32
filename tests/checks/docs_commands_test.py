#!/usr/bin/python3
"""scripts/checks/docs_commands must see commands that ckvsim does not know, and accept the real documents."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts/checks/docs_commands"
PROGRAM = """#!/bin/sh
case "$1" in
  run) printf 'Run\\nOptions:\\n  -h,--help  Help\\n  -o,--output TEXT  Report\\n  --set TEXT ...  Override\\n\\nExample: ckvsim run --example\\n' ;;
  *) printf 'Options:\\n  -h,--help  Help\\n\\nSubcommands:\\n  run  Run a spec\\n  show  Print\\n' ;;
esac
"""
GOOD = """# Title
```console
$ mpirun -n 2 --bind-to none build/bin/ckvsim run spec.json -o r.h5 --set /seed=7 | tail -n 3
$ scripts/there --anything
output of a command: ckvsim walk
$ ckvsim run spec.json \\
    --output r.h5
```
```bash
srun --mpi=pmix ckvsim run spec.json && ls -l   # a comment
cmake --install build --prefix /opt/ckvsim
```
```text
$ ckvsim walk
```
"""
DEFECTS = {
    "subcommand": "$ ckvsim walk spec.json",
    "option": "$ ckvsim run spec.json --outptu r.h5",
    "short option": "$ ckvsim run spec.json -x r.h5",
    "option of an example": "$ ckvsim run spec.json --example",
    "option of another subcommand": "$ ckvsim show r.h5 --set /a=1",
    "option on the next line": "$ ckvsim run spec.json \\\n    --nothing",
    "behind a launcher": "$ OMP_NUM_THREADS=1 mpirun -n 2 ckvsim walk",
    "behind a pipe": "$ cat x | ckvsim run --nothing",
    "script": "$ scripts/missing",
    "quotes": "$ ckvsim run 'spec.json",
}


MANUAL = ".SH COMMANDS\n.TP\n.B run\nRuns.\n{}.SH FILES\n.TP\n.B walk\n"


def run_check(readme, manual=None):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "scripts").mkdir()
        (root / "scripts/there").write_text("")
        (root / "README.md").write_text(readme)
        if manual is not None:
            (root / "sim/docs/man").mkdir(parents=True)
            (root / "sim/docs/man/ckvsim.1").write_text(manual)
        program = root / "ckvsim"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        return subprocess.run([sys.executable, CHECK, program, root], capture_output=True, text=True, check=False)


class DocsCommands(unittest.TestCase):
    def test_known_commands_pass(self):
        result = run_check(GOOD)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "5 commands\n")

    def test_every_defect_is_seen(self):
        for name, command in DEFECTS.items():
            with self.subTest(name):
                result = run_check(f"# Title\n```console\n{command}\n```\n")
                self.assertEqual(result.returncode, 1, f"{name} was not seen: {result.stdout}{result.stderr}")
                self.assertIn("README.md:3: ", result.stdout)

    def test_the_manual_page_lists_the_subcommands(self):
        both = ".TP\n.B show\nPrints.\n"
        for middle, code, said in ((both, 0, "5 commands"), ("", 1, "does not list ckvsim show"),
                                   (both + ".TP\n.B walk\nWalks.\n", 1, "no subcommand walk")):
            result = run_check(GOOD, MANUAL.format(middle))
            self.assertEqual(result.returncode, code, result.stdout + result.stderr)
            self.assertIn(said, result.stdout)

    def test_the_documents_of_this_repository(self):
        program = Path(os.environ.get("CKVSIM_BINARY_DIR", ROOT / "build/dev")) / "bin/ckvsim"
        if not program.exists():
            self.skipTest("this build has no ckvsim")
        result = subprocess.run([sys.executable, CHECK, program], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
