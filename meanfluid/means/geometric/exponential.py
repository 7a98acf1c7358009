r"""Exponential and logarithm of the group of maps of the torus.

:math:`\exp q` is where the steady field q takes each point in a unit of time, and :math:`\log` its
inverse near the identity. Not every map near the identity has a logarithm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.means import periodic
from meanfluid.means.geometric.torus import Lengths, TorusMap, checked_map, checked_vector
from meanfluid.means.geometric.unit_time import evolved

_STEPPING = 1e-13  # of the longer period: what the steps of a flow over a unit of time may cost
_SOLVING = 1e-11  # of the longer period: how well equations for maps are solved
_STRAYING = 3  # iterations in a row that bring nothing, after which it is given up

Exponential = Callable[[Any], TorusMap]  # of a field (2, nx, ny)
Correction = Callable[[Any, Any, Lengths], Any]  # of a field, for a misfit of where it leads


@dataclass(frozen=True, eq=False)
class Logarithm:
    """The field that leads to a map in a unit of time.

    Attributes
    ----------
    field : (2, nx, ny), length
        The best that was found.
    residual : float, length
        Largest distance of where it leads from where the map does, on the grid.
    iterations : int
    converged : bool
        Whether the residual is within the tolerance.
    """

    field: Any
    residual: float
    iterations: int
    converged: bool


def exp(
    field: ArrayLike, lengths: Lengths, *, tolerance: float | None = None, steps: int | None = None
) -> TorusMap:
    """Return the flow map of a steady field over a unit of time.

    Parameters
    ----------
    field : (2, nx, ny), length
        Velocity times duration. Between points of the grid, its trigonometric interpolant.
    lengths : (float, float), length
        Periods.
    tolerance : float, length, optional
        Largest error of the displacement at the grid's points; by default 1e-13 of the longer
        period.
    steps : int, optional
        Equal steps of `dop853` in place of as many as the tolerance needs.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range, or 512 steps do not reach the tolerance.
    """
    q, lengths = checked_vector(field, lengths)
    return Flow(lengths, group_flow, tolerance, checked_steps(steps))(q)


def log(one: TorusMap, *, tolerance: float | None = None, iterations: int = 60) -> Logarithm:
    r"""Return the steady field whose flow over a unit of time is a map.

    Parameters
    ----------
    one : TorusMap
        Not far from the identity: with gradients of the logarithm below about 1/2 the residual
        gets to 1e-11 of the period; with gradients near 1 it stalls before, at 1e-8 to 1e-5.
    tolerance : float, length, optional
        By default 1e-11 of the longer period.
    iterations : int
        After which it is given up.

    Returns
    -------
    Logarithm
        Look at `converged`; nothing is raised.

    Notes
    -----
    Newton steps :math:`q \leftarrow q + r - \frac12 r \cdot \nabla q`, where
    :math:`r = (\xi - \exp q) \circ \exp(-q/2)`: the derivative of exp is inverted to first order
    in q, and contraction is as the square of its gradient.
    """
    tolerance = checked_tolerance(tolerance, checked_map(one).lengths)
    return solved_log(one, Flow(one.lengths, group_flow), group_correction, tolerance, iterations)


def solved_log(
    one: TorusMap, leads_to: Exponential, correction: Correction, tolerance: float, iterations: int
) -> Logarithm:
    """Solve ``leads_to(q) = one`` by ``q + correction(q, misfit, lengths)``, from q = 0."""
    q = correction(np.zeros_like(one.displacement), one.displacement, one.lengths)
    best, strayed = Logarithm(q, np.inf, 0, False), 0
    for done in range(1, iterations + 1):
        try:
            misfit = one.displacement - leads_to(q).displacement
        except ValueError:  # the field grew beyond what can be integrated
            break
        residual = float(np.abs(misfit).max())
        strayed = 0 if residual < best.residual else strayed + 1
        if strayed == 0:
            best = Logarithm(q, residual, done, residual <= tolerance)
        if best.converged or strayed == _STRAYING:
            break
        q = q + correction(q, misfit, one.lengths)
    return best


def group_flow(q: Any, lengths: Lengths, tolerance: float, steps: int | None) -> Any:
    """Displacement of exp(q) on the grid, and the steps that it took."""
    series, start = periodic.Interpolant(q, lengths), periodic.mesh(q.shape[1:], lengths, like=q)

    def rate(displacement: Any) -> Any:
        return series.at(start + displacement)

    return evolved(rate, np.zeros_like(q), tolerance, steps)


def group_correction(q: Any, misfit: Any, lengths: Lengths) -> Any:
    """Change of q that changes exp(q) by a misfit, to first order in q.

    The misfit is a mean over the path of the change sought, so it is read half the path back.
    Expanded in powers of q instead, this would amplify short waves. The mean over a whole wave is
    zero: waves that q may carry over their own length are left alone.
    """
    if not q.any():
        return misfit
    back, _ = group_flow(-0.5 * q, lengths, 0.0, 1)  # one step: it is only a correction
    here = periodic.mesh(q.shape[1:], lengths, like=q) + back
    moved = periodic.Interpolant(misfit, lengths).at(here)
    moved = _longer_than(moved, [float(speed.max()) for speed in np.abs(q)], lengths)
    return moved - 0.5 * periodic.advection(moved, q, lengths)


def _longer_than(values: Any, least: Sequence[float], lengths: Lengths) -> Any:
    """The waves of which fewer than one fits into the box with sides `least`, corner to corner."""
    grid = values.shape[-2:]
    kx, ky = periodic.wave_numbers(grid, lengths)
    kept = devices.beside(values, np.abs(kx) * least[0] + np.abs(ky) * least[1] < 2.0 * np.pi)
    return np.fft.irfft2(np.fft.rfft2(values) * kept, s=grid)


class Flow:
    """A flow over a unit of time that remembers how many steps it took the first time.

    Within an iteration the fields hardly differ, and are not worth a new search for steps.
    """

    def __init__(
        self,
        lengths: Lengths,
        solve: Callable[[Any, Lengths, float, int | None], Any],
        tolerance: float | None = None,
        steps: int | None = None,
    ) -> None:
        self._lengths, self._solve, self._steps = lengths, solve, steps
        self._tolerance = checked_tolerance(tolerance, lengths, _STEPPING)

    def __call__(self, field: Any) -> TorusMap:
        """Return where the field leads."""
        end, self._steps = self._solve(field, self._lengths, self._tolerance, self._steps)
        return TorusMap(end, self._lengths)


def checked_tolerance(tolerance: float | None, lengths: Lengths, share: float = _SOLVING) -> float:
    """Return a tolerance in the unit of length, by default a share of the longer period."""
    if tolerance is None:
        return share * max(lengths)
    if not 0.0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be a positive length, got {tolerance!r}")
    return float(tolerance)


def checked_steps(steps: int | None) -> int | None:
    """Return a number of steps, or None where the tolerance decides."""
    if steps is not None and (isinstance(steps, bool) or int(steps) != steps or steps < 1):
        raise ValueError(f"steps must be a positive whole number, got {steps!r}")
    return None if steps is None else int(steps)
