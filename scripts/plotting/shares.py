"""Arithmetic that figures and pages share; no drawing."""
import numpy as np


def stage_share_ns(row, total):
    """A stage's part of the mean request: its mean over the requests that had it, weighted."""
    if not row or not total or not np.isfinite(row["mean_ns"]) or not total["count"] > 0:
        return np.nan
    return row["mean_ns"] * row["count"] / total["count"]
