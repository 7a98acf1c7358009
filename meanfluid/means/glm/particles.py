"""The generalised Lagrangian mean of an ensemble of flows that start from common labels."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.fields.velocity_field import Array
from meanfluid.means.glm.algebra import checked_rotation, lifting, matrix_norm
from meanfluid.means.glm.assembly import (
    Members,
    Uncertainty,
    assembled,
    probed,
    reach,
    spread_out,
)
from meanfluid.means.glm.ensembles import (
    NOISE,
    Ensemble,
    EnsembleLike,
    Flights,
    checked_options,
    ensemble_of,
    flown,
    invertible,
)
from meanfluid.means.glm.labelled import AT_DISPLACED, first_of, found_in, quantities_of
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.glm.values import Local, checked_observables, met
from meanfluid.means.inversion import inverted
from meanfluid.trajectories.checks import checked_policies, checked_positions, checked_times
from meanfluid.trajectories.control import Status, raise_on_failure
from meanfluid.trajectories.doors import Found, on_labels_or
from meanfluid.trajectories.results import vector_norm

_EPS = float(np.finfo(float).eps)


@on_labels_or(
    GeneralisedLagrangianMean,
    quantities_of(GeneralisedLagrangianMean),
    comment=AT_DISPLACED,
    over="realization",
    by_chunks=False,
    field_of=first_of,
)
def ensemble_mean(
    ensemble: EnsembleLike,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Literal["mean", "initial"] = "mean",
    phases: int | None = None,
    period: float | None = None,
    observables: Mapping[str, Observable] | None = None,
    rotation: Any = None,
    on_failure: Literal["raise", "mark"] = "raise",
    **options: Any,
) -> Found:
    r"""Generalised Lagrangian mean at one time, `end`, of members that agree at `start`.

    Member alpha carries the particle of label a to :math:`\phi^\alpha(a)`. The mean position is
    :math:`\bar\phi(a) = \langle \phi^\alpha(a) \rangle`, in Cartesian coordinates, and
    :math:`\xi^\alpha(\bar x) = \phi^\alpha(\bar\phi^{-1}(\bar x)) - \bar x`. Gradients of xi
    come from those of the flow maps, so that no result is a finite difference.

    Parameters
    ----------
    ensemble : sequence of VelocityField, callable, or VelocityField
        The members, with equal weights; or ``f(phase)``, of period 2 pi, which returns the member
        of that phase; or one field of period `period` in time, whose members start later by parts
        of the period. Members that differ by parameters only are compiled once.
    position : (n, dimension), length
        Mean positions at `end`, or labels at `start`.
    start, end : float or (n,), time
        ``end < start`` runs backwards.
    label : "mean" or "initial"
        Which of the two `position` is.
    phases : int, optional
        Even; 16 by default. The mean over phases is the trapezoidal rule, of spectral accuracy.
    period : float, optional, time
    observables : mapping of str to callable, optional
        Each ``g(m, p, t, x, y[, z])``, which may ask for `velocity` and `gradient`.
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame, in pseudomomentum.
    on_failure : "raise" or "mark"
        What happens to points whose trajectories fail, or that are no mean position.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    GeneralisedLagrangianMean
        xarray in gives xarray out, with error and status: a Dataset of all that is one number or
        vector at a mean position; see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a point fails, unless it is to be marked.

    References
    ----------
    Andrews & McIntyre (1978), J. Fluid Mech. 89, 609-646.
    """
    checked_options(options)
    checked_policies(on_failure, options.get("out_of_domain") or on_failure)
    if label not in ("mean", "initial"):
        raise ValueError(f'label must be "mean" or "initial", got {label!r}')
    members = ensemble_of(ensemble, phases, period)
    f = checked_rotation(rotation, members.dimension)
    functions = dict(observables or {})
    checked_observables(members.fields[0], functions)
    x = np.array(devices.to_host(checked_positions(position, members.dimension)))
    begin, stop = (
        np.broadcast_to(devices.to_host(checked_times(name, time, len(x))), (len(x),))
        for name, time in (("start", start), ("end", end))
    )
    if devices.is_on_gpu(position):
        options = {"device": "cuda"} | options
    labels, status = (
        (x, np.zeros(len(x), dtype=np.int8))
        if label == "initial"
        else _labels(members, x, begin, stop, options)
    )
    usable = status == Status.OK
    flights = flown(members, np.where(usable[:, None], labels, x), begin, stop, options)
    status = np.where(usable, flights.status, status).astype(np.int8)
    folded = (status == Status.OK) & ~invertible(flights.gradient.mean(axis=0))
    status[folded] = Status.NOT_INVERTIBLE
    raise_on_failure(status, x, on_failure, options.get("out_of_domain") or on_failure)
    good = status == Status.OK
    target = x[good] if label == "mean" else None
    result = _averaged(members, flights, good, target, (labels, stop), functions, f)
    result = devices.at_home(spread_out(result, good, status), position, but=("provenance",))
    return found_in(result, result.provenance)


def _labels(
    ensemble: Ensemble, x: Array, start: Array, end: Array, options: Any
) -> tuple[Array, Any]:
    """Return the labels whose mean positions are x, and statuses."""
    back = flown(ensemble, x, end, start, options).position.mean(axis=0)
    guess = np.where(np.isfinite(back), back, x)
    first = flown(ensemble, guess, start, end, options)
    size = vector_norm(x) + vector_norm(x - guess)
    noise = NOISE * (first.error.mean(axis=0) + _EPS * size)

    def mean_map(labels: Array, which: Any) -> tuple[Array, Array]:
        flights = flown(ensemble, labels, start[which], end[which], options)
        return flights.position.mean(axis=0), flights.gradient.mean(axis=0)

    tolerance = np.where(np.isfinite(noise), noise, NOISE * _EPS * size)
    inverse = inverted(mean_map, x, guess, tolerance)
    lost = np.where(first.status == Status.OK, Status.NOT_INVERTIBLE, first.status)
    return inverse.position, np.where(inverse.found, Status.OK, lost).astype(np.int8)


def _averaged(
    ensemble: Ensemble, flights: Flights, good: Any, target: Array | None,
    given: tuple[Array, Array], functions: dict[str, Observable], rotation: Any,
) -> GeneralisedLagrangianMean:  # fmt: skip
    """Average over the points that are good; the target is the mean position asked for."""
    labels, stop = given
    place, slope = flights.position[:, good], flights.gradient[:, good]
    error, slope_error = flights.error[:, good], flights.gradient_error[:, good]
    time = stop[good] + ensemble.shift[:, None]

    def evaluate(there: Array) -> Local:
        return met(ensemble.fields, time, there, functions)

    mean, displacement, gradient = _about_the_mean(place, slope)
    if target is None:
        target, residual = mean, np.zeros(len(mean))
    else:  # the inversion stops at a distance from its target
        residual = vector_norm(mean - target)
    displaced, undisplaced = evaluate(place), evaluate(np.broadcast_to(target, place.shape))
    members = Members(displacement, gradient, displaced, undisplaced)
    uncertainty = _uncertainty(members, error, slope_error, slope, place, evaluate, residual)
    given_fields = {
        "position": target,
        "initial_position": labels[good],
        "status": np.zeros(len(mean), dtype=np.int8),
        "period": None,
        "provenance": flights.provenance | {"members": len(ensemble.fields)},
    }
    return assembled(members, uncertainty, rotation, given_fields, phases=ensemble.phases)


def _about_the_mean(place: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Mean position, displacements from it, and their gradients with respect to it."""
    mean = place.mean(axis=0)
    gradient = np.linalg.solve(
        slope.mean(axis=0).swapaxes(-1, -2), (slope - slope.mean(axis=0)).swapaxes(-1, -2)
    ).swapaxes(-1, -2)
    return mean, place - mean, gradient


def _uncertainty(
    members: Members, error: Array, slope_error: Array, slope: Array, place: Array, evaluate: Any,
    residual: Array,
) -> Uncertainty:  # fmt: skip
    """How well displacements are known, and what is met there."""
    position = error.mean(axis=0) + residual
    lift = matrix_norm(lifting(members.gradient))
    smallest = np.linalg.svd(slope.mean(axis=0), compute_uv=False)[..., -1]
    of_gradient = (slope_error + lift * slope_error.mean(axis=0)) / smallest
    distance = reach(members.gradient, error, position)
    displaced = probed(evaluate, place, distance, members.displaced)
    return Uncertainty(position, error + error.mean(axis=0), of_gradient, displaced)
