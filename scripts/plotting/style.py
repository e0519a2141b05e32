"""One look for all figures: Okabe and Ito's colour-blind safe palette (jfly.uni-koeln.de/color),
extended by darker shades; a colour and a marker belong to an arm in every figure."""
import math
from collections import namedtuple

import matplotlib
import matplotlib.ticker

Look = namedtuple("Look", "color marker")

GREY = "#6b6b6b"
FAINT = "#d9d9d9"
INK = "#1a1a1a"
WARNING = "#9c2a00"

# Variants of one strategy share the hue; the marker tells them apart without colour.
FAMILIES = {
    "full": [("#0072B2", "o"), ("#56B4E9", "s"), ("#003C5F", "p"), ("#7FA8C0", "8")],
    "item_table": [("#009E73", "D"), ("#00543D", "d")],
    "recompute": [("#E69F00", "X"), ("#8F6300", "x")],
    "collective": [("#D55E00", "^"), ("#7A2E00", "v"), ("#FF9A57", "<"), ("#A84A00", ">")],
    "collective item": [("#CC79A7", "*"), ("#7C3A60", "P")],
    "other": [("#000000", "h"), ("#B8A800", "H"), ("#555555", "1"), ("#999999", "2")],
}
CONTROL = Look(GREY, "d")

STAGES = {  # name -> colour; order of a request
    "queue": "#BDBDBD",
    "fetch": "#E69F00",
    "prefill": "#CC79A7",
    "decode": "#0072B2",
    "score": "#009E73",
    "host": "#56B4E9",
}

REPORT_LINES = ["-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2))]

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # arm names may hold dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # names stay text: searchable, and small files
    "svg.hashsalt": "ckvsim",  # equal reports give equal bytes
    "figure.dpi": 100,
    "savefig.dpi": 150,
}


def apply():
    """Independent of the user's matplotlibrc."""
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(SETTINGS)


def report_line(index):
    return REPORT_LINES[index % len(REPORT_LINES)]


class Arms:
    """Looks of all arms of all loaded reports, by name, in order of first appearance."""

    def __init__(self, reports):
        self._looks = {}
        used = {}
        for report in reports:
            for name, family in _families(report):
                if name in self._looks:
                    continue
                position = used.get(family, 0)
                used[family] = position + 1
                shades = FAMILIES[family]
                self._looks[name] = Look(*shades[position % len(shades)])

    def look(self, name, kind="arm"):
        if name in self._looks:
            return self._looks[name]
        if kind == "control" or name.startswith("control."):
            return CONTROL
        # The reference that a run adds on its own is full KV, though no arm of the spec.
        return Look(*FAMILIES["full" if name.startswith("full") else "other"][0])

    def order(self, names):
        """Names in the spec's order; unknown ones last."""
        known = list(self._looks)
        unique = list(dict.fromkeys(names))
        return sorted(unique, key=lambda n: known.index(n) if n in self._looks else len(known))


def _families(report):
    table = report.table("arms")
    if table is None:
        return []
    result = []
    for arm, strategy, keying in zip(table["arm"], table["strategy"], table["keying"]):
        family = strategy if strategy in FAMILIES else "other"
        if strategy == "collective" and keying == "item":
            family = "collective item"
        result.append((arm, family))
    return result


def log_axis(axis, formatter):
    """Log axis with plain text ticks (no powers in TeX), denser on short ranges. Call it when the
    limits are final."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low) if low > 0 and high > low else 1.0
    subs = (1.0, 2.0, 5.0) if decades < 1.6 else (1.0, 3.0) if decades < 2.6 else (1.0,)
    axis.set_major_locator(matplotlib.ticker.LogLocator(base=10, subs=subs, numticks=12))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: formatter(v)))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
