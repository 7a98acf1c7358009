"""Mixtures of Gaussians carried to noise: bodies written out, and the flow map on a line.

The posterior shares of the components are a softmax, so the velocity is no sum over components and
the field is not modal. A body and its record are written for a dimension and a number of
components; `__getattr__` finds them by name, so that a field can be pickled.
"""

import re
from collections import namedtuple
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from meanfluid.fields.velocity_field import Array, Body

_WRITTEN = re.compile(r"(Mixture|mixture)_([123])_([1-9]\d*)")
_LOG_SQRT_TWO_PI = float(np.log(2 * np.pi)) / 2
_ROOT_STEPS = 200  # every second step at least halves a bracket of 2**64 floats


def __getattr__(name: str) -> Any:
    match = _WRITTEN.fullmatch(name)
    if match is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return mixture(int(match[2]), int(match[3]))[match[1] == "mixture"]


@lru_cache(maxsize=64)
def mixture(dimension: int, components: int) -> tuple[Any, Body]:
    """Return the record of parameters and the body of a mixture, the same ones every time."""
    axes, numbers = "xyz"[:dimension], range(1, components + 1)
    members = ["log_weight", *(f"mean_{a}" for a in axes), "deviation"]
    record = namedtuple(  # type: ignore[misc]
        f"Mixture_{dimension}_{components}",
        [f"{member}_{k}" for k in numbers for member in members],
        module=__name__,
    )
    record.__doc__ = "Of each component: logarithm of its weight, mean, and deviation."
    names: dict[str, Any] = {"__name__": __name__}
    source = _source(dimension, components)
    exec(compile(source, f"<mixture of {components} in {dimension}-D>", "exec"), names)
    return record, names[f"mixture_{dimension}_{components}"]


def _source(dimension: int, components: int) -> str:
    """Text of the body: the mean of the components' velocities, weighted by posterior shares."""
    axes, numbers = "xyz"[:dimension], range(1, components + 1)
    top = "score_1"
    lines = ["keep = 1 - t"]
    for k in numbers:
        square = " + ".join(f"from_{a}_{k} * from_{a}_{k}" for a in axes)
        top = f"m.maximum({top}, score_{k})" if k > 1 else top
        lines += [f"from_{a}_{k} = {a} - keep * p.mean_{a}_{k}" for a in axes]
        lines += [
            f"own_{k} = p.deviation_{k} * p.deviation_{k}",
            f"variance_{k} = keep * keep * own_{k} + t * t",
            f"score_{k} = p.log_weight_{k} - {dimension} * m.log(variance_{k}) / 2 "
            f"- ({square}) / (2 * variance_{k})",
        ]
    lines.append(f"top = {top}")
    lines += [f"share_{k} = m.exp(score_{k} - top)" for k in numbers]
    lines.append("total = " + " + ".join(f"share_{k}" for k in numbers))
    lines += [f"pull_{k} = (t - keep * own_{k}) / variance_{k}" for k in numbers]
    parts = [
        " + ".join(f"share_{k} * (pull_{k} * from_{a}_{k} - p.mean_{a}_{k})" for k in numbers)
        for a in axes
    ]
    lines.append("return (" + ", ".join(f"({part}) / total" for part in parts) + ",)")
    signature = f"mixture_{dimension}_{components}(m, p, t, {', '.join(axes)})"
    return "\n    ".join([f"def {signature}:", *lines]) + "\n"


def mixture_map(p: Any, position: Array, start: Array, end: Array) -> Array:
    """Flow map of a mixture on a line: particles keep their rank, F_end(X) = F_start(x)."""
    log_weight, mean, deviation = np.reshape(np.asarray(p, dtype=float), (-1, 3)).T
    return rank_kept(log_weight, mean, deviation, position, start, end)


def rank_kept(
    log_weight: Array, mean: Array, deviation: Array, position: Array, start: Array, end: Array
) -> Array:
    """Positions (n, 1) at `end` with the same value of the cumulative distribution as at `start`.

    Both are compared as scores, quantiles of the standard normal distribution, which keep their
    digits in the tails and are linear if there is one component.
    """

    def at(time: Array) -> tuple[Array, Array]:
        keep = (1 - time)[:, None]
        return keep * mean, np.hypot(keep * deviation, time[:, None])

    with np.errstate(all="ignore"):
        score, _ = _score(position[:, 0], *at(start), log_weight)
        moved = _position_of(score, *at(end), log_weight)
    return np.asarray(np.where(start == end, position[:, 0], moved)[:, None])


def _score(x: Array, centre: Array, spread: Array, log_weight: Array) -> tuple[Array, Array]:
    """Normal score of the mixture's distribution function at x (n,), and its derivative."""
    z = (x[:, None] - centre) / spread
    below = scipy.special.logsumexp(log_weight + scipy.special.log_ndtr(z), axis=1)
    above = scipy.special.logsumexp(log_weight + scipy.special.log_ndtr(-z), axis=1)
    score = np.where(below < above, scipy.special.ndtri_exp(below), -scipy.special.ndtri_exp(above))
    log_density = scipy.special.logsumexp(log_weight - z * z / 2 - np.log(spread), axis=1)
    log_density = log_density - _LOG_SQRT_TWO_PI
    return score, np.exp(log_density + score * score / 2 + _LOG_SQRT_TWO_PI)


def _position_of(score: Array, centre: Array, spread: Array, log_weight: Array) -> Array:
    """Positions (n,) with given scores, by Newton steps kept between the components' quantiles."""
    quantiles = centre + spread * score[:, None]
    low, high = quantiles.min(axis=1), quantiles.max(axis=1)
    x, last = (low + high) / 2, high - low
    for _ in range(_ROOT_STEPS):
        found, slope = _score(x, centre, spread, log_weight)
        low, high = np.where(found < score, x, low), np.where(found < score, high, x)
        step = np.where(found == score, 0.0, (score - found) / slope)
        trusted = (x + step >= low) & (x + step <= high) & (2 * abs(step) <= abs(last))
        target = np.where(trusted, x + step, (low + high) / 2)
        last = target - x
        x = target
        if (abs(last) <= 2 * np.spacing(abs(x))).all():
            break
    return np.asarray(x)
