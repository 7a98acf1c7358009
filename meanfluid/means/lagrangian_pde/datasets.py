"""Grids and gridded inputs of equations from xarray, and their means back on the coordinates."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Axis, VelocityField
from meanfluid.means import boxes, cf
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.trajectories.datasets import Labels, axis_names, labels_of, mean_dataset

_ALONG = "along trajectories"
_DOUBT = "estimated error from steps in time"
_COMPONENTS = ("u", "v", "w")  # what velocity is called in data, as in `fields.from_xarray`


def grid_of(data: Any, field: VelocityField) -> tuple[Grid, Labels]:
    """Return the grid that the coordinates of a Dataset span, and what puts means back on it.

    An axis is periodic where that of the field is, and a wall where the field has one at both
    ends; all others are open.

    Raises
    ------
    ValueError
        If a coordinate is missing, spans no dimension of its own, or is not equally spaced upwards;
        or a periodic one does not go around once.
    """
    names, domain = axis_names(field), field.domain
    labels = labels_of(data, field)
    axes, nodes = [], []
    for k, name in enumerate(names):
        column = data[name]
        if len(column.dims) != 1 or sum(data[n].dims == column.dims for n in names) > 1:
            raise ValueError(
                f"coordinate {name} must span a dimension of its own, since the equations are "
                f"solved on a grid, got the dimensions {column.dims}"
            )
        points = cf.points(name, column.to_numpy(), dict(column.attrs))
        if points.spacing < 0:
            raise ValueError(f"{name} must ascend; use data.sortby({name!r})")
        lower, upper = float(points.numbers[0]), float(points.numbers[-1])
        own = None if domain is None else domain[k]
        if own is not None and own.boundary == "periodic":
            turn = cf.checked_circle(points, own.upper - own.lower)
            axes.append(Axis(lower, lower + turn, "periodic"))
        else:
            walled = (
                own is not None
                and own.boundary == "wall"
                and np.allclose((lower, upper), (own.lower, own.upper), rtol=1e-12)
            )
            axes.append(Axis(lower, upper, "wall" if walled else "open"))
        nodes.append(len(points.numbers))
    return Grid(tuple(axes), tuple(nodes)), labels


def labels_on(grid: Grid) -> Labels:
    """Return labels at the nodes of a grid without names: x, y, z."""
    import xarray

    names = tuple("xyz"[: grid.dimension])
    coordinates = {
        name: (name, x, {"axis": name.upper()})
        for name, x in zip(names, grid.coordinates, strict=True)
    }
    return Labels(
        grid.positions, names, names, grid.shape, xarray.Dataset(coords=coordinates), {},
        (None,) * grid.dimension,
    )  # fmt: skip


def dataset_of(mean: Any, labels: Labels, velocities: Collection[str] = ()) -> Any:
    """Return a `GriddedMean` as a Dataset on labels at its nodes.

    Errors from steps in time are the errors of the values, Euclidean norms of those of vectors;
    those from the grid are numbers ``<name>_space_error``. Values that are velocities have the unit
    that the labels know.
    """
    grid, label = mean.grid, mean.label
    order = _order(labels)

    def rows(value: Any) -> Any:  # (*shape) or (size, *shape) as (n) or (n, size)
        array = devices.to_host(value)
        first = array.ndim - grid.dimension
        axes = [*range(first), *(first + k for k in order)]
        flat = array.transpose(axes).reshape(*array.shape[:first], -1)
        return flat.T if first else flat

    values = {name: rows(value) for name, value in mean.values.items()}
    told: dict[str, dict[str, Any]] = {name: {"long_name": f"mean of {name}"} for name in values}
    if "velocity" in labels.units:
        for name in velocities:
            told[name]["units"] = labels.units["velocity"]
    length = {"units": labels.axis_units} if all(labels.axis_units) else {}
    values["to_mean"] = rows(mean.to_mean)
    told["to_mean"] = {"long_name": "mean position less position", **length}
    if mean.to_end is not None:
        values["to_end"] = rows(mean.to_end)
        told["to_end"] = {"long_name": "position at the end of the window less position", **length}
    errors = {name: _norm(rows(error)) for name, error in (mean.time_error or {}).items()
              if name in values}  # fmt: skip
    result = mean_dataset(
        labels, values, errors=errors, status=rows(mean.status), start=mean.start,
        end=mean.end, attributes=told, comment=f"{_ALONG}, label={label}", points=["to_end"],
        doubt=_DOUBT, label=label, window=mean.window,
        provenance={key: v for key, v in mean.provenance.items() if key != "meanfluid"},
    )  # fmt: skip
    result.attrs["title"] = "Lagrangian mean on a grid"
    for name, error in (mean.space_error or {}).items():
        if name in values:
            _add_space_error(result, name, np.atleast_1d(devices.to_host(error)), labels)
    return result


def _order(labels: Labels) -> list[int]:
    """Return which axis of the grid each dimension of the labels is."""
    dims = [labels.template[name].dims[0] for name in labels.names]
    return [dims.index(dim) for dim in labels.dims]


def _norm(error: Any) -> Any:
    return error if error.ndim == 1 else np.sqrt((error**2).sum(axis=-1))


def _add_space_error(result: Any, name: str, error: Any, labels: Labels) -> None:
    told = {"long_name": f"estimated largest error of {name} from the grid"}
    result[f"{name}_space_error"] = (), float(np.sqrt((error**2).sum())), told
    for part in [name, *(f"{name}_{end}" for end in (*labels.names, *range(len(error))))]:
        if part in result.data_vars:
            about = result[part].attrs
            about["ancillary_variables"] = cf.ancillary(about, f"{name}_space_error")


def observed_rows(data: Any, sizes: Mapping[str, int | None], grid: Grid, *, times: bool) -> Any:
    """Return observables from a Dataset as rows ([times,] components, *shape); arrays as they are.

    Several components are variables ``<name>_x`` and so on, or ``<name>_0`` and so on.
    """
    if not cf.is_xarray(data):
        return data
    names: list[str] = []
    for name, size in sizes.items():
        ends = "xyz"[:size] if size == grid.dimension else ()
        if size is None:
            names.append(name)
        elif ends and all(f"{name}_{end}" in data for end in ends):
            names += [f"{name}_{end}" for end in ends]
        else:
            names += [f"{name}_{k}" for k in range(size)]
    return _stacked(data, names, grid, times=times)


def velocity_rows(data: Any, grid: Grid) -> Any:
    """Return velocity from a Dataset as (times, dimension, *shape); an array as it is.

    Its components are u, v, w, or ``velocity_x`` and so on.
    """
    if not cf.is_xarray(data):
        return data
    names = list(_COMPONENTS[: grid.dimension])
    if not all(name in data for name in names):
        stem, ends = boxes.vector_in(data, data.dims, "velocity")
        names = [f"{stem}_{end}" for end in ends]
    return _stacked(data, names, grid, times=True)


def _stacked(data: Any, names: list[str], grid: Grid, *, times: bool) -> Any:
    """Stack variables on the nodes of a grid, behind the times if they have some."""
    missing = [name for name in names if name not in data]
    if missing or not cf.is_dataset(data):
        raise ValueError(f"a Dataset must hold {names}, got {list(getattr(data, 'data_vars', []))}")
    parts = [_on_nodes(data, data[name], grid, times=times) for name in names]
    if not parts:
        raise ValueError("there are no observables to take from a Dataset; pass an empty array")
    return np.stack(parts, axis=int(times))


def _on_nodes(data: Any, part: Any, grid: Grid, *, times: bool) -> Any:
    dims = [str(dim) for dim in part.dims if boxes.axis_of(data, str(dim)) < 3]
    dims = sorted(dims, key=lambda dim: boxes.axis_of(data, dim))
    rest = [dim for dim in part.dims if dim not in dims]
    if len(dims) != grid.dimension or len(rest) != times:
        raise ValueError(
            f"{part.name} must have {grid.dimension} dimensions of space, called x and so on"
            f"{' and one of time' if times else ''}, got {part.dims}"
        )
    for dim, nodes in zip(dims, grid.coordinates, strict=True):
        if dim in data.coords and not (
            data.sizes[dim] == len(nodes)
            and np.allclose(data[dim], nodes, rtol=0, atol=1e-6 * (nodes[1] - nodes[0]))
        ):
            raise ValueError(f"{part.name} must be on the nodes of the grid, but {dim} differs")
    return part.transpose(*rest, *dims).to_numpy()
