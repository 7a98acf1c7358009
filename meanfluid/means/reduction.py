"""One rule for means of samples, applied to arrays and to xarray objects.

What a mean of an xarray object is called, and where its window ends, is written down by `cf`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.means import cf
from meanfluid.means.sample_rules import Rule, averaged, checked_numbers


@dataclass(frozen=True)
class Plan:
    """How to average, what that is called, and the ends of the window if there is one."""

    rule: Rule
    name: str
    bounds: tuple[Any, Any] | None = None
    error: str = "estimated error"


# From the points along the axis (if they are known), their number, and whether the samples are
# means over cells rather than values at points.
Planner = Callable[[cf.Coordinate | None, int, bool], Plan]


def reduced(
    data: Any,
    planner: Planner,
    *,
    axis: int | None,
    dim: str | None,
    skip_missing: bool,
    keepdims: bool,
    return_error: bool,
    coordinate: cf.Coordinate | None = None,
) -> Any:
    """Mean of an array along `axis`, or of an xarray object along `dim`.

    Parameters
    ----------
    data, axis, dim, skip_missing, keepdims, return_error
        As in `eulerian.time_mean`.
    planner : Planner
    coordinate : Coordinate, optional
        Of an array.

    Returns
    -------
    Like `data`
        And the error, if asked for; in a dataset it is one more variable.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range, or a sample is not finite.
    """
    if not cf.is_xarray(data):
        if dim is not None or axis is None:
            raise TypeError("an array needs axis=, the number of the axis to average along")
        values, axis = _checked_values(data, axis)
        if coordinate is not None and len(coordinate.numbers) != values.shape[axis]:
            raise ValueError(
                f"{coordinate.name} must have shape ({values.shape[axis]},), one per sample, got "
                f"{coordinate.numbers.shape}"
            )
        plan = planner(coordinate, values.shape[axis], False)
        mean, error = averaged(values, axis, plan.rule, skip_missing=skip_missing)
        if keepdims:
            mean, error = np.expand_dims(mean, axis), np.expand_dims(error, axis)
        give = devices.giver_of(data)
        return (give(mean), give(error)) if return_error else give(mean)
    if axis is not None or keepdims or coordinate is not None or dim is None:
        raise TypeError(
            "an xarray object needs dim=, the name of the dimension to average along, and brings "
            "its own coordinates: axis=, keepdims= and times are for arrays"
        )
    own = cf.coordinate_of(data, dim)
    if cf.is_dataset(data):
        return _mean_of_dataset(data, dim, own, planner, skip_missing, return_error)
    plan = planner(own, data.sizes[dim], cf.holds_means(data.attrs, dim))
    mean, error = _mean_of_variable(data, dim, plan, skip_missing, data.name or "data")
    return (mean, error) if return_error else mean


def points_of(places: ArrayLike, name: str) -> cf.Coordinate:
    """Return points (n,) given beside an array, numbers or dates.

    Raises
    ------
    TypeError, ValueError
        If they are neither, or have another shape.
    """
    points = devices.to_host(places)
    if points.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), one per sample, got {points.shape}")
    return cf.points(name, points, {})


def _checked_values(data: Any, axis: int) -> tuple[Any, int]:
    """Values in double precision, where they are, and the axis counted from the front."""
    values = checked_numbers(data)
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"axis must be one of {values.ndim}, got {axis} of shape {values.shape}")
    if values.shape[axis] == 0:
        raise ValueError(f"there are no samples along axis {axis} of shape {values.shape}")
    return values, axis % values.ndim


def _mean_of_variable(
    data: Any, dim: str, plan: Plan, skip_missing: bool, name: str
) -> tuple[Any, Any]:
    """Mean of a DataArray and its error, each a DataArray."""
    axis = data.dims.index(dim)
    values, _ = _checked_values(data.data, axis)
    mean, error = averaged(
        values, axis, plan.rule, skip_missing=skip_missing, labels=[str(d) for d in data.dims]
    )
    attributes = cf.with_provenance(
        cf.with_cell_method(data.attrs, dim, "mean"),
        average=f"{plan.name}, {values.shape[axis]} samples",
    )
    result = data.isel({dim: 0}, drop=True)
    coords = {key: c for key, c in result.coords.items() if dim not in data.coords[key].dims}
    if plan.bounds is not None:
        lower, upper = plan.bounds
        own = {key: value for key, value in data.coords[dim].attrs.items() if key != "bounds"}
        coords[dim] = ((), cf.between(lower, upper), own)
        attributes[f"{dim}_bounds"] = [cf.written(lower), cf.written(upper)]
    make = type(data)
    about = cf.error_attributes(data.attrs, str(name), plan.error)
    return (
        make(mean, coords, result.dims, data.name, attributes),
        make(error, coords, result.dims, f"{name}_error", about),
    )


def _mean_of_dataset(
    data: Any,
    dim: str,
    coordinate: cf.Coordinate | None,
    planner: Planner,
    skip_missing: bool,
    return_error: bool,
) -> Any:
    """Means of the variables that have the dimension; the others are kept."""
    data = data.drop_vars([cf.bounds_name(data, dim)], errors="ignore")
    result, windows = data.drop_dims(dim), []
    for name in [name for name in data.data_vars if dim in data[name].dims]:
        variable = data[name]
        try:
            plan = planner(coordinate, data.sizes[dim], cf.holds_means(variable.attrs, dim))
            mean, error = _mean_of_variable(variable, dim, plan, skip_missing, str(name))
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{name}: {problem}") from problem
        if return_error:
            mean.attrs["ancillary_variables"] = cf.ancillary(variable.attrs, f"{name}_error")
            result = result.assign({f"{name}_error": error})
        result = result.assign({name: mean.drop_vars(dim, errors="ignore")})
        windows += [] if plan.bounds is None else [plan.bounds]
    if any(window != windows[0] for window in windows):
        raise ValueError(
            f"some variables are means over cells of {dim} and some are not, so that their windows "
            "differ: average them separately"
        )
    if windows:
        result = cf.with_window(result, dim, data.coords[dim].attrs, *windows[0])
    attributes = {"Conventions": cf.CONVENTIONS, **data.attrs}
    return result.assign_attrs(cf.with_provenance(attributes))
