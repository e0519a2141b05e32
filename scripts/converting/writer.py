"""Writes the event log: everything into a temporary folder beside the target, renamed at the end."""
import json
import os
import shutil

from .errors import DATA, USAGE, ConversionError
from .layout import SPLITS
from .timeline import BOUNDARIES, GROWTHS, STORED_FROM, segments_of, stored_part, time_s

SEGMENTS_PER_USER = 1_000_000  # user id = user_index * this + segment
HEADER = "user_id\titem_index\ttime_s\tlabel\tcategory\tuser_index\tsplit\tseq_len\n"


class Plan:
    """How the impressions become segments, and what that costs; decided before anything is written."""

    def __init__(self, sequences, impressions, options, progress):
        self.keep_users = options.histories == "approximate"
        choices = GROWTHS if options.history == "auto" else (options.history,)
        tally = {growth: [0, 0, 0] for growth in choices}  # cuts or inexact impressions, segments, stored events
        self.users = 0
        for slot, rows in impressions.by_user(len(sequences.users)):
            self.users += 1
            sequence = sequences.of(slot)
            for growth, counts in tally.items():
                for segment in segments_of(sequence, rows, growth, self.keep_users):
                    counts[0] += segment.inexact
                    counts[1] += 1
                    counts[2] += len(stored_part(sequence, segment, options.max_history))
            progress.show(f"timelines: {self.users:,} users")
        if self.users == 0:
            raise ConversionError(DATA, "no labelled rows")
        self.growth = min(choices, key=lambda growth: tally[growth])
        self.inexact, self.segments, self.stored = tally[self.growth]
        rows = self.stored + len(impressions)
        if rows > options.max_rows:
            raise ConversionError(DATA, f"would write {rows:,} rows, more than --max-rows {options.max_rows:,}: {self.users:,} "
                                        f"users become {self.segments:,} segments, each with its own stored history; bound it "
                                        "by --max-history, keep users whole by --histories approximate, or raise --max-rows")


def write_events(out, items, sequences, impressions, plan, max_history, progress):
    done = 0
    for slot, rows in impressions.by_user(len(sequences.users)):
        sequence, user = sequences.of(slot), sequences.users[slot]
        for number, segment in enumerate(segments_of(sequence, rows, plan.growth, plan.keep_users)):
            user_id = user * SEGMENTS_PER_USER + number
            lines = [f"{user_id}\t{item}\t{STORED_FROM + place}\t1\t{items.category(item)}\t{user}\tstored\t{place}\n"
                     for place, item in enumerate(stored_part(sequence, segment, max_history))]
            for group in segment.groups:
                at, split = time_s(group.split, group.length), SPLITS[group.split]
                lines += [f"{user_id}\t{item}\t{at}\t{label}\t{items.category(item)}\t{user}\t{split}\t{group.length}\n"
                          for item, label in group.rows]
            out.write("".join(lines))
        done += 1
        progress.show(f"writing: {done:,} of {plan.users:,} users")


def import_arguments(folder, name, items, plan):
    columns = "user=user_id,item=item_index,time=time_s,label=label"
    if items.category_column:
        columns += ",category=category"
    return ["log", os.path.join(folder, "events.tsv"), "--delimiter", "tab", "--columns", columns, "--split",
            ",".join(BOUNDARIES), "--history", plan.growth, "--name", name, "--licence", "terms of the dataset's authors"]


def summary(items, sequences, impressions, plan, options):
    return {
        "users": len(sequences.users),
        "users with impressions": plan.users,
        "segments (users of the event log)": plan.segments,
        "items": items.count,
        "sequence events": sequences.events(),
        "stored events written": plan.stored,
        **{f"impressions, {split}": rows for split, rows in zip(SPLITS, impressions.rows_of_split)},
        "impressions whose history differs": plan.inexact,
        "history": plan.growth,
        "histories": options.histories,
        "max history": options.max_history,
        "category column": items.category_column or "none",
    }


def convert(tables, target, name, options, progress, load):
    """tables: name -> table. Returns (summary, import arguments). Nothing is left behind on failure."""
    items, sequences, impressions = load(tables, options.label, options.category, progress)
    plan = Plan(sequences, impressions, options, progress)
    partial = f"{target}.{os.getpid()}.partial"
    os.mkdir(partial)
    try:
        with open(os.path.join(partial, "events.tsv"), "w", encoding="utf-8", newline="\n", buffering=1 << 20) as out:
            out.write(HEADER)
            write_events(out, items, sequences, impressions, plan, options.max_history, progress)
        facts = summary(items, sequences, impressions, plan, options)
        arguments = import_arguments(str(target), name, items, plan)
        with open(os.path.join(partial, "conversion.json"), "w", encoding="utf-8") as out:
            json.dump({"name": name, "counts": facts, "import_arguments": arguments}, out, indent=2)
            out.write("\n")
        if os.path.lexists(target):  # rename would replace an empty folder
            raise ConversionError(USAGE, f"{target}: exists; name a new folder or remove it")
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return facts, arguments
