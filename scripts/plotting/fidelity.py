"""How far the simulated twin is from the executed run, beside the executed run's own repeat."""
import numpy as np
from matplotlib.lines import Line2D

from . import layout, style, text

NAME = "fidelity"
TITLE = "Can the simulation be trusted? Its error beside the run-to-run error"
SHOWS = "simulated against executed error per arm and metric, beside the repeat error"

# metric -> (title, target of DESIGN: share, or points for the hit ratio)
_METRICS = {
    "mean_ns": ("mean latency", 0.03),
    "p50_ns": ("p50 latency", 0.03),
    "p99_ns": ("p99 latency", 0.05),
    "throughput_per_s": ("throughput", None),
    "hit_ratio": ("hit ratio", 0.005),
}


def _values(report, arm, metric):
    """(simulated error, repeat error): shares; differences for the hit ratio, itself a share."""
    table = report.table("fidelity")
    if table is None:
        return np.nan, np.nan
    for row in table.records():
        if row["arm"] != arm or row["metric"] != metric:
            continue
        if metric == "hit_ratio":
            return row["simulated"] - row["executed"], row["repeat"] - row["executed"]
        return row["error_relative"], row.get("repeat_error_relative", float("nan"))
    return np.nan, np.nan


def _limit(values, target):
    """Half-width of the axis: everything, unless a few far values would flatten the rest."""
    finite = np.abs(values[np.isfinite(values)])
    floor = 1.6 * (target or 0.03)
    if not len(finite):
        return floor
    return max(floor, min(finite.max() * 1.15, 5 * np.median(finite) + floor))


def _dot(axes, value, y, limit, filled, look, points):
    if not np.isfinite(value):
        return
    color = look.color
    if abs(value) <= limit:
        axes.plot([value], [y], marker=look.marker if filled else "o", color=color,
                  markersize=8 if filled else 5.5, linestyle="none", zorder=4 if filled else 3,
                  markerfacecolor=color if filled else "white", markeredgewidth=1.3)
        return
    edge = limit * np.sign(value)
    axes.plot([edge], [y], marker=">" if value > 0 else "<", color=color, markersize=8,
              linestyle="none", clip_on=False, zorder=5)
    shown = f"{100 * value:+.1f} points" if points else text.signed_percent(value)
    axes.text(edge * 0.9, y, shown, ha="right" if value > 0 else "left", va="center",
              fontsize=8, color=color)


def _draw_panel(axes, metric, rows, arms):
    title, target = _METRICS[metric]
    values = np.array([_values(report, arm, metric) for arm, report in rows], dtype=float)
    limit = _limit(values, target)
    points = metric == "hit_ratio"
    if target:
        axes.axvspan(-target, target, color="#dcefe6", zorder=0)
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    for y, ((arm, _), (simulated, repeat)) in enumerate(zip(rows, values)):
        look = arms.look(arm)
        if not np.isfinite(simulated):
            reason = "too few samples" if metric.startswith("p") else "not measured"
            axes.text(0.5, y + 0.02, reason, transform=axes.get_yaxis_transform(), ha="center",
                      va="center", fontsize=7.5, color=style.GREY,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})
        if np.isfinite(simulated) and abs(simulated) <= limit:
            axes.plot([0, simulated], [y, y], color=look.color, linewidth=1.4, zorder=2)
        _dot(axes, repeat, y, limit, False, look, points)
        _dot(axes, simulated, y, limit, True, look, points)
    axes.set_xlim(-limit, limit)
    axes.set_title(title)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:+.3g}".replace("-", "−") if v else "0")
    axes.set_xlabel("difference (points)" if points else "error (%)")


def draw(reports, arms):
    names = [arm for report in reports if report.table("fidelity") is not None
             for arm in report.table("fidelity")["arm"]]
    if not names:
        return layout.empty_page(
            TITLE, reports, "fidelity",
            "The report has no table fidelity (needs executed and simulated runs).")
    rows = [(arm, report) for arm in arms.order(names) for report in reports]
    several = len(reports) > 1
    page = layout.Page(
        12, 1.45 + 0.32 * len(rows), TITLE,
        "Simulated twin on this machine's calibration against the executed run, same requests. "
        "Filled = simulated − executed; hollow = second executed pass − first; shaded = target "
        "(mean and p50 3 %, p99 5 %, hit ratio 0.5 points).",
        "Executed, repeat: measured (wall clock); twin = simulated with calibration "
        + "; ".join(dict.fromkeys(text.clean(r.provenance.get("calibration", "unknown"), 60)
                                  for r in reports)) + "; errors: derived.", reports)
    grid = page.figure.subplots(1, len(_METRICS), sharey=True)
    for axes, metric in zip(grid, _METRICS):
        _draw_panel(axes, metric, rows, arms)
    labels = [text.clean(arm, 24) + (" · " + text.clean(report.label, 14) if several else "")
              for arm, report in rows]
    grid[0].set_yticks(range(len(rows)), labels)
    grid[0].set_ylim(len(rows) - 0.4, -0.6)
    for tick, (arm, _) in zip(grid[0].get_yticklabels(), rows):
        tick.set_color(arms.look(arm).color)
    handles = [Line2D([], [], marker="s", color=style.GREY, linestyle="none", label="simulated"),
               Line2D([], [], marker="o", color=style.GREY, linestyle="none", label="repeat",
                      markerfacecolor="white")]
    page.figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=9)
    return page.figure
