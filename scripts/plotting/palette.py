"""Who has which colour and marker: Okabe and Ito's colour-blind safe palette
(jfly.uni-koeln.de/color), extended by darker shades. Figures and pages share it."""
from collections import namedtuple

Look = namedtuple("Look", "color marker")

GREY = "#6b6b6b"
FAINT = "#d9d9d9"
INK = "#1a1a1a"
WARNING = "#9c2a00"

# Variants of one strategy share the hue; the marker tells them apart without colour.
FAMILIES = {
    "full": [("#0072B2", "o"), ("#56B4E9", "s"), ("#003C5F", "p"), ("#7FA8C0", "8")],
    "item_table": [("#009E73", "D"), ("#00543D", "d")],
    "recompute": [("#E69F00", "X"), ("#8F6300", "x")],
    "collective": [("#D55E00", "^"), ("#7A2E00", "v"), ("#FF9A57", "<"), ("#A84A00", ">")],
    "collective item": [("#CC79A7", "*"), ("#7C3A60", "P")],
    "low_rank": [("#8C6D31", "H"), ("#4F3C17", "h")],
    "vq": [("#7A5195", "8"), ("#3F2A4D", "p")],
    "other": [("#000000", "h"), ("#B8A800", "H"), ("#555555", "1"), ("#999999", "2")],
}
CONTROL = Look(GREY, "d")

STAGES = {  # name -> colour; order of a request
    "queue": "#BDBDBD",
    "fetch": "#E69F00",
    "prefill": "#CC79A7",
    "decode": "#0072B2",
    "score": "#009E73",
    "host": "#56B4E9",
}


class Arms:
    """Looks of all arms of all loaded reports, by name, in order of first appearance."""

    def __init__(self, reports):
        self._looks = {}
        used = {}
        for report in reports:
            for name, family in _families(report):
                if name in self._looks:
                    continue
                position = used.get(family, 0)
                used[family] = position + 1
                shades = FAMILIES[family]
                self._looks[name] = Look(*shades[position % len(shades)])

    def look(self, name, kind="arm"):
        if name in self._looks:
            return self._looks[name]
        if kind == "control" or name.startswith("control."):
            return CONTROL
        # The reference that a run adds on its own is full KV, though no arm of the spec.
        return Look(*FAMILIES["full" if name.startswith("full") else "other"][0])

    def order(self, names):
        """Names in the spec's order; unknown ones last."""
        known = list(self._looks)
        unique = list(dict.fromkeys(names))
        return sorted(unique, key=lambda n: known.index(n) if n in self._looks else len(known))


def families_of_fleet(cases):
    """[(strategy, family)] of table fleet_cases or plan, in the study's order."""
    kept = {"collective_item": "collective item"}
    return [(name, kept.get(keeping, keeping if keeping in FAMILIES else "other"))
            for name, keeping in dict(zip(cases["strategy"], cases["keeping"])).items()]


def _families(report):
    table = report.table("arms")
    if table is None:
        cases = report.table("fleet_cases") or report.table("plan")
        return [] if cases is None else families_of_fleet(cases)
    result = []
    for arm, strategy, keying in zip(table["arm"], table["strategy"], table["keying"]):
        family = strategy if strategy in FAMILIES else "other"
        if strategy == "collective" and keying == "item":
            family = "collective item"
        result.append((arm, family))
    return result
