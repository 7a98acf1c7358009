"""What the CF conventions say of dimensions: points, cells, circles, windows of time.

What they say of a mean itself is in `meanfluid.trajectories.attributes`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.trajectories.attributes import CONVENTIONS as CONVENTIONS
from meanfluid.trajectories.attributes import between as between
from meanfluid.trajectories.attributes import error_attributes as error_attributes
from meanfluid.trajectories.attributes import is_dataset as is_dataset
from meanfluid.trajectories.attributes import is_xarray as is_xarray
from meanfluid.trajectories.attributes import with_cell_method as with_cell_method
from meanfluid.trajectories.attributes import with_provenance as with_provenance

_CIRCLES = {"degree": 360.0, "radian": 2 * np.pi, "rad": 2 * np.pi}  # by the start of the unit
_UNIFORM = 1e-6  # of a spacing: how far a point may lie from its equally spaced place


def ancillary(attributes: Mapping[Any, Any], *names: str) -> str:
    """Return the entry `ancillary_variables` with more names in it."""
    return " ".join([*str(attributes.get("ancillary_variables", "")).split(), *names])


def holds_means(attributes: Mapping[Any, Any], dim: str) -> bool:
    """Whether values are means over the cells of a dimension, not values at points.

    That is so if `cell_methods` says it, unless the comment names a filter: see `filters`.
    """
    said = str(attributes.get("cell_methods", ""))
    pattern = rf"(?<![\w]){re.escape(dim)}: mean(?! \(comment: [\w -]*filter)"
    return re.search(pattern, said) is not None


def bounds_name(dataset: Any, dim: str) -> Any:
    """Return the name of the variable that holds the bounds of cells, None if there is none."""
    if dim not in dataset.coords:
        return None
    coordinate = dataset.coords[dim]
    name = coordinate.attrs.get("bounds", coordinate.encoding.get("bounds"))
    return name if name in dataset.variables else None


def with_window(dataset: Any, name: str, attributes: Any, lower: Any, upper: Any) -> Any:
    """Return a dataset with the middle of a window as its coordinate `name`, and its bounds."""
    pair = "bnds" if dataset.sizes.get("bnds", 2) == 2 else "nv"
    values = np.array([lower, upper])
    about = {**attributes, "bounds": f"{name}_bnds"}
    result = dataset.assign_coords({name: ((), between(lower, upper), about)})
    if values.dtype.kind == "M":  # xarray encodes bounds like their coordinate
        start = str(values[0]).replace("T", " ")
        result.coords[name].encoding = {"units": f"seconds since {start}"}
    return result.assign({f"{name}_bnds": (pair, values)})


def product_attributes(*factors: Any) -> dict[str, Any]:
    """Return attributes of a product: the units of all factors, if each has one, and its name.

    Examples
    --------
    >>> import xarray
    >>> u = xarray.DataArray(1.0, name="u", attrs={"units": "m s-1", "standard_name": "any"})
    >>> product_attributes(u, u)
    {'long_name': 'u u', 'units': 'm s-1 m s-1'}
    """
    names = [str(f.name) for f in factors if getattr(f, "name", None) is not None]
    units = [str(f.attrs["units"]) for f in factors if "units" in getattr(f, "attrs", {})]
    found = {"long_name": " ".join(names)} if len(names) == len(factors) else {}
    if len(units) == len(factors):
        found["units"] = " ".join(unit for unit in units if unit != "1") or "1"
    return found


@dataclass(frozen=True, eq=False)
class Coordinate:
    """Points along a dimension as numbers, and what they are called.

    Attributes
    ----------
    name : str
    numbers : (n,) float64
        Dates as seconds after the first.
    values : (n,)
        As they came, dates as dates.
    attributes : dict
    cells : (n, 2) or None
        Bounds of the cells that the points stand for, if they are known.
    """

    name: str
    numbers: Array
    values: Any
    attributes: dict[Any, Any]
    cells: Any = None

    @property
    def circle(self) -> float | None:
        """The full circle, if the unit is one of angle."""
        unit = str(self.attributes.get("units", "")).strip().lower()
        return next((size for start, size in _CIRCLES.items() if unit.startswith(start)), None)

    @property
    def spacing(self) -> float:
        """The equal distance of neighbours, negative if they descend.

        Raises
        ------
        ValueError
            If the points are not equally spaced, or fewer than two.
        """
        return checked_spacing(self.numbers, self.name)


def coordinate_of(data: Any, dim: str) -> Coordinate | None:
    """Return the coordinate along a dimension of a DataArray or Dataset, None if it has none.

    Raises
    ------
    ValueError
        If there is no such dimension, or its coordinate holds neither numbers nor dates.
    """
    if dim not in data.dims:
        raise ValueError(
            f"there is no dimension {dim!r}, only {', '.join(map(repr, data.dims))}; "
            "name one of them with dim="
        )
    if dim not in data.coords:
        return None
    coordinate = data.coords[dim]
    found = points(dim, coordinate.to_numpy(), dict(coordinate.attrs))
    bounds = bounds_name(data, dim) if is_dataset(data) else None
    if bounds is None or data[bounds].ndim != 2:
        return found
    return replace(found, cells=data[bounds].transpose(dim, ...).to_numpy())


def points(name: str, values: Any, attributes: dict[Any, Any]) -> Coordinate:
    """Return numbers or dates (n,) as a coordinate.

    Raises
    ------
    ValueError
        If they are neither, or not finite.
    """
    if values.dtype.kind in "mM" and len(values):
        numbers = (values - values[0]) / np.timedelta64(1, "s")
    elif values.dtype.kind in "iuf":
        numbers = values.astype(float)
    else:
        raise ValueError(
            f"coordinate {name} must hold numbers or dates, got dtype {values.dtype}; decode dates "
            "to datetime64"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"coordinate {name} must be finite, got {values.tolist()}")
    return Coordinate(name, numbers, values, attributes)


def checked_spacing(places: Any, name: str) -> float:
    """Return the signed distance of equally spaced points.

    Raises
    ------
    ValueError
        If they are not equally spaced, or fewer than two.
    """
    if len(places) < 2:
        raise ValueError(f"{name} has {len(places)} point(s), and so no spacing; pass at least 2")
    lower, upper = float(places[0]), float(places[-1])
    spacing = (upper - lower) / (len(places) - 1)
    away = np.abs(places - np.linspace(lower, upper, len(places)))
    allowed = _UNIFORM * abs(spacing) + 4 * np.finfo(float).eps * np.abs(places).max()
    if not (spacing != 0 and away.max() <= allowed):
        raise ValueError(
            f"{name} must be equally spaced, but point {int(np.argmax(away))} lies "
            f"{away.max():.3g} from its place (spacing {spacing:.3g}); interpolate first"
        )
    return spacing


def checked_circle(coordinate: Coordinate, period: float | None) -> float:
    """Return the period of points that go equally spaced once around a circle.

    The period is that of the unit if none is given; without either it is that of the points.

    Raises
    ------
    ValueError
        If the points do not go around once, or repeat the first.
    """
    spacing, count = abs(coordinate.spacing), len(coordinate.numbers)
    wanted = coordinate.circle if period is None else period
    if wanted is not None and abs(count * spacing - wanted) > _UNIFORM * count * spacing:
        repeated = abs((count - 1) * spacing - wanted) <= _UNIFORM * count * spacing
        advice = (
            "the last point repeats the first: leave it out"
            if repeated
            else "a part of a circle has no such mean; pass period= if the period is another"
        )
        raise ValueError(
            f"{coordinate.name} must go once around, {wanted:.10g}, but its {count} points cover "
            f"{count * spacing:.10g}; {advice}"
        )
    return count * spacing


def written(value: Any) -> Any:
    """Return a number as a float and a date as text, for an attribute."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    return float(value)
