#!/usr/bin/python3
"""scripts/convert_reczoo without pyarrow: histories, what is refused, exit codes, nothing left behind."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from reczoo_samples import ROOT, convert_rows, random_dataset, sample, wanted  # noqa: E402

from converting.errors import DATA, NO_PYARROW, USAGE, ConversionError  # noqa: E402

SCRIPT = ROOT / "scripts/convert_reczoo"
# First seconds of 2002, 2003 and 2004 UTC, the boundaries in the import command, written anew here.
SPLIT_STARTS = (1009843200, 1041379200, 1072915200)


def imported(folder, growth):
    """What sim/docs/datasets.md says that an import makes of the events: sorted (user, split, seq_len, item, label,
    history), history = stored events, then the growth of strictly earlier seconds."""
    users = {}
    lines = (folder / "events.tsv").read_text().splitlines()
    for line in lines[1:]:
        user_id, item, time, label, _, user, _, length = line.split("\t")
        users.setdefault(user_id, []).append((int(time), int(item), int(label), int(user), int(length)))
    found = []
    for events in users.values():
        events.sort(key=lambda event: event[0])  # stable: the file's order within a second
        for time, item, label, user, length in events:
            if time < SPLIT_STARTS[0]:
                continue
            history = [past[1] for past in events if past[0] < time and
                       (past[0] < SPLIT_STARTS[0] or growth == "all" or past[2] == 1)]
            split = sum(time >= start for start in SPLIT_STARTS) - 1
            found.append((user, split, length, item, label, history))
    return sorted(found)


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.out = self.folder / "out"


class Histories(Case):
    def test_sample_by_hand(self):
        counts, _ = convert_rows(sample(), self.out)
        self.assertEqual((self.out / "events.tsv").read_text().splitlines(), [
            "user_id\titem_index\ttime_s\tlabel\tcategory\tuser_index\tsplit\tseq_len",
            "0\t4\t978307200\t1\t1\t0\tstored\t0",
            "0\t5\t978307201\t1\t2\t0\tstored\t1",
            "0\t6\t1009843202\t1\t\t0\ttrain\t2",
            "0\t9\t1009843202\t0\t\t0\ttrain\t2",
            "0\t7\t1041379203\t1\t1\t0\tvalid\t3",
            "0\t2\t1072915204\t0\t2\t0\ttest\t4",
            "1000000\t3\t1009843200\t0\t\t1\ttrain\t0",
            "1000000\t8\t1041379200\t1\t2\t1\tvalid\t0",
            "1000000\t9\t1072915201\t1\t\t1\ttest\t1"])
        self.assertEqual(counts["segments (users of the event log)"], 2)
        self.assertEqual(counts["history"], "positive")

    def test_every_impression_sees_its_prefix(self):
        for seed in range(20):
            for growth in ("positive", "all"):
                for missing in (0.0, 0.3):
                    with self.subTest(seed=seed, growth=growth, missing=missing):
                        data = random_dataset(seed, growth, missing)
                        out = self.folder / f"{seed}-{growth}-{missing}"
                        counts, _ = convert_rows(data, out)
                        self.assertEqual(imported(out, counts["history"]), wanted(data))
                        if missing == 0.0:
                            self.assertEqual(counts["history"], growth)
                            self.assertEqual(counts["segments (users of the event log)"], 12)

    def test_sequence_items_without_impression_cut_the_user(self):
        data = sample()
        data["valid"][0]["seq_len"] = 4  # between train and valid user 0 saw item 7 elsewhere
        counts, _ = convert_rows(data, self.out)
        self.assertEqual(imported(self.out, "positive"), wanted(data))
        self.assertEqual(counts["segments (users of the event log)"], 4)
        self.assertEqual(counts["users with impressions"], 2)

    def test_splits_that_overlap_in_position_cut_the_user(self):
        data = sample()
        data["valid"][0]["is_click"] = 0  # nothing grows before the step back
        data["test"][0]["seq_len"] = 1
        convert_rows(data, self.out)
        self.assertEqual(imported(self.out, "positive"), wanted(data))

    def test_whole_users_and_the_number_of_differing_histories(self):
        data = random_dataset(5, "positive", 0.3)
        counts, _ = convert_rows(data, self.out, "--histories", "approximate", "--history", "positive")
        self.assertEqual(counts["segments (users of the event log)"], 12)
        differing = sum(a != b for a, b in zip(imported(self.out, "positive"), wanted(data)))
        self.assertGreater(differing, 0)
        self.assertLessEqual(differing, counts["impressions whose history differs"])

    def test_stored_events_are_cut_to_the_newest(self):
        convert_rows(sample(), self.out, "--max-history", "1")
        stored = [line for line in (self.out / "events.tsv").read_text().splitlines() if "\tstored\t" in line]
        self.assertEqual([line.split("\t")[1] for line in stored], ["5"])

    def test_users_by_place_where_there_is_no_user_index(self):
        data = sample()
        for entry in data["user_info"]:
            del entry["user_index"]
        convert_rows(data, self.out)
        self.assertEqual(imported(self.out, "positive"), wanted(sample()))

    def test_whole_floats_and_other_column_names_are_read(self):
        data = sample()
        for split in ("train", "valid", "test"):
            data[split] = [{key: float(value) for key, value in entry.items()} for entry in data[split]]
        data["item_info"] = [{"item_index": entry["item_index"], "category": float(entry["cate_id"])} for entry in data["item_info"]]
        convert_rows(data, self.folder / "floats")
        convert_rows(sample(), self.folder / "whole")
        self.assertEqual((self.folder / "floats/events.tsv").read_bytes(), (self.folder / "whole/events.tsv").read_bytes())

    def test_import_arguments_name_the_columns_that_exist(self):
        _, arguments = convert_rows(sample(), self.out)
        self.assertIn("user=user_id,item=item_index,time=time_s,label=label,category=category", arguments)
        self.assertEqual(json.loads((self.out / "conversion.json").read_text())["import_arguments"], arguments)
        _, arguments = convert_rows(sample(), self.folder / "none", "--category", "none")
        self.assertIn("user=user_id,item=item_index,time=time_s,label=label", arguments)


def changed(name, place, **values):
    def change(data):
        data[name][place].update(values)
    return change


def dropped(name, column):
    def change(data):
        for entry in data[name]:
            del entry[column]
    return change


BROKEN = [
    (dropped("train", "seq_len"), "train.parquet: has no column 'seq_len'; it has user_index, item_index, is_click"),
    (dropped("valid", "is_click"), "valid.parquet: has no label column (is_click, click, label)"),
    (dropped("user_info", "full_item_seq"), "user_info.parquet: has no column 'full_item_seq'"),
    (dropped("item_info", "item_index"), "item_info.parquet: has no column 'item_index'"),
    (lambda data: data["test"].clear(), "test.parquet: "),
    (lambda data: data["item_info"].clear(), "item_info.parquet: has no column"),
    (changed("train", 1, seq_len=5), "train.parquet: row 2: column seq_len holds 5, but the sequence of user 0 has 4 items"),
    (changed("train", 1, seq_len=-1), "train.parquet: row 2: column seq_len holds -1, outside 0 .. "),
    (changed("train", 1, seq_len="2"), "train.parquet: row 2: column seq_len holds '2' (str), not a whole number"),
    (changed("test", 0, item_index=77), "test.parquet: row 1: column item_index holds item 77, which item_info does not list"),
    (changed("test", 0, item_index=0), "test.parquet: row 1: column item_index holds item 0, which is padding"),
    (changed("test", 1, item_index=None), "test.parquet: row 2: column item_index holds nothing, not a whole number"),
    (changed("test", 1, user_index=2), "test.parquet: row 2: column user_index holds user 2, whom user_info does not list"),
    (changed("valid", 0, is_click=2), "valid.parquet: row 1: column is_click holds 2, outside 0 .. 1"),
    (changed("valid", 0, is_click=0.5), "valid.parquet: row 1: column is_click holds 0.5 (float), not a whole number"),
    (changed("valid", 0, is_click=float("nan")), "valid.parquet: row 1: column is_click holds nan (float)"),
    (changed("user_info", 1, full_item_seq=[8, 77]), "user_info.parquet: row 2: column full_item_seq (entry 2) holds item 77"),
    (changed("user_info", 1, full_item_seq="8"), "user_info.parquet: row 2: column full_item_seq holds str, not a list"),
    (changed("user_info", 1, full_item_seq=[None]), "row 2: column full_item_seq (entry 1) holds nothing"),
    (changed("user_info", 1, user_index=0), "user_info.parquet: row 2: column user_index repeats user 0"),
    (changed("item_info", 1, item_index=2), "item_info.parquet: row 3: column item_index repeats item 2"),
    (changed("item_info", 1, item_index=10**9), "item_info.parquet: row 2: column item_index holds 1000000000, outside"),
    (changed("item_info", 1, cate_id=[1, 2]), "item_info.parquet: row 2: column cate_id holds [1, 2], neither a whole number"),
    (changed("item_info", 1, cate_id="a\tb"), "item_info.parquet: row 2: column cate_id holds 'a\\tb'"),
]


class Refusals(Case):
    def refuse(self, data, *arguments):
        with self.assertRaises(ConversionError) as caught:
            convert_rows(data, self.out, *arguments)
        self.assertEqual(sorted(self.folder.iterdir()), [], "nothing is left behind")
        return caught.exception

    def test_broken_data(self):
        for change, message in BROKEN:
            with self.subTest(message):
                data = sample()
                change(data)
                error = self.refuse(data)
                self.assertEqual(error.code, DATA)
                self.assertIn(message, str(error))

    def test_more_rows_than_allowed(self):
        error = self.refuse(sample(), "--max-rows", "8")
        self.assertEqual(error.code, DATA)
        self.assertIn("would write 9 rows, more than --max-rows 8", str(error))
        convert_rows(sample(), self.out, "--max-rows", "9")

    def test_named_column_that_is_absent(self):
        self.assertIn("has no column 'liked'", str(self.refuse(sample(), "--label", "liked")))
        self.assertIn("has no column 'genre'", str(self.refuse(sample(), "--category", "genre")))

    def test_failure_while_writing_leaves_nothing(self):
        class FullDisk:
            def show(self, text):
                if text.startswith("writing"):
                    raise OSError(28, "No space left on device")

        with self.assertRaises(OSError):
            convert_rows(sample(), self.out, progress=FullDisk())
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_target_that_exists_is_kept(self):
        self.out.mkdir()
        with self.assertRaises(ConversionError) as caught:
            convert_rows(sample(), self.out)
        self.assertEqual(caught.exception.code, USAGE)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["out"])


class Program(Case):
    def run_script(self, *arguments, environment=None):
        return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False,
                              env=environment, timeout=60)

    def test_without_pyarrow_says_what_to_install(self):
        absent = self.folder / "modules/pyarrow"
        absent.mkdir(parents=True)
        (absent / "__init__.py").write_text("raise ImportError('hidden by a test')\n")
        done = self.run_script(self.folder, "-o", self.out, environment={"PYTHONPATH": str(absent.parent)})
        self.assertEqual(done.returncode, NO_PYARROW, done.stderr)
        self.assertIn("pip install pyarrow", done.stderr)
        self.assertFalse(self.out.exists())

    def test_help_works_without_pyarrow_and_documents_the_exit_code(self):
        done = self.run_script("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("3 pyarrow is not installed", done.stdout)
        self.assertIn("example:", done.stdout)

    def test_wrong_command_line(self):
        self.assertEqual(self.run_script(self.folder).returncode, USAGE)
        self.assertEqual(self.run_script(self.folder, "-o", self.out, "--max-history", "-1").returncode, USAGE)


if __name__ == "__main__":
    unittest.main()
