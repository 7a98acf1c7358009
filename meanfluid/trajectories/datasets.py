"""Positions from xarray objects, and results back on the same coordinates.

A dataset of coordinates becomes positions (n, dimension); values (n,) become variables on the same
dimensions, in the same order, with what CF says about means, windows, errors and status.
"""

import datetime
import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories import attributes as cf
from meanfluid.trajectories.clocks import at_time, free_name, with_window
from meanfluid.trajectories.control import Status


def axis_names(field: VelocityField) -> tuple[str, ...]:
    """Names of the coordinates of a field: those of its samples, or of the arguments of its body.

    Examples
    --------
    >>> from meanfluid.fields import deep_water_wave, rotation
    >>> axis_names(rotation()), axis_names(deep_water_wave())
    (('x', 'y'), ('x', 'z'))
    """
    if field.samples is not None:
        return tuple(axis.name for axis in field.samples.axes[int(field.samples.unsteady) :])
    given = [
        name
        for name, parameter in inspect.signature(field.body).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    names = tuple(given[3 : 3 + field.dimension])
    return names if len(names) == field.dimension else ("x", "y", "z")[: field.dimension]


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
        Of "length", "time" and "velocity", as far as the field knows them (or the labels: length).
    axis_units : tuple of str or None
        Of each coordinate.
    time_reference : numpy.datetime64 or None
        Where the time of the field has its zero.
    """

    position: Array
    names: tuple[str, ...]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    template: Any
    units: Mapping[str, str]
    axis_units: tuple[str | None, ...] = ()
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
            If it lies on other dimensions or coordinates than the labels, is in another unit than
            the time of the field, or is a date and the field has none.
        """
        if not cf.is_xarray(value):
            return self._counted(value)
        self._require_unit(value)
        if not value.dims:
            return self._counted(value.to_numpy()[()])
        require_on_labels(value, self.dims, self.template)
        sizes = dict(zip(self.dims, self.shape, strict=True))
        spread = value.variable.set_dims(sizes).transpose(*self.dims).to_numpy()
        return self._counted(spread.reshape(-1))

    def instants(self, value: Any) -> Any:
        """Return times (k,) that belong to no label, as the field counts them.

        Raises
        ------
        ValueError
            If they are in another unit than the time of the field, or dates and the field has none.
        """
        if not cf.is_xarray(value):
            return self._counted(value)
        self._require_unit(value)
        return self._counted(value.to_numpy())

    def _require_unit(self, value: Any) -> None:
        given, own = value.attrs.get("units"), self.units.get("time")
        if None not in (given, own) and given != own:
            raise ValueError(
                f"times are in {given!r}, but the field counts them in {own!r}; convert them, or "
                "write the unit in the same way"
            )

    def _counted(self, value: Any) -> Any:
        if isinstance(value, datetime.datetime):
            value = np.datetime64(value)
        if devices.is_on_gpu(value) or np.asarray(value).dtype.kind != "M":
            return value
        if self.time_reference is None:
            raise ValueError(f"the field has no dates, but a time is {value!r}; pass a number")
        return (np.asarray(value) - self.time_reference) / np.timedelta64(1, "s")


def require_on_labels(value: Any, dims: Sequence[str], template: Any) -> None:
    """Refuse a DataArray of times on other dimensions or coordinates than those of the labels.

    Raises
    ------
    ValueError
    """
    if set(value.dims) - set(dims):
        raise ValueError(
            f"a DataArray of times must lie on the labels, {tuple(dims)}, and has more "
            f"dimensions: {value.dims}"
        )
    import xarray

    xarray.align(value, template, join="exact")


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
    wanted = axis_names(field) if names is None else tuple(names)
    if len(wanted) != field.dimension:
        raise ValueError(f"names must be {field.dimension}, one per coordinate, got {wanted}")
    sizes, template = template_of(data, wanted)
    units, axis_units = _checked_units([data[name] for name in wanted], field)
    dims = tuple(sizes)
    flat = [_numbers(data[name].variable, name).set_dims(sizes).transpose(*dims).to_numpy()
            for name in wanted]  # fmt: skip
    reference = None if field.samples is None else field.samples.time_reference
    return Labels(
        np.stack([part.reshape(-1) for part in flat], axis=-1), wanted, dims,
        tuple(sizes.values()), template, units, axis_units, reference,
    )  # fmt: skip


def template_of(data: Any, names: Sequence[str]) -> tuple[dict[str, int], Any]:
    """Sizes of the dimensions of labels, in the order of the data; and coordinates on them.

    Parameters
    ----------
    data : Dataset or DataArray
    names : sequence of str
        Of the coordinates that are positions.

    Returns
    -------
    dict, xarray.Dataset
        The dataset has no variables, and of the attributes only `featureType`.

    Raises
    ------
    TypeError, ValueError
        If it is no dataset, or a coordinate is missing.
    """
    if not cf.is_xarray(data):
        raise TypeError(f"expected a Dataset or DataArray, got {type(data).__name__}")
    held = data.variables if cf.is_dataset(data) else data.coords
    missing = [name for name in names if name not in held]
    if missing:
        raise ValueError(
            f"no coordinate {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, held)) or 'none at all'}; rename yours to {', '.join(names)}, "
            "or assign them"
        )
    used = {dim for name in names for dim in data[name].dims}
    sizes = {dim: size for dim, size in data.sizes.items() if dim in used}
    coords = {key: c.variable for key, c in data.coords.items() if set(c.dims) <= used}
    for name in names:
        coords.setdefault(name, data[name].variable)
    import xarray

    template = xarray.Dataset(coords=coords)
    for coordinate in template.coords.values():
        if coordinate.attrs.get("bounds", "") not in ("", *coords):  # they are left behind
            del coordinate.attrs["bounds"]
    if "featureType" in data.attrs:  # points of tracks stay points of tracks
        template.attrs["featureType"] = data.attrs["featureType"]
    return sizes, template


def mean_dataset(
    labels: Labels,
    values: Mapping[str, Any],
    *,
    start: Any = None,
    end: Any,
    errors: Mapping[str, Any] | None = None,
    status: Any = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    comment: str | Mapping[str, str] = "",
    over: str | None = None,
    points: Collection[str] = (),
    doubt: str = "estimated error",
    provenance: Mapping[str, Any] | None = None,
    **about: Any,
) -> Any:
    """Means over a window, or values at a time, as a dataset on the coordinates of the labels.

    Parameters
    ----------
    labels : Labels
    values : mapping of names to arrays (n,), (n, size) or (n, dimension, dimension)
        Several components become as many variables, ``<name>_x`` and so on if there is one per
        coordinate, else ``<name>_0`` and so on; of a matrix ``<name>_x_y`` and so on.
    start, end : float or (n,), time
        The window. Without a start, values are at the time `end`.
    errors : mapping of the same names to arrays (n,), optional
        Variables ``<name>_error``, which the values name in `ancillary_variables`.
    status : (n,), optional
        `meanfluid.Status` of each trajectory: variable `status`, with its flags.
    attributes : mapping of names to attributes, optional
        `long_name`, `units` and so on of each value. Units may be a tuple, one (or None) for each
        component.
    comment : str, or mapping of the names of values to str
        How it was averaged: "along trajectories, label=final". Goes into `cell_methods`.
    over : str, optional
        Over what the mean is, for `cell_methods`: "realization"; by default over the window.
    points : collection of str
        Names of the values that are no means, and say nothing in `cell_methods`.
    doubt : str
        What the errors are, for their `long_name`.
    provenance : mapping, optional
        Further attributes of the dataset, each with the prefix ``meanfluid_``.
    **about
        More of them: ``label="final"``.

    Returns
    -------
    xarray.Dataset
        With the window as bounds of a coordinate `time` (`averaging_time` where the labels have a
        time of their own), and a coordinate `time_end`, which tells the way it runs; or with the
        one time as `time`, which may be that of the labels.

    Raises
    ------
    ValueError
        If shapes do not fit, or two variables would have the same name.
    """
    clock = free_name(labels, "averaging_time" if start is not None else "time_of_values")
    result = (
        at_time(labels, clock, end) if start is None else with_window(labels, clock, start, end)
    )
    attributes, errors, has_status = attributes or {}, errors or {}, status is not None
    for name, value in values.items():
        given, doubted = dict(attributes.get(name, {})), name in errors
        units = _by_component(given.pop("units", None), devices.to_host(value))
        how = comment if isinstance(comment, str) else comment.get(name, "")
        said = given if name in points else cf.with_cell_method(given, over or clock, "mean", how)
        beside = [*([f"{name}_error"] if doubted else []), *(["status"] if has_status else [])]
        if beside:
            said = said | {"ancillary_variables": " ".join(beside)}
        _add_components(result, labels, name, devices.to_host(value), said, units)
        if doubted:
            common = {"units": units[0]} if units[0] and len(set(units)) == 1 else {}
            own = cf.error_attributes(given | common, name, doubt)
            _add(result, f"{name}_error", labels.on_grid(errors[name], own))
    if has_status:
        _add(result, "status", labels.on_grid(status, status_attributes()))
    result.attrs = cf.with_provenance(
        {"Conventions": cf.CONVENTIONS, **labels.template.attrs},
        **{k: plain(v) for k, v in (provenance or {}).items()},
        **{key: plain(value) for key, value in about.items()},
    )  # fmt: skip
    return result


def _add(dataset: Any, name: str, variable: Any) -> None:
    """Put a variable into a dataset that has none of that name."""
    if name in dataset.variables:
        raise ValueError(
            f"two variables would be called {name!r}, one of them among the coordinates, bounds, "
            "errors or status; rename the coordinate, or pass a mapping of other names to "
            "observables"
        )
    dataset[name] = variable


def _add_components(
    dataset: Any, labels: Labels, name: str, value: Array, attributes: Mapping[str, Any],
    units: Sequence[Any],
) -> None:  # fmt: skip
    for (part, column), unit in zip(_components(labels, name, value), units, strict=True):
        own = {**attributes, **({"units": unit} if unit else {})}
        if part != name and "long_name" in own:
            own["long_name"] = f"{own['long_name']}, {part.removeprefix(name + '_')}"
        _add(dataset, part, labels.on_grid(column, own))


def _by_component(units: Any, value: Array) -> list[Any]:
    """Return the unit of each component."""
    count = int(np.prod(value.shape[1:]))
    return list(units) if isinstance(units, tuple) else [units] * count


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


def _checked_units(
    columns: Sequence[Any], field: VelocityField
) -> tuple[dict[str, str], tuple[str | None, ...]]:
    """Units of the field, which those of the coordinates must not contradict; and of each axis."""
    known = {} if field.samples is None else dict(field.samples.units)
    own = _units_of_axes(field, known)
    for k, column in enumerate(columns):
        given = str(column.attrs.get("units", own[k] or "")).strip()
        wanted = own[k] or given
        if given.lower() != wanted.strip().lower():
            raise ValueError(
                f"coordinate {column.name} is in {given!r}, but that of the field in {wanted!r}; "
                "convert it, or write the unit in the same way"
            )
        own[k] = wanted or None
    if own[0] is not None and len(set(own)) == 1:
        known["length"] = own[0]
    return {key: known[key] for key in ("length", "time", "velocity") if key in known}, tuple(own)


def _units_of_axes(field: VelocityField, known: Mapping[str, str]) -> list[str | None]:
    """Units of the coordinates of a field, None where it does not know them."""
    roles = [role for role in ("x", "y", "z") if role in known]
    if len(roles) == field.dimension:  # else some are not known: which ones cannot be told
        return [known[role] for role in roles]
    return [None] * field.dimension


def _components(labels: Labels, name: str, value: Array) -> list[tuple[str, Array]]:
    if value.ndim == 1:
        return [(name, value)]
    d, names = len(labels.names), labels.names
    if value.shape[1:] == (d, d):
        ends = [f"{one}_{other}" for one in names for other in names]
    elif value.ndim == 2:
        ends = list(names) if value.shape[1] == d else [str(k) for k in range(value.shape[1])]
    else:
        raise ValueError(
            f"{name} must have shape (n,), (n, size) or (n, {d}, {d}), got {value.shape}"
        )
    columns = value.reshape(len(value), -1)
    return [(f"{name}_{end}", columns[:, k]) for k, end in enumerate(ends)]


def plain(value: Any) -> Any:
    """Return a value that a file can hold as an attribute."""
    if isinstance(value, np.generic) and value.dtype.kind in "iuf":
        return value.item()
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str | int | float) else repr(value)
