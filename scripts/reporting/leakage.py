"""Table leakage in words: probes that need no model, and arms above the oracle."""
from plotting import text

from . import facts
from .facts import finite, number


def _interval(row):
    words = f"{number(row, 'auc'):.3f}"
    low, high = number(row, "auc_low"), number(row, "auc_high")
    return words + (f" (95 % interval {low:.3f} to {high:.3f})" if finite(low) and finite(high) else "")


def worst(known, kind):
    """The suspicious probe or arm with the highest AUC; None when nothing is suspicious."""
    found = [row for row in facts.rows(known.report, "leakage")
             if row.get("kind") == kind and row.get("verdict") == "suspicious"]
    return max(found, key=lambda row: number(row, "auc"), default=None)


def suspected(known):
    return worst(known, "probe") is not None or worst(known, "arm") is not None


def sentences(known):
    """What makes the accuracy of this run doubtful; the run's note says it at length."""
    found = []
    probe, arm = worst(known, "probe"), worst(known, "arm")
    if probe:
        found.append(f"Labels may have leaked into the histories: without any model, {text.clean(probe['score'], 40)} tells "
                     f"clicks with AUC {_interval(probe)}. Users who return to items look the same; find out which before "
                     "using the accuracy below.")
    if arm:
        found.append(f"Labels may have leaked: {facts.label(arm['score'])} has AUC {_interval(arm)}, above the "
                     f"{number(arm, 'limit'):.3f} of the model that drew the labels.")
    return found


def panel_words(known_runs):
    """One sentence for the panel of controls; nothing where no report holds the table."""
    rows = [row for known in known_runs for row in facts.rows(known.report, "leakage") if row.get("kind") == "probe"]
    found = [number(row, "auc") for row in rows if finite(number(row, "auc"))]
    if not found:
        return ""
    words = "suspicious" if any(worst(known, "probe") for known in known_runs) else "nothing suspicious"
    return (" Whether the candidate itself is in the history, without any model, has AUC "
            f"{min(found):.3f} to {max(found):.3f} ({words}; table leakage).")
