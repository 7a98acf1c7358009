r"""The velocity of a mean flow, and how means change with the kind of mean map.

The mean velocity :math:`\bar u = \partial_t \bar\varphi \circ \bar\varphi^{-1}` is that of the mean
map. It is not the mean of the pulled-back velocities :math:`\langle \xi^* u \rangle`, which for
waves of small amplitude on fluid at rest is twice as large.
"""

from collections.abc import Sequence
from math import factorial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.means import boxes, cf, periodic
from meanfluid.means.geometric.datasets import dataset_of, maps_of, plane_of, told_of
from meanfluid.means.geometric.mean_maps import MeanKind
from meanfluid.means.geometric.torus import (
    Lengths,
    TorusMap,
    average,
    checked_maps,
    checked_vector,
    checked_weights,
)

if TYPE_CHECKING:
    import xarray


def mean_velocity(maps: "Sequence[TorusMap] | xarray.Dataset", step: float | None = None) -> Any:
    r"""Return the velocity :math:`\partial_t \bar\varphi \circ \bar\varphi^{-1}` of mean maps.

    Parameters
    ----------
    maps : sequence of TorusMap
        Mean maps at an odd number of equally spaced times, three or more; the velocity is that at
        the middle one. Or a Dataset of `displacement_x` and `displacement_y` on x, y and one more
        dimension, of the times: what `mean_map` gives of each, by `xarray.concat`.
    step : float, time
        Between two of them. Of a Dataset it is that of the coordinate, in seconds where that holds
        dates, and may be given only if there is none.

    Returns
    -------
    (2, nx, ny), length / time
        On the grid. The error of the central difference is of order ``len(maps) - 1`` in the step.
        Of a Dataset, a Dataset of `mean_velocity_x` and `mean_velocity_y` at the middle time, with
        the `cell_methods` of the maps.

    Raises
    ------
    TypeError, ValueError
        If the number of maps is even or below three, the step is zero or not finite, or the
        middle map is not one to one.
    """
    if cf.is_xarray(maps):
        return _velocity_of_dataset(maps, step)
    if step is None:
        raise TypeError("maps that are no Dataset need step=, the time between two of them")
    members = checked_maps(maps)  # type: ignore[arg-type]
    half = len(members) // 2
    if len(members) < 3 or len(members) % 2 == 0:
        raise ValueError(f"expected an odd number of maps, three or more, got {len(members)}")
    if not np.isfinite(step) or step == 0:
        raise ValueError(f"step must be a time that is not zero, got {step!r}")
    rate = sum(
        _slope_weight(k, half) * (members[half + k].displacement - members[half - k].displacement)
        for k in range(1, half + 1)
    )
    back = members[half].inverse()
    moving = periodic.Interpolant(rate / step, back.lengths)
    return moving.at(back.points + back.displacement)


def _velocity_of_dataset(data: Any, step: float | None) -> Any:
    """Return the velocity of maps at the times of a Dataset, at the middle one."""
    maps, box = maps_of(data)
    times = str(box.members)
    clock = cf.coordinate_of(data, times)
    if (clock is None) == (step is None):
        raise TypeError(
            f"the step is that of the coordinate {times!r}, or is given as step= where there is "
            f"none; got {'neither' if clock is None else 'both'}"
        )
    unit = None
    if clock is not None:
        dates = clock.values.dtype.kind in "mM"
        step, unit = clock.spacing, "s" if dates else clock.attributes.get("units")
    velocity = mean_velocity(maps, step)
    stem, _ = boxes.vector_in(data, data.dims, "displacement")
    told = told_of(data, stem, "velocity of the mean map")
    length = told.pop("units", box.unit)
    told |= {} if None in (length, unit) else {"units": f"{length} {unit}-1"}
    result = dataset_of(box, box.variables("mean_velocity", velocity, told))
    here = {key: c.variable for key, c in data.isel({times: len(maps) // 2}).coords.items()
            if times in data[key].dims and set(c.dims) <= set(box.dims)}  # fmt: skip
    return result.assign_coords(here)


def second_order_shift(
    deviations: "Sequence[TorusMap] | xarray.Dataset",
    kind: MeanKind,
    *,
    weights: ArrayLike | None = None,
) -> Any:
    r"""Return the displacement of a mean map from the arithmetic one, to second order.

    It is :math:`s = -\frac12 \langle \xi \cdot \nabla \xi \rangle` for soward_roberts, the part of
    it that is a gradient for optimal_transport and geodesic, and 0 for the arithmetic mean, with
    :math:`\xi` the displacements of the deviations from the arithmetic mean.

    Parameters
    ----------
    deviations : sequence of TorusMap
        From the arithmetic mean map: see `deviations`, which gives a Dataset, too.
    kind : "arithmetic", "extended_glm", "soward_roberts", "optimal_transport" or "geodesic"
    weights : (members,), optional
        Equal by default; normalised.

    Returns
    -------
    (2, nx, ny), length
        Of a Dataset, a Dataset of `shift_x` and `shift_y`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range.
    """
    if kind not in get_args(MeanKind):
        raise ValueError(f"kind must be one of {get_args(MeanKind)}, got {kind!r}")
    if cf.is_xarray(deviations):
        away, box = maps_of(deviations)
        told = {"long_name": f"displacement of the {kind} mean map from the arithmetic one"}
        told |= {} if box.unit is None else {"units": box.unit}
        told = box.as_mean(told, f"{kind}, to second order")
        shift = second_order_shift(away, kind, weights=weights)
        return dataset_of(box, box.variables("shift", shift, told), kind=kind)
    members = checked_maps(deviations)  # type: ignore[arg-type]
    w = checked_weights(weights, len(members))
    if kind in ("arithmetic", "extended_glm"):
        return np.zeros_like(members[0].displacement)
    lengths = members[0].lengths
    both = [periodic.advection(one.displacement, one.displacement, lengths) for one in members]
    shift = -0.5 * average(both, w)
    return shift if kind == "soward_roberts" else shift - periodic.leray(shift, lengths)


def corrected_velocity(
    arithmetic: "ArrayLike | xarray.Dataset",
    shift: "ArrayLike | xarray.Dataset",
    shift_rate: "ArrayLike | xarray.Dataset",
    lengths: Lengths | None = None,
) -> Any:
    r"""Return the mean velocity of another kind from the arithmetic one, to second order.

    .. math:: \bar u + \partial_t s + \bar u \cdot \nabla s - s \cdot \nabla \bar u

    Parameters
    ----------
    arithmetic : (2, nx, ny), length / time
        The (generalised) Lagrangian mean velocity, of the arithmetic mean map. Or a Dataset of the
        only vector in it, or of ``arithmetic_x`` and ``arithmetic_y``.
    shift, shift_rate : (2, nx, ny), length and length / time
        Of `second_order_shift`, and its derivative by time. Or Datasets on the same coordinates, as
        `second_order_shift` gives one and ``differentiate`` the other.
    lengths : (float, float), length
        Periods. Of Datasets they are points times spacing, or a full circle where the unit is one
        of angle.

    Returns
    -------
    (2, nx, ny), length / time
        Of Datasets, a Dataset of the names in `arithmetic`, with the `cell_methods` of the shift.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if any(map(cf.is_xarray, (arithmetic, shift, shift_rate))):
        s, box, periods = _shift_of(shift, lengths)
        stem, velocity = box.vector_called(arithmetic, "arithmetic")
        _, rate = box.vector_called(shift_rate, "shift_rate")
        boxes.require_together(arithmetic, shift, shift_rate)
        mean = corrected_velocity(velocity, s, rate, periods)
        return _corrected(box, arithmetic, shift, stem, mean)
    velocity, periods = checked_vector(arithmetic, lengths, "a velocity")
    s, _ = checked_vector(shift, periods, "a shift")
    rate, _ = checked_vector(shift_rate, periods, "the rate of a shift")
    carried = periodic.advection(velocity, s, periods) - periodic.advection(s, velocity, periods)
    return velocity + rate + carried


def corrected_scalar(
    arithmetic: "ArrayLike | xarray.Dataset",
    shift: "ArrayLike | xarray.Dataset",
    scalar: "ArrayLike | xarray.Dataset",
    lengths: Lengths | None = None,
) -> Any:
    r"""Return the mean of a scalar of another kind from the arithmetic one, to second order.

    .. math:: \bar f - s \cdot \nabla \bar f

    Parameters
    ----------
    arithmetic : (nx, ny)
        Lagrangian mean of the scalar by the arithmetic mean map. Or a Dataset of one variable, or
        of ``arithmetic``.
    shift : (2, nx, ny), length
        Of `second_order_shift`; a Dataset, too.
    scalar : (nx, ny)
        Mean of the scalar to leading order; the Eulerian mean will do. Or a Dataset of one
        variable, or of ``scalar``.
    lengths : (float, float), length
        As in `corrected_velocity`.

    Returns
    -------
    (nx, ny)
        Of Datasets, a Dataset of the name in `arithmetic`, with the `cell_methods` of the shift.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    """
    if any(map(cf.is_xarray, (arithmetic, shift, scalar))):
        s, box, periods = _shift_of(shift, lengths)
        name, value = box.of_kind(arithmetic, "arithmetic", "scalar")
        other, leading = box.of_kind(scalar, "scalar", "scalar")
        pair = ((arithmetic, name), (scalar, other))
        boxes.require_together(arithmetic, shift, scalar)
        units = [told_of(data, key, "").get("units") for data, key in pair]
        boxes.require_unit(name, units[0], "scalar", units[1])
        mean = corrected_scalar(value, s, leading, periods)
        return _corrected(box, arithmetic, shift, name, mean)
    s, periods = checked_vector(shift, lengths, "a shift")
    value = periodic.as_float(arithmetic)
    return value - periodic.advection(s, periodic.as_float(scalar), periods)


def _shift_of(shift: Any, lengths: Any) -> tuple[Any, boxes.Box, Lengths]:
    """Return a shift that a Dataset holds, (2, nx, ny), its grid, and periods."""
    _, values, box = boxes.grid_of(shift, "shift", lengths, members=False)
    return values, box, plane_of(box)


def _corrected(box: boxes.Box, arithmetic: Any, shift: Any, name: str, mean: Any) -> Any:
    """Return a corrected mean, which is one of the kind of the shift."""
    stem, _ = boxes.vector_in(shift, box.dims, "shift")
    told = told_of(arithmetic, name, f"{name}, corrected to second order")
    told |= {"cell_methods": told_of(shift, stem, "").get("cell_methods")}
    told = {key: value for key, value in told.items() if value is not None}
    kind = shift.attrs.get("meanfluid_kind")
    return dataset_of(box, box.variables(name, mean, told), **({"kind": kind} if kind else {}))


def _slope_weight(k: int, half: int) -> float:
    """Weight of f(k) - f(-k) in the derivative at 0 that is exact up to degree 2 half."""
    ratio = factorial(half) ** 2 / (factorial(half - k) * factorial(half + k))
    return float((-1) ** (k + 1) * ratio / k)
