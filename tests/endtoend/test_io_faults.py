"""One file operation after the other fails, in every stage that reads or writes: a typed error or a complete file."""
import errno
import json
import os
import time
import unittest

from harness import CKVSIM, ENVIRONMENT, SPEC, Scratch, launch, settings

SHIM = os.environ["CKVSIM_IO_FAULT"]
SECONDS_TO_END = 40  # a hang, not a slow machine: a run takes a second or two
READS = ("pread", "pread64", "read", "readv", "preadv", "preadv64")
READS_TRIED = 6  # of hundreds alike; always the first and the last one
ONE_ARM = '[{"name":"full","weights":{"variant":"full"},"strategy":{"kind":"full","value_type":"fp32"}}]'


class IoFaults(Scratch):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.small = [*cls.base, *settings(arms=ONE_ARM, training__seeds="[1]", measurements__executed__enabled="false",
                                          measurements__accuracy__controls='["no_history"]')]
        cls.log = cls.folder / "events.csv"
        cls.log.write_text("user,item,time,label\n" + "".join(
            f"{user},{(user + event) % 17},{1000 + event},{event % 2}\n" for user in range(40) for event in range(12)))

    def run_command(self):
        return [CKVSIM, "run", SPEC, *self.small, "-q", "-o", "out.h5"]

    def faulty(self, command, **values):
        """The command with the shim preloaded."""
        variables = [f"CKVSIM_FAULT_{key.upper()}={value}" for key, value in values.items()]
        at = command.index(CKVSIM)
        return [*command[:at], "env", f"LD_PRELOAD={SHIM}", *variables, *command[at:]]

    def calls(self, command, **values):
        """The names of all calls on the files, in order."""
        calls = self.folder / "calls.log"
        calls.unlink(missing_ok=True)
        outcome = launch(self.faulty(command, log=calls, **values), self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertTrue(calls.exists(), "the shim saw no call: the pattern or the preloading is wrong")
        return calls.read_text().split()

    def chosen(self, calls):
        reads = [i for i, call in enumerate(calls) if call in READS]
        step = max(1, len(reads) // READS_TRIED)
        kept = set(reads[::step] + reads[-1:])
        return [(i + 1, call) for i, call in enumerate(calls) if call not in READS or i in kept]

    def sweep(self, command, output, path, named, errors, **values):
        """Every chosen call fails once with each error; `output` must be as before or complete."""
        output = self.folder / output
        output.write_bytes(b"an older file")
        for number, call in self.chosen(self.calls(command, path=path, **values)):
            for error in errors:
                with self.subTest(call=f"{number} {call}", error=error, **values):
                    output.write_bytes(b"an older file")
                    begin = time.monotonic()
                    outcome = launch(self.faulty(command, path=path, nth=number, error=error, **values), self.folder)
                    self.assertLess(time.monotonic() - begin, SECONDS_TO_END, str(outcome))
                    self.judge(outcome, output, call, error, named)

    def judge(self, outcome, output, call, error, named):
        left = sorted(p.name for p in output.parent.glob(output.name + "?*"))
        self.assertEqual(left, [], f"left behind\n{outcome}")
        self.assertIn(outcome.code, (0, 4, 5), str(outcome))
        if outcome.code == 0:
            self.assertTrue(error == 0 or call == "close" or call.startswith("fallocate"),
                            f"the failure went unnoticed\n{outcome}")
            self.assertNotEqual(output.read_bytes(), b"an older file")
            return
        self.assertNotEqual(error, 0, f"half of a read or write is no failure\n{outcome}")
        self.assertEqual(output.read_bytes(), b"an older file", str(outcome))
        for piece in named:
            self.assertIn(piece, outcome.err, str(outcome))
        if "MPI" not in outcome.err:  # MPI-IO keeps the reason to itself
            self.assertIn(os.strerror(error), outcome.err, str(outcome))

    def test_writing_a_report_alone(self):
        self.sweep(self.run_command(), "out.h5", "out.h5.partial", ["out.h5", "report: "], [errno.EIO, errno.ENOSPC, 0])

    def test_importing(self):
        command = [CKVSIM, "import", "log", self.log, "--columns", "user=user,item=item,time=time,label=label", "-q", "-o",
                   "out.dataset.h5"]
        self.sweep(command, "out.dataset.h5", "events.csv", ["events.csv"], [errno.EIO, 0])
        self.sweep(command, "out.dataset.h5", "out.dataset.h5.partial", ["out.dataset.h5", "write "], [errno.EIO, errno.ENOSPC, 0])

    def test_reading_a_dataset(self):
        made = launch([CKVSIM, "import", "log", self.log, "--columns", "user=user,item=item,time=time,label=label", "-q",
                       "-o", "in.dataset.h5"], self.folder)
        self.assertEqual(made.code, 0, str(made))
        spec = json.loads(SPEC.read_text())
        spec["workload"] = {"kind": "dataset", "dataset_path": "in.dataset.h5"}
        (self.folder / "dataset.json").write_text(json.dumps(spec))
        command = [CKVSIM, "prepare", "dataset.json", *self.base, "-q", "-o", "out.ckvt"]
        self.sweep(command, "out.ckvt", "in.dataset.h5", ["in.dataset.h5"], [errno.EIO, 0])

    def test_writing_samples(self):
        self.sweep([CKVSIM, "prepare", SPEC, *self.base, "-q", "-o", "out.ckvt"], "out.ckvt", "out.ckvt",
                   ["out.ckvt"], [errno.EIO, errno.ENOSPC, 0])

    def test_writing_a_calibration(self):
        self.sweep([CKVSIM, "calibrate", SPEC, *self.small, "--seconds", "1", "-q", "-o", "out.json"], "out.json",
                   "out.json", ["out.json"], [errno.EIO, errno.ENOSPC, 0])

    def test_residents_on_storage(self):
        command = [CKVSIM, "run", SPEC, *self.small, "-q", "-o", "out.h5", *settings(
            measurements__accuracy__enabled="false", measurements__memory__enabled="false",
            measurements__simulated__enabled="false",
            measurements__residency__enabled="true", measurements__residency__warmup_s=0, measurements__residency__memory__budget_bytes=0,
            measurements__residency__file__folder=self.folder / "drive", measurements__residency__file__budget_bytes=200_000,
            measurements__residency__file__requests_per_second=2000, measurements__residency__file__min_requests=20)]
        self.sweep(command, "out.h5", "ckvsim-scratch", ["/drive"], [errno.EIO, 0])
        self.assertEqual(list((self.folder / "drive").iterdir()), [])


if __name__ == "__main__":
    unittest.main()
