"""Numbers and names as text for people."""
import math
import unicodedata

MISSING = "–"


def clean(name, limit=30):
    """A name from a report, safe to draw: one line, no control characters, cut in the middle."""
    safe = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c
        for c in str(name)
    )
    if len(safe) > limit:
        tail = (limit - 1) // 3
        safe = safe[: limit - 1 - tail] + "…" + safe[-tail:]
    return safe or "(no name)"


def _scaled(value, steps, digits):
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return f"0 {steps[0][1]}".strip()
    for factor, unit in reversed(steps):
        if abs(value) >= factor * (1 - 0.5 * 10.0 ** -digits):
            break
    else:
        factor, unit = steps[0]
    shown = f"{value / factor:.{digits}g}"
    if "e" in shown:
        shown = f"{value / factor:.0f}" if abs(value) >= factor else shown
    return f"{shown} {unit}".strip()


def size(value, digits=3):
    """Bytes with decimal prefixes, as memory vendors and platform files count."""
    return _scaled(value, [(1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"),
                           (1e15, "PB")], digits)


def duration(value_ns, digits=3):
    return _scaled(value_ns, [(1, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")], digits)


def count(value, digits=3):
    return _scaled(value, [(1, ""), (1e3, "k"), (1e6, "M"), (1e9, "bn")], digits)


def percent(share, digits=3):
    if share is None or not math.isfinite(share):
        return MISSING
    shown = f"{100 * share:.{digits}g}"
    return f"{100 * share:,.0f} %" if "e+" in shown else f"{shown} %"


def signed_percent(share):
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:+.1f} %".replace("-", "−")
