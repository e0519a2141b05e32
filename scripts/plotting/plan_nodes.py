"""Smallest fleet of every strategy by number of users, one panel a model; infeasible ones at the upper edge, with their reason."""
import textwrap

import numpy as np
from matplotlib.patches import Rectangle

from . import layout, plans, style, text

NAME = "plan_nodes"
TITLE = "How many nodes does each way of keeping histories need?"
SHOWS = "fewest nodes within the SLO by users, strategy and model, with intervals (ckvsim plan)"

_LINE_INCHES = 0.165
_PANEL_INCHES = (5.6, 3.5)


def fits(report):
    """Whether a report fills the figure."""
    return bool(plans.smallest(report))


def nodes_words(row):
    low, high = row["nodes_low"], row["nodes_high"]
    return f"{row['nodes']:,.0f}" + (f" [{low:,.0f}, {high:,.0f}]" if low != high else "")


def _reasons(rows, users):
    """[(strategy or None for further lines, words)]: why a strategy has no number of nodes, and for how many users."""
    found = {}
    for row in rows:
        if plans.state(row) != plans.FEASIBLE:
            found.setdefault((row["strategy"], plans.state(row), plans.reason(row)), []).append(row["users"])
    lines = []
    for (strategy, state, reason), at in found.items():
        where = "" if len(at) == len(users) else " at " + " and ".join(text.count(u) for u in at) + " users"
        words = f"{text.clean(strategy, 28)}{where}: {state}: {text.clean(reason, 160)}"
        wrapped = textwrap.wrap(words, 94)[:3]
        lines += [(strategy, wrapped[0])] + [(None, line) for line in wrapped[1:]]
    return lines


def _side(strategies, strategy, users):
    """Strategies of equal users stand side by side."""
    place = strategies.index(strategy) - (len(strategies) - 1) / 2
    step = 0.022 if len(users) > 1 else 0.03
    return np.exp(place * step * np.log(max(users) / min(users) if len(users) > 1 else 10))


def _line(axes, rows, side, look):
    xs = np.array([row["users"] for row in rows]) * side
    axes.plot(xs, [row["nodes"] for row in rows], color=look.color, linewidth=1.4, alpha=0.75, zorder=2)
    for x, row in zip(xs, rows):
        axes.plot([x, x], [row["nodes_low"], row["nodes_high"]], color=look.color, linewidth=3.2, alpha=0.4,
                  solid_capstyle="butt", zorder=2)
        axes.plot([x], [row["nodes"]], marker=look.marker, color=look.color, linestyle="none", markersize=7, zorder=3,
                  markerfacecolor=look.color if row["memory_bound"] == 1 else "white", markeredgewidth=1.5)


def _end_of(axes, row, side, look, ends, most):
    """A line that ends early is named at its end, the others beside the panel."""
    if row["users"] == most:
        ends.append((row["users"] * side, row, look.color))
        return
    axes.annotate(f"{text.clean(row['strategy'], 22)}  {nodes_words(row)}", (row["users"] * side, row["nodes"]),
                  xytext=(-2, 8), textcoords="offset points", fontsize=8.5, color=look.color, zorder=5)


def _end_labels(axes, ends, limits):
    """Names and numbers beside the panel, kept apart. ends: [(x, row, color)]"""
    low, high = np.log(limits)
    wanted = [(np.log(row["nodes"]) - low) / (high - low) for _, row, _ in ends]
    for place, (x, row, color) in zip(layout.spread(wanted, 0.062, 0.03, 0.9), ends):
        axes.annotate(f"{text.clean(row['strategy'], 22)}  {nodes_words(row)}", (x, row["nodes"]),
                      xytext=(1.03, place), textcoords="axes fraction", va="center", fontsize=8.5, color=color,
                      arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6,
                                  "shrinkA": 1, "shrinkB": 5})


def _panel(axes, rows, strategies, arms, limits, users):
    axes.set(xscale="log", yscale="log", ylim=limits)
    room = (max(users) / min(users)) ** 0.14 if len(users) > 1 else 2.0
    axes.set_xlim(min(users) / room, max(users) * room)
    ends = []
    for strategy in strategies:
        side, look = _side(strategies, strategy, users), arms.look(strategy)
        mine = sorted((row for row in rows if row["strategy"] == strategy), key=lambda row: row["users"])
        good = [row for row in mine if plans.state(row) == plans.FEASIBLE]
        if good:
            _line(axes, good, side, look)
            _end_of(axes, good[-1], side, look, ends, max(users))
        for row in mine:
            if plans.state(row) == plans.INFEASIBLE:
                axes.plot([row["users"] * side], [0.955], marker="X", color=look.color, markersize=8, linestyle="none",
                          transform=axes.get_xaxis_transform(), zorder=4)
    if any(plans.state(row) == plans.INFEASIBLE for row in rows):
        axes.add_patch(Rectangle((0, 0.91), 1, 0.09, transform=axes.transAxes, color="#f6e3da", linewidth=0, zorder=0))
        axes.text(1.03, 0.955, "infeasible", transform=axes.transAxes, va="center", fontsize=8.5, color=style.WARNING)
    if all(plans.state(row) != plans.FEASIBLE for row in rows):
        axes.text(0.5, 0.5, "no fleet meets the SLO", transform=axes.transAxes, ha="center", color=style.WARNING)
    _end_labels(axes, ends, limits)


def _write_reasons(axes, lines, most):
    layout.blank(axes)
    for number, (strategy, words) in enumerate(lines):
        y = 1 - (number + 0.5) / max(most, 1)
        axes.text(0.0, y, "✕" if strategy else "", va="center", fontsize=8, color=style.WARNING)
        axes.text(0.028, y, words, va="center", fontsize=7.8, color=style.INK if strategy else style.GREY).set_in_layout(False)


def subtitle(report, rows):
    """SLO, load and what else was held fixed."""
    slo, load = plans.attribute(report, "slo"), plans.attribute(report, "load")
    at = plans.rest_of(rows)
    words = f"{text.clean(slo, 40) or 'within the SLO'}; load: {text.clean(load, 80) or 'unknown'}; "
    words += f"{at['efficiency']:.0%} of nominal rates, {text.count(at['catalogue_items'])} items, {at['candidates']:g} candidates"
    varied = plans.swept([row for row in report.table("plan").records() if row["find"] == "nodes"])
    return words + (f" (the middle of the sweep of {', '.join(varied).replace('_', ' ')})" if varied else "")


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "plan_nodes", "No report of ckvsim plan that looked for nodes.")
    rows = plans.smallest(report)
    models = list(dict.fromkeys(row["model"] for row in rows))
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    users = sorted({row["users"] for row in rows})
    reasons = {model: _reasons([row for row in rows if row["model"] == model], users) for model in models}
    most = max(len(lines) for lines in reasons.values())
    good = [row for row in rows if plans.state(row) == plans.FEASIBLE]
    ends = [row[name] for row in good for name in ("nodes_low", "nodes", "nodes_high")] or [1, 10]
    ends.append(10 * min(ends))  # a decade at least: nobody needs to see tenths of a node
    limits = (0.75 * max(min(ends), 1), 1.9 * max(ends) * (max(ends) / max(min(ends), 1)) ** 0.12)
    page = layout.Page(
        1.0 + (_PANEL_INCHES[0] + 0.4) * len(models), _PANEL_INCHES[1] + _LINE_INCHES * most + 0.2, TITLE,
        f"Fewest nodes with {subtitle(report, rows)}. The best tiers and policy of each strategy. Bar: range over replicates and "
        "the search's steps. Filled: memory decides, hollow: load does. ✕: no number of nodes is enough.",
        "Simulated: columns nodes, nodes_low, nodes_high of table plan, one sampled node with its users; platform "
        f"{text.clean(plans.attribute(report, 'platform') or 'unknown', 60)}.", [report])
    panels = page.figure.subplots(2, len(models), squeeze=False,
                                  height_ratios=[_PANEL_INCHES[1], max(_LINE_INCHES * most, 0.05)])
    for (axes, below), model in zip(panels.T, models):
        mine = [row for row in rows if row["model"] == model]
        _panel(axes, mine, strategies, arms, limits, users)
        axes.set_title(f"{text.clean(model, 24)}: K and V per {text.clean(mine[0]['model_class'], 12)}")
        axes.set_xlabel("users")
        axes.set_xticks(users, [text.count(u) for u in users], minor=False)
        axes.xaxis.set_minor_locator(style.no_ticks())
        style.log_axis(axes.yaxis, text.count)
        _write_reasons(below, reasons[model], most)
    panels[0][0].set_ylabel("nodes")
    return page.figure
