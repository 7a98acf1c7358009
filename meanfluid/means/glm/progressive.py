"""The generalised Lagrangian mean of a progressive wave over its phase."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means.glm.algebra import checked_rotation
from meanfluid.means.glm.assembly import (
    Members,
    Uncertainty,
    assembled,
    probed,
    reach,
    spread_out,
)
from meanfluid.means.glm.ensembles import NOISE, PHASES, checked_options, checked_phases
from meanfluid.means.glm.labelled import AT_DISPLACED, found_in, quantities_of
from meanfluid.means.glm.orbits import Orbits, orbits_of
from meanfluid.means.glm.periods import Wave, checked_wave, ends_of, on_host, raise_on_failed_orbits
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.glm.values import Local, checked_observables, local, met, stacked
from meanfluid.means.inversion import inverted
from meanfluid.trajectories.checks import checked_policies, checked_positions
from meanfluid.trajectories.control import Status
from meanfluid.trajectories.doors import Found, on_labels_or
from meanfluid.trajectories.results import vector_norm

_EPS = float(np.finfo(float).eps)


@on_labels_or(
    GeneralisedLagrangianMean,
    quantities_of(GeneralisedLagrangianMean),
    comment=AT_DISPLACED,
    by_chunks=False,
)
def orbit_mean(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    *,
    wavevector: ArrayLike,
    frequency: float,
    label: Literal["mean", "initial"] = "mean",
    guess: ArrayLike | None = None,
    phases: int = 2 * PHASES,
    observables: Mapping[str, Observable] | None = None,
    rotation: Any = None,
    tolerance: float = 1e-8,
    on_failure: Literal["raise", "mark"] = "raise",
    **options: Any,
) -> Found:
    """Generalised Lagrangian mean of a progressive wave over its phase, one orbit per point.

    The mean is over the Lagrangian period, along which all phases are met evenly, so that
    displacements have zero mean about the mean position.

    Parameters
    ----------
    field : VelocityField
        Which depends on time through the phase k.x - omega t only; there may be a mean flow.
    position : (n, dimension), length
        Mean positions at `start`, or positions of particles at `start`.
    start : float or (n,), time
    wavevector : (dimension,), 1 / length
        k. Zero if all of the fluid oscillates together.
    frequency : float, 1 / time
        omega.
    label : "mean" or "initial"
        Which of the two `position` is.
    guess : (n, dimension), optional, length
        With the label "mean", where the particles roughly are at `start`, for the Newton steps
        that look for them; the mean positions themselves by default.
    phases : int
        Even; times of each orbit over which means are taken, by the trapezoidal rule.
    observables, rotation, on_failure
        As in `ensemble_mean`.
    tolerance : float
        As in `lagrangian_period`.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    GeneralisedLagrangianMean
        Its members are the phases met along each orbit. xarray in gives xarray out, with error and
        status: a Dataset of all that is one number or vector at a mean position; see
        `trajectories.doors.on_labels`. The window of each orbit is its Lagrangian period.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or the field is no such wave.
    TrajectoryError
        If a particle fails or has no Lagrangian period, or a point is no mean position, unless it
        is to be marked.
    """
    checked_options(options)
    out_of_domain = options.get("out_of_domain") or on_failure
    checked_policies(on_failure, out_of_domain)
    if label not in ("mean", "initial"):
        raise ValueError(f'label must be "mean" or "initial", got {label!r}')
    x, time, options = on_host(field, position, start, options)
    first = x if guess is None else _checked_guess(guess, x)
    wave = checked_wave(field, wavevector, frequency, tolerance, first, time)
    count, f = checked_phases(phases), checked_rotation(rotation, field.dimension)
    functions = dict(observables or {})
    checked_observables(field, functions)
    if label == "initial":
        if guess is not None:
            raise ValueError('guess= goes with label="mean": initial positions are known')
        labels, status = x, np.zeros(len(x), dtype=np.int8)
    else:
        labels, status = _labels(wave, x, first, time, count, options)
    usable = status == Status.OK
    labels = np.where(usable[:, None], labels, x)
    orbits = orbits_of(wave, labels, time, count, options)
    status = np.where(usable, orbits.status, status).astype(np.int8)
    raise_on_failed_orbits(status, x, on_failure, out_of_domain)
    good = status == Status.OK
    target = x if label == "mean" else orbits.mean
    result = _averaged(wave, orbits, good, (labels, target), functions, f)
    result = spread_out(result, good, status)
    end = ends_of(time, result.period)
    return found_in(devices.at_home(result, position, but=("provenance",)), result.provenance, end)


def _checked_guess(guess: Any, x: Array) -> Array:
    first = np.array(devices.to_host(checked_positions(guess, x.shape[1])))
    if first.shape != x.shape:
        raise ValueError(f"guess must have the shape {x.shape} of position, got {first.shape}")
    return first


def _labels(
    wave: Wave, x: Array, guess: Array, time: Array, phases: int, options: Any
) -> tuple[Array, Any]:
    """Return the particles whose mean positions are x, and statuses."""
    first = orbits_of(wave, guess, time, phases, options)
    noise = NOISE * (first.error.mean(axis=0) + _EPS * vector_norm(x))

    def mean_map(labels: Array, which: Any) -> tuple[Array, Array]:
        orbits = orbits_of(wave, labels, time[which], phases, options)
        return orbits.mean, orbits.mean_gradient

    inverse = inverted(mean_map, x, guess, np.where(np.isfinite(noise), noise, 0.0))
    lost = np.where(first.status == Status.OK, Status.NOT_INVERTIBLE, first.status)
    return inverse.position, np.where(inverse.found, Status.OK, lost).astype(np.int8)


def _averaged(
    wave: Wave, orbits: Orbits, good: Any, places: tuple[Array, Array],
    functions: dict[str, Observable], rotation: Any,
) -> GeneralisedLagrangianMean:  # fmt: skip
    """Average over the orbits that are good; places are initial positions and targets."""
    labels, target = (place[good] for place in places)
    mean, time, error = orbits.mean[good], orbits.time[:, good], orbits.error[:, good]
    place, gradient = orbits.position[:, good], orbits.gradient[:, good]
    fields = [wave.field] * len(time)

    def evaluate(there: Array) -> Local:
        return met(fields, time, there, functions)

    displaced = evaluate(place)
    undisplaced = _at_rest(wave, target, time, orbits.direction[good], functions)
    members = Members(orbits.displacement[:, good], gradient, displaced, undisplaced)
    off = error.mean(axis=0) + vector_norm(mean - target)
    uncertainty = Uncertainty(
        off,
        error + error.mean(axis=0),
        orbits.gradient_error[:, good],
        probed(evaluate, place, reach(gradient, error, off), displaced),
    )
    named = {"wavevector": wave.wavevector.tolist(), "frequency": wave.frequency}
    given = {
        "position": target,
        "initial_position": labels,
        "status": np.zeros(len(target), dtype=np.int8),
        "period": orbits.period[good],
        "provenance": orbits.provenance | named | {"members": len(time)},
    }
    return assembled(members, uncertainty, rotation, given, phases=True)


def _at_rest(
    wave: Wave, mean: Array, time: Array, direction: Array, functions: dict[str, Observable]
) -> Local:
    """Evaluate the field at the mean positions, at the phases of the members."""
    found = []
    for j in range(len(time)):
        there, now = wave.at_phase(mean, time[0], direction * (2 * np.pi * j / len(time)))
        found.append(local(wave.field, now, there, functions))
    return stacked(found)
