"""Panel of the accuracy in thirds of users and items: where does sharing hurt?"""
from plotting import text

from . import facts
from .facts import finite, number
from .panels import axis, bars_view, panel

_SPLITS = {"history_length": ("users by history length", "tokens"), "activity": ("users by activity", "test impressions"),
           "item_popularity": ("candidates by popularity", "history events")}
_GROUPS = [("low", "#56B4E9"), ("middle", "#0072B2"), ("high", "#003C5F")]


def _view(known_runs, split):
    rows, bounds = [], {}
    for known in known_runs:
        arms = set(known.arms())
        found = {}
        for row in facts.rows(known.report, "accuracy_splits"):
            if row.get("split") != split or row["arm"] not in arms or row.get("verdict") == "reference":
                continue
            found.setdefault(row["arm"], {})[row["group"]] = number(row, "lift_kept")
            bounds[row["group"]] = (number(row, "attribute_low"), number(row, "attribute_high"))
        rows += [(known, arm, values) for arm, values in found.items() if any(finite(v) for v in values.values())]
    if not rows:
        return None
    words, unit = _SPLITS[split]
    parts = [(name, f"{name} ({text.count(bounds[name][0])} to {text.count(bounds[name][1])} {unit})", color)
             for name, color in _GROUPS if name in bounds]
    return bars_view(words, axis("history lift kept", "percent", clip=[-1.0, 2.5]), rows, parts, "measured", stacked=False)


def figure(known_runs):
    return panel("splits", "Where does sharing hurt?",
                 "History lift kept in thirds of the test impressions; 100 % = as good as full KV in the same third. Intervals "
                 "are in table accuracy_splits: thirds are smaller, so they are wider.",
                 "Measured like the accuracy of all impressions.", [_view(known_runs, split) for split in _SPLITS])


def figures(known_runs):
    return [one for one in (figure(known_runs),) if one["views"]]
