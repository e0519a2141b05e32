"""The regime map of a fleet study: which strategy wins for which catalogue, candidates, tiers and
model class, and by how much."""
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from . import fleet_load, layout, style, text
from .searches import TIE, searched, short_names
from .searches import TIERS as _TIERS, cells as _cells, middle as _middle, times as _times

NAME = "fleet_regimes"
TITLE = "Which way of keeping histories wins, and by how much?"
SHOWS = "winner and margin by catalogue, candidates, tiers and model class (fleet studies that search)"

_TIE_FILL = "#e8e8e8"
_CELL_INCHES = (1.3, 0.66)


def fits(report):
    """Whether a report fills the figure."""
    return searched(report) == "max_load"


def _tint(color, strength=0.42):
    """Light enough for black text."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))


def _words(row, names):
    """Head, margin and foot of a cell; an unknown margin is a strategy alone."""
    margin, pools = row["margin"], row["collective_margin"]
    foot = text.count(row["figure"], 2) + "/s"
    if np.isfinite(pools):
        foot += f" · coll. {_times(pools)}"
    head = names.get(row["winner"], text.clean(row["winner"], 15))
    if not np.isfinite(margin):
        return head, "the only one", foot
    if margin < TIE:
        second = names.get(row["second"], text.clean(row["second"], 15))
        return head, f"tie: {second}", foot
    return head, _times(margin), foot


def _cell(axes, x, y, row, names, families):
    if row is None:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="white", edgecolor=style.FAINT,
                                 hatch="xxx", linewidth=0))
        axes.text(x, y, "none", ha="center", va="center", fontsize=8, color=style.GREY,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        return
    tie = row["margin"] < TIE
    color = style.FAMILIES[families.get(row["winner"], "other")][0][0]
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_TIE_FILL if tie else _tint(color),
                             edgecolor="white", linewidth=1.5))
    head, middle, foot = _words(row, names)
    axes.text(x, y + 0.26, head, ha="center", va="center", fontsize=8.5, fontweight="bold",
              color=style.GREY if tie else style.INK)
    axes.text(x, y - 0.01, middle, ha="center", va="center", fontsize=8.5,
              color=style.GREY if tie else style.INK)
    axes.text(x, y - 0.29, foot, ha="center", va="center", fontsize=6.8, color=style.INK)
    if row["doubt"]:
        axes.text(x + 0.475, y + 0.47, "?", ha="right", va="top", fontsize=10, fontweight="bold",
                  color=style.WARNING)


def _panel(axes, cells, key, items, candidates, names, families):
    for y, v in enumerate(items):
        for x, c in enumerate(candidates):
            _cell(axes, x, y, cells.get((*key, v, c)), names, families)
    axes.set(xlim=(-0.5, len(candidates) - 0.5), ylim=(-0.5, len(items) - 0.5),
             xticks=range(len(candidates)), yticks=range(len(items)))
    axes.set_xticklabels([f"{c:g}" for c in candidates])
    axes.set_yticklabels([text.count(v) for v in items])
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(axes, cells, families, efficiencies):
    layout.blank(axes)
    words = {"full": "full K/V", "item_table": "item table", "recompute": "recompute",
             "collective": "CollectiveKV", "collective item": "CollectiveKV by item"}
    won = {families.get(row["winner"], "other") for row in cells.values() if not row["margin"] < TIE}
    handles = [Patch(facecolor=_tint(shades[0][0]), label=words.get(family, family))
               for family, shades in style.FAMILIES.items() if family in won]
    if any(row["margin"] < TIE for row in cells.values()):
        handles.append(Patch(facecolor=_TIE_FILL, label=f"tie (within {TIE - 1:.0%})"))
    if any(row["doubt"] for row in cells.values()):
        low, high = min(efficiencies), max(efficiencies)
        handles.append(Patch(facecolor="none", label=f"? another winner within {low:.0%} to {high:.0%} of rates"))
    legend = axes.legend(handles=handles, loc="center left", ncol=-(-len(handles) // 2), fontsize=9,
                         borderpad=0, bbox_to_anchor=(0.0, 0.5), columnspacing=1.4, handlelength=1.3)
    legend.set_in_layout(False)


def _subtitle(report, rows):
    slo = report.spec_value("fleet", "slo_ms")
    efficiencies = sorted({row["efficiency"] for row in rows})
    nodes = {row["nodes"] for row in report.table("fleet_cases").records()}
    users = _middle(row["users"] for row in rows)
    share = f" ({text.count(users / min(nodes))} a node)" if len(nodes) == 1 and min(nodes) else ""
    shown = f"{_middle(efficiencies):.0%} of nominal rates" + \
        (f" (middle of {len(efficiencies)})" if len(efficiencies) > 1 else "")
    return (f"Highest load one node carries within p99 = {slo:g} ms" if slo else
            "Highest load one node carries within the SLO") + \
        f"; {text.count(users)} users{share}; {shown}. A cell: the winner, its margin over the second; " \
        "small: its load per node and the best CollectiveKV over the best without pools (coll.)."


def draw(reports, arms):
    report = next((r for r in reports if fits(r)), None)
    if report is None:
        return layout.empty_page(TITLE, reports, "fleet_regimes",
                                 "No report of a fleet study with search = max_load.")
    if report.table("fleet_regimes") is None:
        return layout.empty_page(TITLE, reports, "fleet_regimes", "No strategy meets the SLO at any load.")
    rows = report.table("fleet_regimes").records()
    cells = _cells(rows)
    families = fleet_load.families(report)
    names = short_names(list(families))
    classes = {row["model"]: row["model_class"] for row in rows}
    tiers = [t for t in _TIERS if any(key[1] == t for key in cells)]
    tiers += [t for t in dict.fromkeys(key[1] for key in cells) if t not in tiers]
    items = sorted({row["catalogue_items"] for row in rows})
    candidates = sorted({row["candidates"] for row in rows})
    width = max(8.5, 1.3 + _CELL_INCHES[0] * len(candidates) * len(tiers))
    panel = _CELL_INCHES[1] * len(items) + 0.36
    platform = fleet_load.platform(report)
    page = layout.Page(
        width, panel * len(classes) + 0.9, TITLE, _subtitle(report, rows),
        f"Derived from simulated loads (table fleet_regimes, among = all) on platform {platform}; "
        "hatched: no strategy within the SLO at any load.", [report])
    grid = page.figure.add_gridspec(len(classes) + 1, len(tiers),
                                    height_ratios=[0.42, *[panel] * len(classes)])
    _legend(page.figure.add_subplot(grid[0, :]), cells, families, {r["efficiency"] for r in rows})
    for y, model in enumerate(classes):
        for x, tier in enumerate(tiers):
            axes = page.figure.add_subplot(grid[y + 1, x])
            _panel(axes, cells, (model, tier), items, candidates, names, families)
            per = f"{text.clean(model, 22)}: K, V per {text.clean(classes[model], 12)}" if x == 0 else ""
            axes.set_title(f"{per}  |  {_TIERS.get(tier, text.clean(tier, 30))}".removeprefix("  |  "),
                           fontsize=10.5 if len(candidates) > 2 else 9)
            if x == 0:
                axes.set_ylabel("catalogue items V")
            else:
                axes.set_yticklabels([])
            if y + 1 == len(classes):
                axes.set_xlabel("candidates C of a request")
            else:
                axes.set_xticklabels([])
    return page.figure
