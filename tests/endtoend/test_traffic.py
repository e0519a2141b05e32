"""Recorded requests replay to the same report; shaped traffic does not depend on ranks; wrong recordings are refused."""
import unittest

from harness import CKVSIM, Scratch, hashes, launch, settings

NO_WALL_CLOCK = settings(measurements__executed__enabled="false")
SHAPE = settings(
    measurements__simulated__traffic__diurnal='{"amplitude": 0.9, "day_s": 0.3, "zones": [{"utc_offset_h": 8, "share": 1}]}',
    measurements__simulated__traffic__bursts='{"multiplier": 5, "mean_burst_s": 0.02, "mean_gap_s": 0.05}',
    measurements__simulated__traffic__flash_crowds=
    '[{"start_s": 0.1, "duration_s": 0.1, "multiplier": 3, "user_share": 0.05}]')


def replay(path):
    source = f'{{"kind": "recorded", "path": "{path}"}}'
    return settings(measurements__executed__traffic=source, measurements__simulated__traffic=source)


class Traffic(Scratch):
    def record(self, name, ranks=1, extra=()):
        outcome = self.must_run(f"{name}.h5", ranks, [*NO_WALL_CLOCK, *extra, "--record-requests", f"{name}.bin"])
        return hashes(outcome), (self.folder / f"{name}.bin").read_bytes()

    def test_a_replay_gives_the_identical_report_on_1_and_2_ranks(self):
        recorded, _ = self.record("original", 1, SHAPE)
        for ranks in (1, 2):
            name = f"replay{ranks}.h5"
            outcome = self.must_run(name, ranks, [*NO_WALL_CLOCK, *replay("original.bin")])
            self.assertEqual(hashes(outcome), recorded, f"on {ranks} ranks")
            difference = launch([CKVSIM, "diff", "original.h5", name], self.folder)
            self.assertEqual(difference.code, 0, str(difference))
            self.assertIn("requests_simulated", difference.out)

    def test_recording_changes_nothing_and_does_not_depend_on_ranks(self):
        plain = hashes(self.must_run("plain.h5", 1, [*NO_WALL_CLOCK, *SHAPE]))
        one = self.record("one", 1, SHAPE)
        self.assertEqual(one[0], plain)
        self.assertEqual(self.record("three", 3, SHAPE), one)
        constant = hashes(self.must_run("constant.h5", 1, NO_WALL_CLOCK))
        self.assertNotEqual(constant["logical"], plain["logical"], "the shape had no effect")

    def test_an_executed_run_replays_too(self):
        recorded = hashes(self.must_run("executed.h5", 2, ["--record-requests", "executed.bin"]))
        again = hashes(self.must_run("executed_again.h5", 2, replay("executed.bin")))
        self.assertEqual(again["logical"], recorded["logical"])

    def test_a_request_log_is_replayed_on_any_number_of_ranks(self):
        rows = "".join(f"{i * 0.0001:.4f},{i * 7 % 300},{1 + i % 40}\n" for i in range(2000))
        (self.folder / "log.csv").write_text("time_s,user,candidates\n" + rows)
        one = hashes(self.must_run("log1.h5", 1, [*NO_WALL_CLOCK, *replay("log.csv")]))
        self.assertEqual(hashes(self.must_run("log3.h5", 3, [*NO_WALL_CLOCK, *replay("log.csv")])), one)

    def refused(self, code, words, ranks, extra):
        outcome = self.run_spec("refused.h5", ranks, [*NO_WALL_CLOCK, *extra])
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertIn(words, outcome.err)
        self.assertFalse((self.folder / "refused.h5").exists())

    def test_wrong_recordings_are_refused_on_all_ranks(self):
        _, content = self.record("sound")
        (self.folder / "cut.bin").write_bytes(content[:-1])
        self.refused(4, "cut.bin: is truncated", 2, replay("cut.bin"))
        self.refused(4, "missing.bin", 2, replay("missing.bin"))
        self.refused(4, "set /shards=64", 2, [*replay("sound.bin"), *settings(shards=32)])
        self.refused(4, "another population", 2, [*replay("sound.bin"), *settings(workload__synthetic__seed=5)])
        (self.folder / "unsorted.csv").write_text("time_s,user\n1,2\n0.5,3\n")
        self.refused(4, "unsorted.csv:3:", 2, replay("unsorted.csv"))

    def test_what_cannot_be_recorded_is_refused_and_leaves_no_file(self):
        off = settings(measurements__simulated__enabled="false")
        self.refused(2, "there are no requests", 1, [*off, "--record-requests", "off.bin"])
        self.refused(5, "is a folder", 2, ["--record-requests", str(self.folder)])
        self.refused(5, "partial", 2, ["--record-requests", "/proc/requests.bin"])
        self.assertEqual([str(path) for path in self.folder.glob("*.partial")], [])


if __name__ == "__main__":
    unittest.main()
