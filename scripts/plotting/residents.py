"""How many users one budget of bytes really holds, and how fast they are served, by arm and place."""
import numpy as np

from . import layout, style, text

NAME = "residents"
TITLE = "How many users does one budget of bytes hold, and how fast are they served?"
SHOWS = "users held within one byte budget per arm, and their measured latency, in memory and from a file"

_PLACES = {"memory": "in memory", "file": "in a file on storage"}


def fits(report):
    return report.table("residency") is not None


def _rows(report, tier):
    table, latency = report.table("residency"), report.table("residency_latency")
    total = {(arm, place): i for i, (arm, place, stage) in enumerate(zip(latency["arm"], latency["tier"], latency["stage"]))
             if stage == "total"}
    for i, (arm, place) in enumerate(zip(table["arm"], table["tier"])):
        if place == tier:
            at = total[arm, place]
            yield arm, int(table["users"][i]), table["limited_by"][i], latency["p50_ns"][at], latency["p99_ns"][at]


def _draw_users(axes, rows, arms, title):
    for y, (arm, users, limited, _, _) in enumerate(rows):
        axes.plot(users, y, marker="o", markersize=8, color=arms.look(arm).color)
        axes.text(users, y, f"  {'at least ' if limited == 'users' else ''}{users:,}", va="center", fontsize=8.5)
    axes.set_xscale("log")
    smallest, largest = min(row[1] for row in rows), max(row[1] for row in rows)
    axes.set_xlim(max(smallest, 1) / 3, largest * 30)
    axes.xaxis.set_major_formatter(lambda v, _: text.count(v))
    axes.set_xlabel("users held and served (log scale)")
    axes.set_title(title)


def _draw_latency(axes, rows, arms):
    for y, (arm, _, _, p50, p99) in enumerate(rows):
        if not np.isfinite(p50):
            axes.text(0.02, y, "not measured", transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=style.GREY)
            continue
        color = arms.look(arm).color
        if np.isfinite(p99):
            axes.plot([p50, p99], [y, y], color=color, linewidth=1.5)
            axes.plot(p99, y, marker="|", markersize=11, color=color)
        axes.plot(p50, y, marker="o", color=color)
        axes.text(max(p50, p99 if np.isfinite(p99) else p50), y, "  " + text.duration(p50)
                  + (f", {text.duration(p99)}" if np.isfinite(p99) else ""), va="center", fontsize=8.5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 12)
    axes.xaxis.set_major_formatter(lambda v, _: text.duration(v))
    axes.set_xlabel("latency: dot p50, bar p99 (log scale)")


def draw(reports, arms):
    report = next(one for one in reports if fits(one))
    places = [(tier, list(_rows(report, tier))) for tier in _PLACES]
    places = [(tier, rows) for tier, rows in places if rows]
    table = report.table("residency")
    page = layout.Page(
        12, 1.0 + sum(0.9 + 0.34 * len(rows) for _, rows in places), TITLE,
        "Every entry was really made from a history, kept and served; the same request rate for every arm. The budget covers "
        "entries and their records, in memory also the arm's own shared tables.",
        "Measured on this machine: real bytes, wall clock, open loop.", [report])
    grid = page.figure.subplots(len(places), 2, squeeze=False, height_ratios=[1 + len(rows) for _, rows in places])
    for (users_axes, latency_axes), (tier, rows) in zip(grid, places):
        budget = next(b for b, place in zip(table["budget_bytes"], table["tier"]) if place == tier)
        _draw_users(users_axes, rows, arms, f"{_PLACES[tier]}, {text.size(budget)}")
        _draw_latency(latency_axes, rows, arms)
        users_axes.set_yticks(range(len(rows)), [text.clean(row[0], 26) for row in rows])
        latency_axes.set_yticks(range(len(rows)), [])
        for axes in (users_axes, latency_axes):
            axes.set_ylim(len(rows) - 0.45, -0.55)
            axes.tick_params(axis="y", length=0)
        for tick, row in zip(users_axes.get_yticklabels(), rows):
            tick.set_color(arms.look(row[0]).color)
    return page.figure
