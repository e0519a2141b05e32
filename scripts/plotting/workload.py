"""What the users look like: history lengths and how concentrated the items are."""
import numpy as np
from matplotlib.lines import Line2D

from . import layout, style, text

NAME = "workload"
TITLE = "What do the users' histories look like?"
SHOWS = "history length and item popularity distributions"

_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]


def _statistics(report):
    table = report.table("workload")
    return {} if table is None else dict(zip(table["statistic"], table["value"]))


def _draw_lengths(axes, low, high, share, color, line, filled):
    """Bins on a log axis; lengths of 0 have no place there and are told in words."""
    edges, heights = [], []
    for i in np.argsort(low):
        if high[i] <= 1:
            continue
        if edges and low[i] > edges[-1]:  # bins without users are left out of the table
            edges.append(low[i])
            heights.append(0.0)
        if not edges:
            edges.append(low[i])
        edges.append(high[i])
        heights.append(share[i])
    if heights:
        axes.stairs(100 * np.array(heights), edges, color=color, linewidth=1.8, fill=filled,
                    alpha=0.75 if filled else 1.0, linestyle=line)


def _lengths(axes, reports):
    captions = []
    for index, report in enumerate(reports):
        table = report.table("history_lengths")
        if table is None or not np.nansum(table["users"]) > 0:
            continue
        color = _COLORS[index % len(_COLORS)]
        share = table["users"] / np.nansum(table["users"])
        low, high = table["tokens_low"], table["tokens_high"] + 1
        _draw_lengths(axes, low, high, share, color, style.report_line(index), len(reports) == 1)
        caption = f"{text.percent(np.nansum(share[high <= 1]), 2)} without history"
        mean = _statistics(report).get("history events per user", np.nan)
        if np.isfinite(mean) and mean > 0:
            axes.axvline(mean, color=color, linewidth=1.2, linestyle=(0, (2, 2)))
            caption = f"mean {mean:.4g} (dotted), {caption}"
        captions.append((caption, color))
    axes.set_title("History lengths")
    _finish(axes, bool(captions), "stored interactions per user (bins double)",
            "users in the bin (%)")
    if captions:
        axes.set_ylim(0, axes.get_ylim()[1] * (1.05 + 0.08 * len(captions)))
    for number, (caption, color) in enumerate(captions):
        axes.text(0.02, 0.985 - 0.065 * number, caption, transform=axes.transAxes, fontsize=8.5,
                  va="top", color=color, bbox={"facecolor": "white", "edgecolor": "none",
                                               "alpha": 0.8, "pad": 0.6})


def _popularity(axes, reports, column, log_y):
    drawn = False
    for index, report in enumerate(reports):
        table = report.table("popularity")
        if table is None:
            continue
        rank, value = table["rank"], 100 * table[column]
        good = np.isfinite(rank) & np.isfinite(value) & (value > 0) & (rank > 0)
        if not good.any():
            continue
        drawn = True
        axes.plot(rank[good], value[good], color=_COLORS[index % len(_COLORS)], marker=".",
                  linestyle=style.report_line(index))
    if column == "share":
        axes.set_title("Popularity of single items")
        _finish(axes, drawn, "item rank (1 = most frequent)", "share of all interactions")
    else:
        axes.set_title("Concentration")
        _finish(axes, drawn, "number of most frequent items", "their share of all interactions (%)")
    if drawn and log_y:
        axes.set_yscale("log")
        style.log_axis(axes.yaxis, lambda v: f"{v:g} %")
    elif drawn:
        axes.set_ylim(0, 103)


def _finish(axes, drawn, x, y):
    if not drawn:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center",
                  color=style.GREY)
        return
    axes.set_xscale("log")
    style.log_axis(axes.xaxis, text.count)
    axes.set(xlabel=x, ylabel=y)


def _summary(report):
    facts = _statistics(report)
    picked = [("users", "users"), ("items in the catalogue (V)", "items in the catalogue"),
              ("history events", "interactions")]
    parts = [f"{text.count(facts[key])} {word}" for key, word in picked if key in facts]
    return ", ".join(parts)


def draw(reports, _arms):
    if all(r.table("history_lengths") is None and r.table("popularity") is None for r in reports):
        return layout.empty_page(TITLE, reports, "workload",
                                 "The report has no tables history_lengths and popularity.")
    several = len(reports) > 1
    lines = []
    for report in reports:
        where = text.clean(report.provenance.get("workload", ""), 220)
        summary = "; ".join(filter(None, (_summary(report), where if where != "(no name)" else "")))
        lines.append(f"{text.clean(report.label, 40)}: {summary}" if several else summary)
    page = layout.Page(
        12, 3.6 + 0.25 * several, TITLE, "   ".join(lines),
        "Lengths, popularity: derived (counted over every stored history).", reports)
    grid = page.figure.subplots(1, 3)
    _lengths(grid[0], reports)
    _popularity(grid[1], reports, "share", True)
    _popularity(grid[2], reports, "cumulative", False)
    if several:
        handles = [Line2D([], [], color=_COLORS[i % len(_COLORS)], label=text.clean(r.label, 40),
                          linestyle=style.report_line(i)) for i, r in enumerate(reports)]
        grid[2].legend(handles=handles, loc="lower right", fontsize=8.5)
    return page.figure
