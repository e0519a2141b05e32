"""Lift kept, arm by arm, one panel a report: models and datasets side by side."""
import numpy as np

from . import layout, style, text
from .accuracy import error_bars, margin, power_warnings, rows

NAME = "accuracy_models"
TITLE = "How much of the history's lift does each way of keeping it keep?"
SHOWS = "lift kept with intervals, one panel a report (models, datasets)"

_COLUMNS = 5
_FARTHEST = 1.25  # shares beyond are drawn at the edge, with their value
_NEAREST = -0.25


def fits(report):
    """Drawn on demand alone: with one report accuracy_front says more."""
    return False


def _edge(value):
    return min(max(value, _NEAREST), _FARTHEST)


def _draw_row(axes, y, row, look):
    value, low, high = row.interval("lift_kept", "lift_low", "lift_high")
    if not np.isfinite(value):
        axes.text(0.03, y, "not measured", transform=axes.get_yaxis_transform(), va="center", fontsize=8,
                  color=style.GREY)
        return
    ends = [_edge(end) if np.isfinite(end) else np.nan for end in (low, high)]
    sure = row.verdict in ("reference", "better", "equivalent", "worse")
    axes.errorbar([100 * _edge(value)], [y], xerr=100 * np.array(error_bars(_edge(value), *ends)), color=look.color,
                  marker=look.marker, markersize=6.5, capsize=2.5, linewidth=1.4, linestyle="none",
                  markerfacecolor=look.color if sure else "white")
    if value != _edge(value):
        axes.text(100 * _edge(value), y - 0.42, f"{100 * value:.0f} %", fontsize=7, color=look.color, ha="center",
                  va="bottom")


def _draw_panel(axes, names, mine, arms, allowed):
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.axvline(100, color=style.GREY, linewidth=0.8, zorder=1)
    if allowed is not None:
        axes.axvspan(100 * (1 - allowed), 100 * _FARTHEST, color="#eef6ee", zorder=0)
    for y, name in enumerate(names):
        row = mine.get(name)
        if row is None:
            axes.text(0.03, y, "not in this report", transform=axes.get_yaxis_transform(), va="center", fontsize=8,
                      color=style.GREY)
            continue
        _draw_row(axes, y, row, arms.look(name, "control" if row.is_control else "arm"))
    axes.set_xlim(100 * _NEAREST - 6, 100 * _FARTHEST + 6)
    axes.set_xticks([0, 50, 100])


def draw(reports, arms):
    found = rows(reports)
    if not found:
        return layout.empty_page(TITLE, reports, "accuracy", "The reports have no table accuracy.")
    names = arms.order([r.arm for r in found if not r.is_control])
    controls = list(dict.fromkeys(r.arm for r in found if r.is_control and r.arm != "control.no_history"))
    shown = names + controls
    lines = -(-len(reports) // _COLUMNS)
    columns = -(-len(reports) // lines)
    page = layout.Page(
        2.6 + 2.3 * max(columns, 3), lines * (0.7 + 0.27 * len(shown)), TITLE,
        "100 % = full KV, 0 = no history; bars: 95 % interval over seeds and users; filled = the interval decides, "
        "hollow = undecided or no power; shaded: within the margin or better. Controls in grey: a control that keeps "
        "the lift says that these data cannot tell.",
        "Lift kept: measured on test impressions through the cache as served.", reports,
        power_warnings(reports, found))
    grid = page.figure.subplots(lines, columns, sharey=True, squeeze=False)
    allowed = margin(reports)
    for index, axes in enumerate(grid.flat):
        if index >= len(reports):
            axes.set_axis_off()
            continue
        mine = {r.arm: r for r in found if r.report is reports[index]}
        axes.set_title(text.clean(reports[index].label, 30), fontsize=9.5)
        _draw_panel(axes, shown, mine, arms, allowed)
    for line in grid:
        line[0].set_yticks(range(len(shown)), [text.clean(name, 28) for name in shown])
        line[0].set_ylim(len(shown) - 0.4, -0.6)
    for axes in grid[-1]:
        axes.set_xlabel("lift kept, %")
    if controls:
        for axes in list(grid.flat)[:len(reports)]:
            axes.axhline(len(names) - 0.5, color=style.FAINT, linewidth=1)
    return page.figure
