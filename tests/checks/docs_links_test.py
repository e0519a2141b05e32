#!/usr/bin/python3
"""scripts/checks/docs_links must see dead links, headings, paths and commands, and accept living ones."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "scripts/checks/docs_links"
MAIN = 'app_.add_subcommand("run", "Run");\n'

GOOD = """# Title
[guide](docs/guide.md#second-part-2) [here](#title) [web](https://example.org) `scripts/test`
```console
$ scripts/test -R unit
$ mpirun -n 2 ckvsim run spec.json
$ ls -l
```
```text
$ ckvsim nothing
```
"""

DEFECTS = {
    "dead link": "[x](missing.md)",
    "dead anchor": "[x](docs/guide.md#nowhere)",
    "dead inline path": "`sim/core/nothing.hpp`",
    "dead script": "```console\n$ scripts/nothing\n```",
    "unknown subcommand": "```console\n$ build/release/bin/ckvsim walk spec.json\n```",
    "unknown subcommand under mpirun": "```console\n$ OMP_NUM_THREADS=1 mpirun -n 2 ckvsim walk\n```",
}


def run_check(readme):
    with tempfile.TemporaryDirectory() as root:
        files = {"README.md": readme, "docs/guide.md": "# Guide\n## Second part (2)\n", "scripts/test": "",
                 "sim/app/main.cpp": MAIN}
        for name, content in files.items():
            path = Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)


class DocsLinks(unittest.TestCase):
    def test_living_links_pass(self):
        result = run_check(GOOD)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_every_defect_is_seen(self):
        for name, text in DEFECTS.items():
            with self.subTest(name):
                result = run_check(f"# Title\n{text}\n")
                self.assertEqual(result.returncode, 1, f"{name} was not seen")
                self.assertIn("README.md:", result.stdout)


if __name__ == "__main__":
    unittest.main()
