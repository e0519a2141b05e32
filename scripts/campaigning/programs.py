"""Calls of ckvsim, ckvsim-train and mpirun."""
import concurrent.futures
import json
import os
import re
import struct
import subprocess
import sys
import time

from .campaign_file import CampaignError


def overrides(settings):
    """--set arguments of {"/json/pointer": value}."""
    return [argument for pointer, value in settings.items()
            for argument in ("--set", f"{pointer}={json.dumps(value)}")]


class Programs:
    """Programs of one build folder, run from the repository's root."""

    def __init__(self, build, ranks):
        self.ckvsim = os.path.join(build, "bin", "ckvsim")
        self.trainer = os.path.join(build, "bin", "ckvsim-train")
        self._need(self.ckvsim)
        self.ranks = ranks
        self.held = []  # descriptors of locks: whoever outlives this program holds them, too
        self.cores = len(os.sched_getaffinity(0))
        self.environment = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1")
        if os.geteuid() == 0:
            self.environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    @staticmethod
    def _need(program):
        if not os.access(program, os.X_OK):
            raise CampaignError(5, f"{program}: is not there. build it: cmake --preset release && "
                                   "cmake --build build/release --target ckvsim ckvsim-train")

    def need_trainer(self):
        self._need(self.trainer)

    def _environment_of(self, arguments, threads):
        environment = dict(self.environment)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        if arguments[0] == self.trainer:  # big tensors stay in the heap instead of being mapped anew at every step
            environment.update(MALLOC_MMAP_THRESHOLD_="8589934592", MALLOC_TRIM_THRESHOLD_="8589934592",
                               MALLOC_TOP_PAD_="268435456")
        return environment

    @staticmethod
    def _failure(arguments, code):
        return CampaignError(code if code in (1, 2, 3, 4, 5) else 1,
                             f"{' '.join(arguments[:6])} ...: failed with exit code {code} (see above). "
                             "mend it and repeat the command: finished cells are kept")

    def _call(self, arguments, threads=None):
        done = subprocess.run(arguments, env=self._environment_of(arguments, threads), check=False, pass_fds=self.held)
        if done.returncode != 0:
            raise self._failure(arguments, done.returncode)

    def resolve(self, spec, settings):
        """The spec with every default, and [(arm, reason)] of the arms that cannot serve this model.

        Arms are left out only where all problems of the spec are refusals that name the model: a misspelt arm is an error.
        """
        arms = settings.get("/arms")
        if arms is None:
            with open(spec, encoding="utf-8") as file:
                arms = json.load(file)["arms"]
        answer = self._validate(spec, settings)
        refused = {}
        if answer.returncode != 0:
            found = re.findall(r"^  (/[^:]*): (.*)$", answer.stderr, re.M)
            for pointer, reason in found:
                place = re.match(r"/arms/(\d+)/(weights|strategy)/", pointer)
                if not place or not re.search(r"\bmodel '(sim|twin|eta|sdim|hstu)'", reason):
                    raise CampaignError(3, answer.stderr.strip())
                refused.setdefault(arms[int(place[1])]["name"], reason.split(" (from --set")[0])
            if not refused:
                raise CampaignError(3, answer.stderr.strip())
            settings = dict(settings, **{"/arms": [arm for arm in arms if arm["name"] not in refused]})
            answer = self._validate(spec, settings)
            if answer.returncode != 0:
                raise CampaignError(3, answer.stderr.strip())
        return json.loads(answer.stdout), settings, sorted(refused.items())

    def _validate(self, spec, settings):
        return subprocess.run([self.ckvsim, "validate", spec, *overrides(settings)], capture_output=True, text=True,
                              env=self.environment, check=False)

    def prepare(self, spec, settings, samples):
        self._call([self.ckvsim, "prepare", spec, *overrides(settings), "-o", samples])

    def train_all(self, samples):
        """Every variant and seed of one sample file."""
        self._call([self.trainer, samples], self.cores)

    def train(self, tasks, may_diverge=False):
        """[(sample file, stem, seed)], by as many trainers of one thread as there are cores, CollectiveKV's (the longest) first.

        may_diverge: a run whose loss is not finite ends without weights instead of ending the queue.
        """
        tasks = sorted(tasks, key=lambda task: not task[1].startswith("collective"))
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(self.cores) as pool:
            running = [pool.submit(self._train_one, *task, may_diverge) for task in tasks]
            for number, one in enumerate(concurrent.futures.as_completed(running), 1):
                if one.exception():  # those that wait for a core are not begun
                    pool.shutdown(wait=True, cancel_futures=True)
                one.result()
                print(f"trained {number} of {len(tasks)}, {(time.monotonic() - begun) / 60:.1f} min", flush=True)

    def _train_one(self, samples, stem, seed, may_diverge):
        arguments = [self.trainer, samples, "--only", stem, "--seed", str(seed), "--threads", "1", "-q"]
        if not may_diverge:
            self._call(arguments, 1)
            return
        done = subprocess.run(arguments, env=self._environment_of(arguments, 1), check=False, pass_fds=self.held,
                              stderr=subprocess.PIPE, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode == 4 and " diverged: " in done.stderr:
            weights = os.path.join(os.path.dirname(samples), f"{stem}_seed{seed}.ckvt")
            if os.path.exists(weights):  # of other settings that this folder was searched with before
                os.unlink(weights)
        elif done.returncode != 0:
            raise self._failure(arguments, done.returncode)

    def run(self, spec, settings, report):
        threads = max(1, self.cores // self.ranks)
        self._call(["mpirun", "--bind-to", "none", "-n", str(self.ranks), self.ckvsim, "run", spec,
                    *overrides(settings), "-o", report], threads)


def attributes(path):
    """Attributes of a tensor file (sim/docs/tensor_file.md), its checksum unchecked."""
    with open(path, "rb") as file:
        if file.read(8) != b"CKVTNSR1":
            raise CampaignError(4, f"{path}: is no tensor file. delete it and repeat the command")
        count = struct.unpack("<4I", file.read(16))[1]
        texts = [file.read(struct.unpack("<I", file.read(4))[0]).decode() for _ in range(2 * count)]
    return dict(zip(texts[::2], texts[1::2]))
