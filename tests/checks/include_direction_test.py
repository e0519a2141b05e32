#!/usr/bin/python3
"""scripts/checks/include_direction must see every kind of violation planted in a small tree, and accept a clean one."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts/checks/include_direction"

CLEAN = {
    "sim/core/ids.hpp": "#pragma once\n#include <cstdint>\n",
    "sim/kv/strategy.hpp": '#pragma once\n#include "core/ids.hpp"\n',
    "sim/engine/run.cpp": '#include <omp.h>\n\n#include "kv/strategy.hpp"\n// "#include <mpi.h>" in a comment is prose\n',
    "sim/engine/executed.cpp": "#include <chrono>\nauto now() { return std::chrono::steady_clock::now(); }\n",
    "sim/comm/comm_mpi.cpp": "#include <mpi.h>\n",
    "sim/device/cpu/kernels.cpp": '#include <hwy/highway.h>\n#include "kv/strategy.hpp"\n',
    "sim/kv/CMakeLists.txt": "ckvsim_add_layer(kv DEPENDS core model)\n",
    "tests/unit/kv/strategy_test.cpp": '#include "kv/strategy.hpp"\n',
}

# (name, file, content, words the message must hold)
VIOLATIONS = [
    ("upward include", "sim/core/bad.cpp", '#include "kv/strategy.hpp"\n', "layer core must not include kv"),
    ("sideways include", "sim/kv/bad.cpp", '#include "engine/run.hpp"\n', "layer kv must not include engine"),
    ("pure layer sees adapter", "sim/engine/bad.cpp", '#include "comm/communicator.hpp"\n', "must not include comm"),
    ("training sees the communicator", "sim/train/bad.cpp", '#include "comm/communicator.hpp"\n', "layer train must not include comm"),
    ("engine sees a device", "sim/engine/bad.cpp", '#include "device/cpu/kernels.hpp"\n', "must not include device/cpu"),
    ("mpi outside comm", "sim/report/bad.cpp", "#include <mpi.h>\n", "<mpi.h> is for comm only"),
    ("mpi call outside comm", "sim/engine/bad.cpp", "void f() { MPI_Barrier(0); }\n", "MPI_Barrier in layer engine"),
    ("hdf5 outside report", "sim/app/bad.cpp", "#include <hdf5.h>\n", "<hdf5.h> is for report only"),
    ("torch outside train", "sim/model/bad.cpp", "#include <torch/torch.h>\n", "is for train only"),
    ("json in a pure layer", "sim/node/bad.cpp", "#include <nlohmann/json.hpp>\n", "is for config, app only"),
    ("cuda outside device/cuda", "sim/device/cpu/bad.cpp", "#include <cuda_runtime.h>\n", "is for device/cuda only"),
    ("openmp in a layer without threads", "sim/kv/bad.cpp", "#include <omp.h>\n", "<omp.h> is for"),
    ("clock header in a pure layer", "sim/node/bad.cpp", "#include <chrono>\n", "<chrono> is for"),
    ("clock in the simulated twin", "sim/engine/simulated.cpp",
     "auto t = std::chrono::steady_clock::now();\n", "steady_clock in layer engine"),
    ("environment in a pure layer", "sim/workload/bad.cpp", 'auto x = std::getenv("X");\n', "getenv in layer workload"),
    ("foreign randomness", "sim/workload/bad.cpp", "std::mt19937_64 generator;\n", "use core/rng.hpp"),
    ("unknown library", "sim/core/bad.cpp", "#include <boost/any.hpp>\n", "is in no row of EXTERNAL"),
    ("file from outside the tree", "sim/core/bad.cpp", '#include "helpers.h"\n', "quoted includes name a file from sim/"),
    ("missing file", "sim/kv/bad.cpp", '#include "core/nothing.hpp"\n', "does not exist"),
    ("folder that is no layer", "sim/misc/bad.cpp", "int x;\n", "folder misc is no layer"),
    ("link dependency upwards", "sim/core/CMakeLists.txt", "ckvsim_add_layer(core DEPENDS engine)\n", "links engine"),
    ("mpi in a test", "tests/unit/kv/bad_test.cpp", "#include <mpi.h>\n", "use the adapter"),
]


def write_tree(root, extra):
    for name, content in {**CLEAN, **extra}.items():
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def run_check(root):
    return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)


class IncludeDirection(unittest.TestCase):
    def test_clean_tree_passes(self):
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {})
            result = run_check(root)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_violation_is_seen(self):
        for name, file, content, words in VIOLATIONS:
            with self.subTest(name), tempfile.TemporaryDirectory() as root:
                write_tree(root, {file: content})
                result = run_check(root)
                self.assertEqual(result.returncode, 1, f"{name} was not seen: {result.stdout}{result.stderr}")
                self.assertIn(words, result.stdout)
                self.assertIn(file, result.stdout)

    def test_line_numbers_survive_comments(self):
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {"sim/core/bad.cpp": "/* one\n   two */\n\n#include <mpi.h>\n"})
            self.assertIn("sim/core/bad.cpp:4:", run_check(root).stdout)

    def test_this_repository_is_clean(self):
        result = run_check(str(ROOT))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
