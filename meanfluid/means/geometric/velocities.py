r"""The velocity of a mean flow, and how means change with the kind of mean map.

The mean velocity :math:`\bar u = \partial_t \bar\varphi \circ \bar\varphi^{-1}` is that of the mean
map. It is not the mean of the pulled-back velocities :math:`\langle \xi^* u \rangle`, which for
waves of small amplitude on fluid at rest is twice as large.
"""

from collections.abc import Sequence
from math import factorial
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.means import periodic
from meanfluid.means.geometric.mean_maps import MeanKind
from meanfluid.means.geometric.torus import (
    Lengths,
    TorusMap,
    average,
    checked_maps,
    checked_vector,
    checked_weights,
)


def mean_velocity(maps: Sequence[TorusMap], step: float) -> Any:
    r"""Return the velocity :math:`\partial_t \bar\varphi \circ \bar\varphi^{-1}` of mean maps.

    Parameters
    ----------
    maps : sequence of TorusMap
        Mean maps at an odd number of equally spaced times, three or more; the velocity is that at
        the middle one.
    step : float, time
        Between two of them.

    Returns
    -------
    (2, nx, ny), length / time
        On the grid. The error of the central difference is of order ``len(maps) - 1`` in the step.

    Raises
    ------
    ValueError
        If the number of maps is even or below three, the step is zero or not finite, or the
        middle map is not one to one.
    """
    members = checked_maps(maps)
    half = len(members) // 2
    if len(members) < 3 or len(members) % 2 == 0:
        raise ValueError(f"expected an odd number of maps, three or more, got {len(members)}")
    if not np.isfinite(step) or step == 0:
        raise ValueError(f"step must be a time that is not zero, got {step!r}")
    rate = sum(
        _slope_weight(k, half) * (members[half + k].displacement - members[half - k].displacement)
        for k in range(1, half + 1)
    )
    back = members[half].inverse()
    moving = periodic.Interpolant(rate / step, back.lengths)
    return moving.at(back.points + back.displacement)


def second_order_shift(
    deviations: Sequence[TorusMap], kind: MeanKind, *, weights: ArrayLike | None = None
) -> Any:
    r"""Return the displacement of a mean map from the arithmetic one, to second order.

    It is :math:`s = -\frac12 \langle \xi \cdot \nabla \xi \rangle` for soward_roberts, the part of
    it that is a gradient for optimal_transport and geodesic, and 0 for the arithmetic mean, with
    :math:`\xi` the displacements of the deviations from the arithmetic mean.

    Parameters
    ----------
    deviations : sequence of TorusMap
        From the arithmetic mean map: see `deviations`.
    kind : "arithmetic", "extended_glm", "soward_roberts", "optimal_transport" or "geodesic"
    weights : (members,), optional
        Equal by default; normalised.

    Returns
    -------
    (2, nx, ny), length
    """
    if kind not in get_args(MeanKind):
        raise ValueError(f"kind must be one of {get_args(MeanKind)}, got {kind!r}")
    members = checked_maps(deviations)
    w = checked_weights(weights, len(members))
    if kind in ("arithmetic", "extended_glm"):
        return np.zeros_like(members[0].displacement)
    lengths = members[0].lengths
    both = [periodic.advection(one.displacement, one.displacement, lengths) for one in members]
    shift = -0.5 * average(both, w)
    return shift if kind == "soward_roberts" else shift - periodic.leray(shift, lengths)


def corrected_velocity(
    arithmetic: ArrayLike, shift: ArrayLike, shift_rate: ArrayLike, lengths: Lengths
) -> Any:
    r"""Return the mean velocity of another kind from the arithmetic one, to second order.

    .. math:: \bar u + \partial_t s + \bar u \cdot \nabla s - s \cdot \nabla \bar u

    Parameters
    ----------
    arithmetic : (2, nx, ny), length / time
        The (generalised) Lagrangian mean velocity, of the arithmetic mean map.
    shift, shift_rate : (2, nx, ny), length and length / time
        Of `second_order_shift`, and its derivative by time.
    lengths : (float, float), length
    """
    velocity, lengths = checked_vector(arithmetic, lengths, "a velocity")
    s, _ = checked_vector(shift, lengths, "a shift")
    rate, _ = checked_vector(shift_rate, lengths, "the rate of a shift")
    carried = periodic.advection(velocity, s, lengths) - periodic.advection(s, velocity, lengths)
    return velocity + rate + carried


def corrected_scalar(
    arithmetic: ArrayLike, shift: ArrayLike, scalar: ArrayLike, lengths: Lengths
) -> Any:
    r"""Return the mean of a scalar of another kind from the arithmetic one, to second order.

    .. math:: \bar f - s \cdot \nabla \bar f

    Parameters
    ----------
    arithmetic : (nx, ny)
        Lagrangian mean of the scalar by the arithmetic mean map.
    shift : (2, nx, ny), length
        Of `second_order_shift`.
    scalar : (nx, ny)
        Mean of the scalar to leading order; the Eulerian mean will do.
    lengths : (float, float), length
    """
    s, lengths = checked_vector(shift, lengths, "a shift")
    mean = periodic.as_float(arithmetic)
    return mean - periodic.advection(s, periodic.as_float(scalar), lengths)


def _slope_weight(k: int, half: int) -> float:
    """Weight of f(k) - f(-k) in the derivative at 0 that is exact up to degree 2 half."""
    ratio = factorial(half) ** 2 / (factorial(half - k) * factorial(half + k))
    return float((-1) ** (k + 1) * ratio / k)
