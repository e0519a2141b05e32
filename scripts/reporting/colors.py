"""Colours that can be told from the page's background, light and dark: 3 : 1 or more, as WCAG 2.1
(1.4.11) asks of graphics; and a look for each of any number of arms."""
import colorsys

from plotting import palette

LIGHT, DARK = "#ffffff", "#171a1f"
_MARKERS = {"o": "circle", "s": "rect", "D": "rectRot", "d": "rectRot", "^": "triangle",
            "X": "crossRot", "x": "crossRot", "*": "star", "P": "cross"}
_MORE_MARKERS = ["circle", "rect", "triangle", "rectRot", "crossRot", "star", "cross"]


def _rgb(color):
    return tuple(int(color[i:i + 2], 16) / 255 for i in (1, 3, 5))


def _hex(rgb):
    return "#" + "".join(f"{round(255 * min(max(v, 0.0), 1.0)):02x}" for v in rgb)


def _luminance(color):
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in _rgb(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    """WCAG contrast ratio, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def readable(color, background, ratio=3.0):
    """The colour, made darker or lighter until it stands out."""
    target = (0.0,) * 3 if _luminance(background) > 0.5 else (1.0,) * 3
    for step in range(21):
        mixed = _hex(v + (t - v) * step / 20 for v, t in zip(_rgb(color), target))
        if contrast(mixed, background) >= ratio:
            return mixed
    return _hex(target)


def both(color):
    return {"light": readable(color, LIGHT), "dark": readable(color, DARK)}


def looks(reports, names):
    """{arm: {"light", "dark", "marker"}}: the figures' colours, then turned hues and other markers
    for the arms beyond them."""
    arms, seen, found = palette.Arms(reports), {}, {}
    for name in names:
        look = arms.look(name, "control" if name.startswith("control.") else "arm")
        again = seen[look] = seen.get(look, -1) + 1
        color = look.color
        if again:
            hue, light, saturation = colorsys.rgb_to_hls(*_rgb(color))
            color = _hex(colorsys.hls_to_rgb((hue + 0.031 * again) % 1.0, min(max(light, 0.25), 0.6),
                                             max(saturation, 0.35)))
        marker = _MARKERS.get(look.marker, "circle")
        if again:
            marker = _MORE_MARKERS[(_MORE_MARKERS.index(marker) + again) % len(_MORE_MARKERS)]
        found[name] = {**both(color), "marker": marker}
    return found
