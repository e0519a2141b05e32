"""`ckvsim import`: the same bytes for any number of ranks; broken files refused with file, line and reason."""
import pathlib
import tempfile
import unittest

import broken_files
from harness import CKVSIM, ENVIRONMENT, SOURCE, launch, mpirun


RATINGS = broken_files.HEADER + b"".join(b"%d,%d,%.1f,%d\n" % (user, (user * 7 + k * 3) % 50, k % 5 + 0.5, 1000 + 13 * k + user)
                                         for user in range(40) for k in range(20))


class Import(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def test_broken_files_are_refused_and_nothing_is_written(self):
        results = []
        for index, case in enumerate(broken_files.cases()):
            with self.subTest(case.name):
                code, message, left = broken_files.refuse(CKVSIM, case, self.folder / str(index), ENVIRONMENT)
                self.assertEqual(code, broken_files.EXIT_DATA, message)
                self.assertIn(case.expected, message)
                self.assertEqual(left, [])
                results.append((case, message))
        self.assertGreaterEqual(len(results), 60)
        stored = (SOURCE / "sim/docs/refused_inputs.md").read_text()
        self.assertEqual(broken_files.markdown(results), stored, "make it anew with tests/endtoend/broken_files.py")

    def test_the_list_of_broken_specs_is_read_from_its_source(self):
        specs = broken_files.broken_specs()
        self.assertEqual(sorted(specs), ["command line", "keys", "ranges", "rules", "syntax", "types"])
        for kind, names in specs.items():
            self.assertGreaterEqual(len(names), 10, kind)
            self.assertEqual(len(set(names)), len(names), kind)
        self.assertIn("trailing_comma_array", specs["syntax"])
        self.assertIn("no_longer_applies", specs["command line"])

    def test_the_same_bytes_for_any_number_of_ranks(self):
        ratings = self.folder / "ratings.csv"
        ratings.write_bytes(RATINGS)
        images = []
        for ranks in (1, 2, 4):
            out = self.folder / f"{ranks}.h5"
            done = launch(mpirun(ranks) + [CKVSIM, "import", "movielens", ratings, "-q", "-o", out], self.folder)
            self.assertEqual(done.code, 0, done)
            self.assertEqual(done.out.count("dataset "), 1, "one rank reports")
            images.append(out.read_bytes())
        self.assertEqual(images[0], images[1])
        self.assertEqual(images[0], images[2])
        self.assertEqual(sorted(self.folder.glob("*.partial")), [])

    def test_byte_order_mark_and_carriage_returns_change_nothing(self):
        images = []
        for name, content in (("plain", RATINGS),
                              ("dos", b"\xef\xbb\xbf" + RATINGS.replace(b"\n", b"\r\n"))):
            source = self.folder / f"{name}.csv"
            source.write_bytes(content)
            out = self.folder / f"{name}.h5"
            done = launch([CKVSIM, "import", "movielens", source, "-q", "-o", out], self.folder)
            self.assertEqual(done.code, 0, done)
            images.append(out.read_bytes())
        self.assertEqual(images[0], images[1])


if __name__ == "__main__":
    unittest.main()
