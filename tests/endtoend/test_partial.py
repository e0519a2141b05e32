"""A fleet study that fails at its end leaves the cases that it had finished; one that succeeds leaves its report alone."""
import json
import os
import unittest

from harness import CKVSIM, SOURCE, Scratch, launch, mpirun, settings

SPEC = SOURCE / "workloads/specs/fleet-ci.json"
SMALL = settings(files__platform=SOURCE / "workloads/platforms/h100-node.json", traffic__requests=20000)
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
                for line in lines:
                    self.assertGreater(line["p99_ms"], 0)
                    self.assertLessEqual(line["hit_ratio"], 1)


if __name__ == "__main__":
    unittest.main()
