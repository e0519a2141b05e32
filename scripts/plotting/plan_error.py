"""Plans against full runs: nodes, and the errors of hit ratio, p99 and the busiest device."""
import numpy as np
from matplotlib.transforms import ScaledTranslation

from . import layout, plans, style, text

NAME = "plan_error"
TITLE = "Does the sample give the nodes that a full run gives?"
SHOWS = "nodes of sampled and full runs, and their errors (ckvsim plan)"

# column of plan_error -> title of its strip, factor
_ERRORS = {"hit_ratio_error": ("hit ratio (points)", 100), "p99_error": ("p99 (%)", 100),
           "busy_error": ("busiest device (%)", 100)}
_ASIDE_POINTS = 7
# Where full runs end on no number of nodes: marker, and its place across the axes.
_BEYOND = {plans.ABOVE: ("^", "▲", 0.97), plans.BELOW: ("v", "▼", 0.13), plans.UNKNOWN: ("X", "✖", 0.97)}


def fits(report):
    """Whether a report fills the figure."""
    return bool(plans.checks(report)[0])


def _scatter(page, axes, rows, arms):
    found = [row["nodes_full"] for row in rows if row["nodes_full"] > 0]
    ends = [row["nodes"] for row in rows] + found
    limits = (min(ends) / 1.5, max(ends) * 1.7)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.plot(limits, limits, color=style.GREY, linewidth=1, zorder=1)
    cells = {}
    for row in rows:
        cells.setdefault((row["nodes"], row["nodes_full"], plans.beyond(row)), []).append(row)
    for (nodes, full, side), cell in cells.items():
        for number, row in enumerate(cell):
            look = arms.look(row["strategy"])
            aside = ScaledTranslation((number - (len(cell) - 1) / 2) * _ASIDE_POINTS / 72, 0, page.figure.dpi_scale_trans)
            marker, _, place = _BEYOND.get(side, (look.marker, "", full))
            axes.plot([nodes], [place], marker=marker, color=look.color,
                      markersize=6.5, linestyle="none", markeredgewidth=1.3, zorder=3,
                      markerfacecolor=look.color if row["nodes_within"] == 1 else "white",
                      transform=(axes.get_xaxis_transform() if side else axes.transData) + aside)
    style.log_axis(axes.xaxis, text.count)
    style.log_axis(axes.yaxis, text.count)
    axes.set(xlabel="nodes by the plan (sampled)", ylabel="nodes by full runs")
    axes.set_title("nodes")
    axes.text(0.97, 0.04, "on the line: the same", transform=axes.transAxes, ha="right", fontsize=8, color=style.GREY)


def _strip(axes, rows, strategies, arms, column):
    title, factor = _ERRORS[column]
    for y, strategy in enumerate(strategies):
        mine = [factor * row[column] for row in rows if row["strategy"] == strategy and np.isfinite(row[column])]
        places = y + 0.5 * (np.arange(len(mine)) - (len(mine) - 1) / 2) / max(len(mine), 1)
        axes.plot(mine, places, marker=arms.look(strategy).marker, color=arms.look(strategy).color, linestyle="none",
                  markersize=5.5, markerfacecolor="white", markeredgewidth=1.1)
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    values = [abs(factor * row[column]) for row in rows if np.isfinite(row[column])]
    limit = 1.2 * max([*values, 1.0])
    axes.set(xlim=(-limit, limit), ylim=(len(strategies) - 0.5, -0.5))
    axes.set_yticks(range(len(strategies)))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    axes.set_xlabel("sampled minus full" if column == "hit_ratio_error" else "sampled over full, minus 1")
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:+.3g}".replace("-", "−") if v else "0")


def headline(rows, skipped):
    """How many questions a full run answers with the same nodes."""
    same = sum(row["nodes_agree"] == 1 for row in rows)
    within = sum(row["nodes_within"] == 1 for row in rows)
    words = f"The same nodes in {same} of {len(rows)} re-runs, within the plan's interval in {within}"
    return words + (f"; {len(skipped)} not re-run" if skipped else "")


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "plan_error", "No report of ckvsim plan with full re-runs (--check).")
    rows, skipped = plans.checks(report)
    strategies = arms.order([row["strategy"] for row in rows])
    page = layout.Page(
        12, 3.7, TITLE,
        f"{headline(rows, skipped)}. Full: all users of one node, its real tiers. Filled: full runs lie within the plan's interval. "
        "Near the SLO a percent of load is a factor in p99: the number of nodes is the figure to use.",
        "Simulated both: table plan_error; differences: derived. Nothing here was executed on a GPU.", [report],
        warnings=[f"{sign}: full runs {plans.beyond_words(report, side)}." for side, (_, sign, _) in _BEYOND.items()
                  if any(plans.beyond(row) == side for row in rows)])
    grid = page.figure.add_gridspec(1, 4, width_ratios=[1.45, 1, 1, 1])
    _scatter(page, page.figure.add_subplot(grid[0]), rows, arms)
    for number, column in enumerate(_ERRORS):
        axes = page.figure.add_subplot(grid[number + 1])
        _strip(axes, rows, strategies, arms, column)
        axes.set_yticklabels([text.clean(name, 22) for name in strategies] if number == 0 else [])
    return page.figure
