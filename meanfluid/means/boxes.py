"""Vectors on periodic grids from xarray, and results back on the same coordinates.

A vector is one variable for each coordinate, ``<name>_x`` and so on, as in every Dataset that this
library returns.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
            f"{wanted} must be a Dataset of {wanted}_x and so on, since another argument is from "
            f"xarray; got {type(data).__name__}"
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


def units_of(data: Any, stem: str, ends: Collection[str]) -> str | None:
    """Return the unit of a vector, None if its components do not say the same."""
    said = {data[f"{stem}_{end}"].attrs.get("units") for end in ends}
    return str(said.pop()) if len(said) == 1 and None not in said else None


@dataclass(frozen=True, eq=False)
class Box:
    """A periodic grid with members on it.

    Attributes
    ----------
    dims : tuple of str
        Of the grid, in the order of the components of vectors.
    order : tuple of str
        The same in the order in which the data have them.
    lengths : tuple of float
        Periods.
    members : str
        The dimension of the members.
    template : xarray.Dataset
        Coordinates without it.
    unit : str or None
        Of length, if all coordinates say the same.
    """

    dims: tuple[str, ...]
    order: tuple[str, ...]
    lengths: tuple[float, ...]
    members: str
    template: Any
    unit: str | None

    def vector(self, data: Any, stem: str) -> Any:
        """Return the vectors of all members, (members, dimension, *grid)."""
        parts = []
        for end in self.dims:
            part = data[f"{stem}_{end}"]
            if set(part.dims) != {self.members, *self.dims}:
                raise ValueError(
                    f"{part.name} must have the dimensions {(self.members, *self.order)}, got "
                    f"{part.dims}"
                )
            parts.append(part.transpose(self.members, *self.dims).to_numpy())
        return np.stack(parts, axis=1).astype(float)

    def require_length(self, data: Any, stem: str) -> None:
        """Refuse displacements in another unit than the coordinates."""
        given = units_of(data, stem, self.dims)
        if None not in (given, self.unit) and given != self.unit:
            raise ValueError(
                f"{stem} is in {given!r}, but the coordinates are in {self.unit!r}; convert it, or "
                "write the unit in the same way"
            )

    def on_grid(self, values: Any, attributes: Mapping[str, Any]) -> Any:
        """Return values (*grid) as a variable: dimensions, values, attributes."""
        axes = [self.dims.index(dim) for dim in self.order]
        return self.order, devices.to_host(values).transpose(axes), dict(attributes)

    def components(self, name: str, values: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a vector (dimension, *grid) as variables by name."""
        words = attributes.get("long_name", name)
        return {
            f"{name}_{end}": self.on_grid(part, {**attributes, "long_name": f"{words}, {end}"})
            for end, part in zip(self.dims, values, strict=True)
        }


def box_of(data: Any, stem: str, dims: tuple[str, ...], lengths: Any = None) -> Box:
    """Return the periodic grid of a vector of several members in a Dataset.

    Parameters
    ----------
    data : Dataset
    stem : str
        Name of the vector.
    dims : tuple of str
        Coordinates of its components: those of the grid, at equal steps upwards.
    lengths : sequence of float, optional
        Periods; by default points times spacing, or a full circle if the unit is one of angle.

    Raises
    ------
    ValueError
        If there is not one more dimension than the grid has, or a coordinate is missing, or does
        not go around once.
    """
    first = data[f"{stem}_{dims[0]}"]
    rest = [str(dim) for dim in first.dims if dim not in dims]
    if len(rest) != 1 or len(first.dims) != len(dims) + 1:
        raise ValueError(
            f"{stem} must have the dimensions {dims} of its components and one more, of the "
            f"members, got {first.dims}"
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
    template = data.drop_vars(list(data.data_vars)).drop_dims(rest[0], errors="ignore")
    template.attrs = {}
    unit = str(next(iter(units))) if len(units) == 1 and None not in units else None
    order = tuple(str(dim) for dim in first.dims if dim != rest[0])
    return Box(dims, order, tuple(periods), rest[0], template, unit)
