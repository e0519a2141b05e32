"""History lift kept against bytes per interaction: the trade that CollectiveKV offers."""
import textwrap

import numpy as np
from matplotlib.lines import Line2D

from . import layout, style, text
from .accuracy import error_bars, margin, power_warnings, rows

NAME = "accuracy_front"
TITLE = "How much of what histories are worth does each arm keep, and for how many bytes?"
SHOWS = "history lift kept with 95 % interval against bytes per interaction"

# Intervals that leave this range (and the points') are cut and marked with an arrow.
_LOWEST, _HIGHEST = -1.0, 2.5
_LEGEND = "Filled = better, equivalent or reference; hollow = undecided or no power; crossed = worse."


def _limits(points, always):
    """Every point, and intervals as far as they say anything."""
    values = [*always, *(row.value("lift_kept") for row in points)]
    ends = [v for row in points for v in (row.value("lift_low"), row.value("lift_high"))
            if np.isfinite(v)]
    span = max(values) - min(values)
    low = max(min([*values, *ends]), min(_LOWEST, min(values) - 0.2 * span))
    high = min(max([*values, *ends]), max(_HIGHEST, max(values) + 0.2 * span))
    pad = 0.07 * (high - low)
    return low - pad, high + pad


def _mark(axes, x, row, look):
    value, low, high = row.interval("lift_kept", "lift_low", "lift_high")
    bottom, top = axes.get_ylim()
    axes.errorbar([x], [value], yerr=error_bars(value, low, high), color=look.color,
                  linewidth=1.5, capsize=3,
                  linestyle="none")[2][0].set_linestyle(style.report_line(row.index))
    filled = row.is_control or row.verdict in ("better", "equivalent", "reference")
    axes.plot([x], [value], marker=look.marker, markersize=9, linestyle="none", zorder=4,
              color=look.color, markerfacecolor=look.color if filled else "white",
              markeredgewidth=1.6)
    if row.verdict == "worse" and not row.is_control:
        axes.plot([x], [value], marker="x", markersize=5.5, linestyle="none", zorder=5,
                  color=look.color, markeredgewidth=1.4)
    for end, edge, arrow in ((high, top, "^"), (low, bottom, "v")):
        if np.isfinite(end) and not bottom <= end <= top:
            axes.plot([x], [edge], marker=arrow, color=look.color, clip_on=False, zorder=5)


def _guides(axes, allowed):
    axes.axhline(1.0, color=style.INK, linewidth=1.1, zorder=1)
    if allowed is not None:
        axes.axhspan(1.0 - allowed, 1.0, color="#dcefe6", zorder=0)


def _dodged(values):
    """Points at (nearly) equal bytes side by side: exponents moved by a few pixels."""
    exponents = np.log10(values)
    width = max(np.ptp(exponents), 1.0)
    result = exponents.copy()
    order = np.argsort(exponents, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop < len(order) and exponents[order[stop]] - exponents[order[start]] < 0.01 * width:
            continue
        group = order[start:stop]
        result[group] += (np.arange(len(group)) - (len(group) - 1) / 2) * 0.022 * width
        start = stop
    return 10.0 ** result


def _label(rows_of_arm, x, color, limits):
    """One label an arm: its name and its verdicts in the order of the reports."""
    first = rows_of_arm[0]
    value, low, high = first.interval("lift_kept", "lift_low", "lift_high")
    verdicts = [row.verdict.replace("_", " ") for row in rows_of_arm]
    if len(set(verdicts)) == 1:
        verdicts = verdicts[:1]
    return {"x": x, "y": np.clip(value, *limits), "low": low, "high": high, "color": color,
            "label": f"{text.clean(first.arm, 24)}\n{' / '.join(verdicts)}"}


def _front(page, axes, points, arms, allowed, missing):
    limits = _limits(points, [1.0, 1.0 - (allowed or 0.03), 1.02])
    axes.set_ylim(*limits)
    points = sorted(points, key=lambda r: [p.arm for p in points].index(r.arm))
    bytes_each = np.array([row.value("bytes_per_interaction") for row in points])
    axes.set_xscale("log")
    axes.set_xlim(bytes_each.min() / 3.2, bytes_each.max() * 3.2)
    style.log_axis(axes.xaxis, text.size)
    _guides(axes, allowed)
    places = _dodged(bytes_each)
    labels, others = [], []
    for arm in dict.fromkeys(row.arm for row in points):
        mine = [i for i, row in enumerate(points) if row.arm == arm]
        look = arms.look(arm)
        for i in mine:
            _mark(axes, places[i], points[i], look)
        axes.plot(places[mine], [points[i].value("lift_kept") for i in mine], color=look.color,
                  linewidth=0.7, alpha=0.6)
        labels.append(_label([points[i] for i in mine], places[mine[0]], look.color, limits))
        others += [_label([points[i]], places[i], look.color, limits) for i in mine[1:]]
    axes.set_xlabel("bytes per interaction kept for a user (log scale)")
    axes.set_ylabel("history lift kept   (full KV = 1, no history = 0)")
    axes.text(1.006, 1.0, "no\nloss", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    guides = []
    if missing:
        guides.append(axes.text(0.01, 0.012, "\n".join(textwrap.wrap(missing, 120)), fontsize=8,
                                color=style.GREY, transform=axes.transAxes, va="bottom"))
    layout.place_labels(page, axes, labels, others, guides, [1.0])


def _controls(axes, controls, arms, allowed):
    axes.set_title("Controls: can the data tell?", pad=10)
    if not controls:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center",
                  color=style.GREY)
        return
    low, high = _limits(controls, [0.0, 1.05])
    axes.set_ylim(low, high)
    _guides(axes, allowed)
    axes.axhline(0.0, color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    names = list(dict.fromkeys(row.arm for row in controls))
    reports = sorted({row.index for row in controls})
    for row in controls:
        shift = (reports.index(row.index) - (len(reports) - 1) / 2) * 0.25
        _mark(axes, names.index(row.arm) + shift, row, arms.look(row.arm, "control"))
    shown = [text.clean(n.removeprefix("control."), 18).replace("_", " ") for n in names]
    axes.set_xticks(range(len(names)), shown, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(False, axis="x")
    axes.set_ylabel("history lift kept (own scale)")


def _left_out(points, several):
    """Names the rows that cannot be drawn, with the reason."""
    parts = []
    for row in points:
        name = text.clean(row.arm, 24)
        if several:
            name += f" · {text.clean(row.report.label, 16)}"
        if not np.isfinite(row.value("lift_kept")):
            parts.append(f"{name} (lift not measured)")
        elif not row.value("bytes_per_interaction") > 0:
            parts.append(f"{name} (lift {row.value('lift_kept'):.3g}, bytes not measured)")
    return "Not drawn: " + ", ".join(parts) if parts else ""


def draw(reports, arms):
    all_rows = rows(reports)
    if not all_rows:
        return layout.empty_page(TITLE, reports, "accuracy",
                                 "The report has no table accuracy (accuracy switched off).")
    several = len(reports) > 1
    allowed = margin(reports)
    measured = [r for r in all_rows if np.isfinite(r.value("lift_kept"))]
    points = [r for r in measured if not r.is_control and r.value("bytes_per_interaction") > 0]
    controls = [r for r in measured if r.is_control]
    missing = _left_out([r for r in all_rows if r not in points and r not in controls], several)
    seeds = sorted({int(r.value("seeds")) for r in all_rows if np.isfinite(r.value("seeds"))})
    page = layout.Page(
        12, 5.3, TITLE,
        "Up is better, left is smaller. Bars: 95 % interval, paired with full KV by seed and "
        "users. " + _LEGEND + (f" Shaded: verdict margin {allowed:g}." if allowed else ""),
        "Lift kept: measured on test impressions through the cache as served (two-level "
        f"bootstrap; seeds per row: {', '.join(map(str, seeds)) or 'unknown'}). "
        "Bytes per interaction: derived (payload / history tokens; shared bytes not included).",
        reports, power_warnings(reports, all_rows))
    axes, strip = page.figure.subplots(1, 2, width_ratios=[2.5, 1])
    _controls(strip, controls, arms, allowed)
    if points:
        _front(page, axes, points, arms, allowed, missing)
    else:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.text(0.5, 0.5, "not measured\n(no arm has both a lift and its bytes)\n\n"
                  + "\n".join(textwrap.wrap(missing, 100)),
                  transform=axes.transAxes, ha="center", va="center", color=style.GREY)
    if several:
        handles = [Line2D([], [], color=style.GREY, linestyle=style.report_line(i),
                          label=text.clean(r.label, 40)) for i, r in enumerate(reports)]
        page.figure.legend(handles=handles, loc="upper right", fontsize=9, ncols=2)
    return page.figure
