"""Made-up times under which "strictly earlier" gives every impression the first seq_len items of its user.

`ckvsim import log` shows an impression its user's stored events and the earlier impressions that count as history.
A sequence event that is no impression can therefore only be stored, before all impressions of that user. So a user's
impressions, ordered by split and seq_len, are cut into segments: one goes on as long as the impressions themselves
supply exactly the sequence's next items, and where they do not, the next begins, with the whole prefix stored. Each
segment is written as a user of his own.
"""
import calendar
from collections import namedtuple

from .layout import PADDING

GROWTHS = ("positive", "all")  # which impressions are history for later ones
BOUNDARIES = ("2002-01-01", "2003-01-01", "2004-01-01")  # first of train, tune, test; stored events in the year before
STORED_FROM = calendar.timegm((2001, 1, 1, 0, 0, 0))
SPLIT_FROM = tuple(calendar.timegm((int(day[:4]), 1, 1, 0, 0, 0)) for day in BOUNDARIES)

# One request: rows of one split and seq_len; they do not see each other. rows: (item, label) in file order.
Group = namedtuple("Group", "split length rows")
# prefix: stored sequence items (before padding is left out). inexact: impressions that see another history.
Segment = namedtuple("Segment", "prefix groups inexact")


def groups_of(rows):
    """rows: (split, seq_len, row, item, label) ascending."""
    groups = []
    for split, length, _, item, label in rows:
        if not groups or (groups[-1].split, groups[-1].length) != (split, length):
            groups.append(Group(split, length, []))
        groups[-1].rows.append((item, label))
    return groups


def visible(items):
    return [item for item in items if item != PADDING]


def follows(sequence, before, after, growth):
    """Do the history events among `before` equal the sequence between the two requests?"""
    if after.length < before.length:
        return False
    grown = [item for item, label in before.rows if growth == "all" or label == 1]
    return grown == visible(sequence[before.length:after.length])


def segments_of(sequence, rows, growth, keep_users=False):
    """keep_users: one segment whatever happens; the impressions behind a gap are counted as inexact."""
    groups = groups_of(rows)
    cuts = [place for place in range(1, len(groups)) if not follows(sequence, groups[place - 1], groups[place], growth)]
    if keep_users:
        behind = sum(len(group.rows) for group in groups[cuts[0]:]) if cuts else 0
        return [Segment(groups[0].length, groups, behind)]
    edges = [0, *cuts, len(groups)]
    return [Segment(groups[begin].length, groups[begin:end], 0) for begin, end in zip(edges, edges[1:])]


def stored_part(sequence, segment, max_history):
    """The stored events, oldest first; max_history = 0 keeps all."""
    items = visible(sequence[:segment.prefix])
    return items[-max_history:] if max_history else items


def time_s(split, length):
    return SPLIT_FROM[split] + length
