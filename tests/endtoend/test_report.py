"""What a finished run leaves behind: every table filled, every number with unit, meaning and provenance."""
import unittest

import h5py

from harness import CKVSIM, Scratch, launch


class Report(Scratch):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        outcome = cls("test_tables_of_every_layer").run_spec("report.h5", 2)
        if outcome.code != 0:
            raise AssertionError(str(outcome))
        cls.path = cls.folder / "report.h5"
        cls.screen = outcome.out

    def test_tables_of_every_layer(self):
        with h5py.File(self.path) as file:
            tables = file["tables"]
            names = []
            tables.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
            groups = {name.split("/")[-2] for name in names}
        for wanted in ("arms", "memory", "memory_sections", "memory_curve", "accuracy", "accuracy_seeds", "oracle",
                       "serving_check", "executed_latency", "executed_cache", "simulated_latency", "simulated_cache",
                       "executed_cdf", "simulated_cdf", "fidelity", "workload", "history_lengths", "popularity", "phases"):
            self.assertIn(wanted, groups)

    def test_every_number_says_unit_meaning_and_provenance(self):
        known = {"key", "input", "measured", "simulated", "derived"}
        seen = set()

        def visit(name, node):
            if not isinstance(node, h5py.Dataset):
                return
            for attribute in ("unit", "meaning", "provenance"):
                self.assertIn(attribute, node.attrs, name)
            self.assertIn(node.attrs["provenance"], known, name)
            seen.add(node.attrs["provenance"])

        with h5py.File(self.path) as file:
            file["tables"].visititems(visit)
        self.assertEqual(seen, known)

    def test_thirds_of_impressions_are_whole_and_apart(self):
        with h5py.File(self.path) as file:
            columns = {name: data[:] for name, data in file["tables/accuracy_splits"].items()}
            total = dict(zip(file["tables/accuracy/arm"][:], file["tables/accuracy/impressions"][:]))
            arms = set(file["tables/accuracy/arm"][:])
        groups = {}
        for i, key in enumerate(zip(columns["arm"], columns["split"])):
            groups.setdefault(key, []).append(i)
        self.assertEqual({arm for arm, _ in groups}, arms)
        self.assertEqual({split for _, split in groups}, {b"history_length", b"activity", b"item_popularity"})
        for (arm, split), rows in groups.items():
            self.assertEqual(sum(columns["impressions"][rows]), total[arm], (arm, split))
            self.assertEqual(list(columns["group"][rows]), [g for g in (b"low", b"middle", b"high") if g in columns["group"][rows]])
            for before, after in zip(rows, rows[1:]):
                self.assertLess(columns["attribute_high"][before], columns["attribute_low"][after], (arm, split))
        reference = [i for i, verdict in enumerate(columns["verdict"]) if verdict == b"reference"]
        self.assertTrue(reference)
        self.assertTrue(all(abs(columns["auc_difference"][i]) == 0 for i in reference))

    def test_summary_and_show_name_every_arm(self):
        with h5py.File(self.path) as file:
            found = []
            file.visititems(lambda name, node: found.append(node[()]) if name.endswith("arms/arm") else None)
        arms = [a.decode() for a in found[0]]
        self.assertGreater(len(arms), 3)
        shown = launch([CKVSIM, "show", self.path], self.folder)
        self.assertEqual(shown.code, 0, str(shown))
        for arm in arms:
            self.assertIn(arm, self.screen)
            self.assertIn(arm, shown.out)

    def test_a_report_equals_itself(self):
        self.assertEqual(launch([CKVSIM, "diff", self.path, self.path], self.folder).code, 0)

    def test_version_is_an_option_and_a_command(self):
        short = launch([CKVSIM, "--version"], self.folder)
        self.assertEqual(short.code, 0, str(short))
        with h5py.File(self.path) as file:
            version = dict(file["provenance"].attrs)["version"]
        self.assertRegex(short.out, rf"^ckvsim {version} \(commit \w+(, modified)?\)\n$")
        self.assertRegex(launch([CKVSIM, "version"], self.folder).out, rf"(?m)^version +{version}$")


if __name__ == "__main__":
    unittest.main()
