"""Keeps curves readable that lie on each other."""
import numpy as np


def groups_of_equals(curves, tolerance, share):
    """Lists of indices into `curves` [(x, y, line key)]: equal within `tolerance` (a relative
    difference of y) at `share` of their common x or more. Curves of different keys never group."""
    groups = []
    for index, (x, y, key) in enumerate(curves):
        for group in groups:
            other_x, other_y, other_key = curves[group[0]]
            common = np.intersect1d(x, other_x)
            if key != other_key or not len(common):
                continue
            ratio = np.log(y[np.isin(x, common)] / other_y[np.isin(other_x, common)])
            if np.mean(np.abs(ratio) < tolerance) >= share:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def turn(position, members, dash=3.0):
    """Line style number `position` of `members` that share a line: their dashes take turns."""
    if members == 1:
        return "-"
    period = dash * members
    return (period - dash * position, (dash, period - dash))
