"""AUC and gAUC of arms and controls with intervals, beside the oracle's."""
import numpy as np

from . import layout, style, text
from .accuracy import error_bars, power_warnings, rows

NAME = "accuracy_auc"
TITLE = "What AUC does each arm reach, and what do the controls say?"
SHOWS = "AUC and gAUC with 95 % intervals, controls and oracle"

_METRICS = [("auc", "AUC over all impressions"), ("gauc", "gAUC (per user, by impressions)")]


def _seed_values(report, arm, metric):
    table = report.table("accuracy_seeds")
    if table is None:
        return np.array([])
    values = np.array([v for a, v in zip(table["arm"], table.get(metric)) if a == arm])
    return values[np.isfinite(values)] if len(values) else values


def _oracle(report, metric):
    table = report.table("oracle")
    if table is None:
        return np.nan
    found = [v for m, v in zip(table["metric"], table["value"]) if m == "oracle_" + metric]
    return found[0] if found else np.nan


def _draw_oracle(axes, oracle, line):
    """A line, or an arrow at the edge where the line would squeeze everything else."""
    if not np.isfinite(oracle):
        return
    low, high = axes.get_xlim()
    far = oracle > high + 0.6 * (high - low)
    if not far:
        axes.axvline(oracle, color=style.INK, linewidth=1.1, linestyle=line, zorder=1)
    axes.annotate(f"oracle {oracle:.4f}" + (" →" if far else ""),
                  (high if far else oracle, 0.01), xycoords=axes.get_xaxis_transform(),
                  xytext=(-2, 0), textcoords="offset points", rotation=0 if far else 90, ha="right",
                  va="bottom", fontsize=8)


def _draw_panel(axes, ordered, metric, title, reports, arms):
    axes.set_title(title)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    reference = next((r for r in ordered if not r.is_control and r.verdict == "reference"), None)
    if reference is not None and len(reports) == 1:
        _, low, high = reference.interval(metric, metric + "_low", metric + "_high")
        if np.isfinite(low) and np.isfinite(high):
            axes.axvspan(low, high, color="#eaf3f9", zorder=0)
    for y, row in enumerate(ordered):
        value, low, high = row.interval(metric, metric + "_low", metric + "_high")
        look = arms.look(row.arm, "control" if row.is_control else "arm")
        if not np.isfinite(value):
            axes.text(0.01, y, "not measured", transform=axes.get_yaxis_transform(), va="center",
                      fontsize=8.5, color=style.GREY)
            continue
        seeds = _seed_values(row.report, row.arm, metric)
        axes.plot(seeds, np.full(len(seeds), y + 0.34), "|", color=look.color, markersize=4.5,
                  markeredgewidth=1.2)
        axes.errorbar([value], [y], xerr=error_bars(value, low, high), color=look.color,
                      capsize=3, linewidth=1.5, marker=look.marker, markersize=6.5)
        axes.text(1.0, y, f"{value:.4f}", transform=axes.get_yaxis_transform(), fontsize=8.5,
                  va="center", ha="left")
    for index, report in enumerate(reports):
        _draw_oracle(axes, _oracle(report, metric), style.report_line(index))
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"{'AUC' if metric == 'auc' else 'gAUC'} (1 = perfect, 0.5 = chance)")


def draw(reports, arms):
    found = rows(reports)
    if not found:
        return layout.empty_page(TITLE, reports, "accuracy",
                                 "The report has no table accuracy (accuracy switched off).")
    several = len(reports) > 1
    names = arms.order([r.arm for r in found if not r.is_control])
    names += list(dict.fromkeys(r.arm for r in found if r.is_control))
    ordered = sorted(found, key=lambda r: (names.index(r.arm), r.index))
    page = layout.Page(
        12, 1.1 + (0.25 if several else 0.33) * len(ordered), TITLE,
        "Bars: 95 % interval; ticks below: single training seeds; shaded: interval of the full-KV "
        "reference. Intervals of two arms may overlap although their paired difference is sure: "
        "see accuracy_front for verdicts.",
        "AUC, gAUC: measured on test impressions through the cache as served, mean over seeds "
        "(two-level bootstrap). Oracle: measured from the workload's own preference model "
        "(synthetic data only), an upper bound.", reports, power_warnings(reports, found))
    grid = page.figure.subplots(1, 2, sharey=True)
    for axes, (metric, title) in zip(grid, _METRICS):
        _draw_panel(axes, ordered, metric, title, reports, arms)
    labels = [text.clean(r.arm, 28) + (" · " + text.clean(r.report.label, 16) if several else "")
              for r in ordered]
    grid[0].set_yticks(range(len(ordered)), labels)
    grid[0].set_ylim(len(ordered) - 0.4, -0.6)
    for tick, row in zip(grid[0].get_yticklabels(), ordered):
        tick.set_color(arms.look(row.arm, "control" if row.is_control else "arm").color)
    first = next((i for i, r in enumerate(ordered) if r.is_control), None)
    if first:
        for axes in grid:
            axes.axhline(first - 0.5, color=style.FAINT, linewidth=1)
    return page.figure
