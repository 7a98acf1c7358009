r"""Kelvin's theorem for the mean: circulation of Lagrangian-mean momentum around mean loops.

If the same labels make a loop :math:`C^\alpha` of every member and a loop :math:`\bar C` of mean
positions,

.. math:: \oint_{\bar C} (\bar u^L - p) \cdot d\bar x
          = \Bigl\langle \oint_{C^\alpha} u^\alpha \cdot dx \Bigr\rangle ,

and in an ideal barotropic fluid both stay the same while the loops move.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means.glm.algebra import checked_rotation, half_turned
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.periodic import derivative
from meanfluid.trajectories.results import vector_norm


@dataclass(frozen=True, eq=False)
class Kelvin:
    """Circulations around one loop, length^2 / time, with estimated errors.

    Attributes
    ----------
    of_mean : float
        Of Lagrangian-mean momentum around the loop of mean positions.
    mean_of : float
        Mean over the members of the circulation of velocity around their loops.
    of_mean_error, mean_of_error : float
    """

    of_mean: float
    mean_of: float
    of_mean_error: float
    mean_of_error: float


def circulation(
    vector: Any, position: Any, *, winding: ArrayLike | None = None, return_error: bool = False
) -> Any:
    """Circulation of a vector around closed loops, by a rule of spectral accuracy.

    Parameters
    ----------
    vector : (..., n, dimension)
        At the points of each loop.
    position : (..., n, dimension), length
        An even number of points at equal steps of a parameter in which the loop is smooth and
        periodic. The first is not repeated.
    winding : (dimension,), optional, length
        By how much the loop is displaced after one turn, if it closes around a period of the
        domain.
    return_error : bool
        Whether to return the difference to the rule on every other point, too.

    Returns
    -------
    (...)
        And the error, if asked for.

    Raises
    ------
    ValueError
        If the shapes do not fit, the number of points is odd, or an array is not finite.
    """
    v = devices.as_cupy(vector) if devices.is_on_gpu(vector) else np.asarray(vector, dtype=float)
    x = devices.beside(v, position)
    if v.shape != x.shape or x.ndim < 2:
        raise ValueError(
            f"vector and position must have one shape (..., points, dimension), got {v.shape} and "
            f"{x.shape}"
        )
    if x.shape[-2] % 2 or x.shape[-2] < 4:
        raise ValueError(
            "a loop needs an even number of at least 4 points (every other one tells the error), "
            f"got {x.shape[-2]}"
        )
    if not bool(np.isfinite(x).all() and np.isfinite(v).all()):
        raise ValueError("vector and position must be finite at all points of a loop")
    turn = np.zeros(x.shape[-1]) if winding is None else np.asarray(winding, dtype=float)
    if turn.shape != x.shape[-1:] or not np.isfinite(turn).all():
        raise ValueError(f"winding must hold {x.shape[-1]} finite numbers, got {winding!r}")
    turn = devices.beside(v, turn)
    value = _around(v, x, turn)
    if not return_error:
        return value
    rounding = np.finfo(float).eps * abs(v * x).sum(axis=(-2, -1))
    return value, abs(value - _around(v[..., ::2, :], x[..., ::2, :], turn)) + rounding


def _around(vector: Any, position: Any, turn: Any) -> Any:
    count = position.shape[-2]
    part = np.arange(count, like=position)[:, None] / count
    tangent = derivative(position - part * turn, -2, 1.0) + turn
    return (vector * tangent).sum(axis=(-2, -1)) / count


def kelvin(
    result: GeneralisedLagrangianMean, *, winding: ArrayLike | None = None, rotation: Any = None
) -> Kelvin:
    """Both sides of Kelvin's theorem around one loop.

    Parameters
    ----------
    result : GeneralisedLagrangianMean
        Of points along a closed loop, at equal steps of a parameter; with ``label="initial"`` a
        material loop is followed in time.
    winding : (dimension,), optional, length
        As in `circulation`.
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame, with which `result` was made: circulations are
        then absolute, those of u + f x x / 2.

    Returns
    -------
    Kelvin

    Raises
    ------
    ValueError
        If a point of the loop failed, or the number of points is odd.
    """
    mean = np.array(devices.to_host(result.position))
    momentum = np.array(devices.to_host(result.momentum))
    velocity = np.array(devices.to_host(result.displaced_velocity))
    place = mean + devices.to_host(result.displacement)
    f = checked_rotation(rotation, mean.shape[-1])
    if f is not None:
        momentum, velocity = momentum + half_turned(f, mean), velocity + half_turned(f, place)
    of_mean, coarse = circulation(momentum, mean, winding=winding, return_error=True)
    each, each_error = circulation(velocity, place, winding=winding, return_error=True)
    length = _length(mean)
    of_momentum = devices.to_host(result.errors["momentum"])
    of_velocity = devices.to_host(result.errors["mean_velocity"])
    speed = float(vector_norm(velocity).mean())
    shift = devices.to_host(result.errors["displacement"])
    return Kelvin(
        float(of_mean),
        float(each.mean()),
        float(coarse) + float(of_momentum.mean()) * length,
        float(each_error.mean()) + float(of_velocity.mean()) * length
        + 2 * np.pi * speed * float(shift.max()),
    )  # fmt: skip


def _length(loop: Array) -> float:
    """Length of the closed polygon through the points."""
    return float(vector_norm(loop - np.roll(loop, 1, axis=0)).sum())
