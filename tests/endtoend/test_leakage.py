"""A planted leak is seen: an event log imported clean gives no suspicion, with clicks written into the histories it does."""
import csv
import json
import random
import unittest

import h5py

from harness import CI, CKVSIM, TEST_WEIGHTS, Scratch, launch, settings

USERS, ROWS, ITEMS = 80, 60, 400
PROBES = {"candidate_in_history", "candidate_newest", "candidate_earlier"}
END_S = 1_700_000_000
# The last 30 % of the rows are the test part, see IMPORT.
IMPORT = ["--columns", "user=user,item=item,time=time,label=click", "--history", "positive", "--split", "0.3,0.6,0.7"]


def clean_log():
    """Rows (user, item, time in s, click): popular items are clicked more often, and users return to some items."""
    rng = random.Random(7)
    taste = [rng.betavariate(2, 4) for _ in range(ITEMS)]
    rows = []
    for user in range(USERS):
        time = END_S - ROWS * 1000
        seen = []
        for _ in range(ROWS):
            time += rng.randrange(200, 1800)
            item = rng.choice(seen) if seen and rng.random() < 0.1 else rng.randrange(ITEMS)
            seen.append(item)
            rows.append((user, item, time, int(rng.random() < taste[item])))
    return rows


def joined_log(rows, share=1.0):
    """The click stream joined to the impressions by a clock that is behind: clicks stand just before their own impressions."""
    rng = random.Random(8)
    return rows + [(user, item, time - 2, 1) for user, item, time, click in rows if click and rng.random() < share]


def late_log(rows):
    """Stored histories made at the end: they hold the clicks of the test part."""
    start = min(time for _, _, time, _ in rows)
    late = sorted(time for _, _, time, _ in rows)[7 * len(rows) // 10]
    return rows + [(user, item, start, 1) for user, item, time, click in rows if click and time >= late]


class Leakage(Scratch):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        spec = {**CI, "arms": [arm for arm in CI["arms"] if arm["name"] in ("full_fp32", "collective_fp16")]}
        del spec["$schema"]
        cls.spec = cls.folder / "log.json"
        cls.tables = {}
        rows = clean_log()
        for name, log in (("clean", rows), ("joined", joined_log(rows)), ("fifth", joined_log(rows, 0.2)), ("late", late_log(rows))):
            spec["workload"] = {"kind": "dataset", "dataset_path": str(cls.folder / f"{name}.dataset.h5")}
            cls.spec.write_text(json.dumps(spec))
            cls.tables[name] = cls.measure(name, log)

    @classmethod
    def measure(cls, name, log):
        """Imports a log, runs it with random weights; {column: values}, notes and screen."""
        with open(cls.folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("user", "item", "time", "click"), *log])
        switches = settings(measurements__executed__enabled="false", measurements__simulated__enabled="false",
                            measurements__accuracy__bootstrap_replicates="200", files__weights_dir=cls.folder / f"weights-{name}")
        ran = None
        for command in ([CKVSIM, "import", "log", f"{name}.csv", *IMPORT, "-q", "-o", f"{name}.dataset.h5"],
                        [TEST_WEIGHTS, cls.spec, *cls.base, *switches],
                        [CKVSIM, "run", cls.spec, *cls.base, *switches, "-q", "-o", f"{name}.h5"]):
            ran = launch(command, cls.folder)
            if ran.code != 0:
                raise AssertionError(f"{command}: {ran}")
        with h5py.File(cls.folder / f"{name}.h5") as file:
            rows = {column: data[:] for column, data in file["tables/leakage"].items()}
        probes = {rows["score"][i].decode(): {column: values[i] for column, values in rows.items()}
                  for i in range(len(rows["score"]))}
        return probes, ran.out

    def verdict(self, log, probe):
        return self.tables[log][0][probe]["verdict"].decode()

    def test_a_clean_log_gives_no_suspicion(self):
        probes, screen = self.tables["clean"]
        self.assertEqual(set(probes), PROBES)
        for name, row in probes.items():
            self.assertNotEqual(self.verdict("clean", name), "suspicious", row)
            self.assertLess(abs(row["auc"] - 0.5), 0.03, row)
            self.assertGreater(row["fires_negative"], 0, "the probe fires in clean data, too")
        self.assertNotIn("Leakage suspected", screen)

    def test_a_careless_join_is_seen_in_the_newest_tokens(self):
        probes, screen = self.tables["joined"]
        for name in ("candidate_in_history", "candidate_newest"):
            self.assertEqual(self.verdict("joined", name), "suspicious", probes[name])
        self.assertNotEqual(self.verdict("joined", "candidate_earlier"), "suspicious")
        # Half of the clicks are rows of the click stream itself, which nothing precedes.
        self.assertGreater(probes["candidate_newest"]["fires_positive"], 0.45)
        self.assertIn("Leakage suspected", screen)
        self.assertIn("which is legitimate", screen.replace("\n", " "))

    def test_a_join_that_touches_a_fifth_of_the_clicks_is_seen(self):
        row = self.tables["fifth"][0]["candidate_newest"]
        self.assertGreater(row["above_ratio_low"], 0)
        self.assertEqual(self.verdict("fifth", "candidate_newest"), "suspicious", row)

    def test_histories_that_reach_into_the_test_part_are_seen_in_older_tokens(self):
        probes, screen = self.tables["late"]
        for name in ("candidate_in_history", "candidate_earlier"):
            self.assertEqual(self.verdict("late", name), "suspicious", probes[name])
        self.assertIn("Leakage suspected", screen)

    def test_numbers_follow_from_each_other(self):
        for log, (probes, _) in self.tables.items():
            for name, row in probes.items():
                with self.subTest(log=log, probe=name):
                    self.assertAlmostEqual(row["auc"], 0.5 + (row["fires_positive"] - row["fires_negative"]) / 2, 9)
                    self.assertAlmostEqual(row["above_limit"], row["auc"] - row["limit"], 9)
                    self.assertGreaterEqual(row["limit"], 0.5)
                    self.assertAlmostEqual(row["above_ratio"], row["fires_positive"] - 5 * row["fires_negative"], 9)
                    if row["above_limit_low"] > 0:
                        self.assertEqual(row["verdict"], b"suspicious")
                    elif row["above_ratio_low"] <= 0:
                        self.assertNotEqual(row["verdict"], b"suspicious")
            for column in ("fires_positive", "fires_negative"):
                self.assertAlmostEqual(probes["candidate_in_history"][column],
                                       probes["candidate_newest"][column] + probes["candidate_earlier"][column], 9)

    def test_arms_are_held_against_the_oracle_where_it_is_known(self):
        self.must_run("synthetic.h5")
        with h5py.File(self.folder / "synthetic.h5") as file:
            kinds = file["tables/leakage/kind"].asstr()[:].tolist()
            verdicts = file["tables/leakage/verdict"].asstr()[:].tolist()
            arms = len(file["tables/accuracy/arm"])
        self.assertEqual((kinds.count("probe"), kinds.count("arm")), (len(PROBES), arms))
        self.assertNotIn("suspicious", verdicts)
        self.must_run("without.h5", extra=settings(measurements__accuracy__leakage="false"))
        with h5py.File(self.folder / "without.h5") as file:
            self.assertNotIn("leakage", file["tables"])
            self.assertIn("oracle", file["tables"])


if __name__ == "__main__":
    unittest.main()
