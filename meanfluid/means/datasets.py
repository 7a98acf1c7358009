"""Positions from xarray objects, and results back on the same coordinates.

A dataset of coordinates becomes positions (n, dimension); values (n,) become variables on the same
dimensions, in the same order, with what CF says about means, windows, errors and status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means import cf
from meanfluid.trajectories.control import Status


def axis_names(field: VelocityField) -> tuple[str, ...]:
    """Names of the coordinates of a field: those of its samples, or x, y, z by their place.

    Examples
    --------
    >>> from meanfluid.fields import rotation
    >>> axis_names(rotation())
    ('x', 'y')
    """
    if field.samples is None:
        return ("x", "y", "z")[: field.dimension]
    return tuple(axis.name for axis in field.samples.axes[int(field.samples.unsteady) :])


@dataclass(frozen=True, eq=False)
class Labels:
    """Positions out of a dataset, and the way back.

    Attributes
    ----------
    position : (n, dimension), length
    names : tuple of str
        Of the coordinates.
    dims : tuple of str
        Of the grid of labels, slowest first; empty for a single point.
    shape : tuple of int
    template : xarray.Dataset
        Coordinates on these dimensions, and those that are single numbers; no variables.
    units : mapping of str to str
        Of "length", "time" and "velocity", as far as the field knows them.
    time_reference : numpy.datetime64 or None
        Where the time of the field has its zero.
    """

    position: Array
    names: tuple[str, ...]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    template: Any
    units: Mapping[str, str]
    time_reference: Any = None

    def on_grid(self, values: Any, attributes: Mapping[Any, Any] | None = None) -> Any:
        """Return values (n,) as a variable: dimensions, values, attributes."""
        array = devices.to_host(values)
        if array.shape != (len(self.position),):
            raise ValueError(
                f"values must have shape ({len(self.position)},), one per position, got "
                f"{array.shape}"
            )
        return self.dims, array.reshape(self.shape), dict(attributes or {})

    def times(self, value: Any) -> Any:
        """Return a time, or one per position, as the field counts them.

        Parameters
        ----------
        value : number, date, array (n,), or DataArray on (some of) the dimensions of the labels
            Dates count from `time_reference`, in seconds.

        Raises
        ------
        ValueError
            If it lies on other dimensions or coordinates than the labels, or is a date and the
            field has none.
        """
        if not cf.is_xarray(value):
            return self._counted(value)
        import xarray

        extra = set(value.dims) - set(self.dims)
        if extra:
            raise ValueError(
                f"a DataArray of times must lie on the labels, {self.dims}, and has more "
                f"dimensions: {value.dims}"
            )
        xarray.align(value, self.template, join="exact")  # refuses other coordinates
        sizes = dict(zip(self.dims, self.shape, strict=True))
        spread = value.variable.set_dims(sizes).transpose(*self.dims).to_numpy()
        return self._counted(spread.reshape(-1))

    def _counted(self, value: Any) -> Any:
        if devices.is_on_gpu(value) or np.asarray(value).dtype.kind != "M":
            return value
        if self.time_reference is None:
            raise ValueError(f"the field has no dates, but a time is {value!r}; pass a number")
        return (np.asarray(value) - self.time_reference) / np.timedelta64(1, "s")


def labels_of(data: Any, field: VelocityField, *, names: Sequence[str] | None = None) -> Labels:
    """Positions of a dataset that holds the coordinates of a field, by their names.

    Coordinates of one dimension each span a grid; those that share dimensions are points of a
    list or of a curvilinear grid; single numbers hold everywhere.

    Parameters
    ----------
    data : Dataset or DataArray
        Holds a variable or coordinate for each of the names. A DataArray may be any variable of
        the wanted grid.
    field : VelocityField
    names : sequence of str, optional
        Of the coordinates; by default those of `axis_names`.

    Returns
    -------
    Labels
        Its dimensions are in the order of those of `data`.

    Raises
    ------
    TypeError, ValueError
        If a coordinate is missing, does not hold finite numbers, or is in another unit than the
        field.
    """
    if not cf.is_xarray(data):
        raise TypeError(f"expected a Dataset or DataArray, got {type(data).__name__}")
    wanted = axis_names(field) if names is None else tuple(names)
    if len(wanted) != field.dimension:
        raise ValueError(f"names must be {field.dimension}, one per coordinate, got {wanted}")
    held = data.variables if cf.is_dataset(data) else data.coords
    missing = [name for name in wanted if name not in held]
    if missing:
        raise ValueError(
            f"no coordinate {', '.join(map(repr, missing))}, only {', '.join(map(repr, held))}; "
            f"rename yours to {', '.join(wanted)}, or assign them"
        )
    units = _checked_units([data[name] for name in wanted], field)
    columns = [data[name].variable for name in wanted]
    used = {dim for column in columns for dim in column.dims}
    dims = tuple(dim for dim in data.sizes if dim in used)
    sizes = {dim: data.sizes[dim] for dim in dims}
    flat = [_numbers(c, name).set_dims(sizes).transpose(*dims).to_numpy().reshape(-1)
            for c, name in zip(columns, wanted, strict=True)]  # fmt: skip
    reference = None if field.samples is None else field.samples.time_reference
    return Labels(
        np.stack(flat, axis=-1), wanted, dims, tuple(sizes.values()), _template(data, wanted, dims),
        units, reference,
    )  # fmt: skip


def mean_dataset(
    labels: Labels,
    values: Mapping[str, Any],
    *,
    start: Any,
    end: Any,
    errors: Mapping[str, Any] | None = None,
    status: Any = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    comment: str = "",
    provenance: Mapping[str, Any] | None = None,
    **about: Any,
) -> Any:
    """Means over a window of time as a dataset on the coordinates of the labels.

    Parameters
    ----------
    labels : Labels
    values : mapping of names to arrays (n,) or (n, size)
        Several components become as many variables, ``<name>_x`` and so on if there is one per
        coordinate, else ``<name>_0`` and so on.
    start, end : float or (n,), time
        The window.
    errors : mapping of the same names to arrays (n,), optional
        Variables ``<name>_error``, which the values name in `ancillary_variables`.
    status : (n,), optional
        `meanfluid.Status` of each trajectory: variable `status`, with its flags.
    attributes : mapping of names to attributes, optional
        `long_name`, `units` and so on of each value.
    comment : str
        How it was averaged: "along trajectories, label=final". Goes into `cell_methods`.
    provenance : mapping, optional
        Further attributes of the dataset, each with the prefix ``meanfluid_``.
    **about
        More of them: ``label="final"``.

    Returns
    -------
    xarray.Dataset
        With the window as bounds of a coordinate `time` (`averaging_time` where the labels have a
        time of their own).

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    clock = "averaging_time" if "time" in {*labels.dims, *labels.template.coords} else "time"
    result = _with_window(labels, clock, start, end)
    attributes, errors, beside = attributes or {}, errors or {}, []
    if status is not None:
        result["status"] = labels.on_grid(devices.to_host(status), status_attributes())
        beside = ["status"]
    for name, value in values.items():
        given = cf.with_cell_method(attributes.get(name, {}), clock, "mean", comment)
        named = [*([f"{name}_error"] if name in errors else []), *beside]
        if named:
            given["ancillary_variables"] = " ".join(named)
        for part, column in _components(labels, name, devices.to_host(value)):
            own = dict(given)
            if part != name and "long_name" in own:
                own["long_name"] = f"{own['long_name']}, {part.removeprefix(name + '_')}"
            result[part] = labels.on_grid(column, own)
        if name in errors:
            result[f"{name}_error"] = labels.on_grid(
                errors[name], cf.error_attributes(attributes.get(name, {}), name, "estimated error")
            )
    result.attrs = cf.with_provenance(
        {"Conventions": cf.CONVENTIONS}, **{k: _plain(v) for k, v in (provenance or {}).items()},
        **{key: _plain(value) for key, value in about.items()},
    )  # fmt: skip
    return result


def status_attributes() -> dict[str, Any]:
    """Return the CF flags of a variable of `meanfluid.Status`."""
    return {
        "long_name": "how the trajectory ended",
        "flag_values": np.array([status.value for status in Status], dtype=np.int8),
        "flag_meanings": " ".join(status.name.lower() for status in Status),
    }


def _numbers(column: Any, name: str) -> Any:
    if column.dtype.kind not in "iuf":
        raise ValueError(f"coordinate {name} must hold numbers, got dtype {column.dtype}")
    numbers = column.astype(float)
    if not np.isfinite(numbers.to_numpy()).all():
        raise ValueError(f"coordinate {name} must be finite; drop the points that are not")
    return numbers


def _template(data: Any, names: Sequence[str], dims: Sequence[str]) -> Any:
    """Dataset of the coordinates that live on the labels alone, in the order of the data."""
    import xarray

    coords = {key: c.variable for key, c in data.coords.items() if set(c.dims) <= set(dims)}
    for name in names:
        coords.setdefault(name, data[name].variable)
    return xarray.Dataset(coords=coords)


def _checked_units(columns: Sequence[Any], field: VelocityField) -> dict[str, str]:
    """Units of the field, which those of the coordinates must not contradict."""
    known = {} if field.samples is None else dict(field.samples.units)
    spatial = [known[role] for role in ("x", "y", "z") if role in known]
    if len(spatial) == field.dimension:
        for column, unit in zip(columns, spatial, strict=True):
            given = str(column.attrs.get("units", unit)).strip()
            if given.lower() != unit.strip().lower():
                raise ValueError(
                    f"coordinate {column.name} is in {given!r}, but that of the field in {unit!r}; "
                    "convert it, or write the unit in the same way"
                )
        known["length"] = spatial[0]
    elif "units" in columns[0].attrs:
        known["length"] = str(columns[0].attrs["units"])
    return {key: known[key] for key in ("length", "time", "velocity") if key in known}


def _components(labels: Labels, name: str, value: Array) -> list[tuple[str, Array]]:
    if value.ndim == 1:
        return [(name, value)]
    if value.ndim != 2:
        raise ValueError(f"{name} must have shape (n,) or (n, size), got {value.shape}")
    size = value.shape[1]
    ends = labels.names if size == len(labels.names) else [str(k) for k in range(size)]
    return [(f"{name}_{end}", value[:, k]) for k, end in enumerate(ends)]


def _with_window(labels: Labels, clock: str, start: Any, end: Any) -> Any:
    """Return the template with the middle of the window as a coordinate, and its bounds."""
    ends = np.broadcast_arrays(*(np.asarray(devices.to_host(t), float) for t in (start, end)))
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    attributes: dict[str, Any] = {
        "long_name": "middle of the averaging window", "bounds": f"{clock}_bnds",
    }  # fmt: skip
    if labels.time_reference is not None:
        attributes["units"] = f"seconds since {str(labels.time_reference).replace('T', ' ')}"
    elif "time" in labels.units:
        attributes["units"] = labels.units["time"]
    varying = lower.ndim > 0
    dims, shape = (labels.dims, labels.shape) if varying else ((), ())
    middle = cf.between(lower, upper).reshape(shape)
    bounds = np.stack([lower.reshape(shape), upper.reshape(shape)], axis=-1)
    result = labels.template.assign_coords({clock: (dims, middle, attributes)})
    return result.assign({f"{clock}_bnds": ((*dims, "bnds"), bounds)})


def _plain(value: Any) -> Any:
    """Return a value that a file can hold as an attribute."""
    return value if isinstance(value, str | int | float) else repr(value)
