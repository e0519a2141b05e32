"""All figures, in the order of a talk. A new figure: one module with NAME, TITLE, SHOWS and
draw(reports, arms) -> Figure, and one entry here."""
from . import (accuracy_auc, accuracy_front, fidelity, fleet_load, latency_cdf, memory_vs_users,
               stages, workload)

ALL = [memory_vs_users, accuracy_front, accuracy_auc, latency_cdf, stages, fidelity, fleet_load,
       workload]
FLEET = [fleet_load]  # of fleet studies; the others need a spec with arms


def for_reports(reports):
    """The figures that reports of this kind can fill, when none was asked for by name."""
    kinds = {report.table("fleet_cases") is not None for report in reports}
    return [figure for figure in ALL if (figure in FLEET) in kinds]


BY_NAME = {figure.NAME: figure for figure in ALL}
