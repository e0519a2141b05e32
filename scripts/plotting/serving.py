"""What the latency figures share: two panels (executed here, simulated fleet) and their rows."""
from . import layout, style, text

STAGE_TABLES = {"executed": "executed_latency", "simulated": "simulated_latency"}
CDF_TABLES = {"executed": "executed_cdf", "simulated": "simulated_cdf"}


class Panel:
    def __init__(self, twin, title, color=style.INK):
        self.twin = twin
        self.title = title
        self.color = color  # of the title

    def platform(self, report):
        """Which rows of a table belong to the panel; None = all of the twin."""
        return report.fleet_platform() if self.twin == "simulated" else None


def panels(reports):
    names = list(dict.fromkeys(filter(None, (r.fleet_platform() for r in reports))))
    fleet = " / ".join(text.clean(name, 30) for name in names) or "platform unknown"
    executed = Panel("executed", "Executed on this machine (measured)")
    reasons = _not_comparable(reports)
    if reasons:
        executed.title += "\nNOT COMPARABLE: " + text.clean("; ".join(reasons), 60)
        executed.color = style.WARNING
    return [executed, Panel("simulated", f"Fleet of {fleet} (simulated)")]


def _not_comparable(reports):
    reasons = []
    for report in reports:
        table = report.table("executed_cache")
        if table is None:
            continue
        for comparable, reason in zip(table.get("comparable"), table["reason"]):
            if comparable == 0 and reason not in reasons:
                reasons.append(reason)
    return reasons


def panel_claims(reports):
    return ("Executed = measured (wall clock, first pass, real caches and kernels); "
            + layout.simulated_claim(reports) + ". Warm-up excluded; open loop.")


def latency_row(report, panel, arm, stage):
    """The row of one arm and stage as a dictionary, empty when there is none."""
    table = report.table(STAGE_TABLES[panel.twin])
    if table is None:
        return {}
    platform = panel.platform(report)
    for row in table.records():
        if row["arm"] != arm or row["stage"] != stage:
            continue
        if panel.twin == "executed" and row["pass"] != 1:
            continue
        if platform is not None and row.get("platform") != platform:
            continue
        return row
    return {}
