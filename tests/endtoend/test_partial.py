"""A fleet study that fails at its end leaves the cases that it had finished; one that succeeds leaves its report alone."""
import json
import os
import re
import signal
import subprocess
import time
import unittest

from harness import CKVSIM, ENVIRONMENT, SOURCE, TIMEOUT_S, Scratch, launch, mpirun, settings

SPEC = SOURCE / "workloads/specs/fleet-ci.json"
SMALL = settings(files__platform=SOURCE / "workloads/platforms/h100-node.json", traffic__requests=20000)
LONGER = settings(traffic__requests=200000)
DEALT = settings(fleet__sampled_nodes=1)  # cases are dealt to ranks


class Partial(Scratch):
    def run_fleet(self, output, ranks, extra=()):
        prefix = mpirun(ranks) if ranks > 1 else []
        return launch([*prefix, CKVSIM, "run", SPEC, *SMALL, *extra, "-o", output], self.folder)

    def side_files(self, output):
        return sorted(name for name in os.listdir(self.folder) if name.startswith(output + ".partial"))

    def test_a_run_that_ends_well_removes_its_side_files_and_older_ones(self):
        (self.folder / "good.h5.partial-5.jsonl").write_text("{}\n")
        for extra in ((), DEALT):
            outcome = self.run_fleet("good.h5", 2, extra)
            self.assertEqual(outcome.code, 0, str(outcome))
            self.assertEqual(self.side_files("good.h5"), [])

    def test_a_run_that_cannot_write_its_report_leaves_every_case(self):
        for name, extra, files in (("split.h5", (), 1), ("dealt.h5", DEALT, 2)):
            with self.subTest(name):
                (self.folder / name / "x").mkdir(parents=True)  # a folder where the report should be
                outcome = self.run_fleet(name, 2, extra)
                self.assertEqual(outcome.code, 5, str(outcome))
                kept = self.side_files(name)
                self.assertEqual(len([file for file in kept if file.endswith(".jsonl")]), files, kept)
                self.assertIn(f"{name}.partial.jsonl", outcome.err)
                lines = [json.loads(line) for file in kept for line in (self.folder / file).read_text().splitlines()]
                done = sorted(line["case"] for line in lines if line["state"] == "finished")
                refused = 1  # an item table cannot hold what depends on the sequence
                self.assertGreaterEqual(len(done), 12 - 2 * refused, str(lines))
                self.assertEqual(len(done), len(set(done)))
                self.assertEqual([line for line in lines if line["state"] == "begun"], [{"state": "begun", "cases": 12, "locked": True}])
                for line in lines:
                    if line["state"] == "begun":
                        continue
                    self.assertGreater(line["p99_ms"], 0)
                    self.assertLessEqual(line["hit_ratio"], 1)

    def follow(self, output, when):
        """Outcome of `show --follow` that began while a run lived; `when`, called with both, decides what happens after
        the first line."""
        command = [str(part) for part in [CKVSIM, "run", SPEC, *SMALL, *LONGER, "-q", "-o", output]]
        with subprocess.Popen(command, cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as run:
            while run.poll() is None and not self.side_files(output):
                time.sleep(0.001)
            with subprocess.Popen([CKVSIM, "show", "--follow", output, "fleet"], cwd=self.folder, env=ENVIRONMENT, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
                first = follower.stdout.readline()
                when(run, follower)
                out, err = follower.communicate(timeout=TIMEOUT_S)
        return follower.returncode, first + out, err

    def test_a_run_is_followed_to_its_report(self):
        code, out, err = self.follow("followed.h5", lambda run, follower: None)
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("a run of 12 cases\n", out)
        self.assertRegex(out, r"case \d+ of 12, hstu full.*p99 .* ms, hits .* %.*took .* s\n")
        self.assertIn("fleet", out.split("a run of 12 cases")[1])

    def test_nothing_is_missed_of_a_run_that_ends_while_nobody_looks(self):
        def look_away(run, follower):
            follower.send_signal(signal.SIGSTOP)
            run.wait(timeout=TIMEOUT_S)
            follower.send_signal(signal.SIGCONT)

        code, out, err = self.follow("missed.h5", look_away)
        self.assertEqual((code, err), (0, ""), out)
        refused = 2  # an item table and codes per item cannot hold what depends on the sequence
        self.assertEqual(len(re.findall(r"^case \d+ of 12, .* took ", out, re.MULTILINE)), 12 - refused, out)

    def test_following_a_run_that_is_killed_ends_with_the_reason(self):
        code, out, err = self.follow("killed.h5", lambda run, follower: run.kill())
        self.assertEqual(code, 5, out + err)
        self.assertIn("killed.h5: its run ended without writing it", err)
        self.assertIn("--resume", err)

    def test_nothing_to_follow(self):
        outcome = launch([CKVSIM, "show", "--follow", "nothing.h5"], self.folder)
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("no run that is to write it", outcome.err)
        (self.folder / "odd.h5.partial.jsonl").write_text("[1]\n")
        outcome = launch([CKVSIM, "show", "--follow", "odd.h5"], self.folder)
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("odd.h5.partial.jsonl: holds a line that is none of ckvsim's", outcome.err)


if __name__ == "__main__":
    unittest.main()
