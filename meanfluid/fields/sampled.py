"""Velocity fields from samples on a uniform grid."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfluid.fields import splines
from meanfluid.fields.grids import AXIS_BOUNDARY, grid_of
from meanfluid.fields.samples import SampleAxis, Samples
from meanfluid.fields.slabs import SlabbedSamples, levels_of
from meanfluid.fields.velocity_field import Axis, VelocityField

Array = NDArray[np.float64]
Boundary = Literal["periodic", "wall", "open"]

Level = Callable[[int], Sequence[ArrayLike]]


def sampled(
    velocity: Sequence[ArrayLike] | Level,
    axes: Sequence[ArrayLike],
    time: ArrayLike | None = None,
    *,
    slab: int | str | None = None,
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
        One array per component, as many as coordinates. With `slab`, anything that has such a
        shape and gives one time level by an index, as ``numpy.memmap`` and arrays of zarr, h5py
        and netCDF4 do; or a function that returns the components (x[, y[, z]]) of level k.
    axes : sequence of arrays (points,), length
        The coordinates x[, y[, z]] of the samples, equally spaced, ascending or descending.
    time : (points,), time, optional
        Times of the samples, equally spaced. Without it the field is steady.
    slab : int or str, optional
        How much may be in memory at a time: a number of time levels, or bytes, as "500 MB" or
        "2 GiB". Levels are then read when trajectories come to them, one after the other.
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
    values, places = _given(velocity, axes, time, slab)
    names = ("x", "y", "z")[: len(axes)]
    return field_of_samples(
        values, places, names, unsteady=time is not None, degree=degree, time_degree=time_degree,
        boundary=boundary, dtype=dtype, name=name, source=source, slab=slab,
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
    name = f"{field.name}, coarsened"
    if isinstance(samples, SlabbedSamples):
        return replace(field, samples=samples.halved(), name=name)
    axes = tuple(axis.halved() for axis in samples.axes)
    values = samples.node_values()[(slice(None, None, 2),) * len(axes)]
    coarse = replace(
        samples, axes=axes, coefficients=_coefficients(values, axes, samples.coefficients.dtype)
    )
    return replace(field, samples=coarse, name=name)


def field_of_samples(
    values: NDArray[Any] | Callable[[int], NDArray[Any]],
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
    slab: int | str | None = None,
) -> VelocityField:
    """Return the field of `values` ([time,] x[, y[, z]], component) at `places`, one per axis.

    With `slab`, `values` is a function that returns those of one time level. `names` are those of
    the coordinates, for messages. See `sampled` for the rest.
    """
    if str(dtype) not in ("float64", "float32"):
        raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
    grid = grid_of(
        places, names, boundary, unsteady=unsteady, degree=degree, time_degree=time_degree
    )
    axes, known = grid.axes, {"units": dict(units or {}), "time_reference": time_reference}
    if callable(values):
        samples: Samples = SlabbedSamples(
            axes=axes, unsteady=True, coefficients=np.empty((0, len(names)), np.dtype(dtype)),
            values=levels_of(grid, values), slab=slab, **known,
        )  # fmt: skip
    else:
        coefficients = _coefficients(grid.oriented(values), axes, np.dtype(dtype))
        samples = Samples(axes=axes, unsteady=unsteady, coefficients=coefficients, **known)
    return VelocityField(
        body=no_formula,
        dimension=len(names),
        name=name,
        domain=tuple(
            Axis(axis.lower, axis.upper, AXIS_BOUNDARY[kind])
            for axis, kind in zip(axes[unsteady:], grid.kinds[unsteady:], strict=True)
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


def _given(
    velocity: Any, axes: Sequence[ArrayLike], time: ArrayLike | None, slab: int | str | None
) -> tuple[Any, list[NDArray[Any]]]:
    """Samples with the components last, or a function that reads a level of them; the places.

    All of the right shape, as far as it is known.
    """
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
    if slab is not None and time is None:
        raise ValueError("slab= says how many time levels are in memory: pass time, too")
    if callable(velocity):
        if slab is None:
            raise ValueError("a function that reads time levels needs slab=, for example slab=100")
        return lambda level: _stacked(velocity(level)), places
    shape = tuple(len(place) for place in places)
    parts = list(velocity) if slab is not None else [np.asarray(part) for part in velocity]
    found = [tuple(getattr(part, "shape", np.shape(part))) for part in parts]
    if found != [shape] * len(axes):
        raise ValueError(
            f"velocity must hold {len(axes)} arrays, one per component, of shape {shape} "
            f"({', '.join(labels)}), got shapes {found}"
        )
    if slab is not None:
        return lambda level: _stacked([part[level] for part in parts]), places
    return _stacked(parts), places


def _stacked(parts: Sequence[ArrayLike]) -> NDArray[Any]:
    """Components of equal shapes, side by side on the last axis."""
    return np.stack([np.asarray(part) for part in parts], axis=-1)


def _coefficients(
    values: NDArray[Any], axes: Sequence[SampleAxis], dtype: np.dtype[Any]
) -> NDArray[Any]:
    for k, axis in enumerate(axes):
        values = splines.coefficients(values, k, axis.degree, periodic=axis.periodic)
    return np.ascontiguousarray(values, dtype=dtype)
