"""ckvsim plan: one answer on any number of ranks, after any interruption; foreign journals and impossible plans are refused."""
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import CKVSIM, ENVIRONMENT, PLATFORM, SOURCE, hashes, launch, mpirun, settings

SPEC = SOURCE / "workloads/specs/fleet-ci.json"
SMALL = [*settings(files__platform=PLATFORM, traffic__requests=20000), "--slo", "p99=20ms", "--users", "2e5,1e6",
         "--rps-per-user", "2", "--requests", "5000", "--sample-users", "4096", "--replicates", "3"]


class Plan(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-plan-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def command(self, output, extra=()):
        return [CKVSIM, "plan", SPEC, *SMALL, "-q", "-o", output, *extra]

    def plan(self, output, ranks=1, extra=()):
        return launch([*mpirun(ranks), *self.command(output, extra)], self.folder)

    def must(self, output, ranks=1, extra=()):
        outcome = self.plan(output, ranks, extra)
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertEqual(list(self.folder.glob(f"{output}.journal*")), [], "a finished plan leaves no journal")
        return hashes(outcome)["logical"]

    def test_one_hash_on_1_2_and_3_ranks(self):
        self.assertEqual(len({self.must(f"r{ranks}.h5", ranks) for ranks in (1, 2, 3)}), 1)

    def test_a_killed_plan_goes_on_to_the_same_hash(self):
        whole = self.must("whole.h5")
        journal = self.folder / "killed.h5.journal.jsonl"
        stopped = 0
        for number in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
            known = len(journal.read_text().splitlines()) if journal.exists() else 0
            resume = ["--resume"] if known else []
            run = subprocess.Popen([str(part) for part in self.command("killed.h5", resume)], cwd=self.folder,
                                   env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            end = time.monotonic() + 120
            while run.poll() is None and time.monotonic() < end:
                if journal.exists() and len(journal.read_text().splitlines()) > known + 2:
                    break
                time.sleep(0.01)
            run.send_signal(number)
            error = run.communicate(timeout=60)[1]
            if run.returncode == 0:
                break  # done before it was told to stop
            stopped += 1
            self.assertEqual(run.returncode, -number)
            if number != signal.SIGKILL:
                self.assertIn("--resume", error)
        self.assertGreater(stopped, 0, "nothing was interrupted")
        self.assertEqual(self.must("killed.h5", 1, ["--resume"]), whole)

    def stopped(self, output, lines, extra=()):
        """The journal of a plan that was killed when it had more than `lines` lines."""
        run = subprocess.Popen([str(part) for part in self.command(output, extra)], cwd=self.folder, env=ENVIRONMENT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = self.folder / f"{output}.journal.jsonl"
        while run.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) > lines):
            time.sleep(0.01)
        run.kill()
        run.wait()
        self.assertTrue(journal.exists(), "the plan was done before it was killed")
        return journal

    def test_a_flipped_digit_is_found_and_its_answer_found_again(self):
        whole = self.must("whole.h5")
        journal = self.stopped("bad.h5", 4)
        text = journal.read_text()
        lines = text.splitlines(keepends=True)
        line = next(n for n, words in enumerate(lines) if '"evaluations":' in words)
        digit = lines[line].index('"evaluations":') + len('"evaluations":')
        lines[line] = lines[line][:digit] + str((int(lines[line][digit]) + 1) % 10) + lines[line][digit + 1:]
        for changed, warning in (("".join(lines), f":{line + 1}: damaged; that answer is found again"),
                                 (text.replace("ckvsim_plan", "ckvsim_pan", 1), ":1: damaged; all its answers are found again")):
            journal.write_text(changed)
            outcome = self.plan("bad.h5", 2, ["--resume"])
            self.assertEqual(outcome.code, 0, str(outcome))
            self.assertEqual(outcome.err.count(journal.name + warning), 1, str(outcome))
            self.assertEqual(hashes(outcome)["logical"], whole)
            for table in ("plan", "plan_front"):
                shown = [launch([CKVSIM, "show", name, table], self.folder).out for name in ("bad.h5", "whole.h5")]
                self.assertEqual(shown[0].replace("bad.h5", "whole.h5"), shown[1])

    def test_answers_are_not_found_twice(self):
        whole = self.must("whole.h5")
        lines = self.stopped("part.h5", 6).read_text().splitlines()
        known = sum(1 for line in lines[1:] if line.endswith("}"))
        outcome = self.plan("part.h5", 2, ["--resume"])
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertEqual(hashes(outcome)["logical"], whole)
        speed = launch([CKVSIM, "show", "part.h5", "plan_speed"], self.folder).out
        all_speed = launch([CKVSIM, "show", "whole.h5", "plan_speed"], self.folder).out
        questions = [int(text.split("answers")[1].split()[1].replace(",", "")) for text in (speed, all_speed)]
        self.assertEqual(questions[0] + known, questions[1])

    def test_a_foreign_journal_is_refused(self):
        self.stopped("x.h5", 0, ["--check", "1"])
        for ranks in (1, 2):
            outcome = self.plan("x.h5", ranks, ["--resume"])
            self.assertEqual(outcome.code, 4, str(outcome))
            self.assertIn("of another plan", outcome.err)
            self.assertEqual(outcome.err.count("ckvsim: "), 1, str(outcome))
        self.assertEqual(self.plan("x.h5", 1).code, 0, "without --resume it begins anew")

    def test_full_runs_confirm_a_small_plan(self):
        outcome = self.plan("c.h5", 1, ["--check", "4", "--nodes", "2"])
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertIn("re-run in full", outcome.out)
        self.assertIn("highest load of 2 nodes", outcome.out)
        shown = launch([CKVSIM, "show", "c.h5"], self.folder)
        self.assertIn("Fewest nodes with p99 within 20 ms", shown.out)
        self.assertIn("plan_front", shown.out)

    def test_what_no_fleet_can_do_is_said_in_words(self):
        outcome = self.plan("i.h5", 1, ["--slo", "p99=10us"])
        self.assertEqual(outcome.code, 2, "an option twice: " + str(outcome))
        options = [part for part in SMALL if part not in ("--slo", "p99=20ms")]
        outcome = launch([CKVSIM, "plan", SPEC, *options, "-q", "-o", "i.h5", "--slo", "p99=10us"], self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertIn("more than the SLO", outcome.out)

    def test_refusals(self):
        for extra, code, piece in (([*settings(fleet__routing__kind="random")], 3, "/fleet/routing/kind"),
                                   (["--nodes", "0"], 2, "--nodes"),
                                   (["--rps", "5"], 2, "one of them"),
                                   ([*settings(fleet__tiers__policy="lur")], 3, "/fleet/tiers/policy")):
            outcome = self.plan("x.h5", 2, extra)
            self.assertEqual(outcome.code, code, str(outcome))
            self.assertIn(piece, outcome.err, str(outcome))
            self.assertEqual(outcome.err.count("ckvsim: "), 1, str(outcome))
        self.assertEqual(list(self.folder.iterdir()), [], "something was left behind")


if __name__ == "__main__":
    unittest.main()
