"""How few directions hold the energy of trained keys and values (ckvsim analyze)."""
import numpy as np

from . import layout, palette, style, text

NAME = "energy"
TITLE = "How compressible are trained keys and values?"
SHOWS = "energy of K and V in their leading directions, by attention site (ckvsim analyze)"

_GOAL = 0.9


def fits(report):
    return report.table("analysis_energy") is not None


def _curves(report):
    """{(site, side): {weights: {seed: (ranks, shares)}}}"""
    found = {}
    table = report.table("analysis_energy")
    for weights, seed, site, side, rank, share in zip(*(table[name] for name in
                                                        ("weights", "seed", "site", "side", "rank", "energy_share"))):
        curve = found.setdefault((site, side), {}).setdefault(weights, {}).setdefault(int(seed), ([], []))
        curve[0].append(rank)
        curve[1].append(share)
    return found


def _place(site):
    """'short branch' or, of HSTU, 'layer 1'."""
    name = text.clean(site)
    return f"layer {name[5:]}" if name.startswith("layer") else f"{name} branch"


def _draw_site(axes, curves, colors, title):
    for weights, seeds in curves.items():
        ranks = next(iter(seeds.values()))[0]
        shares = np.array([curve[1] for curve in seeds.values()])
        axes.plot(ranks, shares.mean(axis=0), color=colors[weights], marker="o", markersize=3.5, label=text.clean(weights, 26))
        axes.fill_between(ranks, shares.min(axis=0), shares.max(axis=0), color=colors[weights], alpha=0.18, linewidth=0)
        enough = next(rank for rank, share in zip(ranks, shares.mean(axis=0)) if share >= _GOAL or rank == ranks[-1])
        axes.axvline(enough, color=colors[weights], linewidth=0.8, linestyle=":")
    axes.axhline(_GOAL, color=style.GREY, linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.yaxis.set_major_formatter(lambda v, _: text.percent(v))
    axes.set_ylim(0, 1.02)
    axes.set_title(title)


def draw(reports, arms):
    report = next(one for one in reports if fits(one))
    curves = _curves(report)
    weights = list(dict.fromkeys(name for site in curves.values() for name in site))
    shades = list(palette.STAGES.values())
    colors = {name: shades[i % len(shades)] for i, name in enumerate(weights)}
    rows = -(-len(curves) // 2)
    page = layout.Page(
        12, 3.2 * rows, TITLE,
        "Share of the energy (squared singular values of one row a history token, not centred) in the leading directions: a "
        "curve that rises early compresses well. Dotted: the shown rank that reaches 90 %. Bands: over training seeds.",
        "Measured on trained weights and the history tokens of the workload.", [report])
    grid = page.figure.subplots(rows, 2, squeeze=False, sharey=True)
    for axes, ((site, side), found) in zip(grid.flat, curves.items()):
        _draw_site(axes, found, colors, f"{_place(site)}, {'keys' if side == 'k' else 'values'}")
    for axes in grid.flat[len(curves):]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("rank: leading directions kept (log scale)")
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the energy")
    grid[0, 0].legend(loc="lower right", fontsize=8.5)
    return page.figure
