r"""Geodesics among maps of the torus that keep area: flows of an ideal fluid.

With the kinetic energy as metric (Arnold 1966) a geodesic that starts at the identity with velocity
w is the flow map of the Euler equations with that initial velocity. `euler_exp` is the map after a
unit of time, `euler_log` its inverse near the identity.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.means import periodic
from meanfluid.means.geometric.exponential import (
    Flow,
    Logarithm,
    checked_steps,
    checked_tolerance,
    solved_log,
)
from meanfluid.means.geometric.torus import Lengths, TorusMap, checked_map, checked_vector
from meanfluid.means.geometric.unit_time import evolved

_DIVERGENCE = 1e-9  # of the gradient, beyond which a velocity is not that of an ideal fluid


def euler_exp(
    velocity: ArrayLike,
    lengths: Lengths,
    *,
    tolerance: float | None = None,
    steps: int | None = None,
) -> TorusMap:
    """Return the flow map over a unit of time of an ideal fluid.

    Parameters
    ----------
    velocity : (2, nx, ny), length
        Initial velocity times duration, free of divergence.
    lengths : (float, float), length
        Periods.
    tolerance : float, length, optional
        Largest error of the displacement from time steps; by default 1e-13 of the longer period.
    steps : int, optional
        Equal steps of `dop853` in place of as many as the tolerance needs.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range, the velocity diverges, or 512 steps do not
        reach the tolerance.

    Notes
    -----
    Vorticity is advected on the grid without aliasing, particles move with the trigonometric
    interpolant of velocity; the mean velocity is constant. Error from the grid is spectrally small
    while the vorticity is resolved.
    """
    w, lengths = checked_vector(velocity, lengths)
    slope = periodic.gradient(w, lengths)
    worst, scale = (float(np.abs(a).max()) for a in (slope[0, 0] + slope[1, 1], slope))
    if worst > _DIVERGENCE * scale:
        raise ValueError(
            f"velocity must be free of divergence, got {worst:.1e} beside gradients of "
            f"{scale:.1e}; project it with leray"
        )
    return Flow(lengths, euler_flow, tolerance, checked_steps(steps))(w)


def euler_log(one: TorusMap, *, tolerance: float | None = None, iterations: int = 60) -> Logarithm:
    r"""Return the initial velocity whose Euler flow over a unit of time is a map that keeps area.

    Parameters
    ----------
    one : TorusMap
    tolerance : float, length, optional
        By default 1e-11 of the longer period.
    iterations : int
        After which it is given up.

    Returns
    -------
    Logarithm
        Look at `converged`: a map that does not keep area has no such velocity, and one far from
        the identity may have several or none.

    Notes
    -----
    :math:`w \leftarrow w + P(\xi - \mathrm{Exp}\, w)`, P the Leray projection. To second order
    Exp w differs from id + w by the gradient of a pressure only, so that it contracts as the
    square of the gradient of w.
    """
    tolerance = checked_tolerance(tolerance, checked_map(one).lengths)
    return solved_log(one, Flow(one.lengths, euler_flow), euler_correction, tolerance, iterations)


def euler_flow(w: Any, lengths: Lengths, tolerance: float, steps: int | None) -> Any:
    """Displacement of the Euler flow on the grid, and the steps that it took."""
    mean, start = w.mean(axis=(-2, -1)), periodic.mesh(w.shape[1:], lengths, like=w)

    def rate(state: Any) -> Any:  # vorticity, then displacement
        velocity = periodic.solenoidal(state[0], mean, lengths)
        change = -periodic.advection(velocity, state[0], lengths)
        motion = periodic.Interpolant(velocity, lengths).at(start + state[1:])
        return np.concatenate([change[None], motion])

    state = np.concatenate([periodic.curl(w, lengths)[None], np.zeros_like(w)])
    state, steps = evolved(rate, state, tolerance, steps)
    return state[1:], steps


def euler_correction(_: Any, misfit: Any, lengths: Lengths) -> Any:
    """Change of the initial velocity that changes its flow by a misfit, to second order."""
    return periodic.leray(misfit, lengths)
