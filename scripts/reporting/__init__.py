"""scripts/report: a self-contained page from ckvsim reports. Reading, names and colours come from
scripts/plotting."""
