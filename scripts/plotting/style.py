"""One look for all figures; a colour and a marker belong to an arm in every figure."""
import math

import matplotlib
import matplotlib.ticker

from .palette import CONTROL, FAINT, FAMILIES, GREY, INK, STAGES, WARNING, Arms, Look  # noqa: F401

# Set by apply(): figures for a paper, whose title and provenance go into the caption.
PAPER = False

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
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",  # names stay text: searchable, and small files
    "svg.hashsalt": "ckvsim",  # equal reports give equal bytes
    "figure.dpi": 100,
    "savefig.dpi": 150,
}


def apply(paper=False):
    """Independent of the user's matplotlibrc."""
    global PAPER
    PAPER = paper
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(SETTINGS)


def report_line(index):
    return REPORT_LINES[index % len(REPORT_LINES)]


def no_ticks():
    """A locator for axes whose few values are all marked already."""
    return matplotlib.ticker.NullLocator()


def log_axis(axis, formatter):
    """Log axis with plain text ticks (no powers in TeX), denser on short ranges. Call it when the
    limits are final."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low) if low > 0 and high > low else 1.0
    subs = (1.0, 2.0, 5.0) if decades < 1.6 else (1.0, 3.0) if decades < 2.6 else (1.0,)
    axis.set_major_locator(matplotlib.ticker.LogLocator(base=10, subs=subs, numticks=12))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda v, _: formatter(v)))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
