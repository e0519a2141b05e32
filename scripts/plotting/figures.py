"""All figures, in the order of a talk. A new figure: one module with NAME, TITLE, SHOWS and
draw(reports, arms) -> Figure, and one entry here."""
from . import (accuracy_auc, accuracy_front, fidelity, fidelity_regimes, fleet_events, fleet_load,
               fleet_nodes, fleet_regimes, latency_cdf, memory_vs_users, stages, workload)

ALL = [memory_vs_users, accuracy_front, accuracy_auc, latency_cdf, stages, fidelity,
       fidelity_regimes, fleet_load, fleet_regimes, fleet_nodes, fleet_events, workload]
# Of studies of their own, each with fits(report); the others need a spec with arms.
OWN = [fidelity_regimes, fleet_load, fleet_regimes, fleet_nodes, fleet_events]


def for_reports(reports):
    """The figures that reports of this kind can fill, when none was asked for by name."""
    with_arms = any(report.table("fleet_cases") is None and report.table("fidelity_points") is None
                    for report in reports)
    return [figure for figure in ALL
            if (any(figure.fits(report) for report in reports) if figure in OWN else with_arms)]


BY_NAME = {figure.NAME: figure for figure in ALL}
