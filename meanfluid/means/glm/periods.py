r"""Lagrangian periods of particles in progressive waves.

A particle in a wave that depends on the phase :math:`\theta = k \cdot x - \omega t` meets it again
when theta has changed by 2 pi along its own path: after the Lagrangian period, not after
:math:`2 \pi / \omega`. Its displacement over that time, divided by it, is its drift.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.errors import TrajectoryError
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means.glm.ensembles import checked_options, marked
from meanfluid.trajectories.checks import (
    checked_field,
    checked_policies,
    checked_positions,
    checked_times,
)
from meanfluid.trajectories.control import Status, raise_on_failure
from meanfluid.trajectories.doors import Found, Quantity, on_labels_or
from meanfluid.trajectories.results import vector_norm

_EPS = float(np.finfo(float).eps)
_ITERATIONS = 80
_LONGEST = 200.0  # periods at a place after which a particle is taken to ride the wave
_SAMPLES = 16  # of the phase, where the field is looked at
_BESIDE = 0.37  # part of a period after which a field is looked at again


@dataclass(frozen=True, eq=False)
class Wave:
    """A field that depends on time through the phase k.x - omega t only.

    Attributes
    ----------
    field : VelocityField
    wavevector : (dimension,), 1 / length
        Zero if all of the fluid oscillates together.
    frequency : float, 1 / time
    tolerance : float
        Relative to the largest speed: what counts as the same velocity.
    """

    field: VelocityField
    wavevector: Array
    frequency: float
    tolerance: float

    @property
    def progressive(self) -> bool:
        """Whether the phase depends on position."""
        return bool(self.wavevector.any())

    def at_phase(self, position: Array, time: Array, phase: Any) -> tuple[Array, Array]:
        """Return positions and times at which the phase is larger by `phase`, float or (n,)."""
        if self.progressive:
            k = self.wavevector
            return position + np.multiply.outer(phase, k / (k @ k)), time
        return position, time - phase / self.frequency


@dataclass(frozen=True, eq=False)
class LagrangianPeriod:
    """How long particles take to meet the same phase again, and where they drift meanwhile.

    Attributes
    ----------
    period : (n,), time
    drift : (n, dimension), length / time
        Displacement over one period, divided by it: the Lagrangian mean of velocity.
    period_error, drift_error : (n,)
        Estimated.
    status : (n,) int8
        See `meanfluid.Status`; NOT_INVERTIBLE where there is no period, or the particle does not
        meet the same velocity after it.
    """

    period: Any
    drift: Any
    period_error: Any
    drift_error: Any
    status: Any


_QUANTITIES = {
    "period": Quantity("period", "Lagrangian period", "time", mean=False),
    "drift": Quantity("drift", "displacement over a Lagrangian period, by it", "velocity"),
}


@on_labels_or(LagrangianPeriod, _QUANTITIES, by_chunks=False)
def lagrangian_period(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    *,
    wavevector: ArrayLike,
    frequency: float,
    tolerance: float = 1e-8,
    on_failure: Literal["raise", "mark"] = "raise",
    **options: Any,
) -> Found:
    """Lagrangian period and drift of particles in a progressive wave.

    Parameters
    ----------
    field : VelocityField
        Which depends on time through the phase k.x - omega t only.
    position : (n, dimension), length
        At `start`.
    start : float or (n,), time
    wavevector : (dimension,), 1 / length
        k. Zero if all of the fluid oscillates together; the period is then that of the field.
    frequency : float, 1 / time
        omega. May be zero in a steady flow that is periodic along k.
    tolerance : float
        Relative to the largest speed: what counts as the same velocity, when the field is held to
        the phase it should depend on and each particle to its return.
    on_failure : "raise" or "mark"
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    LagrangianPeriod
        xarray in gives xarray out, with errors and status: see `trajectories.doors.on_labels`. The
        window of each particle is its period.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or the field is no such wave.
    TrajectoryError
        If a particle fails or never meets the phase again, unless it is to be marked.
    """
    checked_options(options)
    out_of_domain = options.get("out_of_domain") or on_failure
    checked_policies(on_failure, out_of_domain)
    x, time, options = on_host(field, position, start, options)
    wave = checked_wave(field, wavevector, frequency, tolerance, x, time)
    period, path, status = period_of(wave, x, time, options)
    raise_on_failed_orbits(status, x, on_failure, out_of_domain)
    drift = path.displacement / period[:, None]
    speed = vector_norm(drift)
    late = period_error(wave, path, time + period)
    doubt = (path.error + 2 * speed * late) / period
    record = devices.at_home(LagrangianPeriod(period, drift, late, doubt, status), position)
    return Found(
        {"period": record.period, "drift": record.drift},
        {"period": record.period_error, "drift": record.drift_error},
        record.status, record, ends_of(time, period), path.provenance,
    )  # fmt: skip


def ends_of(start: Array, period: Array) -> Array:
    """Return the ends of orbits, their starts where there is no period."""
    return np.asarray(start + np.where(np.isfinite(period), period, 0.0))


def raise_on_failed_orbits(status: Any, x: Array, on_failure: str, out_of_domain: str) -> None:
    """Raise a `TrajectoryError` if particles failed, or have no period, unless they are marked."""
    lost = np.flatnonzero(status == Status.NOT_INVERTIBLE)
    if lost.size and on_failure == "raise":
        raise TrajectoryError(
            f"{lost.size} of {status.size} orbits have no mean position; the first, at "
            f"{x[lost[0]].tolist()}, rides the wave, or does not meet the same velocity again "
            "after the phase, or is no mean position that Newton steps from guess= come to. "
            'on_failure="mark" gives NaN and a status instead of raising'
        )
    raise_on_failure(status, x, on_failure, out_of_domain)


def on_host(
    field: VelocityField, position: Any, start: Any, options: dict[str, Any]
) -> tuple[Array, Array, dict[str, Any]]:
    """Return positions and times (n,) on the host, and options that integrate where they were."""
    checked_field(field)
    x = np.array(devices.to_host(checked_positions(position, field.dimension)))
    time = np.broadcast_to(devices.to_host(checked_times("start", start, len(x))), (len(x),))
    if devices.is_on_gpu(position):
        options = {"device": "cuda"} | options
    return x, time, options


def checked_wave(
    field: VelocityField, wavevector: Any, frequency: Any, tolerance: Any, x: Array, time: Array
) -> Wave:
    """Return the wave, if the velocity at some positions and times is one of its phase.

    Raises
    ------
    ValueError
    """
    k = np.asarray(devices.to_host(wavevector), dtype=float)
    if k.shape != (field.dimension,) or not np.isfinite(k).all():
        raise ValueError(
            f"wavevector must hold {field.dimension} finite numbers, got {wavevector!r}"
        )
    number = isinstance(frequency, int | float | np.number)
    if not number or not math.isfinite(frequency) or (frequency == 0 and not k.any()):
        raise ValueError(
            "frequency must be a finite number, and not zero unless the wavevector is not, got "
            f"{frequency!r}"
        )
    if not isinstance(tolerance, int | float | np.number) or not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be a number between 0 and 1, got {tolerance!r}")
    wave = Wave(field, k, float(frequency), float(tolerance))
    _require_phase(wave, x, time)
    return wave


def _require_phase(wave: Wave, x: Array, time: Array) -> None:
    """Refuse a field that changes where the phase does not, or at other phases by 2 pi."""
    k, speed = wave.wavevector, _speed(wave, x, time)
    here, samephase = wave.field.velocity(time, x), [wave.at_phase(x, time, 2 * math.pi)]
    if wave.progressive:
        later = _BESIDE * _eulerian_period(wave, speed)
        samephase.append((x + k * (wave.frequency * later / (k @ k)), time + later))
    changes = [wave.field.velocity(now, there) - here for there, now in samephase]
    away = np.max([np.abs(change).max(axis=1) for change in changes], axis=0)
    wrong = np.flatnonzero(away > wave.tolerance * speed)
    if wrong.size:
        raise ValueError(
            f"{wave.field.name} is no wave of wavevector {k.tolist()} and frequency "
            f"{wave.frequency}: its velocity changes by {away[wrong[0]]:.2g} at the same phase, "
            f"near {x[wrong[0]].tolist()}"
        )


def _speed(wave: Wave, x: Array, time: Array) -> float:
    """Return the scale of velocity; some phases may be where the field means nothing."""
    samples = []
    for j in range(_SAMPLES):
        there, now = wave.at_phase(x, time, 2 * math.pi * j / _SAMPLES)
        samples.append(np.abs(wave.field.velocity(now, there)).max(axis=1))
    known = np.array(samples)
    known = known[np.isfinite(known)]
    first = samples[0][np.isfinite(samples[0])]
    return max(float(np.median(known)), float(first.max(initial=0.0))) if known.size else 0.0


def _eulerian_period(wave: Wave, speed: float) -> float:
    """Period at a place, or if the field is steady the time to pass one wave at some speed."""
    if wave.frequency != 0:
        return 2 * math.pi / abs(wave.frequency)
    return 2 * math.pi / (math.sqrt(wave.wavevector @ wave.wavevector) * speed) if speed else 1.0


def period_of(
    wave: Wave, x: Array, time: Array, options: dict[str, Any]
) -> tuple[Array, Any, Array]:
    """Return periods (n,), trajectories over them, and statuses.

    The phase met by a particle is brought to 2 pi from its first value by Newton steps in time,
    kept between bounds.
    """
    speed = _speed(wave, x, time)
    once = _eulerian_period(wave, speed)
    longest = _LONGEST * once
    period = np.full(len(x), once)
    path = marked(wave.field, x, time, time + once, options)
    status = path.status.copy()
    if wave.progressive:
        rate = path.displacement @ wave.wavevector / once - wave.frequency
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = np.minimum(2 * math.pi / np.abs(rate), longest)
        period = _solved(wave, (x, time), guess, longest, np.sign(rate), status, options)
        usable = np.where(status == Status.OK, period, 0.0)
        path = marked(wave.field, x, time, time + usable, options)
        status = np.where(status == Status.OK, path.status, status).astype(np.int8)
    good = status == Status.OK
    before = wave.field.velocity(time[good], x[good])
    after = wave.field.velocity((time + period)[good], path.position[good])
    feigned = 20 * math.pi * path.error[good] / period[good]  # by the error of integration
    returned = np.abs(after - before).max(axis=1) <= wave.tolerance * speed + feigned
    status[np.flatnonzero(good)[~returned]] = Status.NOT_INVERTIBLE
    period[status != Status.OK] = np.nan
    return period, path, status


def _solved(
    wave: Wave, particles: tuple[Array, Array], guess: Array, longest: float, direction: Array,
    status: Array, options: dict[str, Any],
) -> Array:  # fmt: skip
    """Return periods; `status` is changed where there is none."""
    x, time = particles
    period, low, high = guess.copy(), np.zeros(len(x)), np.full(len(x), np.inf)
    open_ = np.flatnonzero(status == Status.OK)
    for _ in range(_ITERATIONS):
        if open_.size == 0:
            break
        t, now = time[open_], period[open_]
        path = marked(wave.field, x[open_], t, t + now, options)
        turned = path.displacement @ wave.wavevector - wave.frequency * now
        missing = direction[open_] * turned - 2 * math.pi
        slope = direction[open_] * _phase_rate(wave, path, t + now)
        low[open_] = np.where(missing < 0, np.maximum(low[open_], now), low[open_])
        high[open_] = np.where(missing >= 0, np.minimum(high[open_], now), high[open_])
        with np.errstate(all="ignore"):
            new = now - missing / slope
        done = np.abs(new - now) <= 2 * _EPS * (np.abs(t) + now) + 0.1 * _late(wave, path, slope)
        bounded = np.isfinite(high[open_])
        middle = np.where(bounded, (low[open_] + high[open_]) / 2, 2 * now)
        inside = (new > low[open_]) & (new < np.where(bounded, high[open_], 2 * now))
        period[open_] = np.where(inside | done, new, middle)
        failed = path.status != Status.OK
        status[open_[failed]] = path.status[failed]
        lost = ~failed & (period[open_] > longest)
        status[open_[lost]] = Status.NOT_INVERTIBLE
        open_ = open_[~(done | failed | lost)]
    status[open_] = Status.NOT_INVERTIBLE
    return period


def _phase_rate(wave: Wave, path: Any, time: Array) -> Array:
    """Rate (n,) at which particles change phase at the end of their paths."""
    known = np.isfinite(path.position).all(axis=1)
    rate = np.full(len(known), np.nan)
    velocity = wave.field.velocity(time[known], path.position[known])
    rate[known] = velocity @ wave.wavevector - wave.frequency
    return rate


def _late(wave: Wave, path: Any, rate: Array) -> Array:
    """Time by which a particle may meet a phase late, by what is not known of its position."""
    k = math.sqrt(wave.wavevector @ wave.wavevector)
    with np.errstate(all="ignore"):
        return np.asarray(k * path.error / np.abs(rate))


def period_error(wave: Wave, path: Any, end: Array) -> Array:
    """Estimate the error (n,) of periods, given the paths over them."""
    if not wave.progressive:
        return np.asarray(_EPS * np.abs(end))
    return 2 * _late(wave, path, _phase_rate(wave, path, end)) + 2 * _EPS * np.abs(end)
