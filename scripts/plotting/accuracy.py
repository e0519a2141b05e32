"""What the accuracy figures share: rows of the accuracy table and warnings about power."""
import numpy as np

TABLE = "accuracy"


class Row:
    """One arm or control of one report."""

    def __init__(self, report, index, values):
        self.report = report
        self.index = index  # of the report
        self.values = values
        self.arm = values["arm"]
        self.is_control = values["kind"] == "control"
        self.verdict = values["verdict"]

    def value(self, name):
        return float(self.values.get(name, np.nan))

    def interval(self, name, low, high):
        """value, low, high; an end that was not measured is NaN."""
        return self.value(name), self.value(low), self.value(high)


def rows(reports):
    found = []
    for index, report in enumerate(reports):
        table = report.table(TABLE)
        if table is not None:
            found += [Row(report, index, values) for values in table.records()]
    return found


def power_warnings(reports, all_rows):
    """Sentences that forbid reading a ranking out of a figure, each once, after the reports that it is said of."""
    said = {}
    for report in reports:
        mine = [r for r in all_rows if r.report is report]
        sentences = [note for note in report.notes if note.startswith(("No power", "Synthetic histories"))]
        if any(r.verdict == "no_power" for r in mine):
            sentences.insert(0, "No power: full KV is not better than no history beyond the interval; "
                                "these data cannot rank the arms.")
        for sentence in sentences:
            said.setdefault(sentence, []).append(report.label)
    if len(reports) == 1:
        return list(said)
    return [f"{', '.join(dict.fromkeys(labels))}: {sentence}" for sentence, labels in said.items()]


def margin(reports):
    """The verdicts' margin (share of the lift that may be lost); None when specs differ."""
    values = {report.spec_value("measurements", "accuracy", "margin") for report in reports}
    return values.pop() if len(values) == 1 else None


def error_bars(value, low, high):
    """Distances for errorbar(); a missing end draws nothing."""
    down = max(value - low, 0.0) if np.isfinite(low) else 0.0
    up = max(high - value, 0.0) if np.isfinite(high) else 0.0
    return [[down], [up]]
