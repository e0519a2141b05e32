"""Where the time of a mean request goes, by stage and arm."""
import numpy as np
from matplotlib.patches import Patch

from . import layout, style, text
from .serving import STAGE_TABLES, latency_row, panel_claims, panels
from .shares import stage_share_ns

NAME = "stages"
TITLE = "Where does the time of a mean request go?"
SHOWS = "mean stage times per arm, executed and simulated fleet"


_UNKNOWN = {"facecolor": "white", "edgecolor": style.GREY, "hatch": "////", "linewidth": 0.6}


def _rows(reports, arms):
    names = []
    for report in reports:
        for table in filter(None, map(report.table, STAGE_TABLES.values())):
            names += table["arm"]
    return [(arm, index, report) for arm in arms.order(names)
            for index, report in enumerate(reports)]


def _draw_panel(axes, panel, rows):
    longest = 0.0
    for y, (arm, _, report) in enumerate(rows):
        total = latency_row(report, panel, arm, "total")
        if not total or not np.isfinite(total["mean_ns"]):
            axes.text(0.01, y, "not measured", transform=axes.get_yaxis_transform(), va="center",
                      fontsize=8.5, color=style.GREY)
            continue
        left = 0.0
        for stage, color in style.STAGES.items():
            part = stage_share_ns(latency_row(report, panel, arm, stage), total)
            if not part > 0:
                continue
            axes.barh(y, part, left=left, height=0.68, color=color, edgecolor="white",
                      linewidth=0.6)
            left += part
        rest = total["mean_ns"] - left
        if rest > 0.01 * total["mean_ns"]:  # a stage was not measured
            axes.barh(y, rest, left=left, height=0.68, **_UNKNOWN)
        axes.text(max(left, total["mean_ns"]), y, "  " + text.duration(total["mean_ns"]),
                  va="center", ha="left", fontsize=8.5)
        longest = max(longest, left, total["mean_ns"])
    axes.set_title(panel.title, color=panel.color)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    if longest > 0:
        axes.set_xlim(0, longest * 1.16)
        axes.xaxis.set_major_formatter(lambda v, _: text.duration(v) if v else "0")
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel("mean time per request (linear scale)")
    else:
        axes.set_xticks([])


def draw(reports, arms):
    rows = _rows(reports, arms)
    if not rows:
        return layout.empty_page(TITLE, reports, "stage times",
                                 "The report has no latency tables (serving switched off).")
    several = len(reports) > 1
    page = layout.Page(
        12, 1.3 + 0.34 * len(rows), TITLE,
        "Mean over all measured requests; a stage that only some requests pass counts with its "
        "share of them. The number is the mean total.",
        panel_claims(reports), reports)
    grid = page.figure.subplots(1, 2, sharey=True)
    for axes, panel in zip(grid, panels(reports)):
        _draw_panel(axes, panel, rows)
    labels = [text.clean(arm, 26) + (" · " + text.clean(report.label, 16) if several else "")
              for arm, _, report in rows]
    grid[0].set_yticks(range(len(rows)), labels)
    grid[0].set_ylim(len(rows) - 0.45, -0.55)
    for tick, (arm, _, _) in zip(grid[0].get_yticklabels(), rows):
        tick.set_color(arms.look(arm).color)
    handles = [Patch(color=c, label=s) for s, c in style.STAGES.items()]
    handles.append(Patch(label="not attributed", **_UNKNOWN))
    page.figure.legend(handles=handles, loc="upper right", ncols=len(handles), fontsize=9,
                       handlelength=1.1, columnspacing=1.2, borderaxespad=0.3)
    return page.figure
