"""p99 and hits over virtual time while things happen to a fleet, one column a model, events marked."""
import numpy as np

from . import fleet_load, layout, style, text

NAME = "fleet_events"
TITLE = "What does a new model, a crash or a slow part do to the fleet?"
SHOWS = "p99 and hit ratio over time by strategy, with the events of the study marked"

_MARKS = {"refresh": "new model", "crash": "crash", "slow": "slow GPUs", "link": "slow link", "nic": "slow network",
          "nvme": "slow flash", "tier_loss": "tier lost", "scale_in": "nodes go",
          "scale_out": "nodes come"}
_AXES = ("model", "requests_per_second", "users", "nodes", "catalogue_items", "candidates", "tiers", "policy",
         "routing", "efficiency")
_MOST_COLUMNS = 4
_SHORTEST = 0.004  # of the run: a span that is thinner is drawn as a line


def fits(report):
    """Whether a report fills the figure: a fleet study with events."""
    table = report.table("fleet_events")
    return table is not None and len(table.columns.get("case", [])) > 0


def _points(report):
    """Cases by point of the sweep, in the study's order: what differs between points is its title."""
    with_events = {row["case"] for row in report.table("fleet_events").records()}
    points = {}
    for row in report.table("fleet_cases").records():
        if row["case"] in with_events:
            points.setdefault(tuple(row.get(axis) for axis in _AXES), []).append(row)
    return points


def _title(point, points):
    """The model, and what else varies."""
    words = [text.clean(point[0], 30)]
    for index, axis in enumerate(_AXES[1:], 1):
        if len({other[index] for other in points}) > 1:
            value = point[index]
            words.append(text.count(value) + "/s" if axis == "requests_per_second"
                         else f"{text.count(value)} {axis}" if isinstance(value, (int, float))
                         else text.clean(value, 24))
    return ", ".join(words)


def _series(report):
    """{case: its rows of fleet_series in order}"""
    series = {}
    for row in report.table("fleet_series").records():
        series.setdefault(row["case"], []).append(row)
    return series


def _mark(panels, events, end_s):
    """Events of one case: a span where it lasts, a line where it does not; drawn ones have no time."""
    seen = 0
    for row in events:
        if row["ends_s"] >= end_s and row["times"] > 1:
            continue
        for axes in panels:
            if row["ends_s"] - row["at_s"] > _SHORTEST * end_s:
                axes.axvspan(row["at_s"], min(row["ends_s"], end_s), color=style.INK, alpha=0.07, linewidth=0)
            axes.axvline(row["at_s"], color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)))
        panels[0].annotate(_MARKS.get(row["kind"], text.clean(row["kind"], 20)), (row["at_s"], 0.66),
                           xycoords=panels[0].get_xaxis_transform(), xytext=(3, -10 * (seen % 2)),
                           textcoords="offset points", fontsize=8, color=style.INK)
        seen += 1


def _column(panels, cases, series, slo_ms):
    """One model: p99 above, hits below."""
    for case in cases:
        rows = series.get(case["case"], [])
        look = fleet_load._look(None, case)
        start = np.array([row["start_s"] for row in rows])
        for axes, column, scale in ((panels[0], "p99_ns", 1e-6), (panels[1], "hit_ratio", 1.0)):
            values = np.array([row[column] for row in rows], dtype=float) * scale
            axes.plot(start, values, color=look.color, drawstyle="steps-post", linewidth=1.6,
                      label=text.clean(case["strategy"], 28))
        lost = np.array([(row["lost"] + row["shed"]) / max(row["requests"], 1) for row in rows])
        if lost.max(initial=0.0) > 0.001:
            panels[1].plot(start, lost, color=look.color, drawstyle="steps-post", linewidth=1.0,
                           linestyle=(0, (1, 1)))
    if np.isfinite(slo_ms):
        panels[0].axhline(slo_ms, color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)))
        panels[0].annotate(f"SLO {slo_ms:g} ms", (0.99, slo_ms), xycoords=panels[0].get_yaxis_transform(),
                           ha="right", xytext=(0, 2), textcoords="offset points", fontsize=8)
    panels[0].set(yscale="log")
    panels[1].set(xlabel="virtual time (s)", ylim=(-0.02, 1.05))


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "fleet", "The report is not of a fleet study with events.")
    points = _points(report)
    shown = list(points)[:_MOST_COLUMNS]
    cases = [case for point in shown for case in points[point]]
    fleet_load._number_shades(cases)
    series = _series(report)
    events = report.table("fleet_events").records()
    slo_ms = float(report.spec_value("fleet", "slo_ms") or np.nan)
    loads = sorted({case["requests_per_second"] for case in cases})
    more = f" The first {len(shown)} of {len(points)} points." if len(points) > len(shown) else ""
    page = layout.Page(
        11.5, 6.4, TITLE,
        f"{text.count(cases[0]['users'])} users on {int(cases[0]['nodes'])} nodes, "
        + " and ".join(text.count(load) for load in loads) + " requests per second. Dashed upright: an event begins; "
        "grey: it lasts. Dotted: share of requests shed or lost. Equal lines hide each other." + more,
        "p99 within 3.2 % and hits of the requests that start in a bin (table fleet_series); platform: "
        + fleet_load.platform(report) + ".", [report])
    panels = page.figure.subplots(2, len(shown), sharex="col", sharey="row", squeeze=False)
    for column, point in enumerate(shown):
        mine = points[point]
        axes = panels[:, column]
        _column(axes, mine, series, slo_ms)
        end_s = max(row["start_s"] for case in mine for row in series[case["case"]]) * 60.0 / 59.0
        _mark(axes, [row for row in events if row["case"] == mine[0]["case"]], end_s)
        axes[0].set_title(_title(point, shown))
    panels[0, 0].set_ylabel("p99 latency (ms)")
    panels[1, 0].set_ylabel("hit ratio")
    style.log_axis(panels[0, 0].yaxis, lambda v: f"{v:g}")
    handles = {}
    for axes in panels[0]:
        handles.update({label: handle for handle, label in zip(*axes.get_legend_handles_labels())})
    panels[1, -1].legend(handles.values(), handles.keys(), fontsize=8, loc="lower right", frameon=True,
                         framealpha=0.95, edgecolor="none")
    return page.figure
