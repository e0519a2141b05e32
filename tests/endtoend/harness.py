"""Runs the real programs in a scratch folder: ckvsim (alone or under mpirun) on a small spec with random weights.

Environment, set by CTest: CKVSIM_BIN, CKVSIM_TEST_WEIGHTS (programs), CKVSIM_SOURCE_DIR (project root).
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["CKVSIM_SOURCE_DIR"])
CKVSIM = os.environ["CKVSIM_BIN"]
TEST_WEIGHTS = os.environ["CKVSIM_TEST_WEIGHTS"]
SPEC = SOURCE / "workloads/specs/ci.json"
PLATFORM = SOURCE / "workloads/platforms/h100-node.json"
CALIBRATION = SOURCE / "workloads/calibration/ci.json"
TIMEOUT_S = 180
# The CI spec's model as TWIN: a whole object, because search_dim has no effect there and must go.
CI = json.loads(SPEC.read_text())
TWIN = json.dumps({**{key: value for key, value in CI["model"].items() if key != "search_dim"}, "kind": "twin"})
# ... and its arms, int8 rows served and timed, too, and not only kept.
TWIN_ARMS = json.dumps([{key: value for key, value in arm.items() if key != "measure" or arm["name"] != "full_int8"}
                        for arm in CI["arms"]])
# ... as ETA, which has signatures in place of search keys and every arm of SIM.
ETA = json.dumps({**json.loads(TWIN), "kind": "eta", "hash_bits": 16})
# ... as SDIM, which has hash buckets and no search, and the arms that it has: its long branch has no pools.
SDIM = json.dumps({**{key: value for key, value in json.loads(TWIN).items() if key != "top_k"}, "kind": "sdim", "hashes": 6,
                   "hash_bits": 2})
SDIM_ARMS = json.dumps([{**arm, "weights": {**arm["weights"], "scope": "released"}} if "scope" in arm["weights"] else arm
                        for arm in CI["arms"]])
# ... as HSTU, which has neither branches nor a search, and the arms that it has: nothing is kept per item.
HSTU = json.dumps({**{key: value for key, value in CI["model"].items() if key not in ("short_tokens", "search_dim", "top_k")},
                   "kind": "hstu"})
HSTU_ARMS = json.dumps([arm for arm in json.loads(TWIN_ARMS) if arm["name"] in
                        ("full_fp32", "full_fp16", "full_int8", "low_rank_4", "vq", "recompute", "collective_fp32", "collective_fp16")])

ENVIRONMENT = dict(
    os.environ,
    OMPI_ALLOW_RUN_AS_ROOT="1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    OMPI_MCA_rmaps_base_oversubscribe="1",
    OMPI_MCA_btl_vader_single_copy_mechanism="none",
    OMP_NUM_THREADS="1",
)


class Outcome:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def __str__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def launch(command, cwd, timeout_s=TIMEOUT_S):
    """Runs a command to its end; a hang becomes subprocess.TimeoutExpired and fails the test."""
    return Outcome(subprocess.run([str(part) for part in command], cwd=cwd, env=ENVIRONMENT, timeout=timeout_s,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True))


def mpirun(ranks):
    return ["mpirun", "--bind-to", "none", "-n", str(ranks)]


def settings(**values):
    """files_output='x.h5' -> ['--set', '/files/output=x.h5'], with '__' for a slash."""
    arguments = []
    for key, value in values.items():
        arguments += ["--set", f"/{key.replace('__', '/')}={value}"]
    return arguments


class Scratch(unittest.TestCase):
    """A folder with random weights for the CI spec, made once per class."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-endtoend-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.base = settings(files__platform=PLATFORM, files__calibration=CALIBRATION,
                            files__weights_dir=cls.folder / "weights")
        made = launch([TEST_WEIGHTS, SPEC, *cls.base], cls.folder)
        if made.code != 0:
            raise AssertionError(f"making weights failed: {made}")

    def run_spec(self, output, ranks=1, extra=(), prefix=None, spec=SPEC):
        prefix = mpirun(ranks) if prefix is None else prefix
        return launch([*prefix, CKVSIM, "run", spec, *self.base, "-q", "-o", output, *extra], self.folder)

    def must_run(self, output, ranks=1, extra=()):
        outcome = self.run_spec(output, ranks, extra)
        self.assertEqual(outcome.code, 0, str(outcome))
        return outcome


def hashes(outcome):
    """{'logical': ..., 'scores': ...} from the last lines of `ckvsim run`."""
    found = {}
    for line in outcome.out.splitlines():
        if line.startswith("hash/"):
            name, value = line.split()
            found[name[len("hash/"):]] = value
    return found


class OwnModel(Scratch):
    """Runs of another model than the CI spec's, with weights and a calibration of its own."""
    model = ()  # settings on top of the CI spec

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sim = cls.base
        cls.base = [*cls.sim, *settings(files__weights_dir=cls.folder / "own", files__calibration=cls.folder / "own.json"), *cls.model]
        for command in ([TEST_WEIGHTS, SPEC, *cls.base], [CKVSIM, "calibrate", SPEC, *cls.base, "--seconds", "1", "-q"]):
            made = launch(command, cls.folder)
            if made.code != 0:
                raise AssertionError(str(made))

    def shown(self, report, table):
        outcome = launch([CKVSIM, "show", report, table], self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))
        return outcome.out
