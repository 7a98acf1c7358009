r"""Orbits of particles in progressive waves, over one Lagrangian period each.

Over its period T a particle goes through all phases of the wave, evenly in time. With the
drift taken out its path is periodic, :math:`P(t) = X(t) - (t - t_0) D`; the mean of P over
equidistant times is the mean position at :math:`t_0`, and P less that mean is the displacement xi.
Derivatives with respect to the mean position follow from the gradient of the flow map, since period
and drift are functions of the start whose derivatives it gives too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.means.glm.algebra import lifting, matrix_norm
from meanfluid.means.glm.ensembles import invertible, marked
from meanfluid.means.glm.periods import Wave, period_error, period_of
from meanfluid.trajectories.control import Status
from meanfluid.trajectories.results import vector_norm


@dataclass(frozen=True, eq=False)
class Orbits:
    """Particles at equidistant times of their Lagrangian periods.

    Attributes
    ----------
    mean : (n, dimension)
        Mean position at the start.
    mean_gradient : (n, dimension, dimension)
        Of the mean position with respect to the initial position.
    position : (phases, n, dimension)
    displacement : (phases, n, dimension)
        From the mean position, which moves with the drift.
    gradient : (phases, n, dimension, dimension)
        Of displacement, with respect to the mean position.
    time : (phases, n)
    error, gradient_error : (phases, n)
        Of displacement and its gradient, for fixed initial positions.
    period : (n,)
    direction : (n,)
        Sign of the change of phase along the path.
    status : (n,)
    provenance : dict
    """

    mean: Array
    mean_gradient: Array
    position: Array
    displacement: Array
    gradient: Array
    time: Array
    error: Array
    gradient_error: Array
    period: Array
    direction: Array
    status: Any
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Round:
    """Derivatives with respect to the initial position, at the end of the period.

    Attributes
    ----------
    rate : (n,)
        Of phase.
    of_period : (n, dimension)
    of_travel : (n, dimension, dimension)
        Of the displacement over the period.
    of_drift : (n, dimension, dimension)
    """

    rate: Array
    of_period: Array
    of_travel: Array
    of_drift: Array


def orbits_of(wave: Wave, x: Array, time: Array, phases: int, options: Any) -> Orbits:
    """Integrate particles at x at the times given over their periods; NaN where there is none."""
    n, d = x.shape
    period, once, status = period_of(wave, x, time, options)
    known = np.where(np.isfinite(period), period, 0.0)
    part = np.arange(phases)[:, None] / phases
    now = time + part * known
    begin = np.broadcast_to(time, now.shape)
    path = marked(wave.field, np.tile(x, (phases, 1)), begin.ravel(), now.ravel(), options)
    place = path.position.reshape(phases, n, d)
    slope = path.gradient.reshape(phases, n, d, d)
    velocity = _velocities(wave, place, now)
    end = _round(wave, once, time + known, period)
    s = part[..., None, None]
    bound = place - part[..., None] * once.displacement
    of_bound = slope + s * (velocity[..., None] * end.of_period[:, None, :] - end.of_travel)
    mean, of_mean = bound.mean(axis=0), of_bound.mean(axis=0)
    moving = of_mean + s * period[:, None, None] * end.of_drift
    regular = invertible(moving.reshape(-1, d, d)).reshape(phases, n).all(axis=0)
    status = np.where((status == Status.OK) & ~regular, Status.NOT_INVERTIBLE, status)
    moving[:, ~regular] = np.eye(d)
    gradient = _over(slope - moving, moving)
    speed = vector_norm(velocity)
    late = period_error(wave, once, time + known)
    error = path.error.reshape(phases, n) + once.error + 2 * part * speed * late
    own = path.gradient_error.reshape(phases, n)
    through = 1 + 2 * speed * np.sqrt(wave.wavevector @ wave.wavevector) / np.abs(end.rate)
    of_moving = own.mean(axis=0) + through * once.gradient_error
    lift = matrix_norm(lifting(gradient))
    smallest = np.linalg.svd(moving, compute_uv=False)[..., -1]
    return Orbits(
        mean, of_mean, place, bound - mean, gradient, now, error,
        (own + lift * of_moving) / smallest, period, np.sign(end.rate), status,
        path.provenance,
    )  # fmt: skip


def _round(wave: Wave, once: Any, end: Array, period: Array) -> _Round:
    """Differentiate the period, which ends at a phase, and the displacement over it."""
    velocity = _velocities(wave, once.position, end)
    rate = velocity @ wave.wavevector - wave.frequency
    turn = once.gradient - np.eye(velocity.shape[-1])
    with np.errstate(all="ignore"):
        of_period = -np.einsum("i,nij->nj", wave.wavevector, turn) / rate[:, None]
    of_travel = turn + velocity[:, :, None] * of_period[:, None, :]
    drift = once.displacement / period[:, None]
    of_drift = (of_travel - drift[:, :, None] * of_period[:, None, :]) / period[:, None, None]
    return _Round(rate, of_period, of_travel, of_drift)


def _over(numerator: Array, denominator: Array) -> Array:
    """Return matrices times the inverse of others."""
    solved = np.linalg.solve(denominator.swapaxes(-1, -2), numerator.swapaxes(-1, -2))
    return np.asarray(solved.swapaxes(-1, -2))


def _velocities(wave: Wave, place: Array, time: Array) -> Array:
    """Velocity (..., dimension) where positions are known, NaN elsewhere."""
    flat, times = place.reshape(-1, place.shape[-1]), time.ravel()
    known = np.isfinite(flat).all(axis=1)
    velocity = np.full_like(flat, np.nan)
    velocity[known] = wave.field.velocity(times[known], flat[known])
    return velocity.reshape(place.shape)
