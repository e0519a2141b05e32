"""ckvsim-train --device, --ops and --precision: portable operations train what the kernels train and what is served; a device that
is not there ends with a word and its exit code. Skipped where the trainer is not built."""
import pathlib
import unittest

from harness import CKVSIM, ENVIRONMENT, SPEC, Scratch, launch, mpirun, settings
from test_data_parallel import tune_aucs

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
NO_SERVING = settings(measurements__executed__enabled="false", measurements__simulated__enabled="false")
# No driver shows a device then, whatever the machine has.
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


@unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
class Device(Scratch):
    def prepare(self, folder):
        own = settings(files__weights_dir=self.folder / folder, training__seeds="[1]")
        made = launch([CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", folder + ".ckvt"], self.folder)
        self.assertEqual(made.code, 0, str(made))
        return own

    def train(self, samples, *arguments, ranks=None):
        alone = [] if ranks is None else mpirun(ranks)
        return launch([*alone, TRAINER, samples, "-q", *arguments], self.folder)

    def test_portable_operations_train_what_is_served(self):
        self.prepare("kernels")
        own = self.prepare("portable")
        kernels = self.train("kernels.ckvt")
        portable = self.train("portable.ckvt", "--ops", "portable")
        for outcome in (kernels, portable):
            self.assertEqual(outcome.code, 0, str(outcome))
        expected, found = tune_aucs(kernels), tune_aucs(portable)
        self.assertEqual(expected.keys(), found.keys())
        for variant, auc in expected.items():
            self.assertAlmostEqual(found[variant], auc, delta=0.005, msg=variant)
        again = self.train("portable.ckvt", "--ops", "portable")
        self.assertIn("0 trained", again.out)
        other = self.train("portable.ckvt", "--only", "full")
        self.assertIn("1 trained", other.out, "weights of portable operations are not those of kernels")
        mixed = self.must_run("mixed.h5", extra=[*NO_SERVING, *own])
        self.assertIn("Weights were not all computed in one way", mixed.out)
        again = self.train("portable.ckvt", "--only", "full", "--ops", "portable")
        self.assertIn("1 trained", again.out)
        alike = self.must_run("portable.h5", extra=[*NO_SERVING, *own])
        self.assertNotIn("computed in one way", alike.out)

    def test_a_report_names_trainings_that_the_limit_ended(self):
        own = [*self.prepare("short"), *settings(training__epochs=1)]
        made = launch([CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", "short.ckvt"], self.folder)
        self.assertEqual(made.code, 0, str(made))
        self.assertEqual(self.train("short.ckvt").code, 0)
        outcome = self.must_run("short.h5", extra=[*NO_SERVING, *own])
        self.assertRegex(outcome.out, r"limit of epochs ended.* full \(seed 1\)")

    def test_what_bf16_trains_is_served(self):
        own = self.prepare("bf16")
        trained = self.train("bf16.ckvt", "--ops", "portable", "--precision", "bf16")
        self.assertEqual(trained.code, 0, str(trained))
        self.must_run("bf16.h5", extra=[*NO_SERVING, *own])

    def test_a_device_that_is_not_there_is_named(self):
        self.prepare("unused")
        kept = dict(ENVIRONMENT)
        self.addCleanup(lambda: (ENVIRONMENT.clear(), ENVIRONMENT.update(kept)))
        ENVIRONMENT.update(NO_GPU)
        for device in ("cuda", "cuda:1"):
            outcome = self.train("unused.ckvt", "--device", device)
            self.assertEqual(outcome.code, 5, str(outcome))
            self.assertIn(f"--device {device}: libtorch", outcome.err)
            self.assertIn("finds no CUDA device here", outcome.err)
            self.assertFalse((self.folder / "unused").exists(), "nothing was begun")
        outcome = self.train("unused.ckvt", "--device", "cuda", ranks=2)
        self.assertEqual(outcome.code, 5, str(outcome))
        self.assertEqual(outcome.err.count("finds no CUDA device"), 1, "one message, not one per rank")

    def test_words_that_mean_nothing_are_refused(self):
        self.prepare("unused")
        for arguments, words in ((["--device", "gpu"], "no device has this name"),
                                 (["--ops", "fast"], "Use auto, kernels or portable"),
                                 (["--precision", "fp16"], "Use fp32 or bf16"),
                                 (["--device", "cuda", "--ops", "kernels"], "run on the CPU alone"),
                                 (["--precision", "bf16"], "Add --ops portable")):
            outcome = self.train("unused.ckvt", *arguments)
            self.assertEqual(outcome.code, 2, str(outcome))
            self.assertIn(words, outcome.err)


if __name__ == "__main__":
    unittest.main()
