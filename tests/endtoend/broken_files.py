"""Broken data files: each is built in a folder, refused by `ckvsim import`, and listed in sim/docs/refused_inputs.md.

usage: broken_files.py CKVSIM > sim/docs/refused_inputs.md
"""
import gzip
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import namedtuple

EXIT_DATA = 4
TIMEOUT_S = 20
SPEC_CASES = "tests/unit/config/broken_specs_test.cpp"

# name: what is wrong. format: of the import. build(folder): writes files, returns the path to import. expected: part of
# the message: ":LINE: " where there is a line, and the reason.
Case = namedtuple("Case", "name format build expected")

RATINGS = b"userId,movieId,rating,timestamp\n7,30,5.0,1000\n7,10,3.5,1004\n2,30,4.0,1001\n2,20,0.5,1003\n2,10,4.5,1002\n"
HEADER = b"userId,movieId,rating,timestamp\n"
LOG_OPTIONS = ["--columns", "user=u,item=i,time=t,label=click,category=genre,context=place"]
LOG = b"u,i,t,click,genre,place\n1,2,3,1,a,x\n1,2,4,0,a,x\n"
FEATURES = b"video_id,author_id,tag\n4,1,2\n9,1,2\n"
HISTORY = b"user_id\thistory_len\tlast_time_ms\twatch_seq\n8\t1\t1650000000000\t9\n"
IMPRESSIONS = b"user_id\tvideo_id\ttime_ms\tis_click\ttab\n8\t4\t1651334400000\t1\t1\n8\t9\t1651334400001\t0\t1\n"
CLICKS = b"user_id\tarticle_ids\ttimes_s\tread_time_s\tscroll_pct\n4\t100 300\t10 20\t1 2\t50 10\n"
BEHAVIORS = (b"impression_id\tuser_id\ttime_s\tsession_id\tarticle_id\tdevice_type\tinview\tclicked\n"
             b"1\t4\t30\t7\t\t2\t200 300\t300\n2\t4\t31\t7\t\t2\t100\t\n")


def one(content, name="ratings.csv"):
    """A builder of one file."""
    def build(folder):
        (folder / name).write_bytes(content)
        return folder / name
    return build


def many(files, **changed):
    """A builder of a folder of files, some of them changed."""
    def build(folder):
        for name, content in files.items():
            content = changed.get(name.split(".")[0], content)
            if content is not None:
                (folder / name).write_bytes(content)
        return folder
    return build


def made(make, name="ratings.csv"):
    """A builder of something that is no regular file."""
    def build(folder):
        make(folder / name)
        return folder / name
    return build


def kuairand(**changed):
    files = {"history.tsv": HISTORY, "impressions.tsv": IMPRESSIONS, "video_features_basic_pure.csv": FEATURES}
    return many(files, **changed)


def ebnerd(**changed):
    return many({"history.tsv": CLICKS, "behaviors.tsv": BEHAVIORS}, **changed)


def flipped(data, at):
    data = bytearray(data)
    data[at] ^= 0x55
    return bytes(data)


PACKED = gzip.compress(RATINGS, mtime=0)


def container_cases():
    gz = "ratings.csv.gz"
    cases = [
        ("gzip cut in the middle", one(PACKED[:len(PACKED) // 2], gz), "truncated file"),
        ("gzip cut in its trailer", one(PACKED[:-3], gz), "truncated file"),
        ("gzip with a wrong checksum", one(flipped(PACKED, -8), gz), "incorrect data check"),
        ("gzip with a wrong length", one(flipped(PACKED, -4), gz), "incorrect length check"),
        ("gzip with damaged content", one(flipped(PACKED, 15), gz), "ratings.csv.gz:"),
        ("garbage behind the gzip stream", one(PACKED + b"garbage", gz), "bytes that are not gzip follow"),
        ("plain text named .gz", one(RATINGS, gz), "named .gz but is not a gzip file"),
        ("empty file", one(b""), "is empty; a header row is needed"),
        ("empty gzip stream", one(gzip.compress(b"", mtime=0), gz), "is empty; a header row is needed"),
        ("absent file", lambda folder: folder / "ratings.csv", "no such file"),
        ("folder without the file", lambda folder: folder, "no such file, neither plain nor .gz"),
        ("folder in place of the file", made(os.mkdir), "no such file"),
        ("FIFO", made(os.mkfifo), "is a pipe, socket or device"),
        ("device", lambda folder: pathlib.Path("/dev/zero"), "is a pipe, socket or device"),
        ("dangling symbolic link", made(lambda path: path.symlink_to(path.parent / "gone")), "no such file"),
        ("symbolic link to itself", made(lambda path: path.symlink_to(path)), "cannot be opened"),
        ("NUL byte", one(RATINGS + b"2,\x00,4,1005\n"), ":7: contains a NUL byte"),
        ("10-MB line", one(RATINGS + b"7" * 10_000_000 + b"\n"), ":7: the line is longer than 1 MiB"),
        ("10-MB line in 10 kB of gzip", one(gzip.compress(b"7" * 10_000_000, mtime=0), gz), ":1: the line is longer"),
        ("Latin-1 text", one(RATINGS + b"caf\xe9,1,4,1005\n"), ":7: is not UTF-8"),
        ("UTF-16 text", one(RATINGS.decode().encode("utf-16")), ":1: "),
        ("empty line", one(RATINGS + b"\n2,10,4,1005\n"), ":7: the line is empty"),
    ]
    return [Case(name, "movielens", build, expected) for name, build, expected in cases]


def row_cases():
    rows = [
        ("wrong delimiter", b"7;30;5.0;1005", ":7: has 1 fields"),
        ("a field too few", b"7,30,5.0", ":7: has 3 fields"),
        ("a field too many", b"7,30,5.0,1005,1", ":7: has 5 fields"),
        ("negative user", b"-7,30,5.0,1005", ':7: column userId holds "-7"'),
        ("user above 2^63", b"99999999999999999999,30,5.0,1005", ":7: column userId holds"),
        ("negative item", b"7,-30,5.0,1005", ':7: column movieId holds "-30"'),
        ("item is text", b"7,film,5.0,1005", ':7: column movieId holds "film"'),
        ("item is a fraction", b"7,30.0,5.0,1005", ':7: column movieId holds "30.0"'),
        ("user is missing", b",30,5.0,1005", ":7: column userId has an empty entry"),
        ("spaces around a number", b"7, 30,5.0,1005", ":7: column movieId holds"),
        ("NaN rating", b"7,30,nan,1005", ":7: column rating holds"),
        ("infinite rating", b"7,30,inf,1005", ":7: column rating holds"),
        ("rating too large for a double", b"7,30,1e999,1005", ":7: column rating holds"),
        ("rating is text", b"7,30,good,1005", ":7: column rating holds"),
        ("negative time", b"7,30,5.0,-1", ":7: column timestamp holds"),
        ("time in milliseconds where seconds are meant", b"7,30,5.0,1650000000000", ":7: column timestamp holds"),
        ("time above 2^63", b"7,30,5.0,99999999999999999999", ":7: column timestamp holds"),
        ("time is a date", b"7,30,5.0,2022-05-01", ":7: column timestamp holds"),
        ("quote that does not close", b'7,30,"5.0,1005', ":7: a quoted field does not end"),
        ("text behind a closing quote", b'"7"x,30,5.0,1005', ":7: text follows the closing quote"),
        ("row cut by the end of the file", b"7,30,5", ":7: has 3 fields"),
    ]
    cases = [Case(name, "movielens", one(RATINGS + row + b"\n"), expected) for name, row, expected in rows]
    headers = [
        ("header only", HEADER, "has a header but no rows"),
        ("no header", RATINGS[len(HEADER):], ':1: the header has no column "userId"'),
        ("missing column", b"userId,movieId,rating\n7,30,5.0\n", ':1: the header has no column "timestamp"'),
        ("column twice", b"userId,userId,movieId,rating,timestamp\n", ':1: the header has two columns "userId"'),
        ("tabs in a CSV file", RATINGS.replace(b",", b"\t"), ":1: the header has no column"),
        ("all labels equal", HEADER + b"7,30,5,1\n7,31,5,2\n7,32,5,3\n7,33,5,4\n7,34,5,5\n7,35,5,6\n", "label"),
    ]
    return cases + [Case(name, "movielens", one(content), expected) for name, content, expected in headers]


def log_cases():
    rows = [
        ("label 2", b"1,2,5,2,a,x", ':4: column click holds "2", not 0 or 1'),
        ("label true", b"1,2,5,true,a,x", ":4: column click holds"),
        ("label is missing", b"1,2,5,,a,x", ":4: column click holds"),
    ]
    return [Case(name, "log", one(LOG + row + b"\n", "log.csv"), expected) for name, row, expected in rows]


def kuairand_cases():
    cases = [
        ("history absent", kuairand(history=None), "history.tsv: no such file"),
        ("user twice in the histories", kuairand(history=HISTORY + b"8\t1\t1650000000000\t4\n"), ":3: column user_id repeats"),
        ("history longer than it says", kuairand(history=HISTORY + b"9\t1\t1650000000000\t4 9\n"), ":3: column watch_seq"),
        ("headers without rows", kuairand(history=HISTORY.splitlines(True)[0],
                                                      impressions=IMPRESSIONS.splitlines(True)[0]), "no rows"),
        ("item without features", kuairand(impressions=IMPRESSIONS + b"8\t5\t1651334400000\t1\t1\n"), "does not list"),
        ("item twice in the features", kuairand(video_features_basic_pure=FEATURES + b"9,1,2\n"), ":4: column video_id repeats"),
        ("context too large", kuairand(impressions=IMPRESSIONS + b"8\t4\t1651334400000\t1\t256\n"), ":4: column tab"),
    ]
    return [Case(name, "kuairand-pure", build, expected) for name, build, expected in cases]


def ebnerd_cases():
    row = b"3\t4\t32\t7\t\t2\t%s\t%s\n"
    cases = [
        ("unsorted history times", ebnerd(history=CLICKS + b"5\t1 2\t5 4\t\t\n"), ":3: column times_s is not in ascending order"),
        ("fewer times than articles", ebnerd(history=CLICKS + b"5\t1 2\t5\t\t\n"), ":3: column times_s holds 1 entries"),
        ("impression twice", ebnerd(behaviors=BEHAVIORS + BEHAVIORS.splitlines(True)[1]), ":4: column impression_id repeats"),
        ("nothing in view", ebnerd(behaviors=BEHAVIORS + row % (b"", b"")), ":4: column inview is empty"),
        ("click on what was not in view", ebnerd(behaviors=BEHAVIORS + row % (b"200", b"300")), ":4: column clicked holds"),
    ]
    return [Case(name, "ebnerd", build, expected) for name, build, expected in cases]


def cases():
    return container_cases() + row_cases() + log_cases() + kuairand_cases() + ebnerd_cases()


def refuse(ckvsim, case, folder, environment=None):
    """Runs the import; returns (exit code, message with the folder left out, files besides the input)."""
    source, target = folder / "in", folder / "out"
    source.mkdir(parents=True)
    target.mkdir()
    path = case.build(source)
    options = LOG_OPTIONS if case.format == "log" else []
    command = [ckvsim, "import", case.format, str(path), *options, "-q", "-o", str(target / "data.h5")]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S,
                          check=False)
    message = done.stderr.decode().strip().replace(str(source) + "/", "").replace(str(source), "FOLDER")
    return done.returncode, message, sorted(entry.name for entry in target.iterdir())


def broken_specs():
    """{kind: [name, ...]} from the tables of SPEC_CASES; the kind "command line" are overrides by --set."""
    text = (pathlib.Path(__file__).resolve().parents[2] / SPEC_CASES).read_text()
    tables = re.findall(r"std::vector<BrokenSpec> const k(\w+) = \{\n(.*?)\n\};", text, re.S)
    found = {kind.lower(): re.findall(r'^    \{"(\w+)",', table, re.M) for kind, table in tables}
    found["command line"] = re.findall(r'BrokenOverride\{"(\w+)",', text)
    return found


def markdown(results):
    """results: (case, message). The text of sim/docs/refused_inputs.md."""
    lines = ["# Refused inputs", "", "## Data files", "",
             f"What `ckvsim import` says about each of {len(results)} kinds of broken file, exit code 4; nothing is written. Made by",
             "`tests/endtoend/broken_files.py build/dev/bin/ckvsim`; the test `endtoend_import` keeps it true. Byte order marks,",
             "CRLF and rows in any order of time are accepted; equal rows are kept and counted in the import statistics.", "",
             "| what is wrong | format | message |", "|---|---|---|"]
    for case, message in results:
        shown = message.removeprefix("ckvsim: ").replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {case.name} | {case.format} | `{shown}` |")
    specs = broken_specs()
    total = sum(len(names) for names in specs.values())
    lines += ["", "## Specs", "",
              f"{total} ways to break a spec, exit code 3; the test `unit_config` demands JSON pointer and reason of each. Their",
              f"texts and expected messages: [{pathlib.PurePath(SPEC_CASES).name}](../../{SPEC_CASES}).", "",
              "| kind | number | which |", "|---|---|---|"]
    lines += [f"| {kind} | {len(names)} | {', '.join(f'`{name}`' for name in names)} |" for kind, names in specs.items()]
    return "\n".join(lines) + "\n"


def main():
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, case in enumerate(cases()):
            _, message, _ = refuse(sys.argv[1], case, pathlib.Path(scratch) / str(index))
            results.append((case, message))
    sys.stdout.write(markdown(results))


if __name__ == "__main__":
    main()
