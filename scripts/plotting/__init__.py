"""Figures from ckvsim reports: report.py reads, style.py and layout.py are shared by all figures,
every other module with a `draw` function is one figure (registered in figures.py)."""
