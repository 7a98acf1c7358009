"""The generalised Lagrangian mean from displacements that are known as formulas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.backends.derivatives import differentiated
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array, NoParameters
from meanfluid.means.glm.algebra import checked_rotation, matrix_norm
from meanfluid.means.glm.assembly import Members, Uncertainty, assembled, probed
from meanfluid.means.glm.checks import require_zero_mean
from meanfluid.means.glm.ensembles import Ensemble, EnsembleLike, ensemble_of
from meanfluid.means.glm.labelled import AT_DISPLACED, first_of, found_in, quantities_of
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.glm.values import checked_observables, met
from meanfluid.trajectories.checks import checked_positions, checked_times
from meanfluid.trajectories.doors import Found, name_of, on_labels_or
from meanfluid.trajectories.results import described, vector_norm


@on_labels_or(
    GeneralisedLagrangianMean,
    quantities_of(GeneralisedLagrangianMean),
    comment=AT_DISPLACED,
    over="realization",
    by_chunks=False,
    field_of=first_of,
)
def closed_form_mean(
    ensemble: EnsembleLike,
    displacement: Any,
    position: ArrayLike,
    time: ArrayLike,
    *,
    parameters: Any = None,
    phases: int | None = None,
    period: float | None = None,
    observables: Mapping[str, Observable] | None = None,
    rotation: Any = None,
) -> Found:
    """Generalised Lagrangian mean at mean positions, given the displacement as a formula.

    Parameters
    ----------
    ensemble, phases, period
        As in `ensemble_mean`: the velocity fields of the members.
    displacement : callable ``xi(m, p, t, x, y[, z])``
        Like a body: one component per coordinate, at the mean position. Its gradient is the exact
        derivative. Its mean over the members must be zero.
    position : (n, dimension), length
        Mean positions.
    time : float or (n,), time
    parameters : NamedTuple, or sequence of NamedTuple, optional
        What the displacement calls `p`, for all members or for each; where one field makes the
        ensemble, displacements are taken at the later times of the members, too.
    observables, rotation
        As in `ensemble_mean`.

    Returns
    -------
    GeneralisedLagrangianMean
        `initial_position` is None. Errors are of rounding and of the number of phases.
        xarray in gives xarray out, with error and status: a Dataset of all that is one number or
        vector at a mean position; see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or displacement has a mean.
    """
    members = ensemble_of(ensemble, phases, period)
    d = members.dimension
    f = checked_rotation(rotation, d)
    functions = dict(observables or {})
    checked_observables(members.fields[0], functions)
    x = np.array(devices.to_host(checked_positions(position, d)))
    now = np.broadcast_to(devices.to_host(checked_times("time", time, len(x))), (len(x),))
    records = _records(parameters, len(members.fields))
    xi, gradient = _displacements(members, displacement, records, x, now)
    require_zero_mean(xi)
    place, mean = x + xi, np.broadcast_to(x, xi.shape)
    displaced = met(members.fields, now + members.shift[:, None], mean + xi, functions)
    undisplaced = met(members.fields, now + members.shift[:, None], mean, functions)
    several = Members(xi, gradient, displaced, undisplaced)
    rounding = np.finfo(float).eps * vector_norm(place)

    def evaluate(there: Array) -> Any:
        return met(members.fields, now + members.shift[:, None], there, functions)

    uncertainty = Uncertainty(
        rounding.max(axis=0),
        rounding,
        4 * np.finfo(float).eps * (1 + matrix_norm(gradient)),
        probed(evaluate, place, rounding, displaced),
    )
    given = {
        "position": x,
        "initial_position": None,
        "status": np.zeros(len(x), dtype=np.int8),
        "period": None,
        "provenance": {
            "field": members.fields[0].name,
            **described(members.fields[0]),
            "members": len(members.fields),
            "displacement": name_of(displacement, "displacement"),
        },
    }
    result = assembled(several, uncertainty, f, given, phases=members.phases)
    return found_in(devices.at_home(result, position, but=("provenance",)), result.provenance)


def _records(parameters: Any, count: int) -> Sequence[Any]:
    """Return the parameters of each member."""
    if parameters is None:
        return [NoParameters()] * count
    if isinstance(parameters, tuple) and hasattr(parameters, "_fields"):
        return [parameters] * count
    records = list(parameters)
    fitting = all(isinstance(p, tuple) and hasattr(p, "_fields") for p in records)
    if len(records) != count or not fitting:
        raise ValueError(
            f"parameters must be a NamedTuple, or one for each of the {count} members, got "
            f"{parameters!r}"
        )
    return records


def _displacements(
    ensemble: Ensemble, displacement: Any, records: Sequence[Any], x: Array, time: Array
) -> tuple[Array, Array]:
    """Displacements and their gradients at mean positions x."""
    n, d = x.shape
    values = []
    for p, shift in zip(records, ensemble.shift, strict=True):
        function = differentiated(displacement, type(p), d, by=("x", "y", "z")[:d])
        with np.errstate(all="ignore"):
            parts = function(numpy_functions, p, time + shift, *x.T)
        if len(parts) != d * (1 + d):
            raise ValueError(
                f"displacement must return a tuple of {d} components, one per coordinate, got "
                f"{len(parts) // (1 + d)}"
            )
        values.append(np.stack([np.broadcast_to(part, (n,)) for part in parts], axis=-1))
    flat = np.stack(values)
    if not np.isfinite(flat).all():
        raise ValueError("displacement and its gradient must be finite at all mean positions")
    return flat[..., :d], flat[..., d:].reshape(*flat.shape[:2], d, d)
