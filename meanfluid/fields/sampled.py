"""Velocity fields from samples on a uniform grid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfluid.fields import splines
from meanfluid.fields.samples import SampleAxis, Samples
from meanfluid.fields.velocity_field import Axis, VelocityField

Array = NDArray[np.float64]
Boundary = Literal["periodic", "wall", "open"]

# What a boundary of the data is to a trajectory. Open data end there, and so does a trajectory.
_AXIS_BOUNDARY: dict[str, Any] = {"periodic": "periodic", "wall": "wall", "open": "closed"}
_UNIFORM = 1e-6  # of a spacing: how far a node may lie from its equally spaced place
_ROUNDING = 64  # units of rounding of the largest velocity that pass for zero on a wall


def sampled(
    velocity: Sequence[ArrayLike],
    axes: Sequence[ArrayLike],
    time: ArrayLike | None = None,
    *,
    degree: int = 3,
    time_degree: int = 3,
    boundary: Boundary | Sequence[Boundary] = "open",
    dtype: Literal["float64", "float32"] = "float64",
    name: str = "sampled",
    source: str = "",
) -> VelocityField:
    """Velocity field that interpolates samples on a uniform grid.

    The interpolant is a product of splines, twice continuously differentiable if cubic, four
    times if quintic; it goes through the samples. Its error falls with the spacing to the power
    ``degree + 1``, that of its gradient to the power `degree`. It is in general not exactly free
    of divergence where the sampled flow is.

    Parameters
    ----------
    velocity : sequence of arrays ([time,] x[, y[, z]]), length / time
        One array per component, as many as coordinates.
    axes : sequence of arrays (points,), length
        The coordinates x[, y[, z]] of the samples, equally spaced, ascending or descending.
    time : (points,), time, optional
        Times of the samples, equally spaced. Without it the field is steady.
    degree : 1, 3 or 5
        Of the spline in space: linear, cubic, quintic.
    time_degree : 1, 3 or 5
        Of the spline in time.
    boundary : "open", "periodic" or "wall", or one of them per coordinate
        "open": there are no data beyond the ends, where trajectories end. "periodic": the point
        after the last is the first again, and must not be repeated. "wall": nothing flows through
        either end; the normal velocity of the samples there must be zero.
    dtype : "float64" or "float32"
        How coefficients are stored. Single precision takes half the memory and rounds the
        velocity to about 1e-7 of its size; positions and sums are in double precision anyway.
    name, source : str, optional

    Returns
    -------
    VelocityField
        With `samples`. Its velocity is NaN where there are no data.

    Raises
    ------
    ValueError
        If shapes do not fit, samples are not finite, an axis is not equally spaced or has too few
        points for the degree, a periodic axis repeats its first point, or something flows through
        a wall.

    Examples
    --------
    >>> x = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
    >>> u = np.broadcast_to(np.sin(x), (32, 32))
    >>> field = sampled([u, np.zeros((32, 32))], [x, x], boundary="periodic")
    >>> field.velocity(0.0, [[0.0, np.pi / 2]]).round(5)
    array([[1., 0.]])
    """
    values, places = _stacked(velocity, axes, time)
    names = ("x", "y", "z")[: len(axes)]
    return field_of_samples(
        values, places, names, unsteady=time is not None, degree=degree, time_degree=time_degree,
        boundary=boundary, dtype=dtype, name=name, source=source,
    )  # fmt: skip


def coarsened(field: VelocityField) -> VelocityField:
    """Return the sampled field of every other node along all axes, time included.

    What it changes of a result says how much interpolation matters to that result: the error on
    the grid itself is about :math:`2^{degree + 1}` times smaller.

    Raises
    ------
    ValueError
        If the field is not sampled, or an axis cannot be halved: a periodic one needs an even
        number of points, any other an odd one.
    """
    samples = field.samples
    if samples is None:
        raise ValueError(f"{field.name} is a formula; only a sampled field can be coarsened")
    axes = tuple(axis.halved() for axis in samples.axes)
    values = samples.node_values()[(slice(None, None, 2),) * len(axes)]
    coarse = replace(
        samples, axes=axes, coefficients=_coefficients(values, axes, samples.coefficients.dtype)
    )
    return replace(field, samples=coarse, name=f"{field.name}, coarsened")


def field_of_samples(
    values: NDArray[Any],
    places: Sequence[NDArray[Any]],
    names: Sequence[str],
    *,
    unsteady: bool,
    degree: int,
    time_degree: int,
    boundary: Any,
    dtype: str,
    name: str,
    source: str = "",
    units: Mapping[str, str] | None = None,
    time_reference: Any = None,
) -> VelocityField:
    """Return the field of `values` ([time,] x[, y[, z]], component) at `places`, one per axis.

    `names` are those of the coordinates, for messages. See `sampled` for the rest.
    """
    boundaries = _boundaries(boundary, names)
    if str(dtype) not in ("float64", "float32"):
        raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
    labels = ["time", *names] if unsteady else list(names)
    values = _real(values, labels)
    rounding = _ROUNDING * np.finfo(values.dtype).eps * np.abs(values).max(initial=0.0)
    kinds = ["open", *boundaries] if unsteady else boundaries
    degrees = [time_degree] * unsteady + [degree] * len(names)
    axes = []
    values = values.astype(float)
    for k, (label, place, kind, p) in enumerate(zip(labels, places, kinds, degrees, strict=True)):
        if len(place) > 1 and place[0] > place[-1]:
            place, values = place[::-1], np.flip(values, k)
        axis = _axis(label, place, p, periodic=kind == "periodic")
        if axis.periodic:
            _refuse_repeated_end(np.moveaxis(values, k, 0), label)
        if kind == "wall":
            _close_wall(np.moveaxis(values, k, 0)[..., k - unsteady], label, rounding)
        axes.append(axis)
    samples = Samples(
        axes=tuple(axes),
        unsteady=unsteady,
        coefficients=_coefficients(values, axes, np.dtype(dtype)),
        units=dict(units or {}),
        time_reference=time_reference,
    )
    return VelocityField(
        body=no_formula,
        dimension=len(names),
        name=name,
        domain=tuple(
            Axis(axis.lower, axis.upper, _AXIS_BOUNDARY[kind])
            for axis, kind in zip(axes[unsteady:], boundaries, strict=True)
        ),
        source=source,
        steady=not unsteady,
        samples=samples,
        time_range=(axes[0].lower, axes[0].upper) if unsteady else (-math.inf, math.inf),
    )


def no_formula(m: Any, p: Any, t: Any, *position: Any) -> tuple[Any, ...]:
    """Body of a sampled field, which has none."""
    raise ValueError(
        "a sampled field has no formula; its velocity is interpolated from samples, and "
        "differentiated by meanfluid.backends.tensors"
    )


def _stacked(
    velocity: Sequence[ArrayLike], axes: Sequence[ArrayLike], time: ArrayLike | None
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Samples with the components last, and the places along every axis, all of the right shape."""
    if len(axes) not in (1, 2, 3):
        raise ValueError(f"axes must hold 1, 2 or 3 coordinates, got {len(axes)}")
    places = [np.asarray(place) for place in ([*axes] if time is None else [time, *axes])]
    labels = ([] if time is None else ["time"]) + ["x", "y", "z"][: len(axes)]
    for label, place in zip(labels, places, strict=True):
        if place.ndim != 1 or place.dtype.kind not in "iuf":
            raise ValueError(
                f"{label} must be a 1-D array of real numbers, got shape {place.shape} and dtype "
                f"{place.dtype}"
            )
    shape = tuple(len(place) for place in places)
    parts = [np.asarray(part) for part in velocity]
    if [part.shape for part in parts] != [shape] * len(axes):
        raise ValueError(
            f"velocity must hold {len(axes)} arrays, one per component, of shape {shape} "
            f"({', '.join(labels)}), got shapes {[part.shape for part in parts]}"
        )
    return np.stack(parts, axis=-1), places


def _real(values: NDArray[Any], labels: Sequence[str]) -> NDArray[Any]:
    """Refuse samples that are not finite real numbers; make integers float."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"velocity must hold real numbers, got dtype {values.dtype}")
    lost = ~np.isfinite(values).all(axis=-1)
    if lost.any():
        first = np.unravel_index(np.argmax(lost), lost.shape)
        where = ", ".join(f"{name} {index}" for name, index in zip(labels, first, strict=True))
        raise ValueError(
            f"velocity is missing or not finite at {np.count_nonzero(lost)} of {lost.size} "
            f"points, first at index {where}; a spline needs all of them: cut out a box without "
            "gaps, or fill them in a way that suits the data (on land: zero velocity)"
        )
    return values.astype(float) if values.dtype.kind in "iu" else values


def _boundaries(boundary: Any, names: Sequence[str]) -> list[str]:
    listed = [boundary] * len(names) if isinstance(boundary, str) else list(boundary)
    if len(listed) != len(names) or not set(listed) <= set(_AXIS_BOUNDARY):
        raise ValueError(
            'boundary must be "open", "periodic" or "wall", or one of them for each of '
            f"{', '.join(names)}, got {boundary!r}"
        )
    return listed


def _axis(label: str, place: NDArray[Any], degree: int, *, periodic: bool) -> SampleAxis:
    """Check that places ascend in equal steps, and return their axis."""
    nodes = len(place)
    if nodes < 2:
        raise ValueError(f"{label} needs at least two points, got {nodes}")
    rounding = np.finfo(place.dtype).eps if place.dtype.kind == "f" else 0.0
    place = place.astype(float)
    if not np.isfinite(place).all():
        raise ValueError(f"{label} must be finite, got {place[~np.isfinite(place)][0]}")
    lower, upper = float(place[0]), float(place[-1])
    spacing = (upper - lower) / (nodes - 1)
    deviation = np.abs(place - np.linspace(lower, upper, nodes))
    allowed = _UNIFORM * spacing + 4 * rounding * np.abs(place).max()
    if not (spacing > 0 and deviation.max() <= allowed):
        raise ValueError(
            f"{label} must be equally spaced, but point {np.argmax(deviation)} lies "
            f"{deviation.max():.3g} from its place (spacing {spacing:.3g}, allowed {allowed:.1g}); "
            "interpolate the data to a uniform grid first"
        )
    if periodic:
        upper = lower + nodes * spacing
    return SampleAxis(label, lower, upper, nodes, degree, periodic=periodic)


def _refuse_repeated_end(values: NDArray[Any], label: str) -> None:
    """Refuse a last plane that is the first again.

    A field that is symmetric about the middle between two nodes may have equal ends, too; it is
    told from a repeated plane by its differences across the seam, which are smooth as it stands.
    """
    first, last = values[0], values[-1]
    equal = np.allclose(first, last, rtol=0, atol=1e-12 * np.abs(values).max(initial=0.0))
    if equal and np.ptp(values, axis=0).any() and not _smoother(values, values[:-1]):
        raise ValueError(
            f"{label} is periodic, but its last plane repeats the first; leave it out: the point "
            "after the last one is the first by itself"
        )


def _smoother(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether fourth differences across the seam of `one` are well below those of `other`."""

    def roughness(values: NDArray[Any]) -> float:
        seam = np.take(values, np.arange(-4, 4), axis=0, mode="wrap")
        return float(np.mean(np.diff(seam, 4, axis=0) ** 2))

    return roughness(one) < roughness(other) / 4


def _close_wall(normal: NDArray[Any], label: str, rounding: float) -> None:
    """Check that the normal velocity is zero at both ends, and round it to zero."""
    for end, index in ((0, "lower"), (-1, "upper")):
        largest = np.abs(normal[end]).max()
        if largest > rounding:
            raise ValueError(
                f"{label} ends at walls, but the velocity across the {index} one reaches "
                f'{largest:.3g}; choose boundary="open" there, or, if that is noise, set the '
                f"component along {label} to zero on the wall"
            )
        normal[end] = 0.0


def _coefficients(
    values: NDArray[Any], axes: Sequence[SampleAxis], dtype: np.dtype[Any]
) -> NDArray[Any]:
    for k, axis in enumerate(axes):
        values = splines.coefficients(values, k, axis.degree, periodic=axis.periodic)
    return np.ascontiguousarray(values, dtype=dtype)
