"""ckvsim-train under mpirun: one set of files, the loss of one process, refusals on all ranks alike. Skipped where the trainer
is not built."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import CKVSIM, ENVIRONMENT, PLATFORM, SPEC, launch, mpirun, settings

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
SECONDS_TO_END = 60  # generous against a loaded machine; a hang would take for ever


def tune_aucs(outcome):
    """{'full': 0.71, ...} from the result lines."""
    found = {}
    for line in outcome.out.splitlines():
        words = line.split()
        if words[1:2] == ["seed"]:
            found[words[0]] = float(words[words.index("AUC") + 1])
    return found


@unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
class DataParallel(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-endtoend-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def prepare(self, name, **values):
        made = launch([CKVSIM, "prepare", SPEC, "-q", "-o", name,
                       *settings(files__platform=PLATFORM, files__weights_dir=self.folder / "weights",
                                 training__seeds="[1]", **values)], self.folder)
        self.assertEqual(made.code, 0, str(made))

    def train(self, ranks, *arguments):
        return launch([*mpirun(ranks), TRAINER, *arguments, "-q"], self.folder)

    def weights(self):
        return sorted(path.name for path in (self.folder / "weights").glob("*")) if (self.folder / "weights").exists() else []

    def assert_refused(self, outcome, code, *pieces):
        self.assertEqual(outcome.code, code, str(outcome))
        for piece in pieces:
            self.assertIn(piece, outcome.err, str(outcome))
        self.assertEqual(outcome.err.count("ckvsim-train: "), 1, "one message, not one per rank")
        self.assertEqual(self.weights(), [], "weights were left behind")

    def test_two_ranks_train_what_one_process_trains(self):
        self.prepare("samples.ckvt")
        alone = launch([TRAINER, "samples.ckvt", "-q"], self.folder)
        self.assertEqual(alone.code, 0, str(alone))
        files = self.weights()
        shared = self.train(2, "samples.ckvt")
        self.assertEqual(shared.code, 0, str(shared))
        self.assertEqual(self.weights(), files)
        self.assertEqual(shared.out.count("up to date"), 1, "the summary's: those of one process were made by other sums")
        expected, found = tune_aucs(alone), tune_aucs(shared)
        self.assertEqual(expected.keys(), found.keys())
        for variant, auc in expected.items():
            self.assertAlmostEqual(found[variant], auc, delta=0.005, msg=variant)
        again = self.train(2, "samples.ckvt")
        self.assertIn(f"0 trained, {len(files)} up to date", again.out)

    def test_a_batch_smaller_than_the_ranks_is_refused(self):
        self.prepare("samples.ckvt", training__batch=1)
        self.assert_refused(self.train(2, "samples.ckvt"), 2, "training.batch = 1", "ranks, 2", "prepare again")

    def test_ranks_with_different_files_are_refused(self):
        self.prepare("a.ckvt")
        self.prepare("b.ckvt", training__learning_rate=0.004)  # another spec, the same shapes
        shutil.copy(self.folder / "a.ckvt", self.folder / "same.ckvt")
        one = [*mpirun(1), TRAINER, "-q", "--only", "full"]
        outcome = launch([*one, "a.ckvt", ":", *one[3:], "b.ckvt"], self.folder)
        self.assert_refused(outcome, 4, "ranks disagree (rank 0 against rank 1)", "same sample file")
        outcome = launch([*one, "a.ckvt", ":", *one[3:], "same.ckvt"], self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))

    def test_a_file_that_one_rank_lacks_is_named(self):
        self.prepare("a.ckvt")
        one = [*mpirun(1), TRAINER, "-q"]
        outcome = launch([*one, "a.ckvt", ":", *one[3:], "nowhere.ckvt"], self.folder)
        self.assert_refused(outcome, 4, "rank 1 of 2", "nowhere.ckvt")

    def test_ranks_with_different_options_are_refused(self):
        self.prepare("a.ckvt")
        one = [*mpirun(1), TRAINER, "-q", "a.ckvt"]
        outcome = launch([*one, "--seed", "1", ":", *one[3:], "--seed", "2"], self.folder)
        self.assert_refused(outcome, 2, "the command line: ranks disagree")
        self.assert_refused(self.train(2, "a.ckvt", "--threads", "2"), 2, "--threads-per-run")

    def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(self):
        self.prepare("samples.ckvt", training__epochs=40, training__batch=32)  # 144 steps at least
        command = [*mpirun(2), TRAINER, "samples.ckvt", "-q", "--only", "full", "--checkpoint-interval", "0.001"]
        with subprocess.Popen([str(part) for part in command], cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True) as job:
            try:
                deadline = time.monotonic() + SECONDS_TO_END
                while not list((self.folder / "weights").glob("*.state-1")):
                    self.assertLess(time.monotonic(), deadline, "no state was kept")
                    self.assertIsNone(job.poll(), "ended before it could be killed")
                    time.sleep(0.002)
                children = pathlib.Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
                os.kill(int(children[-1]), signal.SIGKILL)
                self.assertNotEqual(job.wait(SECONDS_TO_END), 0)
            finally:
                if job.poll() is None:
                    os.killpg(job.pid, signal.SIGKILL)
        outcome = self.train(2, "samples.ckvt", "--only", "full")
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertIn("resumed", outcome.out)
        self.assertEqual(self.weights(), ["full_seed1.ckvt"])


if __name__ == "__main__":
    unittest.main()
