"""All figures, in the order of a talk. A new figure: one module with NAME, TITLE, SHOWS and
draw(reports, arms) -> Figure, and one entry here."""
from . import (accuracy_auc, accuracy_front, accuracy_models, energy, fidelity, fidelity_regimes, fleet_events, fleet_load,
               fleet_nodes, fleet_regimes, latency_cdf, memory_vs_users, plan_error, plan_front,
               plan_nodes, residents, stages, workload)

ALL = [memory_vs_users, accuracy_front, accuracy_auc, accuracy_models, latency_cdf, stages, fidelity,
       fidelity_regimes, fleet_load, fleet_regimes, fleet_nodes, fleet_events, plan_nodes,
       plan_front, plan_error, residents, energy, workload]
# Of studies of their own, each with fits(report); the others need a spec with arms.
OWN = [accuracy_models, fidelity_regimes, fleet_load, fleet_regimes, fleet_nodes, fleet_events, plan_nodes, plan_front, plan_error,
       residents, energy]
_THEIRS = ("fleet_cases", "fidelity_points", "plan")  # tables that reports with arms do not have


def for_reports(reports):
    """The figures that reports of this kind can fill, when none was asked for by name."""
    with_arms = any(all(report.table(name) is None for name in _THEIRS) for report in reports)
    return [figure for figure in ALL
            if (any(figure.fits(report) for report in reports) if figure in OWN else with_arms)]


BY_NAME = {figure.NAME: figure for figure in ALL}
