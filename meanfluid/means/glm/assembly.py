"""Means and their errors from displacements of the members and what is met there."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.means.glm.algebra import densities, lifting, matrix_norm, pseudomomentum
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.glm.values import Local
from meanfluid.trajectories.results import vector_norm

_EPS = float(np.finfo(float).eps)
_EVEN = slice(None, None, 2)


@dataclass(frozen=True, eq=False)
class Members:
    """Where the members of an ensemble are, relative to mean positions, and what is there.

    Attributes
    ----------
    displacement : (members, n, dimension)
    gradient : (members, n, dimension, dimension)
    displaced : Local of (members, n)
        At the displaced positions.
    undisplaced : Local of (members, n)
        At the mean positions.
    """

    displacement: Array
    gradient: Array
    displaced: Local
    undisplaced: Local


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How well the members are known.

    Attributes
    ----------
    position : (n,)
        Distance in mean position.
    displacement, gradient : (members, n)
        At a fixed label.
    displaced : Local of (members, n)
        How much velocity, gradient and observables vary over the distance by which a displaced
        position may be wrong; norms.
    """

    position: Array
    displacement: Array
    gradient: Array
    displaced: Local


def reach(members_gradient: Array, displacement: Array, position: Array) -> Array:
    """Distance (members, n) by which displaced positions may be wrong."""
    return displacement + matrix_norm(lifting(members_gradient)) * position


def probed(
    evaluate: Callable[[Array], Local], position: Array, distance: Array, here: Local
) -> Local:
    """Change of local values over a distance along each axis in turn, as norms (members, n)."""
    velocity = gradient = 0.0
    values: dict[str, Any] = dict.fromkeys(here.values, 0.0)
    for k in range(position.shape[-1]):
        moved = np.array(position)
        moved[..., k] += distance
        there = evaluate(moved)
        velocity = velocity + ((there.velocity - here.velocity) ** 2).sum(axis=-1)
        gradient = gradient + ((there.gradient - here.gradient) ** 2).sum(axis=(-2, -1))
        for name, value in there.values.items():
            values[name] = values[name] + _square(value - here.values[name], distance.ndim)
    rounding = 4 * _EPS
    return Local(
        _root(velocity) + rounding * vector_norm(here.velocity),
        _root(gradient) + rounding * matrix_norm(here.gradient),
        {
            name: _root(square) + rounding * _root(_square(here.values[name], distance.ndim))
            for name, square in values.items()
        },
    )


def averages(members: Members, rotation: Any) -> dict[Any, Array]:
    """Every mean of some members, by name; means of observables by (kind, name)."""
    velocity = members.displaced.velocity
    mean = velocity.mean(axis=0)
    eulerian = members.undisplaced.velocity.mean(axis=0)
    p = pseudomomentum(members.gradient, velocity, members.displacement, rotation)
    carried = np.einsum("mnij,mnjk->nik", members.displaced.gradient, lifting(members.gradient))
    carried /= len(velocity)
    result: dict[Any, Array] = {
        "mean_velocity": mean,
        "eulerian_velocity": eulerian,
        "stokes_drift": mean - eulerian,
        "pseudomomentum": p,
        "momentum": mean - p,
        "density": densities(members.gradient).mean(axis=0),
        "mean_velocity_gradient": carried,
        "divergence": np.trace(carried, axis1=-2, axis2=-1),
    }
    for name, value in members.displaced.values.items():
        here = members.undisplaced.values[name].mean(axis=0)
        result["lagrangian", name] = value.mean(axis=0)
        result["eulerian", name] = here
        result["stokes", name] = value.mean(axis=0) - here
    return result


def assembled(
    members: Members, uncertainty: Uncertainty, rotation: Any, given: dict[str, Any], *,
    phases: bool,
) -> GeneralisedLagrangianMean:  # fmt: skip
    """Return means with errors.

    Members may be `phases`, of which every other one gives the same means with a larger error.
    `given` has the fields that are known: position, initial_position, status, period, provenance.
    """
    found = averages(members, rotation)
    errors = _integration_errors(members, uncertainty)
    position = uncertainty.position
    place, slope = np.zeros_like(position), np.zeros_like(position)
    if phases:
        coarse = averages(_half(members), rotation)
        errors = {name: e + _norm(found[name] - coarse[name]) for name, e in errors.items()}
        place = vector_norm(members.displacement[_EVEN].mean(axis=0))
        slope = matrix_norm(members.gradient[_EVEN].mean(axis=0))
    size = matrix_norm(members.gradient).max(axis=0)
    lift = matrix_norm(lifting(members.gradient)).max(axis=0)
    errors |= {
        "position": position + place,
        "displacement": uncertainty.displacement.max(axis=0) + size * position + place,
        "displacement_gradient": uncertainty.gradient.max(axis=0) + lift * slope,
    }
    spread = np.abs(densities(members.gradient) - found["density"]).max(axis=0)

    def of_observables(source: dict[Any, Array], kind: str) -> dict[str, Array]:
        return {name: source[kind, name] for name in members.displaced.values}

    plain: dict[str, Any] = {name: value for name, value in found.items() if isinstance(name, str)}
    return GeneralisedLagrangianMean(
        displacement=members.displacement,
        displacement_gradient=members.gradient,
        displaced_velocity=members.displaced.velocity,
        density_spread=spread,
        means=of_observables(found, "lagrangian"),
        eulerian_means=of_observables(found, "eulerian"),
        stokes_corrections=of_observables(found, "stokes"),
        errors={name: error for name, error in errors.items() if isinstance(name, str)},
        mean_errors=of_observables(errors, "lagrangian"),
        eulerian_errors=of_observables(errors, "eulerian"),
        stokes_errors=of_observables(errors, "stokes"),
        **plain,
        **given,
    )


def _integration_errors(members: Members, u: Uncertainty) -> dict[Any, Array]:
    """First-order propagation of what is not known of positions and gradients, as norms (n,)."""
    lift = lifting(members.gradient)
    mean = u.displaced.velocity.mean(axis=0)
    wave = vector_norm(members.displaced.velocity - members.displaced.velocity.mean(axis=0))
    size = matrix_norm(members.gradient)
    p = (u.gradient * wave + size * (u.displaced.velocity + mean)).mean(axis=0)
    slope = matrix_norm(members.displaced.gradient)
    divergence = u.displaced.gradient * matrix_norm(lift) + slope * u.gradient
    eulerian = 4 * _EPS * vector_norm(members.undisplaced.velocity).mean(axis=0)
    errors: dict[Any, Array] = {
        "mean_velocity": mean,
        "eulerian_velocity": eulerian,
        "stokes_drift": mean + eulerian,
        "pseudomomentum": p,
        "momentum": mean + p,
        "density": (_cofactor_norm(lift) * u.gradient).mean(axis=0) + 4 * _EPS,
        "divergence": divergence.mean(axis=0),
    }
    for name, value in u.displaced.values.items():
        here = members.undisplaced.values[name]
        rounding = 4 * _EPS * _root(_square(here, 2)).mean(axis=0)
        errors["lagrangian", name] = value.mean(axis=0)
        errors["eulerian", name] = rounding
        errors["stokes", name] = value.mean(axis=0) + rounding
    return errors


def spread_out(
    result: GeneralisedLagrangianMean, good: Any, status: Any
) -> GeneralisedLagrangianMean:
    """Put the results of the points that are good among NaN for the others."""
    if good.all():
        return result
    several = ("displacement", "displacement_gradient", "displaced_velocity")

    def among(value: Any, axis: int = 0) -> Any:
        if isinstance(value, dict):
            return {name: among(part) for name, part in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        whole = np.full((*value.shape[:axis], len(good), *value.shape[axis + 1 :]), np.nan)
        whole[(slice(None),) * axis + (good,)] = value
        return whole

    parts = {
        f.name: among(getattr(result, f.name), 1 if f.name in several else 0)
        for f in fields(result)
    }
    return GeneralisedLagrangianMean(**parts | {"status": status, "provenance": result.provenance})


def _half(members: Members) -> Members:
    """Return every other member, about their own mean position."""
    displacement, lift = members.displacement[_EVEN], lifting(members.gradient[_EVEN])
    own = np.linalg.inv(lift.mean(axis=0))
    return Members(
        displacement - displacement.mean(axis=0),
        lift @ own - np.eye(lift.shape[-1]),
        members.displaced.members(_EVEN),
        members.undisplaced.members(_EVEN),
    )


def _norm(value: Array) -> Array:
    """Norm of (n,), (n, size) or (n, size, size) over all but the points."""
    return _root(_square(value, 1))


def _square(value: Array, points: int) -> Array:
    return np.asarray((value**2).sum(axis=tuple(range(points, value.ndim))))


def _root(square: Any) -> Array:
    """Square root; what is not known, beyond data for instance, is infinite."""
    root = np.sqrt(square)
    return np.where(np.isnan(root), np.inf, root)


def _cofactor_norm(matrix: Array) -> Array:
    """Norm of the derivative of the determinant, at singular matrices too."""
    if matrix.shape[-1] == 1:
        return np.ones(matrix.shape[:-2])
    singular: Any = np.linalg.svd(matrix, compute_uv=False)
    if matrix.shape[-1] == 2:
        return vector_norm(singular)
    a, b, c = (singular[..., k] for k in range(3))
    return np.asarray(np.sqrt((a * b) ** 2 + (b * c) ** 2 + (c * a) ** 2))
