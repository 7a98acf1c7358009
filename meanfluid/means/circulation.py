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
        rows = [_mean(field, box, time, nodes) for time in times]
        values = np.array([row for row, _ in rows])
        scale = max(speed for _, speed in rows) / extent
        if before is not None and np.abs(values - before).max() <= enough * scale:
            return values, scale
        before = values
    raise ValueError(
        f"the mean vorticity of {field.name} over {box} is not resolved by {nodes} nodes along "
        "every edge; choose another domain=, or pass mean_vorticity="
    )


def _mean(field: VelocityField, box: Box, time: float, nodes: int) -> tuple[Array, float]:
    """Mean vorticity at one time, and the largest speed met on the surface."""
    d = field.dimension
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total, speed = np.zeros((d, d)), 0.0  # total[i, j] is the mean of d v_j / d x_i
    for i, (lower, upper) in enumerate(box):
        others = [k for k in range(d) if k != i]
        edges = [
            0.5 * (box[k][0] + box[k][1]) + 0.5 * (box[k][1] - box[k][0]) * points for k in others
        ]
        mesh = np.meshgrid(*edges, indexing="ij")
        weight = np.ones(())
        for _ in others:
            weight = np.multiply.outer(weight, 0.5 * weights)
        position = np.empty((mesh[0].size, d))
        for k, coordinate in zip(others, mesh, strict=True):
            position[:, k] = coordinate.ravel()
        for sign, end in ((1.0, upper), (-1.0, lower)):
            position[:, i] = end
            velocity = field.velocity(time, position)
            speed = max(speed, float(np.abs(velocity).max()))
            total[i] += sign * weight.ravel() @ velocity / (upper - lower)
    if d == 2:
        return np.array([total[0, 1] - total[1, 0]]), speed
    curl = [total[1, 2] - total[2, 1], total[2, 0] - total[0, 2], total[0, 1] - total[1, 0]]
    return np.array(curl), speed
