"""scripts/convert_reczoo, then the real `ckvsim import`: every impression sees the first seq_len items of its user."""
import pathlib
import sys
import tempfile
import unittest

from harness import CKVSIM, SOURCE, launch

sys.path.insert(0, str(SOURCE / "tests/support"))

from reczoo_samples import convert_rows, random_dataset, sample, wanted  # noqa: E402

try:
    import h5py
except ImportError:
    h5py = None

SPLIT_STARTS_MS = (1009843200000, 1041379200000, 1072915200000)  # 2002, 2003, 2004 UTC
SEGMENTS_PER_USER = 1_000_000


def stored(path):
    """Sorted (user, split, seq_len, item, label, history) from a dataset file, and {item: number of its category}."""
    with h5py.File(path) as file:
        items = file["items/original_ids"][:].tolist()
        growth = int(file.attrs["history_growth"])  # 0 = every impression, 1 = positive ones
        table = {name: file[name][:].tolist() for name in (
            "history/items", "history/offsets", "impressions/items", "impressions/offsets", "impressions/times_ms",
            "impressions/labels", "impressions/splits", "users/original_ids")}
        names = file["catalogue/feature_names"].asstr()[:].tolist()
        categories = file[f"catalogue/feature_{names.index('category')}"][:].tolist() if "category" in names else []
    found = []
    for place, user in enumerate(table["users/original_ids"]):
        begin, end = table["history/offsets"][place:place + 2]
        past = [(-1, items[item]) for item in table["history/items"][begin:end]]
        for row in range(*table["impressions/offsets"][place:place + 2]):
            time, split = table["impressions/times_ms"][row], table["impressions/splits"][row]
            item, label = items[table["impressions/items"][row]], table["impressions/labels"][row]
            history = [event for second, event in past if second < time]
            length = (time - SPLIT_STARTS_MS[split]) // 1000
            found.append((user // SEGMENTS_PER_USER, split, length, item, label, history))
            if growth == 0 or label == 1:
                past.append((time, item))
    return sorted(found), dict(zip(items[1:], categories[1:]))


@unittest.skipUnless(pathlib.Path(CKVSIM).is_file(), "ckvsim is not built")
@unittest.skipUnless(h5py, "python3-h5py is not installed")
class Reczoo(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def import_rows(self, data, *arguments):
        _, command = convert_rows(data, self.folder / "converted", *arguments)
        done = launch([CKVSIM, "import", *command, "-q", "-o", "data.h5"], self.folder)
        self.assertEqual(done.code, 0, done)
        return stored(self.folder / "data.h5")

    def test_sample(self):
        found, categories = self.import_rows(sample())
        self.assertEqual(found, wanted(sample()))
        # of the items that the events name, 3, 6 and 9 have category 0: not known
        self.assertEqual({item for item, category in categories.items() if category == 0}, {3, 6, 9})
        self.assertEqual(categories[4], categories[7])
        self.assertNotEqual(categories[4], categories[5])

    def test_clicks_as_sequence(self):
        data = random_dataset(1, "positive")
        self.assertEqual(self.import_rows(data)[0], wanted(data))

    def test_all_impressions_as_sequence(self):
        data = random_dataset(2, "all")
        self.assertEqual(self.import_rows(data)[0], wanted(data))

    def test_sequences_with_events_that_are_no_impressions(self):
        data = random_dataset(3, "positive", missing=0.4)
        self.assertEqual(self.import_rows(data)[0], wanted(data))


if __name__ == "__main__":
    unittest.main()
