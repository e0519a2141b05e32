"""Users that a budget holds: within it, byte by byte what their histories encode to, served from memory and from a file."""
import json
import unittest

import h5py

from harness import CKVSIM, SPEC, Scratch, launch, settings

BUDGET = 3_500_000
ONLY = settings(measurements__accuracy__enabled="false", measurements__memory__resident="false",
                measurements__executed__enabled="false", measurements__simulated__enabled="false",
                measurements__residency__enabled="true", measurements__residency__warmup_s=0.01)
LOADS = settings(**{f"measurements__residency__{tier}__{key}": value for tier in ("memory", "file") for key, value in
                    (("budget_bytes", BUDGET), ("requests_per_second", 2000), ("user_share", 0.5), ("min_requests", 50))})


def rows(path, table):
    with h5py.File(path) as file:
        columns = {name: data[:] for name, data in file["tables"][table].items()}
    return [{name: value[i].decode() if isinstance(value[i], bytes) else value[i] for name, value in columns.items()}
            for i in range(len(next(iter(columns.values()))))]


class Residency(Scratch):
    def test_what_fits_is_held_and_served(self):
        for ranks in (1, 2):
            with self.subTest(ranks=ranks):
                folder = self.folder / f"drive{ranks}"
                outcome = self.must_run("resident.h5", ranks, [*ONLY, *LOADS, *settings(measurements__residency__file__folder=folder)])
                table = rows(self.folder / "resident.h5", "residency")
                arms = {row["arm"] for row in table}
                self.assertEqual(len(table), 2 * len(arms), str(outcome))
                for row in table:
                    tables = row["table_bytes"] if row["tier"] == "memory" else 0
                    self.assertLessEqual(row["allocated_bytes"] + row["index_bytes"] + tables, BUDGET, row)
                    if row["arm"].startswith(("item_table", "collective")):
                        self.assertGreater(row["table_bytes"], 0, row)
                    self.assertGreaterEqual(row["requests_per_user"], 1, row)
                    self.assertGreater(row["users"], 10, row)
                    self.assertEqual(row["mismatches"], 0, row)
                    self.assertGreater(row["verified_users"], 0, row)
                    self.assertGreaterEqual(row["user_share"], 0.49, row)
                    self.assertIn(row["transfers"], ("memory",) if row["tier"] == "memory" else ("direct", "cached"), row)
                self.assertEqual(list(folder.iterdir()), [])
                full, ids = (next(row for row in table if row["arm"] == arm and row["tier"] == "memory")
                             for arm in ("full_fp32", "recompute"))
                self.assertGreater(ids["users"], full["users"])
                stages = {(row["arm"], row["tier"], row["stage"]): row for row in rows(self.folder / "resident.h5", "residency_latency")}
                for arm in arms:
                    self.assertGreater(stages[arm, "file", "fetch"]["mean_ns"], 0)
                    self.assertGreater(stages[arm, "memory", "total"]["count"], 0)
                    self.assertEqual(stages[arm, "memory", "prefill"]["max_ns"], 0)

    def test_what_cannot_fit_is_refused(self):
        memory = self.run_spec("none.h5", 1, [*ONLY, *LOADS, *settings(measurements__residency__memory__budget_bytes=1 << 49)])
        self.assertEqual(memory.code, 3, str(memory))
        self.assertIn("/measurements/residency/memory/budget_bytes", memory.err)
        self.assertIn("available", memory.err)
        tables = self.run_spec("none.h5", 1, [*ONLY, *LOADS, *settings(measurements__residency__memory__budget_bytes=100)])
        self.assertEqual(tables.code, 3, str(tables))
        self.assertIn("100 bytes a rank do not hold one user of full_fp32", tables.err)
        # All of it before any phase runs, for whose results one would have waited.
        for tier in ("memory", "file"):
            for ranks in (1, 2):
                limits = self.run_spec("none.h5", ranks, [*ONLY, *LOADS, *settings(
                    **{f"measurements__residency__{tier}__budget_bytes": 1}, measurements__residency__file__folder=self.folder / "new" / "drive")])
                self.assertEqual(limits.code, 3, str(limits))
                self.assertIn(f"/measurements/residency/{tier}/budget_bytes", limits.err)
                self.assertIn("do not hold one user", limits.err)
                self.assertNotIn("hold residents", limits.err)
                self.assertFalse((self.folder / "new").exists())
        drive = self.run_spec("none.h5", 2, [*ONLY, *LOADS, *settings(measurements__residency__file__folder="/proc/nowhere")])
        self.assertEqual(drive.code, 5, str(drive))
        self.assertIn("/proc/nowhere: cannot create folder", drive.err)
        self.assertFalse((self.folder / "none.h5").exists())

    def test_a_generous_budget_needs_no_more_than_the_users(self):
        one = '[{"name":"ids","weights":{"variant":"full"},"strategy":{"kind":"recompute"}}]'
        self.must_run("generous.h5", 1, [*ONLY, *LOADS, *settings(
            arms=one, measurements__residency__memory__budget_bytes=0, measurements__residency__file__budget_bytes=1 << 50,
            measurements__residency__file__folder=self.folder / "generous")])
        (row,) = rows(self.folder / "generous.h5", "residency")
        self.assertEqual(row["limited_by"], "users")

    def test_calibration_measures_the_storage_too(self):
        drive = self.folder / "calibrated"
        outcome = launch([CKVSIM, "calibrate", SPEC, *self.base, "--seconds", "1", "--storage", drive, "-q", "-o", "here.json"],
                         self.folder)
        self.assertEqual(outcome.code, 0, str(outcome))
        text = (self.folder / "here.json").read_text()
        for wanted in ('"nvme_read_bytes_per_s"', '"left_out_errors"', "eight in flight", "commit", "--seconds 1 --storage", "--set '/files/platform="):
            self.assertIn(wanted, text)
        used = self.run_spec("priced.h5", 1, settings(measurements__accuracy__enabled="false", files__calibration="here.json"))
        self.assertEqual(used.code, 0, str(used))
        self.assertNotIn("another machine's", used.out)
        # Costs of as many threads as no run has: said, because fidelity would compare two settings.
        document = json.loads(text)
        document["workers"] = 77
        (self.folder / "there.json").write_text(json.dumps(document))
        foreign = self.run_spec("foreign.h5", 1, settings(measurements__accuracy__enabled="false", files__calibration="there.json"))
        self.assertEqual(foreign.code, 0, str(foreign))
        self.assertIn("measured with 77 threads", foreign.out)


if __name__ == "__main__":
    unittest.main()
