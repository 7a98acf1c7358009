"""Sampled fields from xarray datasets: dimensions by name, units by attribute."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meanfluid.fields.sampled import Boundary, field_of_samples
from meanfluid.fields.velocity_field import VelocityField

# What the CF conventions and habit call an axis, in this order of trust.
_STANDARD_NAMES = {
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    "z": ("depth", "height", "altitude", "height_above_mean_sea_level"),
    "time": ("time",),
}
_UNITS = {
    "x": ("degrees_east", "degree_east", "degrees_e", "degree_e"),
    "y": ("degrees_north", "degree_north", "degrees_n", "degree_n"),
}
_NAMES = {
    "x": ("x", "lon", "longitude", "xc"),
    "y": ("y", "lat", "latitude", "yc"),
    "z": ("z", "depth", "height", "altitude", "zc"),
    "time": ("time", "t"),
}
_ROLES = ("time", "x", "y", "z")

_SPELLINGS = {
    "m": ("m", "metre", "metres", "meter", "meters"),
    "km": ("km", "kilometre", "kilometres", "kilometer", "kilometers"),
    "cm": ("cm", "centimetre", "centimetres", "centimeter", "centimeters"),
    "s": ("s", "sec", "second", "seconds"),
    "min": ("min", "minute", "minutes"),
    "h": ("h", "hr", "hour", "hours"),
    "d": ("d", "day", "days"),
    "degree": ("degree", "degrees", "deg", *_UNITS["x"], *_UNITS["y"]),
    "1": ("1", ""),
}
_UNIT = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def from_xarray(
    dataset: Any,
    *,
    velocity: Sequence[str] = ("u", "v"),
    dims: Mapping[str, str] | None = None,
    slab: int | str | None = None,
    boundary: Boundary | Mapping[str, Boundary] = "open",
    degree: int = 3,
    time_degree: int = 3,
    dtype: Literal["float64", "float32"] = "float64",
    name: str = "",
    source: str = "",
) -> VelocityField:
    """Velocity field that interpolates variables of a dataset on a uniform grid.

    Parameters
    ----------
    dataset : xarray.Dataset
        Loaded into memory whole if it is lazy, unless `slab` is given: select what you need.
    velocity : sequence of str
        Names of the components along x, y[, z] (or along those of them that the data have, in
        this order). All of them must have the same dimensions and coordinates.
    dims : mapping of "x", "y", "z", "time" to names of dimensions, optional
        By default dimensions are recognised by the attributes `axis`, `standard_name` and `units`
        of their coordinates, by dates, or by common names, in any order.
    slab : int or str, optional
        How much may be in memory at a time, as in `sampled`: a number of time levels, or bytes.
        The dataset may then be larger than memory; one level after the other is read from it.
    boundary : "open", "periodic" or "wall", or a mapping of dimensions to them
        As in `sampled`. Keys are names of dimensions or "x", "y", "z"; others are open.
    degree, time_degree, dtype, source
        As in `sampled`.
    name : str, optional
        By default the title of the dataset, if it has one.

    Returns
    -------
    VelocityField
        Its positions are in the units of the coordinates. Dates become seconds after the first,
        which is kept as ``field.samples.time_reference``. Units are in ``field.samples.units``.

    Raises
    ------
    ValueError
        If a variable, dimension or coordinate is missing or not recognised, components are on
        different grids, units contradict each other, or as in `sampled`.

    Examples
    --------
    >>> import xarray
    >>> lon, lat, zero = np.arange(8.0), np.arange(6.0), np.zeros((6, 8))
    >>> flow = xarray.Dataset(
    ...     {"u": (("lat", "lon"), np.add.outer(lat, lon)), "v": (("lat", "lon"), zero)},
    ...     {"lat": lat, "lon": lon},
    ... )
    >>> from_xarray(flow).velocity(0.0, [[2.5, 4.0]]).round(9)
    array([[6.5, 0. ]])
    """
    parts = _components(dataset, velocity)
    roles = _roles(parts[0], dims)
    spatial = [role for role in _ROLES[1:] if role in roles]
    if len(spatial) != len(parts):
        raise ValueError(
            f"{len(parts)} velocity components need as many coordinates, but the dimensions of "
            f"{velocity[0]} are {_named(roles)}; select one point of those that are not wanted, "
            "dataset.isel(...), or name more components"
        )
    order = ["time", *spatial] if "time" in roles else spatial
    coordinates = [_coordinate(parts[0], roles[role]) for role in order]
    units = _checked_units(parts, dict(zip(order, coordinates, strict=True)))
    labels = [roles[role] for role in order]
    if slab is None:
        values: Any = np.stack([part.transpose(*labels).to_numpy() for part in parts], axis=-1)
    elif "time" in roles:
        values = partial(_level, parts, labels)
    else:
        raise ValueError("slab= says how many time levels are in memory, but there is no time")
    places = [_numbers(c, label) for c, label in zip(coordinates, labels, strict=True)]
    reference = _first_date(coordinates[0]) if "time" in roles else None
    return field_of_samples(
        values, places, [roles[role] for role in spatial], unsteady="time" in roles,
        degree=degree, time_degree=time_degree,
        boundary=_boundaries(boundary, roles, spatial), dtype=dtype,
        name=name or str(dataset.attrs.get("title", "sampled")), source=source,
        units=units, time_reference=reference, slab=slab,
    )  # fmt: skip


def _level(parts: Sequence[Any], labels: Sequence[str], level: int) -> NDArray[Any]:
    """Read one time level, the components last; the first of the dimensions is time."""
    time, *places = labels
    read = [part.isel({time: level}).transpose(*places).to_numpy() for part in parts]
    return np.stack(read, axis=-1)


def _components(dataset: Any, velocity: Sequence[str]) -> list[Any]:
    """The variables, which must be on one grid."""
    if isinstance(velocity, str) or not 1 <= len(velocity) <= 3:
        raise ValueError(f'velocity must name 1 to 3 variables, as ("u", "v"), got {velocity!r}')
    missing = [component for component in velocity if component not in dataset.data_vars]
    if missing:
        raise ValueError(
            f"the dataset has no variable {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, dataset.data_vars))}; name them with velocity=(...)"
        )
    parts = [dataset[component] for component in velocity]
    for component, part in zip(velocity, parts, strict=True):
        if set(part.dims) != set(parts[0].dims):
            raise ValueError(
                f"{velocity[0]} has the dimensions {parts[0].dims}, but {component} has "
                f"{part.dims}; components on a staggered grid must be interpolated to common "
                "points first"
            )
    return parts


def _roles(part: Any, dims: Mapping[str, str] | None) -> dict[str, str]:
    """Which dimension is x, y, z and time."""
    if dims is not None:
        unknown = set(dims) - set(_ROLES)
        if unknown or sorted(dims.values()) != sorted(map(str, part.dims)):
            raise ValueError(
                f'dims must map "x", "y", "z" or "time" to each of {part.dims}, got {dict(dims)}'
            )
        return dict(dims)
    roles: dict[str, str] = {}
    for dim in part.dims:
        role = _role(str(dim), part.coords.get(dim))
        if role is None or role in roles:
            problem = (
                "is none of x, y, z, time that its attributes or name would tell"
                if role is None
                else f"seems to be {role}, and so does {roles[role]}"
            )
            raise ValueError(
                f"dimension {dim} {problem}; pass dims, as dims={{'x': ..., 'y': ...}}, or select "
                f"a point, dataset.isel({dim}=0)"
            )
        roles[role] = str(dim)
    return roles


def _role(dim: str, coordinate: Any) -> str | None:
    if coordinate is not None:
        attributes = {key: str(value).lower() for key, value in coordinate.attrs.items()}
        axis = {"x": "x", "y": "y", "z": "z", "t": "time"}.get(attributes.get("axis", ""))
        if axis is not None:
            return axis
        for role, names in _STANDARD_NAMES.items():
            if attributes.get("standard_name") in names:
                return role
        for role, names in _UNITS.items():
            if attributes.get("units") in names:
                return role
        if coordinate.dtype.kind == "M":
            return "time"
    for role, names in _NAMES.items():
        if dim.lower() in names:
            return role
    return None


def _named(roles: Mapping[str, str]) -> str:
    return ", ".join(f"{dim} ({role})" for role, dim in roles.items())


def _coordinate(part: Any, dim: str) -> Any:
    if dim not in part.coords:
        raise ValueError(
            f"dimension {dim} has no coordinate; give it one, dataset.assign_coords({dim}=...)"
        )
    return part.coords[dim]


def _first_date(coordinate: Any) -> Any:
    """The earliest of dates, None of numbers."""
    return coordinate.to_numpy().min() if coordinate.dtype.kind == "M" else None


def _numbers(coordinate: Any, label: str) -> NDArray[Any]:
    """Coordinates as numbers, dates in seconds after the first."""
    place: NDArray[Any] = coordinate.to_numpy()
    if place.dtype.kind == "M":
        return np.asarray((place - _first_date(coordinate)) / np.timedelta64(1, "s"))
    if place.dtype.kind == "m":
        return np.asarray(place / np.timedelta64(1, "s"))
    if place.dtype.kind not in "iuf":
        raise ValueError(
            f"coordinate {label} must hold numbers or dates, got dtype {place.dtype}; decode "
            "dates to datetime64"
        )
    if " since " in str(coordinate.attrs.get("units", "")):
        raise ValueError(
            f"coordinate {label} counts {coordinate.attrs['units']!r}; decode it with "
            "xarray.decode_cf first"
        )
    return place


def _checked_units(parts: Sequence[Any], coordinates: Mapping[str, Any]) -> dict[str, str]:
    """Units of velocity and of the axes, as far as they are given; refused if contradictory."""
    given = [str(p.attrs["units"]) for p in parts if "units" in p.attrs]
    if len({_rate_units(unit) for unit in given}) > 1:
        raise ValueError(f"velocity components have different units, {given}: convert them")
    units = {
        role: str(coordinate.attrs["units"])
        for role, coordinate in coordinates.items()
        if "units" in coordinate.attrs and coordinate.dtype.kind not in "mM"
    }
    if "time" in coordinates and coordinates["time"].dtype.kind in "mM":
        units["time"] = "s"
    if not given:
        return units
    velocity = given[0]
    length, time = _rate_units(velocity)
    for role, unit in units.items():
        wanted = time if role == "time" else length
        if _unit(unit) != wanted and " since " not in unit:
            raise ValueError(
                f"velocity is in {velocity!r}, but {role} is in {unit!r}; convert the coordinate "
                f"to {wanted!r}, or the velocity" + _on_the_globe(unit)
            )
    return {"velocity": velocity, **units}


def _on_the_globe(unit: str) -> str:
    if _unit(unit) != "degree":
        return ""
    return " to degrees per unit of time (longitude: divide by the cosine of latitude, too)"


def _unit(text: str) -> str:
    return _UNIT.get(text.strip().lower(), text.strip())


def _rate_units(text: str) -> tuple[str, str]:
    """Length and time of a unit of velocity, such as m s-1, m/s or m s**-1."""
    plain = text.strip()
    if _unit(plain) == "1":
        return "1", "1"
    for mark in ("**-1", "^-1", "^{-1}", "-1"):
        if plain.endswith(mark):
            parts = plain[: -len(mark)].replace("*", " ").replace(".", " ").split()
            break
    else:
        parts = plain.replace(" per ", "/").split("/")
    if len(parts) != 2:
        raise ValueError(
            f"unit of velocity {text!r} is not understood; write it as 'm s-1' or 'm/s', or delete "
            "the attribute units"
        )
    return _unit(parts[0]), _unit(parts[1])


def _boundaries(boundary: Any, roles: Mapping[str, str], spatial: Sequence[str]) -> list[Any]:
    if isinstance(boundary, str):
        return [boundary] * len(spatial)
    known = {*spatial, *(roles[role] for role in spatial)}
    if not set(boundary) <= known:
        raise ValueError(
            f"boundary must be a word or map {', '.join(roles[r] for r in spatial)} to words, got "
            f"{dict(boundary)!r}"
        )
    return [boundary.get(roles[role], boundary.get(role, "open")) for role in spatial]
