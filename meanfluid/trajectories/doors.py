"""What every door for points does with xarray: a Dataset of labels in, a Dataset out.

A door computes arrays (`Found`) from arrays. `on_labels` makes positions of a Dataset, calls it,
and puts what it found on the coordinates of the labels, with errors, status and attributes. Where
arrays come in, arrays go out, and xarray is not imported.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.trajectories.attributes import is_dataset, is_xarray
from meanfluid.trajectories.checks import checked_field
from meanfluid.trajectories.datasets import Labels, axis_names, labels_of, mean_dataset
from meanfluid.trajectories.problem import Settings
from meanfluid.trajectories.results import provenance

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Arguments that are data or are told otherwise; the others become attributes of their own.
_NOT_TOLD = (
    "field", "ensemble", "displacement", "parameters", "position", "start", "end", "time", "guess",
    "observable", "observables", "tracer", "options", "rtol", "return_error", "on_failure",
    # and those of `trajectories`, which its provenance tells:
    "weights", "constants", "gradient", "times", "carried", "atol", "scheme", "steps", "max_steps",
    "knots", "out_of_domain", "estimate_error", "interpolation_error", "device", "threads",
    "progress",
)  # fmt: skip
TIMES = ("start", "end", "time", "label", "given")
_LABEL_TIME = "label_time"
_VERSION = "meanfluid"  # which is said of every mean


@dataclass(frozen=True, eq=False)
class Found:
    """What a door computed of n points.

    Attributes
    ----------
    value : (n,), (n, size) or (n, dimension, dimension), or a dict of them
        None is left out.
    error : (n,), or a dict of them
        Estimated error of each value; Euclidean norm of a vector's. None if nothing is known.
    status : (n,) int8, or None
        See `meanfluid.Status`. None if nothing can fail.
    record : object, optional
        What the door returns where arrays came in, if not value and error.
    end : float or (n,), time, optional
        Of the window, where the door finds it and is not told.
    provenance : mapping, optional
        What is needed to compute it again, if not what the options of `trajectories` say.
    windows : callable ``() -> sequence of Found``, optional
        If there are several windows: what was found over each, with its end.
    """

    value: Any
    error: Any
    status: Any
    record: Any = None
    end: Any = None
    provenance: Mapping[str, Any] | None = None
    windows: Callable[[], Sequence["Found"]] | None = None


@dataclass(frozen=True)
class Quantity:
    """What a value is: the name of its variable, and its attributes.

    Attributes
    ----------
    name, long_name : str
    unit : "length", "time", "velocity", "rate" (1 / time), "1", or None if it is not known
    mean : bool
        Whether it is a mean over the window, for `cell_methods`.
    comment : str
        What else there is to say.
    taken : str, optional
        How this mean is taken, for `cell_methods`, if not as the door says of all of them.
    once : bool
        Whether it is the same for all of several windows.
    """

    name: str
    long_name: str
    unit: Literal["length", "time", "velocity", "rate", "1"] | None = None
    mean: bool = True
    comment: str = ""
    taken: str | None = None
    once: bool = False


Arguments = Mapping[str, Any]
Quantities = Quantity | Mapping[Any, Quantity]


def _its_field(arguments: Arguments) -> Any:
    return arguments["field"]


@dataclass(frozen=True)
class _Door:
    """How a door is described; see `on_labels`."""

    quantities: Quantities | Callable[[Arguments], Quantities]
    comment: str
    doubt: str
    carried: bool
    over: str | None
    by_chunks: bool
    field_of: Callable[[Arguments], Any]


def on_labels(
    quantities: Quantities | Callable[[Arguments], Quantities],
    *,
    comment: str = "along trajectories",
    doubt: str = "estimated error",
    carried: bool = True,
    over: str | None = None,
    by_chunks: bool = True,
    field_of: Callable[[Arguments], Any] = _its_field,
) -> Callable[[Callable[_P, Found]], Callable[_P, Any]]:
    """Make a door of a function that computes arrays: xarray in gives xarray out.

    If `position` is a Dataset, or a DataArray with coordinates named like the axes of the field
    (those of its samples, or the arguments of its body), the door returns a Dataset on the same
    dimensions and coordinates, in the same order. Coordinates of one dimension each span a grid;
    those that share dimensions are points of a list or of a curvilinear grid; single numbers hold
    everywhere. `start`, `end` and a label that is a time may be numbers, dates if the field has
    some, or DataArrays on the labels.

    The Dataset holds each value, its error as ``<name>_error`` (whether or not it is asked for by
    `return_error`), and `status`. The window is a coordinate `time` with bounds, `averaging_time`
    if the labels have a `time` of their own; `time_end` tells which way it runs. Of a door that
    takes one `time` it is that time, without bounds. Attributes say units as far as the field knows
    them, `cell_methods`, and with the prefix ``meanfluid_`` what is needed to compute it again.

    A Dataset whose labels are chunked by dask stays lazy: each chunk is computed when it is asked
    for. One of the labels is computed at once, to learn which variables there will be.

    Parameters
    ----------
    quantities : Quantity, mapping, or callable ``(arguments) -> Quantity or mapping``
        What the values are; a mapping has the keys of `Found.value`.
    comment : str
        How the mean is taken, for `cell_methods`.
    doubt : str
        What the errors are.
    carried : bool
        Whether particles move, for the attributes.
    over : str, optional
        Over what the mean is, for `cell_methods`: "realization"; by default over the window.
    by_chunks : bool
        Whether each point is computed apart from all others, so that chunks may be too.
    field_of : callable ``(arguments) -> VelocityField``
        Whose axes name the coordinates; by default the argument `field`.

    Returns
    -------
    callable
        Decorator of a function that returns `Found`, and takes `position`.
    """
    about = _Door(quantities, comment, doubt, carried, over, by_chunks, field_of)

    def door(function: Callable[_P, Found]) -> Callable[_P, Any]:
        signature = inspect.signature(function)

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            if any(map(is_xarray, (*args, *kwargs.values()))):
                arguments = _bound(signature, args, kwargs)
                field = field_of(arguments)
                if holds_labels(arguments["position"], field):
                    if by_chunks and _chunked(arguments["position"], field):
                        from meanfluid.trajectories import chunks

                        return chunks.lazy(called, arguments)
                    return _dataset(about, arguments, *_computed(function, arguments, field))
            found = function(*args, **kwargs)
            if found.record is not None:
                return found.record
            return (found.value, found.error) if kwargs.get("return_error") else found.value

        called.__annotations__ = {**function.__annotations__, "return": Any}
        shown = signature.replace(return_annotation=Any)
        called.__signature__ = shown  # type: ignore[attr-defined]
        return called

    return door


def on_labels_or(
    record: type[_R], quantities: Quantities | Callable[[Arguments], Quantities], **about: Any
) -> Callable[[Callable[_P, Found]], Callable[_P, _R]]:
    """Return `on_labels`, of a door that returns a record of some class where arrays come in."""

    def door(function: Callable[_P, Found]) -> Callable[_P, _R]:
        called: Any = on_labels(quantities, **about)(function)
        called.__annotations__["return"] = record
        called.__signature__ = inspect.signature(called).replace(return_annotation=record)
        return called  # type: ignore[no-any-return]

    return door


def _bound(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return all arguments; a `time` that is not given is that of the Dataset, if it has one."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    position = arguments["position"]
    if arguments.get("time", 0.0) is None and is_xarray(position):
        held = position.variables if is_dataset(position) else position.coords
        arguments["time"] = position["time"] if "time" in held else None
    return arguments


def holds_labels(position: Any, field: Any) -> bool:
    """Whether it is a Dataset, or a DataArray with a coordinate of the field."""
    if not is_xarray(position):
        return False
    if is_dataset(position) or not isinstance(field, VelocityField):
        return bool(is_dataset(position))
    return any(name in position.coords for name in axis_names(field))


def _chunked(position: Any, field: Any) -> bool:
    """Whether dask holds the labels in chunks."""
    if not isinstance(field, VelocityField):
        return False
    held = position.variables if is_dataset(position) else position.coords
    used = {dim for name in axis_names(field) if name in held for dim in position[name].dims}
    return bool(used & set(position.chunksizes))


def _computed(
    function: Callable[..., Found], arguments: Arguments, field: Any
) -> tuple[Found, Labels, dict[str, Any]]:
    """Return what a function finds at the labels, the labels, and times as the field counts."""
    checked_field(field)
    labels = labels_of(arguments["position"], field)
    times = {
        key: labels.times(arguments[key])
        for key in TIMES
        if not isinstance(arguments.get(key), str | None)
    }
    if arguments.get("times") is not None:
        times["times"] = labels.instants(arguments["times"])
    more = {"return_error": True} if "return_error" in arguments else {}
    given = {**arguments, **times, **more, "position": labels.position}
    options = given.pop("options", {})
    return function(**given, **options), labels, times


def _dataset(
    door: _Door, arguments: Arguments, found: Found, labels: Labels, times: Mapping[str, Any]
) -> Any:
    if found.windows is None:
        return _of_window(door, arguments, found, labels, times)
    parts = [_of_window(door, arguments, one, labels, times) for one in found.windows()]
    import xarray

    clocks = [str(key) for key in parts[0].coords if key not in labels.template.coords]
    once = {"status", *(part.name for part in _quantities(door, arguments).values() if part.once)}
    common = {key: parts[0][key].variable for key in once if key in parts[0]}
    joined = xarray.concat(
        [part.drop_vars(list(common)) for part in parts], dim=clocks[0], data_vars="all",
        coords=clocks, compat="override", join="exact", combine_attrs="override",
    )  # fmt: skip
    return joined.assign(common)


def _quantities(door: _Door, arguments: Arguments) -> Mapping[Any, Quantity]:
    """Return what a door tells, by key: "" if it is a single quantity."""
    told = door.quantities(arguments) if callable(door.quantities) else door.quantities
    return told if isinstance(told, Mapping) else {"": told}


def _of_window(
    door: _Door, arguments: Arguments, found: Found, labels: Labels, times: Mapping[str, Any]
) -> Any:
    value, error = found.value, found.error
    if not isinstance(value, dict):
        value, error = {"": value}, {"": error}
    every = _quantities(door, arguments)
    told = {key: part for key, part in every.items() if value.get(key) is not None}
    about, by_label = _told(arguments, times)
    label = about.get("label")
    labelled = "" if label is None else f", label={label}"
    end = times.get("time", times.get("end")) if found.end is None else found.end
    result = mean_dataset(
        labels, {part.name: value[key] for key, part in told.items()},
        errors={part.name: error[key] for key, part in told.items()
                if error.get(key) is not None},
        status=found.status, start=times.get("start"), end=end,
        attributes={part.name: attributes_of(part, labels) for part in told.values()},
        comment={part.name: (door.comment if part.taken is None else part.taken) + labelled
                 for part in told.values()},
        over=door.over, points=[part.name for part in told.values() if not part.mean],
        doubt=door.doubt, provenance=_provenance(door, arguments, found) | about,
    )  # fmt: skip
    if by_label is None:
        return result
    when = {"long_name": "time at which trajectories are at their labels"}
    return result.assign_coords({_LABEL_TIME: labels.on_grid(by_label, when)})


def _told(arguments: Arguments, times: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return what attributes say of arguments, and times of the labels if each has its own."""
    about = {
        key: value
        for key, value in arguments.items()
        if key not in _NOT_TOLD and (value is not None or key == "window")
    }
    about |= {key: value for key, value in times.items() if key in about}
    if "window" in about and about["window"] is None:
        about["window"] = "top_hat()"
    if "given" in about:
        about["label"] = about.pop("given")
    label = about.get("label", "")
    if isinstance(label, str) or np.ndim(devices.to_host(label)) == 0:
        return about, None
    return about | {"label": _LABEL_TIME}, label


def attributes_of(part: Quantity, labels: Labels) -> dict[str, Any]:
    """Return name and units of a quantity, as far as the labels know them."""
    units: dict[Any, Any] = {
        "length": labels.axis_units,
        "time": labels.units.get("time"),
        "velocity": labels.units.get("velocity"),
        "rate": f"{labels.units['time']}-1" if "time" in labels.units else None,
        "1": "1",
    }
    found: dict[str, Any] = {"long_name": part.long_name, "units": units.get(part.unit)}
    if part.comment:
        found["comment"] = part.comment
    return {key: value for key, value in found.items() if value is not None}


def _provenance(door: _Door, arguments: Arguments, found: Found) -> dict[str, Any]:
    """Return what `Trajectories.provenance` says, of the arguments of a door."""
    if found.provenance is not None:
        told = {key: value for key, value in found.provenance.items() if key != _VERSION}
        names = list(arguments.get("observables") or ())
        if names and all(isinstance(name, str) for name in names):
            told["observables"] = names
        return told
    from meanfluid.trajectories.flow_map import trajectories  # which is no door, but has one beside

    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(trajectories).parameters.items()
    }
    given = {**defaults, **arguments.get("options", {})}
    if "rtol" in arguments:
        given["rtol"] = arguments["rtol"]
    given["out_of_domain"] = given["out_of_domain"] or given["on_failure"]
    settings = Settings(**{part.name: given[part.name] for part in fields(Settings)})
    observed = arguments.get("observables", arguments.get("observable", {}))
    functions = observed if isinstance(observed, Mapping) else {name_of(observed): observed}
    device = given["device"] or "cpu"
    told = provenance(
        door.field_of(arguments), functions, settings, carried=door.carried, device=device
    )
    if "tracer" in arguments:
        told["tracer"] = name_of(arguments["tracer"], "tracer")
    told.pop(_VERSION)
    return told


def name_of(function: Any, otherwise: str = "observable") -> str:
    """Return the name of a function, or "velocity", as a variable may be called."""
    if isinstance(function, str):
        return function
    name = str(getattr(function, "__name__", otherwise))
    return name if name.isidentifier() else otherwise
