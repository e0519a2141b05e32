"""Fleets that no other one beats in nodes, cost, energy and p99 at once, beside the smallest fleet of every strategy."""
import numpy as np

from . import layout, plans, style, text
from .plan_nodes import subtitle

NAME = "plan_front"
TITLE = "Which fleets does no other one beat?"
SHOWS = "p99 and energy against nodes and cost, the front and what it beats (ckvsim plan)"

_PANEL_INCHES = (5.4, 3.4)


def fits(report):
    """Whether a report fills the figure."""
    return any(plans.state(row) == plans.FEASIBLE for row in plans.smallest(report))


def energy_says_more(rows):
    """Whether energy is not just a multiple of the nodes, as it is when the platform gives no idle power."""
    each = [row["energy_per_million"] / row["nodes"] for row in rows if np.isfinite(row["energy_per_million"])]
    return len(each) > 0 and max(each) > 1.001 * min(each)


def _points(axes, rows, arms, column, factor, front):
    for row in rows:
        look = arms.look(row["strategy"])
        axes.plot([row["nodes"]], [row[column] * factor], marker=look.marker, color=look.color, linestyle="none",
                  markersize=8 if front else 7, markerfacecolor=look.color if front else "white",
                  markeredgewidth=1.4, alpha=1.0 if front else 0.7, zorder=3 if front else 2)


def _panel(page, axes, front, beaten, arms, column, factor, slo):
    front = [row for row in front if np.isfinite(row[column])]
    beaten = [row for row in beaten if np.isfinite(row[column])]
    _points(axes, beaten, arms, column, factor, False)
    _points(axes, front, arms, column, factor, True)
    for strategy in dict.fromkeys(row["strategy"] for row in front):
        mine = sorted((row for row in front if row["strategy"] == strategy), key=lambda row: row["nodes"])
        axes.plot([row["nodes"] for row in mine], [row[column] * factor for row in mine], color=arms.look(strategy).color,
                  linewidth=1.2, alpha=0.6, zorder=2)
    nodes = [row["nodes"] for row in front + beaten]
    values = [row[column] * factor for row in front + beaten] + ([slo] if slo else [])
    room = max((max(nodes) / min(nodes)) ** 0.2, 1.5)
    axes.set(xscale="log", yscale="log", xlim=(min(nodes) / room, max(nodes) * room ** 2),
             ylim=(min(values) / 1.6, max(values) * 1.6))
    if slo:
        axes.axhline(slo, color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.annotate(f"SLO {slo:g} ms", (0.99, slo), xycoords=axes.get_yaxis_transform(), ha="right", xytext=(0, 2),
                      textcoords="offset points", fontsize=8)
    first = {}
    for row in [*sorted(front, key=lambda row: row["nodes"]), *beaten]:
        first.setdefault(row["strategy"], row)
    style.log_axis(axes.xaxis, text.count)
    style.log_axis(axes.yaxis, lambda v: f"{v:g}")
    axes.set_xlabel("nodes")
    named = [{"x": row["nodes"], "y": row[column] * factor, "color": arms.look(row["strategy"]).color, "low": np.nan,
              "high": np.nan, "label": f"{text.clean(row['strategy'], 22)} {row['nodes']:,.0f}"} for row in first.values()]
    others = [{"x": row["nodes"], "y": row[column] * factor, "low": np.nan, "high": np.nan}
              for row in front + beaten if row not in first.values()]
    return lambda: layout.place_labels(page, axes, named, others, lines=[slo] if slo else [])


def _cost_axis(axes, each, currency):
    """Above the panel, money of a million requests: proportional to nodes at one load."""
    if not np.isfinite(each):
        return
    upper = axes.secondary_xaxis("top", functions=(lambda nodes: nodes * each, lambda money: money / each))
    upper.set_xlabel(f"{text.clean(currency, 8)} per million requests", fontsize=8.5)
    low, high = axes.get_xlim()
    upper.set_xlim(low * each, high * each)
    style.log_axis(upper.xaxis, lambda v: f"{v:.2g}")
    upper.xaxis.set_minor_locator(style.no_ticks())


def _scenarios(report):
    """[(model, users, front, beaten)]: the most users that some fleet of the model serves."""
    found = []
    good = [row for row in plans.smallest(report) if plans.state(row) == plans.FEASIBLE]
    for model in dict.fromkeys(row["model"] for row in good):
        users = max(row["users"] for row in good if row["model"] == model)
        found.append((model, users, *plans.front(report, model, users)))
    return found


def energy_words(report, scenarios):
    each = [row["energy_per_million"] / row["nodes"] for _, _, front, beaten in scenarios for row in front + beaten]
    if not np.isfinite(each).any():
        return " Energy: not given by the platform."
    return "" if any(energy_says_more(front + beaten) for _, _, front, beaten in scenarios) else \
        " Energy per request is proportional to nodes (an upper bound: the platform gives no idle power)."


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "plan_front", "No report of ckvsim plan with a fleet within the SLO.")
    scenarios = _scenarios(report)
    both = any(energy_says_more(front + beaten) for _, _, front, beaten in scenarios)
    columns = [("p99_ns", 1e-6, "p99 latency (ms)")] + ([("energy_per_million", 1.0, "kWh per million requests")] if both else [])
    across = len(columns) if both else len(scenarios)
    down = len(scenarios) if both else 1
    page = layout.Page(
        max(8.5, 0.6 + _PANEL_INCHES[0] * across), _PANEL_INCHES[1] * down + 0.3, TITLE,
        f"Fleets with {subtitle(report, plans.smallest(report))}. Filled: no other fleet is as good in nodes, cost, energy and p99 at "
        f"once. Hollow: smallest fleet of a strategy, beaten. Left and below is better.{energy_words(report, scenarios)}",
        "Simulated: tables plan_front and plan (best = 1); cost and energy: derived from the platform file; platform "
        f"{text.clean(plans.attribute(report, 'platform') or 'unknown', 60)}.", [report])
    panels = page.figure.subplots(down, across, squeeze=False)
    labels = []
    for number, (model, users, front, beaten) in enumerate(scenarios):
        for place, (column, factor, words) in enumerate(columns):
            axes = panels[number][place] if both else panels[0][number]
            slo = float(report.spec_value("fleet", "slo_ms") or 0) if column == "p99_ns" else 0
            labels.append(_panel(page, axes, front, beaten, arms, column, factor, slo))
            _cost_axis(axes, plans.costs_of_nodes(front + beaten), plans.attribute(report, "currency"))
            axes.set_title(f"{text.clean(model, 24)}, {text.count(users)} users")
            axes.set_ylabel(words)
    for write in labels:
        write()
    return page.figure
