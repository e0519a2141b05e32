"""How many nodes every strategy needs, with the range over efficiencies; infeasible ones marked."""
import numpy as np

from . import fleet_load, layout, style, text
from .searches import needed, node_cases, searched

NAME = "fleet_nodes"
TITLE = "How many nodes does each way of keeping histories need?"
SHOWS = "fewest nodes within the SLO by strategy, model and users (search = nodes)"


def fits(report):
    """Whether a report fills the figure."""
    return searched(report) == "nodes" and report.table("fleet_cases") is not None


def _label(low, middle, high):
    if not np.isfinite(high):
        return f"{middle:,.0f} (none at the lowest rates)"
    return f"{middle:,.0f}" if low == high else f"{middle:,.0f}  ({low:,.0f}–{high:,.0f})"


def _mark(axes, y, need, color, right):
    """One strategy's line; `right` is the end of the axis."""
    if need is None or not np.isfinite(need[1]):
        words = "does not apply" if need is None else "✕ no fleet meets the SLO" \
            if not np.isfinite(need[0]) else f"✕ only at the highest rates ({need[0]:,.0f})"
        axes.text(0.01, y, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5,
                  color=style.GREY if need is None else style.WARNING)
        return
    low, middle, high = need
    axes.plot([low, min(high, right)], [y, y], color=color, linewidth=5, alpha=0.35,
              solid_capstyle="round")
    axes.plot([middle], [y], color=color, marker="o", markersize=8, linestyle="none")
    # Without an end of the bar the label stands on it.
    axes.annotate(_label(*need), (high if np.isfinite(high) else middle, y), xytext=(9, 0),
                  textcoords="offset points", va="center", fontsize=8.5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
                  if not np.isfinite(high) else None)


def _panel(axes, needs, colors, limits):
    axes.set(xscale="log", xlim=limits, ylim=(len(needs) - 0.4, -0.6))
    best = min((n[1] for n in needs.values() if n is not None), default=np.inf)
    for y, (name, need) in enumerate(needs.items()):
        if need is not None and need[1] == best and np.isfinite(best):
            axes.axhspan(y - 0.42, y + 0.42, color=colors[name], alpha=0.10, linewidth=0)
        _mark(axes, y, need, colors[name], limits[1])
    axes.set_yticks(range(len(needs)))
    axes.set_yticklabels([text.clean(name, 28) for name in needs])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _subtitle(report, rows):
    slo = report.spec_value("fleet", "slo_ms")
    loads = {report.spec_value("traffic", "requests_per_second")} - {None}
    load = f" at {text.count(max(loads))} requests/s" if loads else ""
    efficiencies = sorted({row["efficiency"] for row in rows})
    middle = efficiencies[len(efficiencies) // 2]
    band = f"; bar: {efficiencies[0]:.0%} to {efficiencies[-1]:.0%}" if len(efficiencies) > 1 else ""
    return (f"Fewest nodes with p99 within {slo:g} ms{load}. " if slo else f"Fewest nodes within the SLO{load}. ") + \
        f"Dot: {middle:.0%} of nominal rates{band}. Shaded: the fewest. Further left is cheaper."


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "fleet_nodes",
                                 "No report of a fleet study with search = nodes.")
    rows = node_cases(report)
    keys = sorted({row["users"] for row in rows})
    models = list(dict.fromkeys(row["model"] for row in rows))
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    needs = {(u, m): {s: needed([r for r in rows if (r["users"], r["model"], r["strategy"]) == (u, m, s)])
                      for s in strategies} for u in keys for m in models}
    finite = [v for one in needs.values() for n in one.values() if n for v in n if np.isfinite(v)]
    # Room for the labels right of the last dot.
    low, high = (min(finite), max(finite)) if finite else (1.0, 10.0)
    limits = (max(low / 1.6, 0.7), high * max((high / low) ** 0.45, 4.0))
    page = layout.Page(
        max(8.5, 2.0 + 4.6 * len(models)), (0.27 * len(strategies) + 0.45) * len(keys) + 0.5, TITLE,
        _subtitle(report, rows),
        "Simulated: column nodes of table fleet_cases, one sampled node with its users; platform "
        f"{fleet_load.platform(report)}.", [report])
    panels = page.figure.subplots(len(keys), len(models), sharex=True, sharey=True, squeeze=False)
    colors = {name: arms.look(name).color for name in strategies}
    for line, users in zip(panels, keys):
        for axes, model in zip(line, models):
            _panel(axes, needs[users, model], colors, limits)
            axes.set_title(f"{text.clean(model, 24)}, {text.count(users)} users")
    for axes in panels[-1]:
        axes.set_xlabel("nodes")
    style.log_axis(panels[-1][0].xaxis, text.count)
    return page.figure
