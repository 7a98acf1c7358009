"""Time to a measured error, from the points of `work_precision.py` and `schemes.py`."""

import math


def time_to(points, target, measure, cost="seconds_for_all"):
    """Return the cost at which an error is reached, or None if no point reaches it.

    Between the cheapest points on both sides, log(cost) is interpolated in log(error); a contestant
    whose loosest setting is more accurate than asked pays for that setting. Nothing is
    extrapolated.

    Parameters
    ----------
    points : list of dict
        With `cost` and `measure`.
    target : float
    measure : str
        ``median_error`` or ``p99_error``.
    """
    usable = [(p[measure], p[cost]) for p in points if math.isfinite(p[measure])]
    good = [pair for pair in usable if pair[0] <= target]
    if not good:
        return None
    best = min(price for _, price in good)
    for error, price in usable:
        for better, dearer in good:
            if error > target > better > 0 and price < dearer:
                share = math.log(error / target) / math.log(error / better)
                best = min(best, price * (dearer / price) ** share)
    return best


def best_time(entries, target, measure):
    """Return the smallest time of several entries and the method that took it, or None."""
    times = [(time_to(e["points"], target, measure), e["method"]) for e in entries]
    reached = [pair for pair in times if pair[0] is not None]
    return min(reached) if reached else None


def exponent(sizes, costs):
    """Return the slope of log(cost) over log(size), by least squares."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)
