"""Checkpoints of fleet studies: what is refused and why, what is left, what goes on. Random kills: scripts/checks/kill_resume."""
import os
import pathlib
import re
import runpy
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import CKVSIM, ENVIRONMENT, PLATFORM, SOURCE, SPEC, hashes, launch, mpirun, settings

FLEET = SOURCE / "workloads/specs/fleet-ci.json"
STUDY = settings(files__platform=PLATFORM, traffic__requests=160000, fleet__nodes=3)
WINDOWS = settings(fleet__routing__kind="two_choices")


class Checkpoints(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-checkpoint-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.kept = self.folder / "x.h5.checkpoint"

    def command(self, extra=(), ranks=1, interval="0.01"):
        return [str(part) for part in [*(mpirun(ranks) if ranks > 1 else []), CKVSIM, "run", FLEET, *STUDY, "-q", "-o", "x.h5",
                                       "--checkpoint-interval", interval, *extra]]

    def run_it(self, extra=(), ranks=1):
        return launch(self.command(extra, ranks), self.folder)

    def stopped(self, name, extra=(), times=1, how=signal.SIGKILL):
        """The process of a run that got the signal as soon as its checkpoint had so many files of that name."""
        shutil.rmtree(self.kept, ignore_errors=True)
        shim = dict(LD_PRELOAD=os.environ["CKVSIM_IO_FAULT"], CKVSIM_FAULT_PATH=f"{self.kept.name}/{name}",
                    CKVSIM_FAULT_NTH=str(times), CKVSIM_FAULT_SIGNAL=str(int(how)))
        process = subprocess.Popen(self.command(extra, interval="0.001"), cwd=self.folder, env=ENVIRONMENT | shim,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        # It is not reaped here: Popen does that.
        state = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        self.assertEqual(state.si_status, how, f"the run ended before it had {times} of {name}")
        return process

    def kill_when(self, name, extra=(), times=1):
        self.stopped(name, extra, times).wait()

    def test_a_finished_run_leaves_nothing_but_its_report(self):
        for extra in ((), ("--resume",), ("--checkpoint", "none")):
            outcome = self.run_it(extra)
            self.assertEqual(outcome.code, 0, str(outcome))
            self.assertEqual([path.name for path in self.folder.iterdir()], ["x.h5"])

    def test_a_run_says_what_its_states_took(self):
        loud = [part for part in self.command() if part != "-q"]
        self.assertRegex(launch(loud, self.folder).err, r"checkpoints: [1-9]\d* files, [1-9]\d{3,} bytes, \d+\.\d+ s")
        self.assertNotIn("checkpoints:", launch([*loud, "--checkpoint", "none"], self.folder).err)
        self.assertEqual(self.run_it().err, "")  # -q

    def test_the_interval_of_a_median(self):
        script = str(SOURCE / "scripts/checks/checkpoint_overhead")
        median_interval = runpy.run_path(script)["median_interval"]
        self.assertEqual(median_interval([5, 1, 4, 2, 3]), (1, 5, 1 - 2 / 32))  # no pair covers 95 %: the range
        self.assertEqual(median_interval(range(9)), (1, 7, 1 - 2 * (1 + 9) / 512))
        self.assertEqual(median_interval([3.0]), (3.0, 3.0, 0.0))

    def test_resumed_runs_end_in_the_same_hash_on_any_ranks(self):
        # Windows meet at every edge: more ranks than cores take minutes there.
        for name, extra, resumed in (("node-", (), (1, 2, 4)), ("window-", WINDOWS, (1, 2))):
            whole = hashes(self.run_it(extra))["logical"]
            for ranks in resumed:
                self.kill_when(name, extra, 4)
                outcome = self.run_it([*extra, "--resume"], ranks)
                self.assertEqual(outcome.code, 0, str(outcome))
                self.assertEqual(hashes(outcome)["logical"], whole)
                self.assertEqual(outcome.err, "")
                self.assertFalse(self.kept.exists())

    def test_damaged_states_are_refused_and_the_one_before_is_used(self):
        # Windows meet at every edge: more ranks than cores take minutes there.
        # Two states of a node; two sets of windows of a file and its description each.
        for name, extra, times, states in (("node-0-0-", (), 2, "node-0-0-*[0-9]"), ("window-", WINDOWS, 4, "window-*[0-9]")):
            whole = hashes(self.run_it(extra))["logical"]
            for cut in (True, False):
                self.kill_when(name, extra, times)
                # By the numbers in their names: a clock of files ticks every few milliseconds, and both may have one time.
                kept = sorted(self.kept.glob(states), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
                self.assertEqual(len(kept), 2)
                newest = kept[-1]
                content = newest.read_bytes()
                middle = len(content) // 2
                newest.write_bytes(content[:middle] if cut else content[:middle] + b"damaged!" + content[middle + 8:])
                outcome = self.run_it([*extra, "--resume"])
                self.assertEqual(outcome.code, 0, str(outcome))
                self.assertIn(newest.name, outcome.err)
                self.assertIn("truncated" if cut else "checksum is wrong", outcome.err)
                self.assertEqual(hashes(outcome)["logical"], whole)

    def test_a_foreign_checkpoint_is_refused_with_the_reason(self):
        self.kill_when("node-")
        for ranks in (1, 2):
            outcome = self.run_it(["--resume", *settings(seed=2)], ranks)
            self.assertEqual(outcome.code, 4, str(outcome))
            self.assertIn("belongs to another study: its spec differs", outcome.err)
            self.assertIn("begin again without --resume", outcome.err)
        description = self.kept / "checkpoint.json"
        text = description.read_text()
        for changed, reason in ((text.replace('"epoch": 1', '"epoch": "one"'), "is damaged"),
                                (text.replace('"program": "', '"program": "0.0.0 '), "was changed after"), ("{", "is damaged")):
            description.write_text(changed)
            outcome = self.run_it(["--resume"])
            self.assertEqual(outcome.code, 4, str(outcome))
            self.assertIn(reason, outcome.err)

    def test_without_resume_the_old_checkpoint_is_set_aside(self):
        self.kill_when("node-")
        outcome = self.run_it()
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertIn("x.h5.checkpoint.old", outcome.err)
        self.assertTrue((self.folder / "x.h5.checkpoint.old/checkpoint.json").exists())

    def test_an_interrupted_run_is_finished_as_a_partial_report(self):
        whole = hashes(self.run_it())["logical"]
        (self.folder / "x.h5").unlink()
        self.kill_when("node-3-")  # so three cases are through
        finished = launch([CKVSIM, "finish", "x.h5"], self.folder)
        self.assertEqual(finished.code, 0, str(finished))
        self.assertRegex(finished.out, r"note: PARTIAL: [3-9] of 10 cases had finished")
        self.assertNotEqual(hashes(finished)["logical"], whole)
        shown = launch([CKVSIM, "show", "x.h5", "notes", "provenance"], self.folder)
        self.assertIn("PARTIAL", shown.out)
        # Strategies that do not apply are there with their reason, as in a whole report.
        table = launch([CKVSIM, "show", "x.h5", "fleet_cases"], self.folder).out
        self.assertEqual(len(re.findall(r"hstu +sequence +(?:item_table|collective_item)", table)), 2, table)
        again = launch([CKVSIM, "finish", "x.h5.checkpoint"], self.folder)
        self.assertEqual(again.code, 2, str(again))
        self.assertIn("x.h5: is there already", again.err)
        named = launch([CKVSIM, "finish", "x.h5.checkpoint", "-o", "part.h5"], self.folder)
        self.assertEqual(hashes(named), hashes(finished))
        # The checkpoint is untouched: the run still goes on from it and replaces the partial report.
        resumed = self.run_it(["--resume"])
        self.assertEqual(hashes(resumed)["logical"], whole)
        self.assertNotIn("PARTIAL", launch([CKVSIM, "show", "x.h5", "notes"], self.folder).out)

    def test_what_cannot_be_finished(self):
        missing = launch([CKVSIM, "finish", "x.h5"], self.folder)
        self.assertEqual(missing.code, 4, str(missing))
        self.assertIn("no checkpoint there nor in x.h5.checkpoint", missing.err)
        run = self.stopped("checkpoint.json", how=signal.SIGSTOP)
        used = launch([CKVSIM, "finish", "x.h5"], self.folder)
        run.kill()
        run.wait()
        self.assertEqual(used.code, 5, str(used))
        self.assertIn("its run goes on", used.err)
        self.kill_when("node-0-")
        for cases in self.kept.glob("cases-*"):
            cases.unlink()
        none = launch([CKVSIM, "finish", "x.h5"], self.folder)
        self.assertEqual(none.code, 4, str(none))
        self.assertIn("none of 12 cases had finished", none.err)

    def test_folders_that_cannot_be_used(self):
        (self.folder / "mine").mkdir()
        (self.folder / "mine/thesis.txt").write_text("x")
        for given, reason in (("mine", "holds thesis.txt"), ("/proc/none", "cannot create folder")):
            outcome = self.run_it(["--checkpoint", given])
            self.assertEqual(outcome.code, 5, str(outcome))
            self.assertIn(reason, outcome.err)
        outcome = launch([CKVSIM, "run", SPEC, "--resume"], self.folder)
        self.assertEqual(outcome.code, 2, str(outcome))
        self.assertIn("is no fleet study", outcome.err)


if __name__ == "__main__":
    unittest.main()
