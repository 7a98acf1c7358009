"""Vectors on periodic grids from xarray, and results back on the same coordinates.

A vector is one variable for each coordinate, ``<name>_x`` and so on, as in every Dataset that this
library returns; a scalar is a variable.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.means import cf

_AXES = (  # what is called x, y and z, so that rotation has the same sense in any order
    {"x", "xc", "lon", "longitude", "projection_x_coordinate"},
    {"y", "yc", "lat", "latitude", "projection_y_coordinate"},
    {"z", "zc", "depth", "height", "altitude"},
)


def axis_of(data: Any, end: str) -> int:
    """Return which axis a coordinate is, 3 if neither `axis`, `standard_name` nor its name tell."""
    about = data[end].attrs if end in data.variables else {}
    axis = str(about.get("axis", "")).lower()
    if len(axis) == 1 and axis in "xyz":
        return "xyz".index(axis)
    said = {end.lower(), str(about.get("standard_name", ""))}
    return next((k for k, names in enumerate(_AXES) if said & names), len(_AXES))


def vector_in(data: Any, ends: Collection[Any], wanted: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a vector in a Dataset, and its components' ends: x, y, z.

    Those whose coordinates do not tell which axis they are come last, in the order of the data.

    Parameters
    ----------
    data : Dataset
    ends : collection of str
        Names of coordinates.
    wanted : str
        Which one it is if there are several.

    Raises
    ------
    TypeError, ValueError
        If it is no Dataset, or holds no vector, or several of other names.
    """
    if not cf.is_dataset(data):
        raise TypeError(
            f"{wanted} must be a Dataset of {wanted}_x and so on, where anything is from xarray; "
            f"got {type(data).__name__}"
        )
    found: dict[str, list[str]] = {}
    for name in map(str, data.data_vars):
        for end in map(str, ends):
            if name.endswith(f"_{end}"):
                found.setdefault(name.removesuffix(f"_{end}"), []).append(end)
    stem = wanted if wanted in found else next(iter(found), "")
    if not found or (len(found) > 1 and wanted not in found):
        raise ValueError(
            f"{wanted} must be variables {wanted}_x and so on, one for each of the coordinates "
            f"{sorted(map(str, ends))}, got {sorted(map(str, data.data_vars))}; rename them"
        )
    return stem, tuple(sorted(found[stem], key=lambda end: axis_of(data, end)))


def scalar_in(data: Any, wanted: str) -> str:
    """Return the name of a scalar in a Dataset: its only variable, or the one that is wanted.

    Raises
    ------
    TypeError, ValueError
        If it is no Dataset, or holds several variables of other names.
    """
    if not cf.is_dataset(data):
        raise TypeError(
            f"{wanted} must be a Dataset of one variable, where anything is from xarray; got "
            f"{type(data).__name__}"
        )
    names = [str(name) for name in data.data_vars]
    if wanted in names or len(names) == 1:
        return wanted if wanted in names else names[0]
    raise ValueError(f"{wanted} must be a variable {wanted!r} or the only one, got {names}")


def require_together(*data: Any) -> None:
    """Refuse Datasets on different coordinates.

    Raises
    ------
    ValueError
    """
    import xarray

    xarray.align(*data, join="exact")


def units_of(data: Any, stem: str, ends: Collection[str]) -> str | None:
    """Return the unit of a vector, None if its components do not say the same."""
    return told_alike(data, [f"{stem}_{end}" for end in ends]).get("units")


def told_alike(data: Any, names: Collection[str]) -> dict[str, str]:
    """Return `units` and `cell_methods` of variables, as far as all of them say the same."""
    found = {}
    for key in ("units", "cell_methods"):
        said = {data[name].attrs.get(key) for name in names}
        if len(said) == 1 and None not in said:
            found[key] = str(said.pop())
    return found


def require_unit(name: str, given: str | None, other: str, own: str | None) -> None:
    """Refuse one of two units that should be the same, where both are known.

    Raises
    ------
    ValueError
    """
    if None not in (given, own) and given != own:
        raise ValueError(
            f"{name} is in {given!r}, but {other} in {own!r}; convert it, or write the unit in the "
            "same way"
        )


@dataclass(frozen=True, eq=False)
class Box:
    """A periodic grid, and perhaps members on it.

    Attributes
    ----------
    dims : tuple of str
        Of the grid, in the order of the components of vectors.
    order : tuple of str
        The same in the order in which the data have them.
    lengths : tuple of float
        Periods.
    members : str or None
        The dimension of the members, if there are some.
    template : xarray.Dataset
        Coordinates without it.
    unit : str or None
        Of length, if all coordinates say the same.
    """

    dims: tuple[str, ...]
    order: tuple[str, ...]
    lengths: tuple[float, ...]
    members: str | None
    template: Any
    unit: str | None

    @property
    def alone(self) -> "Box":
        """The same grid without members."""
        return replace(self, members=None)

    def vector(self, data: Any, stem: str) -> Any:
        """Return vectors, ([members,] dimension, *grid)."""
        parts = [self.scalar(data, f"{stem}_{end}") for end in self.dims]
        return np.stack(parts, axis=0 if self.members is None else 1)

    def scalar(self, data: Any, name: str) -> Any:
        """Return the values of a variable, ([members,] *grid)."""
        part, first = data[name], () if self.members is None else (self.members,)
        if set(part.dims) != {*first, *self.dims}:
            raise ValueError(
                f"{name} must have the dimensions {(*first, *self.order)}, got {part.dims}"
            )
        return part.transpose(*first, *self.dims).to_numpy().astype(float)

    def vector_called(self, data: Any, wanted: str) -> tuple[str, Any]:
        """Return the name of a vector in a Dataset on this grid, and its values.

        Raises
        ------
        TypeError, ValueError
            If there is none, or it has other components than the grid.
        """
        stem, ends = vector_in(data, self.dims, wanted)
        if set(ends) != set(self.dims):
            raise ValueError(f"{wanted} must have the components {self.dims}, got {ends}")
        return stem, self.vector(data, stem)

    def of_kind(self, data: Any, wanted: str, kind: str) -> tuple[str, Any]:
        """Return name and values of a field: a vector, unless it is a scalar or density."""
        if kind in ("vector", "one_form"):
            return self.vector_called(data, wanted)
        name = scalar_in(data, wanted)
        return name, self.scalar(data, name)

    def require_length(self, data: Any, stem: str) -> None:
        """Refuse displacements in another unit than the coordinates."""
        require_unit(stem, units_of(data, stem, self.dims), "the coordinates are", self.unit)

    def on_grid(self, values: Any, attributes: Mapping[str, Any]) -> Any:
        """Return values (*grid) as a variable: dimensions, values, attributes."""
        axes = [self.dims.index(dim) for dim in self.order]
        return self.order, devices.to_host(values).transpose(axes), dict(attributes)

    def as_mean(self, attributes: Mapping[str, Any], how: str) -> dict[str, Any]:
        """Return attributes of what is a mean over the members, if there are some."""
        if self.members is None:
            return dict(attributes)
        return cf.with_cell_method(attributes, self.members, "mean", how)

    def variables(self, name: str, values: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a vector (dimension, *grid) or scalar (*grid) as variables by name."""
        if values.ndim == len(self.dims):
            return {name: self.on_grid(values, attributes)}
        words = attributes.get("long_name", name)
        return {
            f"{name}_{end}": self.on_grid(part, {**attributes, "long_name": f"{words}, {end}"})
            for end, part in zip(self.dims, values, strict=True)
        }


def box_of(
    data: Any, stem: str, dims: tuple[str, ...], lengths: Any = None, *, members: bool = True
) -> Box:
    """Return the periodic grid of a vector in a Dataset, of several members or of one.

    Parameters
    ----------
    data : Dataset
    stem : str
        Name of the vector.
    dims : tuple of str
        Coordinates of its components: those of the grid, at equal steps upwards.
    lengths : sequence of float, optional
        Periods; by default points times spacing, or a full circle if the unit is one of angle.
    members : bool
        Whether there is one more dimension, of the members.

    Raises
    ------
    ValueError
        If the vector has other dimensions, or a coordinate is missing, or does not go around once.
    """
    first = data[f"{stem}_{dims[0]}"]
    rest = [str(dim) for dim in first.dims if dim not in dims]
    if len(rest) != members or len(first.dims) != len(dims) + members:
        more = "one more, of the members" if members else "no more"
        raise ValueError(
            f"{stem} must have the dimensions {dims} of its components and {more}, got {first.dims}"
        )
    given = [None] * len(dims) if lengths is None else list(lengths)
    if len(given) != len(dims):
        raise ValueError(f"lengths must hold {len(dims)} periods, of {dims}, got {lengths!r}")
    periods, units = [], set()
    for dim, length in zip(dims, given, strict=True):
        coordinate = cf.coordinate_of(data, dim)
        if coordinate is None:
            raise ValueError(f"the dimension {dim!r} has no coordinate: use assign_coords")
        if len(coordinate.numbers) > 1 and coordinate.spacing < 0:
            raise ValueError(f"{dim} must ascend; use data.sortby({dim!r})")
        periods.append(float(cf.checked_circle(coordinate, length)))
        units.add(coordinate.attributes.get("units"))
    template = data.drop_vars(list(data.data_vars))
    template = template.drop_dims([dim for dim in template.dims if dim not in dims])
    template.attrs = {}
    unit = str(next(iter(units))) if len(units) == 1 and None not in units else None
    order = tuple(str(dim) for dim in first.dims if dim in dims)
    return Box(dims, order, tuple(periods), rest[0] if members else None, template, unit)


def grid_of(
    data: Any, wanted: str, lengths: Any = None, *, members: bool = True
) -> tuple[str, Any, Box]:
    """Return name and values of a displacement in a Dataset, and the grid that it is on.

    Raises
    ------
    TypeError, ValueError
        As `vector_in` and `box_of`; or if it is in another unit than the coordinates.
    """
    stem, dims = vector_in(data, getattr(data, "dims", ()), wanted)
    box = box_of(data, stem, dims, lengths, members=members)
    box.require_length(data, stem)
    return stem, box.vector(data, stem), box
