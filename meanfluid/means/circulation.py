r"""The mean of vorticity over a box, from the velocity on its surface.

By Stokes' theorem the mean over a rectangle is the circulation around it over its area, and over a
box it is the integral of n x v over its surface divided by the volume: no derivative is needed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import chebyshev

from meanfluid.fields.velocity_field import Array, VelocityField

Box = Sequence[tuple[float, float]]

# Relative to the largest velocity over the extent of the box: of a formula, and of a spline, whose
# derivatives jump, and which is an approximation anyway.
_CONVERGED, _CONVERGED_SPLINE = 1e-10, 1e-7
_NODES = (16, 32, 64, 128, 256, 512)  # of Gauss and Legendre along every edge
_TOGETHER = 2**18  # points at which velocity is evaluated at once, at most
_DEGREES = (8, 16, 32, 64, 128, 256)  # of the series in time


def mean_vorticity_over(field: VelocityField, box: Box | None, start: float, end: float) -> Array:
    """Mean vorticity over a box as a function of time.

    Parameters
    ----------
    field : VelocityField
        In two or three dimensions.
    box : sequence of (lower, upper), optional
        Defaults to the field's domain.
    start, end : float, time

    Returns
    -------
    (1 or 3, degree + 1), 1 / time
        Chebyshev coefficients of each component on the window, -1 being `start`; a single column
        if the mean does not change.

    Raises
    ------
    ValueError
        If no bounded box is known, or the mean is not resolved by 512 nodes along every edge, or
        by 257 times.
    """
    box = _checked_box(field, box)
    enough = _CONVERGED if field.samples is None else _CONVERGED_SPLINE
    for degree in _DEGREES:
        nodes = chebyshev.chebpts1(degree + 1)
        times = 0.5 * (start + end) + 0.5 * (end - start) * nodes
        values, scale = _resolved(field, box, times, enough)
        series = chebyshev.chebfit(nodes, values, degree).T
        size = np.abs(series).max(axis=1, keepdims=True)
        if (size[:, 0] <= enough * scale).all():
            return np.zeros((len(series), 1))
        if (np.abs(series[:, 1:]) <= enough * scale).all():
            return np.ascontiguousarray(series[:, :1])
        if (np.abs(series[:, -2:]) <= enough * scale).all():
            return np.ascontiguousarray(series)
    raise ValueError(
        f"the mean vorticity of {field.name} from {start} to {end} varies too fast to be resolved "
        f"by {degree + 1} times; shorten the window, or pass mean_vorticity="
    )


def _checked_box(field: VelocityField, box: Box | None) -> Box:
    if box is None:
        box = [(axis.lower, axis.upper) for axis in field.domain or ()]
    bounds = np.asarray(box, dtype=float)
    if bounds.shape != (field.dimension, 2) or not np.isfinite(bounds).all():
        raise ValueError(
            f"a bounded domain of {field.dimension} intervals (lower, upper) is needed to average "
            f"vorticity over, got {box!r}; pass domain= or mean_vorticity="
        )
    if not (bounds[:, 0] < bounds[:, 1]).all():
        raise ValueError(f"domain must hold intervals with lower < upper, got {box!r}")
    return [(float(a), float(b)) for a, b in bounds]


def _resolved(field: VelocityField, box: Box, times: Array, enough: float) -> tuple[Array, float]:
    """Mean vorticity (times, 1 or 3), and what its rounding is measured by."""
    extent = min(upper - lower for lower, upper in box)
    before = None
    for nodes in _NODES:
        values, speed = _means(field, box, times, nodes)
        scale = speed / extent
        if before is not None and np.abs(values - before).max() <= enough * scale:
            return values, scale
        before = values
    raise ValueError(
        f"the mean vorticity of {field.name} over {box} is not resolved by {nodes} nodes along "
        "every edge; choose another domain=, or pass mean_vorticity="
    )


def _means(field: VelocityField, box: Box, times: Array, nodes: int) -> tuple[Array, float]:
    """Mean vorticity at each time, and the largest speed met on the surface."""
    position, weight = _surface(box, nodes)
    mean = np.zeros((len(times), len(box), len(box)))  # of d v_j / d x_i
    speed = 0.0
    for points in _parts(len(position), _TOGETHER):
        for some in _parts(len(times), max(1, _TOGETHER // len(position[points]))):
            here, now = position[points], times[some]
            everywhere = np.tile(here, (len(now), 1))
            velocity = field.velocity(np.repeat(now, len(here)), everywhere)
            speed = max(speed, float(np.abs(velocity).max()))
            velocity = velocity.reshape(len(now), *here.shape)
            mean[some] += np.einsum("mi,tmj->tij", weight[points], velocity, optimize=True)
    pairs = [(0, 1)] if len(box) == 2 else [(1, 2), (2, 0), (0, 1)]
    return np.stack([mean[:, i, j] - mean[:, j, i] for i, j in pairs], axis=1), speed


def _parts(count: int, most: int) -> list[slice]:
    """Consecutive parts of so many, each of at most that many."""
    return [slice(first, min(first + most, count)) for first in range(0, count, most)]


def _surface(box: Box, nodes: int) -> tuple[Array, Array]:
    """Points (m, d) of a rule on the surface of a box, and weights with the outward normal.

    Sums of v_j with column i of the weights, (m, d), are the mean of d v_j / d x_i over the box.
    """
    points, shares = np.polynomial.legendre.leggauss(nodes)
    edges = [0.5 * (lower + upper) + 0.5 * (upper - lower) * points for lower, upper in box]
    positions, weights = [], []
    for i, (lower, upper) in enumerate(box):
        for sign, end in ((1.0, upper), (-1.0, lower)):
            face = [np.array([end]) if k == i else edge for k, edge in enumerate(edges)]
            share = [np.ones(1) if k == i else 0.5 * shares for k in range(len(box))]
            positions.append(_product(face))
            weight = np.zeros_like(positions[-1])
            weight[:, i] = sign / (upper - lower) * _product(share).prod(axis=1)
            weights.append(weight)
    return np.concatenate(positions), np.concatenate(weights)


def _product(axes: Sequence[Array]) -> Array:
    """All combinations of values along axes, (n, axes)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
