"""Held-out points of validate-sim: error of the simulated twin against load, beside its bound."""
import numpy as np
from matplotlib.lines import Line2D

from . import layout, style, text

NAME = "fidelity_regimes"
TITLE = "Where can the simulation be trusted?"
SHOWS = "simulated against executed error at held-out points by load and arm (ckvsim validate-sim)"

# metric -> title
_METRICS = {
    "mean_ns": "mean latency",
    "p50_ns": "p50 latency",
    "p99_ns": "p99 latency",
    "throughput_per_s": "throughput",
    "hit_ratio": "hit ratio (points)",
}


def fits(report):
    """Whether a report fills the figure."""
    return report.table("fidelity_points") is not None


def _limit(rows, target):
    """Half the height of a panel: nine tenths of the points and the target are in sight."""
    errors = np.abs([row["error"] for row in rows])
    return max(2.5 * target, 1.25 * np.quantile(errors, 0.9)) if len(errors) else 2.5 * target


def _dot(axes, x, row, limit, look):
    held = row["verdict"] == "within"
    y = float(np.clip(row["error"], -limit, limit))
    axes.plot([x, x], [-min(row["bound"], limit), min(row["bound"], limit)], color=look.color,
              linewidth=1.0, alpha=0.25, zorder=2)
    outside = abs(row["error"]) > limit
    marker = ("^" if row["error"] > 0 else "v") if outside else "o"
    axes.plot([x], [y], marker=marker, markersize=5, linestyle="none", color=look.color, zorder=3,
              markerfacecolor=look.color if held else "white", markeredgewidth=1.2)


def _panel(axes, metric, rows, names, loads, arms):
    title = _METRICS[metric]
    target = max(row["target"] for row in rows if row["metric"] == metric)
    rows = [row for row in rows if row["metric"] == metric and row["verdict"] != "insufficient"]
    limit = _limit(rows, target)
    axes.axhspan(-target, target, color="#dcefe6", zorder=0)
    axes.axhline(0, color=style.INK, linewidth=0.9, zorder=1)
    places = {}
    for row in rows:
        group = loads.index(row["load"]), names.index(row["arm"])
        places.setdefault(group, []).append(row)
    for (load, arm), cell in places.items():
        for number, row in enumerate(cell):
            within = (arm + (number + 0.5) / len(cell)) / len(names)
            _dot(axes, load + 0.08 + 0.84 * within, row, limit, arms.look(row["arm"]))
    for edge in range(1, len(loads)):
        axes.axvline(edge, color=style.GREY, linewidth=0.5, alpha=0.4)
    held = sum(row["verdict"] == "within" for row in rows)
    axes.set_title(f"{title}: {held} of {len(rows)} within" if rows else f"{title}: too few samples")
    axes.set(xlim=(0, len(loads)), ylim=(-1.08 * limit, 1.08 * limit))
    axes.set_xticks([place + 0.5 for place in range(len(loads))],
                    [f"{load:g}×" for load in loads])
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:+.3g}".replace("-", "−") if v else "0")
    axes.set_xlabel("load, in shares of what the arm can serve")
    axes.set_ylabel("points" if metric == "hit_ratio" else "error (%)")


def _headline(rows):
    points = {}
    for row in rows:
        if row["verdict"] != "insufficient":
            points.setdefault(row["point"], []).append(row["verdict"] == "within")
    held = sum(all(verdicts) for verdicts in points.values())
    return f"Every metric is within its bound at {held} of {len(points)} held-out points. "


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "fidelity_regimes",
                                 "No report of ckvsim validate-sim.")
    rows = report.table("fidelity_points").records()
    names = arms.order(list(dict.fromkeys(row["arm"] for row in rows)))
    loads = sorted({row["load"] for row in rows})
    page = layout.Page(
        12, 6.4, TITLE,
        _headline(rows) + "Dots: simulated against executed, filled where within the bound. Lines: "
        "the bound, the larger of the target (shaded) and 1.5 times the difference of executed "
        "passes. Triangles lie beyond the axis.",
        "Executed: measured (wall clock); simulated with a calibration measured between the passes "
        "on other lengths and candidates; errors and bounds: derived.", [report])
    grid = page.figure.subplots(2, 3)
    for axes, metric in zip(grid.flat, _METRICS):
        _panel(axes, metric, rows, names, loads, arms)
    legend = grid.flat[len(_METRICS)]
    layout.blank(legend)
    handles = [Line2D([], [], marker="o", linestyle="none", color=arms.look(name).color,
                      label=text.clean(name, 28)) for name in names]
    handles += [Line2D([], [], marker="o", linestyle="none", color=style.GREY,
                       markerfacecolor="white", label="outside its bound")]
    legend.legend(handles=handles, loc="center", fontsize=9.5, frameon=False)
    return page.figure
