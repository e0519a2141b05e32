"""The reczoo layout in compact arrays: item_info, user_info, then the labelled rows of train, valid and test.

Memory: 4 bytes per item number and sequence entry, 14 bytes a labelled row and 8 more while rows are put in order.
"""
from array import array

from .errors import DATA, ConversionError, bad_row
from .tables import each_row, first_column, require_columns, whole

FILES = ("item_info", "user_info", "train", "valid", "test")
SPLITS = ("train", "valid", "test")
LABELS = ("is_click", "click", "label")
CATEGORIES = ("cate_id", "category")
PADDING = 0                   # item_index 0 fills up short sequences; the training code masks it
MAX_ITEM = 100_000_000        # bounds the table of items (4 bytes each)
MAX_USER = 2**40              # leaves room for the segment number in a user id
MAX_LENGTH = 30_000_000       # a sequence position is a second within one year of made-up time
SEQUENCES_AT_ONCE = 512       # as Python lists, which take about ten times the bytes
UNKNOWN = -1


class Items:
    """Which items exist, and a category number each (0 = not known)."""

    def __init__(self, table, category, progress):
        self.category_column = None if category == "none" else first_column(table, category, CATEGORIES)
        columns = ["item_index"] + ([self.category_column] if self.category_column else [])
        require_columns(table, columns)
        self.texts = [""]
        self._categories = array("i")
        self.count = 0
        numbers = {"": 0}
        for row, values in each_row(table, columns, progress):
            item = whole(table, row, "item_index", values[0], 0, MAX_ITEM)
            if item >= len(self._categories):
                self._categories.extend([UNKNOWN] * (item + 1 - len(self._categories)))
            if self._categories[item] != UNKNOWN:
                raise bad_row(table, row, f"column item_index repeats item {item}")
            text = self._text(table, row, values[1]) if len(values) > 1 else ""
            number = numbers.setdefault(text, len(self.texts))
            if number == len(self.texts):
                self.texts.append(text)
            self._categories[item] = number
            self.count += 1

    def _text(self, table, row, value):
        if value is None or value == 0:
            return ""  # 0 = unknown or padding in encoded columns
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, (int, str)) and not any(letter in str(value) for letter in "\t\n\r\0"):
            return str(value)
        raise bad_row(table, row, f"column {self.category_column} holds {value!r}, neither a whole number nor a word; "
                                  "name another column with --category, or none")

    def __contains__(self, item):
        return 0 <= item < len(self._categories) and self._categories[item] != UNKNOWN

    def category(self, item):
        return self.texts[self._categories[item]]


class Sequences:
    """full_item_seq of every user. Without a column user_index the row's place counts, from 0."""

    def __init__(self, table, items, progress):
        named = "user_index" in table.columns
        columns = ["full_item_seq"] + (["user_index"] if named else [])
        require_columns(table, columns)
        self.users = []
        self._slots = {}
        self._offsets = array("Q", [0])
        self._items = array("I")
        for row, values in each_row(table, columns, progress, SEQUENCES_AT_ONCE):
            user = whole(table, row, "user_index", values[1], 0, MAX_USER) if named else row
            if user in self._slots:
                raise bad_row(table, row, f"column user_index repeats user {user}")
            self._slots[user] = len(self.users)
            self.users.append(user)
            self._append(table, row, values[0], items)

    def _append(self, table, row, sequence, items):
        if not isinstance(sequence, (list, tuple)):
            raise bad_row(table, row, f"column full_item_seq holds {type(sequence).__name__}, not a list of whole numbers")
        if len(sequence) > MAX_LENGTH:
            raise bad_row(table, row, f"column full_item_seq holds {len(sequence)} items, more than {MAX_LENGTH}")
        for place, item in enumerate(sequence, 1):
            item = whole(table, row, f"full_item_seq (entry {place})", item, 0, MAX_ITEM)
            if item != PADDING and item not in items:
                raise bad_row(table, row, f"column full_item_seq (entry {place}) holds item {item}, which item_info does not list")
            self._items.append(item)
        self._offsets.append(len(self._items))

    def slot(self, user):
        return self._slots.get(user)

    def length(self, slot):
        return self._offsets[slot + 1] - self._offsets[slot]

    def of(self, slot):
        return self._items[self._offsets[slot]:self._offsets[slot + 1]]

    def events(self):
        return len(self._items)


class Impressions:
    """The labelled rows of all splits, in file order, and in time by_user()."""

    def __init__(self):
        self._slots, self._items, self._lengths = array("I"), array("I"), array("I")
        self._labels, self._splits = array("B"), array("B")
        self.rows_of_split = [0, 0, 0]

    def __len__(self):
        return len(self._slots)

    def read(self, split, table, label, items, sequences, progress):
        label = first_column(table, label, LABELS)
        if label is None:
            raise ConversionError(DATA, f"{table.name}: has no label column ({', '.join(LABELS)}); it has "
                                        f"{', '.join(table.columns)}; name one with --label")
        require_columns(table, ["user_index", "item_index", "seq_len", label])
        for row, (user, item, length, flag) in each_row(table, ["user_index", "item_index", "seq_len", label], progress):
            user = whole(table, row, "user_index", user, 0, MAX_USER)
            item = whole(table, row, "item_index", item, 0, MAX_ITEM)
            length = whole(table, row, "seq_len", length, 0, MAX_LENGTH)
            flag = whole(table, row, label, flag, 0, 1)
            slot = sequences.slot(user)
            if slot is None:
                raise bad_row(table, row, f"column user_index holds user {user}, whom user_info does not list")
            if item == PADDING or item not in items:
                why = "which is padding" if item == PADDING else "which item_info does not list"
                raise bad_row(table, row, f"column item_index holds item {item}, {why}")
            if length > sequences.length(slot):
                raise bad_row(table, row, f"column seq_len holds {length}, but the sequence of user {user} has "
                                          f"{sequences.length(slot)} items; do the files belong together?")
            self._slots.append(slot)
            self._items.append(item)
            self._lengths.append(length)
            self._labels.append(flag)
            self._splits.append(split)
        self.rows_of_split[split] = table.rows

    def by_user(self, users):
        """(slot, [(split, seq_len, row, item, label), ...] ascending) for users with rows."""
        ends = array("Q", bytes(8 * (users + 1)))
        for slot in self._slots:
            ends[slot + 1] += 1
        for slot in range(users):
            ends[slot + 1] += ends[slot]
        order, following = array("Q", bytes(8 * len(self))), array("Q", ends)
        for row, slot in enumerate(self._slots):
            order[following[slot]] = row
            following[slot] += 1
        for slot in range(users):
            rows = order[ends[slot]:ends[slot + 1]]
            if rows:
                yield slot, sorted((self._splits[row], self._lengths[row], row, self._items[row], self._labels[row])
                                   for row in rows)


def load(tables, label, category, progress):
    """tables: FILES -> table. Returns (Items, Sequences, Impressions)."""
    items = Items(tables["item_info"], category, progress)
    sequences = Sequences(tables["user_info"], items, progress)
    impressions = Impressions()
    for split, name in enumerate(SPLITS):
        impressions.read(split, tables[name], label, items, sequences, progress)
    return items, sequences, impressions
