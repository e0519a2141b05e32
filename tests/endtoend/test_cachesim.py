"""`ckvsim cachesim` on small traces: counts of an independent LRU and FIFO, sweeps equal single runs, broken traces end
with exit code 4 and the record's number."""
import collections
import gzip
import json
import pathlib
import random
import shutil
import struct
import tempfile
import unittest

from harness import CKVSIM, launch, mpirun

POLICIES = "lru,fifo,clock,sieve,s3fifo,wtinylfu,belady"


def made_up_requests(count=5000, keys=400):
    """(time, id, size); the size belongs to the id."""
    generator = random.Random(7)
    requests = []
    for position in range(count):
        key = int(keys * generator.random() ** 2)
        requests.append((position // 3, key << 40, 1 + key * 37 % 90))
    return requests


def misses(requests, capacity, move_on_hit, sizes):
    """Requests missed and bytes missed by LRU (or FIFO) over an ordered dictionary."""
    cache, used, missed, missed_bytes = collections.OrderedDict(), 0, 0, 0
    for _, key, size in requests:
        size = size if sizes else 1
        if key in cache:
            if move_on_hit:
                cache.move_to_end(key)
            continue
        missed += 1
        missed_bytes += size
        if size > capacity:
            continue
        while used + size > capacity:
            used -= cache.popitem(last=False)[1]
        cache[key] = size
        used += size
    return missed, missed_bytes


class Cachesim(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-cachesim-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.requests = made_up_requests()
        text = "time,id,size\n" + "".join(f"{t},{key},{size}\n" for t, key, size in cls.requests)
        records = b"".join(struct.pack("<IQIq", t, key, size, -1) for t, key, size in cls.requests)
        (cls.folder / "trace.csv").write_text(text)
        (cls.folder / "trace.csv.gz").write_bytes(gzip.compress(text.encode()))
        (cls.folder / "trace.bin").write_bytes(records)

    def cachesim(self, *arguments, prefix=()):
        return launch([*prefix, CKVSIM, "cachesim", *arguments, "-q"], self.folder)

    def results(self, *arguments):
        outcome = self.cachesim(*arguments, "--json", "-")
        self.assertEqual(outcome.code, 0, str(outcome))
        return json.loads(outcome.out)["results"]

    def counts(self, *arguments):
        return {(r["policy"], r["capacity"]): (r["misses"], r["missed_bytes"]) for r in self.results(*arguments)}

    def test_lru_and_fifo_equal_independent_counts_in_bytes_and_objects(self):
        for sizes, flags in ((True, []), (False, ["--ignore-size"])):
            for capacity in (60, 150, 1000):
                counted = self.counts("trace.csv", "-p", "lru,fifo", "-c", capacity, *flags)
                for policy in ("lru", "fifo"):
                    self.assertEqual(counted[policy, capacity],
                                     misses(self.requests, capacity, policy == "lru", sizes), f"{policy} {capacity}")

    def test_every_format_holds_the_same_trace(self):
        expected = self.counts("trace.csv", "-p", POLICIES, "-c", "500,5k")
        self.assertEqual(len(expected), 14)
        self.assertEqual(self.counts("trace.csv.gz", "-p", POLICIES, "-c", "500,5k"), expected)
        self.assertEqual(self.counts("trace.bin", "-p", POLICIES, "-c", "500,5k"), expected)
        (self.folder / "unnamed").write_bytes((self.folder / "trace.bin").read_bytes())
        self.assertEqual(self.counts("unnamed", "--format", "bin", "-p", POLICIES, "-c", "500,5k"), expected)

    def test_a_sweep_equals_single_runs(self):
        for flags in ([], ["--ignore-size"], ["--ignore-size", "--warmup", "1000"]):
            sweep = self.results("trace.bin", "-p", POLICIES, "-c", "100:400:5", *flags)
            self.assertEqual(len(sweep), 35)
            expected_method = "stack" if "--ignore-size" in flags else "simulated"
            self.assertEqual(sweep[0]["method"], expected_method)
            for swept in sweep:
                single, = self.results("trace.bin", "-p", swept["policy"], "-c", swept["capacity"], *flags)
                self.assertEqual(single["method"], "simulated")
                for column in ("requests", "misses", "missed_bytes", "miss_ratio", "byte_miss_ratio"):
                    self.assertEqual(swept[column], single[column], f"{flags} {swept} {single}")

    def test_threads_change_no_count(self):
        one = self.counts("trace.csv", "-p", POLICIES, "-c", "200,1000", "-t", "1")
        self.assertEqual(self.counts("trace.csv", "-p", POLICIES, "-c", "200,1000", "-t", "3"), one)

    def test_the_table_names_policy_counts_and_ratio(self):
        outcome = self.cachesim("--capacity", "150", "--policy", "lru", "trace.csv")
        self.assertEqual(outcome.code, 0, str(outcome))
        missed, missed_bytes = misses(self.requests, 150, True, True)
        total = sum(size for _, _, size in self.requests)
        row = outcome.out.splitlines()[1].split()
        self.assertEqual(row[:6], ["lru", "150", "5000", str(missed), f"{missed / 5000:.6f}",
                                   f"{missed_bytes / total:.6f}"])

    def test_a_made_up_trace_does_not_depend_on_ranks(self):
        arguments = ["--synthetic", "zipf:alpha=0.9,objects=1e4,requests=5e4", "-c", "1000", "-p", "sieve"]
        alone = self.cachesim(*arguments, "--json", "alone.json")
        self.assertEqual(alone.code, 0, str(alone))
        both = self.cachesim(*arguments, "--json", "both.json", prefix=mpirun(2))
        self.assertEqual(both.code, 0, str(both))
        one, two = (json.loads((self.folder / name).read_text())["results"][0] for name in ("alone.json", "both.json"))
        self.assertEqual(one["misses"], two["misses"])
        self.assertEqual(one["requests"], 50000)

    def refused(self, code, words, *arguments):
        outcome = self.cachesim(*arguments)
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertIn(words, outcome.err)
        self.assertEqual(outcome.out, "", "a refused trace must give no result")

    def test_broken_traces_name_file_record_and_reason(self):
        def broken(name, content):
            (self.folder / name).write_bytes(content)
            return [name, "-c", "100", "--json", "never.json"]
        record = struct.Struct("<IQIq").pack
        self.refused(4, "unsorted.csv:4: time 4 is before", *broken("unsorted.csv", b"time,id,size\n5,1,1\n6,2,1\n4,3,1\n"))
        self.refused(4, "negative.csv:2: size -1 is negative", *broken("negative.csv", b"5,1,1\n6,2,-1\n"))
        self.refused(4, "cut.csv:2: no size", *broken("cut.csv", b"5,1,1\n6,2"))
        self.refused(4, "unsorted.bin: record 3 has time 8",
                     *broken("unsorted.bin", record(7, 1, 1, 2) + record(9, 2, 1, -1) + record(8, 1, 1, -1)))
        self.refused(4, "cut.bin: record 2 is truncated: 23 of 24", *broken("cut.bin", (record(7, 1, 1, -1) * 2)[:-1]))
        self.refused(4, "empty.bin: record 2 has size 0", *broken("empty.bin", record(7, 1, 1, 2) + record(7, 1, 0, -1)))
        self.refused(4, "cut.csv.gz", *broken("cut.csv.gz", (self.folder / "trace.csv.gz").read_bytes()[:-100]))
        self.refused(4, "missing.csv", "missing.csv", "-c", "100")
        self.assertFalse((self.folder / "never.json").exists())

    def test_wrong_options_end_with_code_2(self):
        self.refused(2, "no policy 'lfu'", "trace.csv", "-c", "10", "-p", "lfu")
        self.refused(2, "unit 'x' is unknown", "trace.csv", "-c", "10x")
        self.refused(2, "either a trace file or --synthetic", "-c", "10")
        self.refused(2, "give --format csv or", "unnamed.zst", "-c", "10")
        self.refused(2, "--admission none is unknown", "trace.csv", "-c", "10", "--admission", "none")
        self.refused(2, "belady is no bound", "trace.csv", "-c", "10", "-p", "belady", "--ttl", "5")
        self.refused(2, "the only kind is zipf", "--synthetic", "uniform", "-c", "10")

    def test_an_empty_trace_says_so(self):
        (self.folder / "nothing.csv").write_text("time,id,size\n")
        outcome = self.cachesim("nothing.csv", "-c", "10")
        self.assertEqual(outcome.code, 0, str(outcome))
        self.assertIn("no request was counted", outcome.err)


if __name__ == "__main__":
    unittest.main()
