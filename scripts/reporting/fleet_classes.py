"""Figure of table fleet_classes: p99 by who asks, one view a model and grouping of the users."""
from plotting import text

from . import facts
from .facts import finite, number
from .panels import axis, bars_view, panel

_ENDLESS = 65536.0  # a class of histories up to here has no end, says the table
_MARKS = ["#E69F00", "#CC79A7", "#0072B2", "#003C5F"]  # first to last class, mixed in between


def _history(low, high):
    if high >= _ENDLESS:
        return f"{low:,.0f} events or more"
    return f"{low:,.0f} to {high - 1:,.0f} events" if low else f"below {high:,.0f} events"


def _activity(low, high):
    if low <= 0.0:
        return f"least active {text.percent(high)}"
    # Rounded first: 1 - 0.99 is not quite 0.01.
    return f"most active {text.percent(round(1.0 - low, 9))}" if high >= 1.0 else \
        f"{100 * low:g} to {100 * high:g} %, by activity"


def _sign_up(low, _):
    return "signed up during the run" if low >= 1.0 else "there from the start"


GROUPINGS = {"history": ("history length", _history), "activity": ("activity", _activity),
             "sign_up": ("sign-up", _sign_up)}


def _color(place):
    """0: the first class, 1: the last."""
    at = place * (len(_MARKS) - 1)
    left = min(int(at), len(_MARKS) - 2)
    one, two = ([int(c[i:i + 2], 16) for i in (1, 3, 5)] for c in _MARKS[left:left + 2])
    return "#" + "".join(f"{round(a + (b - a) * (at - left)):02x}" for a, b in zip(one, two))


def _view(known, model, cases, by, rows):
    """rows: {case: its rows of this grouping}. Classes and strategies without any p99 are named."""
    words, named = GROUPINGS[by]
    bounds = {row["class"]: named(number(row, "from"), number(row, "to"))
              for case in cases for row in rows.get(case["case"], [])}
    found = [(known, case["strategy"], {row["class"]: number(row, "p99_ns")
                                        for row in rows.get(case["case"], [])}) for case in cases]
    seen = [one for one in found if any(finite(value) for value in one[2].values())]
    if not seen:
        return None
    shown = [c for c in sorted(bounds) if any(finite(values.get(c)) for _, _, values in seen)]
    left_out = [one[1] for one in found if one not in seen] + [bounds[c] for c in sorted(bounds) if c not in shown]
    return bars_view(f"{facts.label(model)}: by {words}", axis("p99 latency", "ns", "log"), seen,
                     [(c, bounds[c], _color(i / max(len(shown) - 1, 1))) for i, c in enumerate(shown)],
                     "simulated", stacked=False,
                     note="p99 not measured (too few requests): " + ", ".join(left_out) if left_out else "")


def views(known, model, cases):
    """Of one model's cases, one a strategy."""
    found = []
    for by in GROUPINGS:
        rows = {}
        for row in facts.rows(known.report, "fleet_classes"):
            if row["by"] == by:
                rows.setdefault(row["case"], []).append(row)
        found.append(_view(known, model, cases, by, rows))
    return found


def figure(found, where, here):
    """The panel of views(); `here`: where a sweep is shown."""
    return panel("fleet-classes", "Whose requests are slow?",
                 "p99 by class of user: by events in the history that is asked with, by place in the order "
                 "of activity, and by sign-up where users join during the run. Further left is faster; a "
                 "class without a mark has too few requests for a p99." + here,
                 where + " Table fleet_classes.", found, "no classes of users in the report")
