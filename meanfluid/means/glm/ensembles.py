"""Ensembles of flows, and the flow maps of their members from common initial positions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.checks import checked_field, refuse_options_of_trajectories
from meanfluid.trajectories.control import Status
from meanfluid.trajectories.flow_map import marking, trajectories

NOISE = 4.0  # errors of integration that the inverse of a mean map need not resolve
_SINGULAR = 1e-8  # ratio of singular values at which a mean map has folded

PHASES = 16  # spectral in the phase: enough for waves that do not nearly break

EnsembleLike = VelocityField | Sequence[VelocityField] | Callable[[float], VelocityField]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Fields, and by how much later each member starts.

    Attributes
    ----------
    fields : tuple of VelocityField
        One per member.
    shift : (members,), time
    phases : bool
        Whether members are equidistant phases, so that their mean is a quadrature.
    """

    fields: tuple[VelocityField, ...]
    shift: Array
    phases: bool

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return self.fields[0].dimension


def ensemble_of(members: Any, phases: int | None, period: float | None) -> Ensemble:
    """Return the ensemble that a caller means.

    Raises
    ------
    TypeError, ValueError
        If it is none, or `phases` or `period` do not go with it.
    """
    if isinstance(members, VelocityField):
        count = checked_phases(PHASES if phases is None else phases)
        number = isinstance(period, int | float | np.number)
        if period is None or not number or not 0 < period < math.inf:
            raise ValueError(
                "one field makes an ensemble of phases by starting at different times: pass its "
                f"period in time as period=, got {period!r}"
            )
        shift = np.arange(count, dtype=np.float64) * (float(period) / count)
        return Ensemble((members,) * count, shift, phases=True)
    if period is not None:
        raise ValueError("period= goes with a single field, whose phase is the time of its start")
    if callable(members):
        count = checked_phases(PHASES if phases is None else phases)
        fields = tuple(members(2 * math.pi * k / count) for k in range(count))
    else:
        if phases is not None:
            raise ValueError(
                "phases= goes with a function of the phase, or a single field; a sequence of "
                "fields is the ensemble"
            )
        fields = _sequence(members)
    for field in fields:
        checked_field(field)
        if field.dimension != fields[0].dimension:
            raise ValueError("all fields of an ensemble must have the same dimension")
    return Ensemble(fields, np.zeros(len(fields)), phases=callable(members))


def _sequence(members: Any) -> tuple[VelocityField, ...]:
    try:
        fields = tuple(members)
    except TypeError:
        raise TypeError(
            "an ensemble must be a sequence of VelocityFields, a function of the phase that "
            f"returns one, or a VelocityField with period=, got {type(members).__name__}"
        ) from None
    if len(fields) == 0:
        raise ValueError("an ensemble needs at least one field, got none")
    return fields


def checked_phases(phases: Any) -> int:
    """Return a number of phases that can be halved for an estimate of the error."""
    whole = isinstance(phases, int | np.integer) and not isinstance(phases, bool)
    if not whole or phases < 4 or phases % 2:
        raise ValueError(
            "phases must be an even number of at least 4 (every other one tells the error), got "
            f"{phases!r}"
        )
    return int(phases)


@dataclass(frozen=True, eq=False)
class Flights:
    """Where the members went from common initial positions.

    Attributes
    ----------
    position : (members, n, dimension)
    gradient : (members, n, dimension, dimension)
    error, gradient_error : (members, n)
    status : (n,) int8
        Of the first member that failed, 0 if none did.
    provenance : dict
    """

    position: Array
    gradient: Array
    error: Array
    gradient_error: Array
    status: Any
    provenance: dict[str, Any]


def flown(ensemble: Ensemble, x: Array, start: Array, end: Array, options: Any) -> Flights:
    """Integrate every member from x (n, d), times (n,) being those of a member without shift."""
    m, (n, d) = len(ensemble.fields), x.shape
    if all(field is ensemble.fields[0] for field in ensemble.fields):
        begin, stop = ((t + ensemble.shift[:, None]).ravel() for t in (start, end))
        path = marked(ensemble.fields[0], np.tile(x, (m, 1)), begin, stop, options)
        paths, shape = [path], (m, n)
    else:
        paths, shape = [marked(f, x, start, end, options) for f in ensemble.fields], (m, n)

    def joined(name: str, *trailing: int) -> Array:
        whole = np.concatenate([getattr(path, name) for path in paths])
        return whole.reshape(*shape, *trailing)

    status: Any = joined("status")
    first: Any = np.argmax(status != Status.OK, axis=0)
    return Flights(
        joined("position", d),
        joined("gradient", d, d),
        joined("error"),
        joined("gradient_error"),
        status[first, np.arange(n)],
        paths[0].provenance,
    )


def invertible(gradient: Array) -> Any:
    """Whether gradients (n, dimension, dimension) of a map are known and regular."""
    finite: Any = np.isfinite(gradient).all(axis=(-2, -1))
    usable = np.where(finite[:, None, None], gradient, 0.0)
    values = np.linalg.svd(usable, compute_uv=False)
    return finite & (values[:, -1] > _SINGULAR * np.maximum(values[:, 0], 1.0))


def marked(field: VelocityField, x: Array, start: Array, end: Array, options: Any) -> Any:
    """Integrate with the gradient of the flow map; failures are marked, whatever is asked for."""
    return trajectories(field, x, start, end, gradient=True, **marking(options)[0])


def checked_options(options: dict[str, Any]) -> None:
    """Refuse options of `trajectories` that these means set themselves."""
    refuse_options_of_trajectories(options)
    for name in ("estimate_error", "progress"):
        if name in options:
            raise ValueError(f"{name}= belongs to meanfluid.trajectories")
