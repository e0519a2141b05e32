"""All figures, in the order of a talk. A new figure: one module with NAME, TITLE, SHOWS and
draw(reports, arms) -> Figure, and one entry here."""
from . import (accuracy_auc, accuracy_front, fidelity, fleet_load, latency_cdf, memory_vs_users,
               stages, workload)

ALL = [memory_vs_users, accuracy_front, accuracy_auc, latency_cdf, stages, fidelity, fleet_load,
       workload]
BY_NAME = {figure.NAME: figure for figure in ALL}
