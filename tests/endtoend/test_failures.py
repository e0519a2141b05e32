"""Failures end the whole job quickly, with one message, and leave nothing half-written."""
import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import CKVSIM, ENVIRONMENT, SOURCE, SPEC, Scratch, launch, mpirun, settings

SECONDS_TO_END = 60  # generous against a loaded machine; a hang would take for ever


class Failures(Scratch):
    def leftovers(self):
        return sorted(p.name for p in self.folder.iterdir() if p.suffix in (".h5", ".partial"))

    def assert_clean_failure(self, outcome, code, *pieces):
        self.assertEqual(outcome.code, code, str(outcome))
        for piece in pieces:
            self.assertIn(piece, outcome.err, str(outcome))
        self.assertEqual(self.leftovers(), [], "a report or a part of one was left behind")

    def test_missing_weights_name_the_commands_that_make_them(self):
        outcome = self.run_spec("x.h5", 2, settings(files__weights_dir="nowhere"))
        self.assert_clean_failure(outcome, 4, "ckvsim prepare", "ckvsim-train", "nowhere")
        self.assertEqual(outcome.err.count("missing input"), 1, "one message, not one per rank")

    def test_a_truncated_weight_file_is_named(self):
        broken = self.folder / "broken"
        shutil.copytree(self.folder / "weights", broken)
        victim = sorted(broken.glob("*.ckvt"))[0]
        victim.write_bytes(victim.read_bytes()[:1000])
        outcome = self.run_spec("x.h5", 2, settings(files__weights_dir=broken))
        self.assert_clean_failure(outcome, 4, victim.name, "rank")
        shutil.rmtree(broken)

    def test_weights_of_another_catalogue_are_refused(self):
        outcome = self.run_spec("x.h5", 2, settings(workload__synthetic__items=1777))
        self.assert_clean_failure(outcome, 4, "catalogue")

    def test_a_population_without_history_is_refused(self):
        empty = settings(workload__synthetic__history_min=0, workload__synthetic__history_median=0.001)
        for ranks in (1, 2):
            outcome = launch([*mpirun(ranks), CKVSIM, "run", SPEC, *self.base, *empty, "-q", "-o", "empty.h5"], self.folder)
            self.assertEqual(outcome.code, 4, str(outcome))
            self.assertIn("every history is empty", outcome.err)
            self.assertEqual(outcome.err.count("every history is empty"), 1, "said once, whatever the ranks")
            self.assertFalse((self.folder / "empty.h5").exists())
        for command, words in (("prepare", "nothing to learn from"), ("calibrate", "too few users have a history")):
            outcome = launch([CKVSIM, command, SPEC, *self.base, *empty, "-q", "-o", "empty.out"], self.folder)
            self.assertEqual(outcome.code, 4, str(outcome))
            self.assertIn(words, outcome.err)
            self.assertFalse((self.folder / "empty.out").exists())

    def test_a_full_disk_on_one_rank(self):
        # Shared-memory transport would hit the limit inside MPI_Init, before the program can say anything.
        limited = ["env", "OMPI_MCA_btl=tcp,self", "mpirun", "--bind-to", "none", "-n", "1", "bash", "-c", 'ulimit -f 8; exec "$@"', "limited"]
        plain = [CKVSIM, "run", SPEC, *self.base, *settings(measurements__executed__enabled="false"), "-q", "-o",
                 "full.h5"]
        outcome = launch([*limited, *plain, ":", "-n", "1", *plain], self.folder)
        self.assert_clean_failure(outcome, 5, "full.h5", "rank 0")

    def test_an_unwritable_target(self):
        outcome = self.run_spec("/proc/nowhere/x.h5", 2, settings(measurements__executed__enabled="false"))
        self.assert_clean_failure(outcome, 5, "/proc/nowhere")

    def test_an_older_report_survives_a_failed_run(self):
        report = self.folder / "kept.h5"
        report.write_bytes(b"an older report")
        outcome = self.run_spec("kept.h5", 2, settings(files__weights_dir="nowhere"))
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertEqual(report.read_bytes(), b"an older report")
        report.unlink()

    def test_a_killed_rank_ends_the_job(self):
        command = [*mpirun(3), CKVSIM, "run", SPEC, *self.base, "-o", "killed.h5"]
        job = subprocess.Popen([str(part) for part in command], cwd=self.folder, env=ENVIRONMENT,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # The first line of progress: mpirun may sleep for ever when a rank dies before it reported (sim/docs/failures.md).
        job.stderr.readline()
        listed = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True).stdout.split()
        self.assertEqual(len(listed), 3, "the job ended before a rank could be killed")
        victim = int(listed[-1])
        os.kill(victim, signal.SIGKILL)
        _, errors = job.communicate(timeout=SECONDS_TO_END)
        self.assertNotEqual(job.returncode, 0, errors)
        self.assertFalse((self.folder / "killed.h5").exists())
        for leftover in self.folder.glob("killed.h5*"):
            leftover.unlink()  # a partial file may stay under its own name, never under the final one


class CommandLine(Scratch):
    def test_exit_codes(self):
        bad_spec = self.folder / "bad.json"
        bad_spec.write_text('{"schema_version": 1, "name": "x", "arms": [], "nonsense": 3}')
        cases = [
            (["frobnicate"], 2, ""),
            ([], 2, ""),
            (["run"], 2, "spec"),
            (["run", bad_spec], 3, "/nonsense"),
            (["validate", bad_spec], 3, "/arms"),
            (["run", "missing.json"], 4, "missing.json"),
            (["show", "missing.h5"], 4, "missing.h5"),
            (["show", bad_spec], 4, "not a ckvsim report"),
            (["import", "parquet", ".", "-o", "x.h5"], 2, "parquet"),
            (["run", SPEC, "--perturb-token", "zero"], 2, "perturb-token"),
            (["run", SPEC, "--set", "/no/such/key=1"], 3, "/no/such/key"),
        ]
        for arguments, code, piece in cases:
            with self.subTest(arguments=[str(a) for a in arguments]):
                extra = self.base if "--perturb-token" in arguments else []
                outcome = launch([CKVSIM, *arguments, *extra], self.folder)
                self.assertEqual(outcome.code, code, str(outcome))
                self.assertIn(piece, outcome.err + outcome.out)

    def test_programs_started_side_by_side_do_not_disturb_each_other(self):
        jobs = [subprocess.Popen([CKVSIM, "version"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(40)]
        errors = [job.communicate(timeout=SECONDS_TO_END)[1] for job in jobs]
        self.assertEqual([job.returncode for job in jobs], [0] * len(jobs), "\n".join(filter(None, errors)))

    def test_help_of_every_subcommand_has_an_example_or_options(self):
        top = launch([CKVSIM, "--help"], self.folder)
        self.assertEqual(top.code, 0)
        for command in ("run", "validate", "prepare", "calibrate", "import", "show", "diff", "schema", "version"):
            self.assertIn(command, top.out)
            outcome = launch([CKVSIM, command, "--help"], self.folder)
            self.assertEqual(outcome.code, 0, str(outcome))
            self.assertIn("Usage", outcome.out)

    def test_committed_specs_are_valid(self):
        for spec in sorted((SOURCE / "workloads/specs").glob("*.json")):
            with self.subTest(spec=spec.name):
                outcome = launch([CKVSIM, "validate", spec], self.folder)
                self.assertEqual(outcome.code, 0, str(outcome))


if __name__ == "__main__":
    unittest.main()
