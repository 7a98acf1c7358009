"""What comes back from an integration: integrals divided by durations, with names and errors."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.backends.bodies import Observable
from meanfluid.backends.evaluation import Layout
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.problem import Settings
from meanfluid.trajectories.records import Output

_STRAY = 0.15  # part of the shadow's largest distance so far that bounds the error from below
_ARRAYS = (
    "position", "displacement", "average_velocity", "error", "average_velocity_error", "gradient",
    "gradient_error", "interpolation_error", "status", "left_domain", "steps",
)  # fmt: skip
_ONCE = ("status", "left_domain", "steps")  # of a particle, not of each of several windows
_CENTRE = 0.8  # over the catalogue the plain quotient is 1.2 times the error in the median


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Where particles went, and what they met on the way.

    With ``times=`` given, arrays have an axis of times after the axis of particles.

    Attributes
    ----------
    position : (n[, times], dimension), length
        At `end`, or at each of the times; unwrapped on periodic axes.
    displacement : (n[, times], dimension), length
        From the position at `start`.
    average_velocity : (n[, times], dimension), length / time
        Over the window from `start`, labelled by the position at `start`.
    error : (n[, times]), length
        Estimate of the global error of `displacement` (Euclidean norm).
    average_velocity_error : (n[, times]), length / time
    gradient : (n[, times], dimension, dimension) or None
        Of the flow map, d X_i / d x_j, if it was asked for.
    gradient_error : (n[, times]) or None
        Estimate of its global error (Frobenius norm).
    means : dict of (n[, times][, size])
        Mean of each observable over the window, labelled by the position at `start`.
    mean_errors : dict of (n[, times])
        Estimate of the global error of each mean; of a tuple, its Euclidean norm.
    interpolation_error : (n[, times]), length, or None
        On a sampled field, if asked for: estimate of what interpolation did to `displacement`.
    status : (n,) int8
        See `meanfluid.Status`; 0 is OK. Where it is not, the arrays hold NaN from the output
        time on at which the particle failed.
    left_domain : (n,) bool
        Whether a particle was found beyond the domain, be it that its trajectory ended there or
        that it went on with ``out_of_domain="clamp"`` or ``"reflect"``.
    steps : (n, 2) int
        Accepted and rejected pairs of steps.
    start, times : (n,) or scalar, time
        The anchor, and the free ends of the windows.
    provenance : dict
        Field, parameters, scheme, tolerances and versions.
    """

    position: Any
    displacement: Any
    average_velocity: Any
    error: Any
    average_velocity_error: Any
    gradient: Any
    gradient_error: Any
    means: dict[str, Any]
    mean_errors: dict[str, Any]
    status: Any
    left_domain: Any
    steps: Any
    start: Any
    times: Any
    provenance: dict[str, Any]
    interpolation_error: Any = None

    def window(self, k: int) -> "Trajectories":
        """Return what belongs to the window until the k-th of several times."""
        arrays: dict[str, Any] = {
            key: None if getattr(self, key) is None else getattr(self, key)[:, k]
            for key in _ARRAYS
            if key not in _ONCE
        }
        for key in ("means", "mean_errors"):
            arrays[key] = {name: array[:, k] for name, array in getattr(self, key).items()}
        return replace(self, **arrays, times=self.times[k])


def reported(
    x: Array, offsets: Array, output: Output, layout: Layout, names: list[str],
    settings: Settings, given: dict[str, Any], *, one_window: bool,
) -> Trajectories:  # fmt: skip
    """Divide integrals by durations, estimate errors, and name the parts."""
    travelled = output.travelled
    offsets = devices.beside(travelled, offsets)
    d, window = layout.dimension, np.abs(offsets)[..., None]
    error = global_error(settings, output, offsets, layout)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(
            window == 0, output.rate[:, None] + travelled, travelled / offsets[..., None]
        )
        mean_error = np.where(window == 0, 0.0 * error, error / window)
    which = (slice(None), 0) if one_window else (slice(None),)
    velocity, integrals = _parts(names, layout)
    first = 2 if layout.deformed else 1  # error of the first integral
    own = mean_error[..., 0 if layout.carried else first]
    first += not layout.carried
    gradient = gradient_error = None
    if layout.deformed:
        gradient = travelled[..., layout.places : layout.state]
        gradient = gradient.reshape(*travelled.shape[:2], d, -1)[which][..., :d]
        for k in range(d):  # F was carried less the unit matrix
            gradient[..., k, k] += 1.0
        gradient_error = error[..., 1][which]
    return Trajectories(
        position=(x[:, None] + travelled[..., :d])[which],
        displacement=travelled[..., :d][which],
        average_velocity=mean[..., velocity][which],
        error=error[..., 0][which],
        average_velocity_error=own[which],
        gradient=gradient,
        gradient_error=gradient_error,
        means={name: mean[..., part][which] for name, part in integrals.items()},
        mean_errors={
            name: mean_error[..., part][which] for part, name in enumerate(integrals, first)
        },
        status=output.status,
        left_domain=output.strayed.astype(bool),
        steps=output.steps,
        **given,
    )


def global_error(settings: Settings, output: Output, offsets: Array, layout: Layout) -> Array:
    """Estimate the error of every part, (n, times, parts).

    Over ``2**order - 1`` the shadow's distance is the error, while both are small. It may pass
    through zero where the error does not, so a part of its largest value so far is a lower bound.
    Rounding adds the spacing of the result, and what it does to places and times.
    """
    travelled, shadow = output.travelled, output.shadow
    if not settings.estimate_error:
        shape = (*travelled.shape[:2], shadow.shape[-1])
        return np.full_like(travelled, np.nan, shape=shape)
    distance = np.maximum(shadow[..., 0, :], _STRAY * shadow[..., 1, :])
    ends = [0, layout.places, *([layout.state] if layout.deformed else [])]
    ends += [layout.state + end for end in np.cumsum(layout.sizes)]
    vectors = [vector_norm(travelled[..., i:j]) for i, j in itertools.pairwise(ends)]
    size = np.stack(vectors, axis=-1)
    rounding = np.finfo(float).eps * size + output.grain[:, None] * np.abs(offsets)[..., None]
    error = _CENTRE * distance / (2**settings.scheme.order - 1) + rounding
    # A shadow that blew up beside a finite solution says that nothing is known of the error.
    unknown = np.isnan(error) & np.isfinite(size)
    return np.where(unknown, np.inf, error)


def difference(output: Output, coarse: Output, field: VelocityField) -> Any:
    """Return the interpolation error (n, times), given the same on every other node."""
    d, axes = field.dimension, field.samples.axes if field.samples else ()
    order = min(axis.degree for axis in axes) + 1
    return vector_norm(output.travelled[..., :d] - coarse.travelled[..., :d]) / (2**order - 1)


def _parts(names: list[str], layout: Layout) -> tuple[slice, dict[str, Any]]:
    """Where the average velocity and each observable stand: an index for a number, or a slice."""
    d, first = layout.dimension, layout.state
    shapes = list(layout.shapes)
    velocity = slice(0, d)
    if not layout.carried:
        velocity = slice(first, first + d)
        first, shapes = first + d, shapes[1:]
    parts: dict[str, Any] = {}
    for name, shape in zip(names, shapes, strict=True):
        size = shape[0] if shape else 1
        parts[name] = first if size == 1 else slice(first, first + size)
        first += size
    return velocity, parts


def vector_norm(components: Any) -> Array:
    """Euclidean norm (...) of vectors (..., components)."""
    norm: Array = np.sqrt((components**2).sum(axis=-1))
    return norm


def provenance(
    field: VelocityField, functions: Mapping[str, Observable], settings: Settings, **more: Any
) -> dict[str, Any]:
    """Return what is needed to compute the same again."""
    return {
        "field": field.name,
        **described(field),
        "observables": list(functions),
        "scheme": settings.scheme.name,
        "rtol": settings.rtol,
        "atol": settings.atol,
        "steps": settings.steps,
        "max_steps": settings.max_steps,
        "knots": settings.knots,
        "estimate_error": settings.estimate_error,
        "out_of_domain": settings.out_of_domain,
        **more,
        **_versions(),
    }


def described(field: VelocityField) -> dict[str, Any]:
    """Return the parameters of a formula, or the grid of samples."""
    if field.samples is None:
        values = field.parameters._asdict().items()
        return {"parameters": {k: np.asarray(v).tolist() for k, v in values}}
    grid = {
        axis.name: {"lower": axis.lower, "upper": axis.upper, "nodes": axis.nodes,
                    "degree": axis.degree, "periodic": axis.periodic}
        for axis in field.samples.axes
    }  # fmt: skip
    return {"grid": grid, "units": dict(field.samples.units)}


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in ("meanfluid", "numpy", "numba")}
