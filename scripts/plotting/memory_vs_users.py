"""Bytes against the number of users, one line per arm, beside the capacity of the tiers."""
import numpy as np
from matplotlib.patches import ConnectionPatch

from . import layout, style, text
from .curves import groups_of_equals, turn

NAME = "memory_vs_users"
TITLE = "How much memory do the users' histories take?"
SHOWS = "bytes against number of users, with the tiers' capacities"

# Without a capacity in the spec: one GPU of 80 GB (H100 SXM data sheet) and a 2 TB host.
_SMALLEST_TIER_BYTES = 1e9  # smaller ones are experiments in miniature and say nothing here
_DEFAULT_TIERS = [(80e9, "one 80 GB GPU"), (2e12, "2 TB host memory")]


class Curve:
    def __init__(self, arm, report, index, users, size):
        order = np.argsort(users)
        self.arm, self.report, self.index = arm, report, index
        self.users, self.bytes = users[order], size[order]

    def per_user(self):
        """Slope; the curve is users * bytes per user + shared bytes (table memory_curve)."""
        if len(self.users) < 2:
            return np.nan
        return (self.bytes[-1] - self.bytes[0]) / (self.users[-1] - self.users[0])

    def users_in(self, capacity):
        slope = self.per_user()
        if not slope > 0:
            return np.nan
        return np.floor(max((capacity - (self.bytes[0] - slope * self.users[0])) / slope, 0.0))


def _curves(reports):
    curves = []
    for index, report in enumerate(reports):
        table = report.table("memory_curve")
        if table is None:
            continue
        arms = np.array(table["arm"], dtype=object)
        for arm in dict.fromkeys(table["arm"]):
            users, size = table["users"][arms == arm], table["bytes"][arms == arm]
            good = np.isfinite(users) & np.isfinite(size) & (users > 0) & (size > 0)
            curves.append(Curve(arm, report, index, users[good], size[good]))
    return [c for c in curves if len(c.users)], [c for c in curves if not len(c.users)]


def _tiers(reports, smallest):
    """(capacity, label) of the fleet's tiers, HBM first; common sizes where the spec has none, or
    only miniature ones or ones below every curve."""
    tiers = {}
    for kind in ("HBM", "DRAM"):
        for report in reports:
            value = report.spec_value("fleet", "platform_node", kind.lower() + "_cache_bytes")
            if value and value >= max(smallest, _SMALLEST_TIER_BYTES):
                tiers.setdefault(value, f"{kind} cache/node: {text.size(value)}")
    return list(tiers.items()) or _DEFAULT_TIERS


def _draw_curves(axes, curves, arms, several):
    shapes = [(curve.users, curve.bytes, curve.index) for curve in curves]
    for group in groups_of_equals(shapes, tolerance=0.035, share=0.5):
        for position, curve in enumerate(curves[i] for i in group):
            # With several reports the line style says which.
            line = style.report_line(curve.index) if several else turn(position, len(group))
            look = arms.look(curve.arm)
            dense = np.geomspace(curve.users[0], curve.users[-1], 120)
            axes.plot(dense, np.interp(dense, curve.users, curve.bytes), color=look.color,
                      linestyle=line, linewidth=2.2)
            # Markers at different places for curves that coincide.
            at = np.geomspace(curve.users[0], curve.users[-1], 7)[:-1]
            step = (at[1] / at[0]) if len(at) > 1 and at[0] < at[1] else 1.0
            at = at * step ** ((position + 0.5) / len(group) * 0.9)
            at = at[at <= curve.users[-1]]
            axes.plot(at, np.interp(at, curve.users, curve.bytes), color=look.color,
                      marker=look.marker, markersize=6, linestyle="none")


def _draw_tier(axes, curves, capacity, label, below):
    axes.axhline(capacity, color=style.INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    left, right = np.log10(axes.get_xlim())
    low, high = np.log10(axes.get_ylim())
    width = 0.0112 * len(label)  # of the axes, at the label's font size
    tall = 10 ** (0.055 * (high - low))

    def crossings(start):
        x = 10.0 ** np.linspace(left + start * (right - left),
                                left + (start + width) * (right - left), 30)
        y = [np.interp(x, c.users, c.bytes, left=np.nan, right=np.nan) for c in curves]
        bottom, top = (capacity / tall, capacity * 1.07) if below else (capacity * 0.93,
                                                                        capacity * tall)
        return sum(((v > bottom) & (v < top)).any() for v in y)

    start = min(np.arange(0.01, 1.0 - width, 0.03), key=crossings, default=0.01)
    axes.annotate(label, (start, capacity), xycoords=axes.get_yaxis_transform(),
                  xytext=(0, -2.5 if below else 2.5), textcoords="offset points", fontsize=8,
                  va="top" if below else "bottom", color=style.INK,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3})


def _side_table(side, axes, curves, arms, capacity, several):
    """Name, bytes per user and users that fit, beside the right end of each curve."""
    layout.blank(side)
    low, high = np.log10(axes.get_ylim())
    curves = sorted(curves, key=lambda c: c.bytes[-1])
    ends = [(np.log10(c.bytes[-1]) - low) / (high - low) for c in curves]
    rows = layout.spread(np.array(ends), 0.047, 0.03, 0.93)
    for x, header in ((0.15, "arm"), (0.72, "per user"), (1.0, "users in\n" + text.size(capacity))):
        side.text(x, 1.0, header, fontsize=8, color=style.GREY, va="center",
                  ha="left" if x < 0.5 else "right")
    for curve, end, y in zip(curves, ends, rows):
        look = arms.look(curve.arm)
        leader = side.add_artist(ConnectionPatch(
            (1.004, end), (0.055, y), axes.transAxes, side.transAxes, color=look.color,
            linewidth=0.7, clip_on=False))
        leader.set_in_layout(False)
        layout.swatch(side, 0.06, y, look, style.report_line(curve.index), 0.07)
        name = text.clean(curve.arm, 26 if not several else 18)
        if several:
            name += " · " + text.clean(curve.report.label, 16)
        side.text(0.15, y, name, fontsize=8.5, va="center", color=look.color)
        side.text(0.72, y, text.size(curve.per_user()), fontsize=8.5, va="center", ha="right")
        side.text(1.0, y, text.count(curve.users_in(capacity)), fontsize=8.5, va="center",
                  ha="right")


def draw(reports, arms):
    curves, missing = _curves(reports)
    if not curves:
        return layout.empty_page(TITLE, reports, "memory",
                                 "The report has no table memory_curve with values.")
    several = len(reports) > 1
    tiers = _tiers(reports, min(c.bytes[0] for c in curves))
    page = layout.Page(
        13 if several else 11, 4.9, TITLE,
        "Entries of all users plus what they share, at this workload's mean entry. "
        + ("Line style and label: report." if several
           else "Curves that coincide take turns along the line."),
        "Bytes: derived (users × predicted bytes per user + shared bytes once; table "
        "memory_curve). Users that fit: derived (capacity − shared) / bytes per user. "
        "Capacities: "
        + ("common sizes (the spec's fleet has none of 1 GB or more)."
           if tiers is _DEFAULT_TIERS else "the spec's fleet."), reports)
    axes, side = page.figure.subplots(1, 2, width_ratios=[1.2 if several else 1.45, 1])
    _draw_curves(axes, curves, arms, several)
    axes.set(xscale="log", yscale="log", xlabel="users", ylabel="memory (bytes, decimal prefixes)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, max(capacity for capacity, _ in tiers) * 3))
    left, right = min(c.users[0] for c in curves), max(c.users[-1] for c in curves)
    axes.set_xlim(left, right if right > left else left * 10)
    style.log_axis(axes.xaxis, text.count)
    style.log_axis(axes.yaxis, text.size)
    for capacity, label in tiers:
        close_above = any(1.0 < other / capacity < 4.0 for other, _ in tiers)
        _draw_tier(axes, curves, capacity, label, below=close_above)
    _side_table(side, axes, curves, arms, tiers[0][0], several)
    if missing:
        names = ", ".join(text.clean(c.arm, 20) for c in missing)
        axes.set_title(f"not measured: {names}", fontsize=8, color=style.GREY, fontweight="normal")
    return page.figure
