"""Latency against load of a fleet study, one panel a model, with the SLO and the band of efficiencies."""
import numpy as np

from . import layout, palette, style, text

NAME = "fleet_load"
TITLE = "How much load does the fleet carry?"
SHOWS = "p99 latency against requests per second by strategy, with the SLO"


def _rows(report):
    """Results joined with their cases, by case number; empty without a fleet study."""
    cases, results = report.table("fleet_cases"), report.table("fleet")
    if cases is None or results is None:
        return []
    by_number = {row["case"]: row for row in cases.records()}
    return [{**by_number[row["case"]], **row} for row in results.records()]


def families(report):
    """{strategy: family of palette.FAMILIES}, in the study's order."""
    cases = report.table("fleet_cases")
    return dict(palette.families_of_fleet(cases)) if cases is not None else {}


def platform(report):
    """Name of the platform that a fleet ran on, and whether it was measured or nominal."""
    table = report.table("fleet")
    return text.clean(table.attributes.get("platform", "unknown") if table else "unknown", 60)


def fits(report):
    """Whether a report fills the figure: a study without a search has one load a case."""
    return report.table("fleet_cases") is not None and \
        all(not word.startswith(("max_load", "nodes"))
            for word in report.table("fleet_cases").columns.get("search", []))


def _look(arms, row):
    family = {"collective_item": "collective item"}.get(row["keeping"], row["keeping"])
    shades = style.FAMILIES.get(family, style.FAMILIES["other"])
    return style.Look(*shades[row["shade"] % len(shades)])


def _number_shades(rows):
    """Strategies of one family get its shades in order of appearance."""
    seen = {}
    for row in rows:
        names = seen.setdefault(row["keeping"], [])
        if row["strategy"] not in names:
            names.append(row["strategy"])
        row["shade"] = names.index(row["strategy"])


def _band(rows):
    """Loads with the least, middle and largest p99 over the efficiencies; NaN where samples lack."""
    loads = sorted({row["requests_per_second"] for row in rows})
    low, middle, high = [], [], []
    for load in loads:
        values = sorted(row["p99_ns"] * 1e-6 for row in rows
                        if row["requests_per_second"] == load and np.isfinite(row["p99_ns"]))
        low.append(values[0] if values else np.nan)
        middle.append(values[len(values) // 2] if values else np.nan)
        high.append(values[-1] if values else np.nan)
    return np.array(loads), np.array(low), np.array(middle), np.array(high)


def _panel(axes, rows, arms, slo_ms):
    for name in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == name]
        look = _look(arms, mine[0])
        loads, low, middle, high = _band(mine)
        axes.plot(loads, middle, color=look.color, marker=look.marker, markersize=5.5,
                  label=text.clean(name, 28))
        axes.fill_between(loads, low, high, color=look.color, alpha=0.15, linewidth=0)
    if np.isfinite(slo_ms):
        axes.axhline(slo_ms, color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.annotate(f"SLO {slo_ms:g} ms", (0.99, slo_ms), xycoords=axes.get_yaxis_transform(), ha="right",
                      xytext=(0, 2), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="requests per second, whole fleet")


def draw(reports, arms):
    report = next((r for r in reports if _rows(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "fleet", "The report is not of a fleet study.")
    rows = _rows(report)
    _number_shades(rows)
    models = list(dict.fromkeys(row["model"] for row in rows))
    slo_ms = float(report.spec_value("fleet", "slo_ms") or np.nan)
    efficiencies = sorted({row["efficiency"] for row in rows})
    users = {row["users"] for row in rows}
    nodes = {row["nodes"] for row in rows}
    page = layout.Page(
        11.5, 4.4, TITLE,
        f"{text.count(min(users))} users on {int(min(nodes))} nodes. Line: p99 at the middle efficiency; band: "
        + ", ".join(f"{e:.0%}" for e in efficiencies) + " of nominal rates. A line ends where every request is shed.",
        "p99: simulated from the intended start (table fleet, column p99_ns); platform: "
        + platform(report) + ".", [report])
    panels = page.figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models):
        mine = [row for row in rows if row["model"] == model]
        _panel(axes, mine, arms, slo_ms)
        axes.set_title(f"{text.clean(model, 30)}: K and V depend on the {mine[0]['model_class']}")
        style.log_axis(axes.xaxis, text.count)
        axes.legend(fontsize=8, loc="upper left", frameon=True, framealpha=0.95, edgecolor="none")
    panels[0].set_ylabel("p99 latency (ms)")
    style.log_axis(panels[0].yaxis, lambda v: f"{v:g}")
    return page.figure
