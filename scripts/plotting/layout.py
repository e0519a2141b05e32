"""Page furniture shared by all figures: title, provenance, side tables, labels that keep apart."""
import textwrap
from collections import namedtuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D

from . import style, text

_TITLE_INCHES = 0.36
_SUBTITLE_LINE_INCHES = 0.175
_PROVENANCE_LINE_INCHES = 0.125
_PROVENANCE_SIZE = 6.8


# What a figure says besides its axes; cli.py writes it into the captions file.
Caption = namedtuple("Caption", "title subtitle warnings claims origins")


class Page:
    """A figure whose middle is free for axes; head and foot are written on creation.

    `claims`: where the figure's numbers come from, in words (measured, simulated, derived).
    `warnings`: sentences without which the figure would mislead.
    """

    def __init__(self, width, height, title, subtitle, claims, reports, warnings=()):
        partial = [note for report in reports for note in report.notes if note.startswith("PARTIAL")]
        warnings = [*dict.fromkeys(partial), *warnings]
        origins = [provenance(report, len(reports) > 1) for report in reports]
        caption = Caption(title, subtitle, list(warnings), claims, origins)
        if style.PAPER:  # the caption carries what a paper prints below the figure
            title, subtitle, claims, origins = "", "", "", []
        characters = int(width * 18.5)
        foot = _wrap(claims, characters)
        for origin in origins:
            foot += _wrap(origin, characters)
        head = [(line, style.GREY, "normal") for line in textwrap.wrap(subtitle, int(width * 13))]
        head += [(line, style.WARNING, "bold") for warning in warnings
                 for line in textwrap.wrap("! " + warning, int(width * 11.5))]
        top = (_TITLE_INCHES if title else 0.07) + _SUBTITLE_LINE_INCHES * len(head) + 0.12
        bottom = _PROVENANCE_LINE_INCHES * len(foot) + 0.14
        self.height = height + top + bottom
        self.figure = Figure(figsize=(width, self.height), layout="constrained")
        self.figure.caption = caption
        FigureCanvasAgg(self.figure)
        self.figure.get_layout_engine().set(
            rect=(0.004, bottom / self.height, 0.992, 1 - (top + bottom) / self.height),
            w_pad=0.06, h_pad=0.05)
        left = 0.12 / width
        self.figure.text(left, 1 - 0.1 / self.height, title, fontsize=13, fontweight="bold",
                         va="top", ha="left")
        for number, (line, color, weight) in enumerate(head):
            y = 1 - (top - 0.12 - _SUBTITLE_LINE_INCHES * (len(head) - number)) / self.height
            self.figure.text(left, y, line, fontsize=9, color=color, fontweight=weight, va="top",
                             ha="left")
        for number, line in enumerate(reversed(foot)):
            y = (0.06 + _PROVENANCE_LINE_INCHES * number) / self.height
            self.figure.text(left, y, line, fontsize=_PROVENANCE_SIZE, color=style.GREY,
                             va="bottom", ha="left")


def freeze(figure):
    """Lays the axes out for good, so that positions in pixels can be asked for. Rounded, because
    the solver's last bits change from run to run and would change the file. Repeatable."""
    if figure.get_layout_engine() is None or isinstance(figure.get_layout_engine(),
                                                        PlaceHolderLayoutEngine):
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(value, 5) for value in axes.get_position().bounds])


def _wrap(line, characters):
    return textwrap.wrap(line, characters, subsequent_indent="    ", break_long_words=True)


def _several(count, unit):
    """'1 rank', '2 ranks'; the count as the report has it."""
    return f"{text.clean(count)} {unit}{'' if str(count) == '1' else 's'}"


def provenance(report, several):
    """Spec, code state, machine and hash of one report, in one line."""
    facts = report.provenance
    dirty = facts.get("dirty", "")
    state = {"no": "clean", "yes": "DIRTY tree"}.get(dirty, "tree state unknown")
    parts = [
        f"spec {text.clean(report.spec_name, 60)}",
        f"commit {text.clean(facts.get('commit', 'unknown'), 200)[:12]} ({state})",
        f"CPU {text.clean(facts.get('cpu', 'unknown'), 60)}",
        f"{_several(facts.get('ranks', '?'), 'rank')} × {_several(facts.get('threads_per_rank', '?'), 'thread')}",
        text.clean(facts.get("date_utc", "date unknown")),
        f"logical hash {text.clean(report.logical_hash or 'unknown')}",
    ]
    if facts.get("perturbed_token", "") not in ("", "no", "none"):
        parts.append("PERTURBED WORKLOAD")
    line = " | ".join(parts)
    return f"{text.clean(report.label, 60)}: {line}" if several else line


def simulated_claim(reports):
    """Names platform and calibration of simulated numbers."""
    seen = []
    for report in reports:
        platform = report.provenance.get("platform", "unknown platform")
        calibration = report.provenance.get("calibration", "none")
        claim = (f"fleet = simulated on platform {text.clean(platform, 60)} "
                 f"(host calibration {text.clean(calibration, 60)})")
        if claim not in seen:
            seen.append(claim)
    return "; ".join(seen)


def empty_page(title, reports, what, why):
    """A figure for data that a report does not hold: says so instead of failing."""
    page = Page(9, 1.6, title, "", f"{what}: no numbers in the report", reports)
    axes = page.figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.55, "not measured", ha="center", va="center", fontsize=20,
              color=style.GREY)
    axes.text(0.5, 0.28, why, ha="center", va="center", fontsize=9.5, color=style.GREY)
    return page.figure


def spread(wanted, gap, low, high):
    """Positions close to `wanted`, at least `gap` apart, within [low, high] where they fit.

    Pool adjacent violators: clusters that touch move as one around their mean.
    """
    if not len(wanted):
        return np.array([])
    if gap * (len(wanted) - 1) > high - low:
        gap = (high - low) / max(len(wanted) - 1, 1)
    order = np.argsort(wanted, kind="stable")
    blocks = []  # [sum of (wanted - own offset), members]
    for index in order:
        blocks.append([float(wanted[index]), 1])
        while len(blocks) > 1:
            before, after = blocks[-2], blocks[-1]
            if before[0] / before[1] + before[1] * gap <= after[0] / after[1]:
                break
            before[0] += after[0] - after[1] * before[1] * gap
            before[1] += after[1]
            blocks.pop()
    placed = []
    for total, members in blocks:
        placed += [total / members + gap * i for i in range(members)]
    placed = np.array(placed)
    room = gap * np.arange(len(placed))
    placed = np.maximum(placed, low + room)
    placed = np.minimum(placed, high - room[::-1])
    result = np.empty(len(wanted))
    result[order] = placed
    return result


def swatch(axes, x, y, look, line, width=0.05):
    """A short sample of an arm's line with its marker, in axes fractions."""
    axes.add_line(Line2D([x, x + width], [y, y], color=look.color, linestyle=line, linewidth=1.8,
                         transform=axes.transAxes, clip_on=False))
    axes.add_line(Line2D([x + width / 2], [y], color=look.color, marker=look.marker, markersize=6,
                         linestyle="none", transform=axes.transAxes, clip_on=False))


def blank(axes):
    """Axes used as a sheet of paper, coordinates 0..1."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def place_labels(page, axes, points, others=(), texts=(), lines=(), size=8.5):
    """Writes a label beside each point so that no label covers a label, a marker or an interval.

    points: dictionaries with x, y (data), label, color and low, high (data, may be NaN). Also kept
    free: `others` (points without a label of their own), `texts` already drawn, and horizontal
    `lines` (y) as far as there is room. Greedy: the most crowded points first take the nearest
    free place; far ones get a leader line.
    """
    freeze(page.figure)
    renderer = page.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer).extents
    transform = axes.transData
    pixels = page.figure.dpi / 72.0
    anchors = [transform.transform((p["x"], p["y"])) for p in points]
    obstacles = [(*t.get_window_extent(renderer).extents, 1.0) for t in texts]
    for line in lines:
        y = transform.transform((points[0]["x"], line))[1]
        obstacles.append((frame[0], y - pixels, frame[2], y + pixels, 0.25))
    for point in [*points, *others]:
        x, y = transform.transform((point["x"], point["y"]))
        obstacles.append((x - 6 * pixels, y - 6 * pixels, x + 6 * pixels, y + 6 * pixels, 1.0))
        ends = [transform.transform((point["x"], e))[1]
                for e in (point["low"], point["high"]) if np.isfinite(e)]
        if len(ends) == 2:
            obstacles.append((x - 3 * pixels, min(ends), x + 3 * pixels, max(ends), 1.0))
    crowd = [-sum(np.hypot(*(a - b)) < 90 * pixels for b in anchors) for a in anchors]
    for index in np.argsort(crowd, kind="stable"):
        point, anchor = points[index], anchors[index]
        sample = axes.text(0, 0, point["label"], fontsize=size, linespacing=1.15)
        box = sample.get_window_extent(renderer)
        sample.remove()
        best = _best_place(anchor, box.width, box.height, obstacles, frame, pixels)
        obstacles.append((*best, 1.0))
        _write_label(axes, point, anchor, best, size, pixels)


def _best_place(anchor, width, height, obstacles, frame, pixels):
    best, best_cost = None, None
    for distance in (11, 18, 27, 38, 52, 70, 92, 120, 155):
        for angle in range(0, 360, 15):
            reach = distance * pixels
            cx = anchor[0] + np.cos(np.radians(angle)) * (reach + width / 2)
            cy = anchor[1] + np.sin(np.radians(angle)) * (reach + height / 2)
            box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            pad = 1.5 * pixels
            padded = (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
            outside = width * height - _overlap(box, frame)
            covered = sum(other[4] * _overlap(padded, other) for other in obstacles)
            cost = 40 * covered + 80 * max(outside, 0) + 25 * distance * pixels
            cost += 600 * _crossings(anchor, box, obstacles, pixels)
            if best_cost is None or cost < best_cost:
                best, best_cost = box, cost
    return best


def _nearest(anchor, box):
    return np.clip(anchor[0], box[0], box[2]), np.clip(anchor[1], box[1], box[3])


def _crossings(anchor, box, obstacles, pixels):
    """Obstacles under the leader line, other than the point's own."""
    end = np.array(_nearest(anchor, box))
    way = np.linspace(0.0, 1.0, 24)[:, None]
    line = np.asarray(anchor) * (1 - way) + end * way
    hits = 0
    for low_x, low_y, high_x, high_y, weight in obstacles:
        own = low_x - pixels <= anchor[0] <= high_x + pixels and \
            low_y - pixels <= anchor[1] <= high_y + pixels
        inside = (line[:, 0] > low_x) & (line[:, 0] < high_x) & \
            (line[:, 1] > low_y) & (line[:, 1] < high_y)
        hits += weight == 1.0 and not own and inside.any()
    return hits


def _write_label(axes, point, anchor, box, size, pixels):
    inverse = axes.transData.inverted()
    center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    nearest = _nearest(anchor, box)
    if np.hypot(nearest[0] - anchor[0], nearest[1] - anchor[1]) > 16 * pixels:
        start, end = inverse.transform(anchor), inverse.transform(nearest)
        axes.plot([start[0], end[0]], [start[1], end[1]], color=point["color"], linewidth=0.6,
                  alpha=0.7, zorder=1.5)
    x, y = inverse.transform(center)
    axes.text(x, y, point["label"], fontsize=size, color=point["color"], ha="center",
              va="center", linespacing=1.15, zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 0.3})
