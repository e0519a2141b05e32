"""Distribution of the total latency: executed here and simulated on the fleet's platform."""
import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from . import layout, style, text
from .curves import groups_of_equals, turn
from .serving import CDF_TABLES, latency_row, panel_claims, panels

NAME = "latency_cdf"
TITLE = "How long does a request take, and how long is the tail?"
SHOWS = "latency distributions, executed and simulated fleet"

_TICKS = [0.01, 0.1, 0.5, 0.9, 0.99]


def _curve(report, arm, panel):
    table = report.table(CDF_TABLES[panel.twin])
    if table is None:
        return np.array([]), np.array([])
    platform = panel.platform(report)
    places = table["platform"] if panel.twin == "simulated" else [None] * len(table)
    keep = np.array([a == arm and (platform is None or p == platform)
                     for a, p in zip(table["arm"], places)])
    x, q = table["latency_ns"][keep], table["quantile"][keep]
    good = np.isfinite(x) & np.isfinite(q) & (x > 0) & (q > 0) & (q < 1)
    order = np.argsort(q[good])
    return x[good][order], q[good][order]


def _draw_panel(axes, sheet, panel, reports, arms, names):
    found = [(arm, index, report, *_curve(report, arm, panel))
             for arm in names for index, report in enumerate(reports)]
    found = [row for row in found if len(row[3])]
    several = len(reports) > 1
    groups = groups_of_equals([(q, x, index) for _, index, _, x, q in found], 0.02, 0.8)
    rows = [None] * len(found)
    for group in groups:
        for position, number in enumerate(group):
            arm, index, report, x, q = found[number]
            values = latency_row(report, panel, arm, "total")
            look = arms.look(arm)
            line = style.report_line(index)
            axes.plot(x, q, color=look.color,
                      linestyle=line if several else turn(position, len(group)))
            # p99 is marked only with enough samples behind it. Coinciding markers nest.
            marked = [0.5] + ([0.99] if np.isfinite(values.get("p99_ns", np.nan)) else [])
            at = np.isin(np.round(q, 4), marked)
            size = 6.5 if len(group) == 1 else np.linspace(11.0, 4.0, len(group))[position]
            axes.plot(x[at], q[at], color=look.color, marker=look.marker, markersize=size,
                      linestyle="none", zorder=3, markeredgewidth=0.6,
                      markeredgecolor="white" if len(group) > 1 else look.color)
            rows[number] = (arm, report, look, line, values)
    _style_axes(axes, panel, bool(rows))
    _table(sheet, rows, several)


def _style_axes(axes, panel, filled):
    axes.set_title(panel.title, color=panel.color)
    if not filled:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center",
                  fontsize=16, color=style.GREY)
        return
    axes.set_xscale("log")
    axes.set_yscale("logit")
    axes.set_ylim(0.008, 0.9945)
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_major_formatter(FixedFormatter(["p1", "p10", "p50", "p90", "p99"]))
    axes.yaxis.set_minor_locator(NullLocator())
    style.log_axis(axes.xaxis, text.duration)
    for q in (0.5, 0.99):
        axes.axhline(q, color=style.GREY, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    axes.set_xlabel("latency from the intended start (log scale)")


def _table(sheet, rows, several):
    layout.blank(sheet)
    columns = [(0.62, "mean"), (0.75, "p50"), (0.88, "p99"), (1.0, "requests")]
    lines = len(rows) + 1
    if not rows:
        return
    for x, header in columns:
        sheet.text(x, 1 - 0.5 / lines, header, fontsize=8, color=style.GREY, ha="right",
                   va="center")
    for number, (arm, report, look, line, values) in enumerate(rows, 1):
        y = 1 - (number + 0.5) / lines
        layout.swatch(sheet, 0.0, y, look, line, 0.06)
        name = text.clean(arm, 18 if several else 26)
        if several:
            name += " · " + text.clean(report.label, 14)
        sheet.text(0.08, y, name, fontsize=8.5, va="center", color=look.color)
        shown = [text.duration(values.get(key, np.nan)) for key in ("mean_ns", "p50_ns", "p99_ns")]
        shown.append(text.count(values.get("count", np.nan)))
        for (x, _), value in zip(columns, shown):
            sheet.text(x, y, value, fontsize=8.5, va="center", ha="right")


def draw(reports, arms):
    tables = [t for r in reports for t in map(r.table, CDF_TABLES.values()) if t is not None]
    if not tables:
        return layout.empty_page(TITLE, reports, "latency", "The report has no tables executed_cdf "
                                 "and simulated_cdf (serving switched off).")
    names = arms.order([arm for table in tables for arm in table["arm"]])
    height = 3.7 + 0.2 * (1 + len(names) * len(reports))
    page = layout.Page(
        12, height, TITLE,
        "Share of requests at or below a latency, the tail stretched. Further left is faster; "
        "steeper is steadier. – = too few samples for that percentile.",
        panel_claims(reports), reports)
    grid = page.figure.subplots(
        2, 2, height_ratios=[3.7, 0.2 * (1 + len(names) * len(reports))])
    for column, panel in enumerate(panels(reports)):
        _draw_panel(grid[0][column], grid[1][column], panel, reports, arms, names)
    grid[0][0].set_ylabel("share of requests (percentile)")
    return page.figure
