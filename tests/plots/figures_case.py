"""What the tests of scripts/plot share: made-up reports, drawn once, and the program in this process."""
import contextlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

import h5py

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLOT = os.path.join(ROOT, "scripts", "plot")
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from plotting import cli, seal  # noqa: E402  (needs the path above)

FIGURES = ["memory_vs_users", "accuracy_front", "accuracy_auc", "latency_cdf", "stages",
           "fidelity", "workload"]
ARMS = ["full_fp32", "full_fp16", "full_silu", "item_table", "recompute", "collective_fp32",
        "collective_fp16", "collective_item", "collective_m50"]
VARIANTS = ["base", "other", "sparse", "gaps", "no_power", "hostile"]
MAKE_REPORT = ""


class Result:
    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def run(*arguments):
    """scripts/plot in this process (imports take longer than most figures)."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = cli.main(list(arguments))
        except SystemExit as request:  # argparse: --help, usage
            code = request.code
    return Result(code, stdout.getvalue(), stderr.getvalue())


def run_program(*arguments):
    """The same as its own process."""
    done = subprocess.run([sys.executable, "-B", PLOT, *arguments], capture_output=True,
                          text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def svg_text(path):
    """All text of an SVG; fails when the file is not well-formed XML."""
    return "\n".join("".join(e.itertext()) for e in xml.parse(path).getroot().iter()
                     if e.tag.endswith("}text"))


def png_size(path):
    with open(path, "rb") as file:
        header = file.read(24)
    assert header[:8] == b"\x89PNG\r\n\x1a\n", path
    return struct.unpack(">II", header[16:24])


def setUpModule():
    """The reports of all tests."""
    PlotTest.folder = tempfile.mkdtemp(prefix="ckvsim-plots-")
    unittest.addModuleCleanup(shutil.rmtree, PlotTest.folder)
    for variant in VARIANTS:
        PlotTest.reports[variant] = os.path.join(PlotTest.folder, variant + ".h5")
        subprocess.run([MAKE_REPORT, PlotTest.reports[variant], variant], check=True)


class PlotTest(unittest.TestCase):
    folder = ""
    reports = {}
    drawn = {}

    def path(self, figure, *variants, kind="svg"):
        """A figure of these reports, drawn once (as PNG too) by the first test that asks."""
        folder = os.path.join(self.folder, "figures-" + "-".join(variants))
        if (figure, variants) not in self.drawn:
            result = run(*(self.reports[v] for v in variants), "-o", folder, "--only", figure)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.drawn[figure, variants] = True
        return os.path.join(folder, f"{figure}.{kind}")

    def text(self, figure, *variants):
        return svg_text(self.path(figure, *variants))

    def edited(self, name, change, variant="base"):
        path = os.path.join(self.folder, name)
        shutil.copy(self.reports[variant], path)
        with h5py.File(path, "r+") as file:
            change(file)
        seal.renew(path)
        return path

    def refuse(self, code, words, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertTrue(result.stderr.startswith(("error: ", "usage: ")), result.stderr)
        self.assertIn(words, result.stderr)


def main(usage):
    global MAKE_REPORT  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(usage)
    MAKE_REPORT = os.path.abspath(sys.argv.pop(1))
    unittest.main(module="__main__")
