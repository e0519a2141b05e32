"""Small datasets in the reczoo layout as row dicts, and the history that their training code shows (first seq_len)."""
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True

from converting.cli import Progress, parser  # noqa: E402  (needs the path above)
from converting.layout import load  # noqa: E402
from converting.tables import RowTable  # noqa: E402
from converting.writer import convert  # noqa: E402

SPLITS = ("train", "valid", "test")


def sample():
    """Two users whose clicks are the sequence. User 1 was shown nothing before, user 0 has two older clicks."""
    return {
        "item_info": [{"item_index": item, "cate_id": item % 3} for item in range(10)],
        "user_info": [{"user_index": 0, "full_item_seq": [4, 5, 6, 7]}, {"user_index": 1, "full_item_seq": [8]}],
        "train": [row(0, 6, 2, 1), row(0, 9, 2, 0), row(1, 3, 0, 0)],
        "valid": [row(0, 7, 3, 1), row(1, 8, 0, 1)],
        "test": [row(0, 2, 4, 0), row(1, 9, 1, 1)],
    }


def row(user, item, length, label):
    return {"user_index": user, "item_index": item, "seq_len": length, "is_click": label}


def random_dataset(seed, growth="positive", missing=0.0):
    """growth: which impressions the sequences consist of. missing: chance of a sequence item without impression."""
    dice = random.Random(seed)
    data = {"item_info": [{"item_index": item, "category": f"c{item % 4}"} for item in range(60)],
            "user_info": [], "train": [], "valid": [], "test": []}
    for user in range(12):
        sequence = [dice.randrange(60) for _ in range(dice.randrange(8))]  # item 0 = padding
        for turn in range(dice.randrange(1, 15)):
            if dice.random() < missing:
                sequence.append(dice.randrange(60))
            length = len(sequence)
            for _ in range(dice.randrange(1, 4)):
                item, label = dice.randrange(1, 60), dice.randrange(2)
                data[SPLITS[min(turn // 5, 2)]].append(row(user, item, length, label))
                if growth == "all" or label == 1:
                    sequence.append(item)
        data["user_info"].append({"user_index": user, "full_item_seq": sequence})
    for split in SPLITS:
        by_length = {}
        for entry in data[split]:  # rows of one request keep their order, requests come in any
            by_length.setdefault((entry["user_index"], entry["seq_len"]), []).append(entry)
        requests = list(by_length.values())
        dice.shuffle(requests)
        data[split] = [entry for request in requests for entry in request]
    return data


def options(*arguments):
    return parser().parse_args(["in", "-o", "out", "-q", *arguments])


def convert_rows(data, target, *arguments, progress=Progress(True)):
    """Returns (counts, arguments of ckvsim import)."""
    tables = {name: RowTable(f"{name}.parquet", rows) for name, rows in data.items()}
    return convert(tables, target, "sample", options(*arguments), progress, load)


def wanted(data):
    """Sorted (user, split, seq_len, item, label, history) of every labelled row."""
    sequences = {entry["user_index"]: entry["full_item_seq"] for entry in data["user_info"]}
    found = []
    for split, name in enumerate(SPLITS):
        for entry in data[name]:
            history = [item for item in sequences[entry["user_index"]][:entry["seq_len"]] if item != 0]
            found.append((entry["user_index"], split, entry["seq_len"], entry["item_index"], entry["is_click"], history))
    return sorted(found)
