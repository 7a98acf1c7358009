"""What every door for particles does with xarray: a Dataset of labels in, a Dataset out.

A door computes arrays (`Found`) from arrays. `on_labels` makes positions of a Dataset, calls it,
and puts what it found on the coordinates of the labels, with errors, status and attributes. Where
arrays come in, arrays go out, and xarray is not imported.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, Literal, ParamSpec

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.trajectories.attributes import is_dataset, is_xarray
from meanfluid.trajectories.checks import checked_field
from meanfluid.trajectories.datasets import Labels, axis_names, labels_of, mean_dataset
from meanfluid.trajectories.problem import Settings
from meanfluid.trajectories.results import provenance

_P = ParamSpec("_P")

# Arguments that are data or are told otherwise; the others become attributes of their own.
_NOT_TOLD = (
    "field", "position", "start", "end", "observable", "observables", "tracer", "options", "rtol",
    "return_error",
)  # fmt: skip
TIMES = ("start", "end", "label", "given")
_LABEL_TIME = "label_time"


@dataclass(frozen=True, eq=False)
class Found:
    """What a door computed of n particles.

    Attributes
    ----------
    value : (n,) or (n, size), or a dict of them
    error : (n,), or a dict of them
        Estimated error of each value; Euclidean norm of a vector's. None if nothing is known.
    status : (n,) int8
        See `meanfluid.Status`.
    record : object, optional
        What the door returns where arrays came in, if not value and error.
    """

    value: Any
    error: Any
    status: Any
    record: Any = None


@dataclass(frozen=True)
class Quantity:
    """What a value is: the name of its variable, and its attributes.

    Attributes
    ----------
    name, long_name : str
    unit : "length", "velocity", "rate" (1 / time), "1", or None if it is not known
    mean : bool
        Whether it is a mean over the window, for `cell_methods`.
    comment : str
        What else there is to say.
    """

    name: str
    long_name: str
    unit: Literal["length", "velocity", "rate", "1"] | None = None
    mean: bool = True
    comment: str = ""


Arguments = Mapping[str, Any]
Quantities = Quantity | Mapping[Any, Quantity]


def on_labels(
    quantities: Quantity | Callable[[Arguments], Quantities],
    *,
    comment: str = "along trajectories",
    doubt: str = "estimated error",
    carried: bool = True,
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
    if the labels have a `time` of their own; `time_end` tells which way it runs. Attributes say
    units as far as the field knows them, `cell_methods`, and with the prefix ``meanfluid_`` what is
    needed to compute it again.

    A Dataset whose labels are chunked by dask stays lazy: each chunk is integrated when it is
    computed. One of the labels is integrated at once, to learn which variables there will be.

    Parameters
    ----------
    quantities : Quantity, or callable ``(arguments) -> Quantity or mapping``
        What the values are; a mapping has the keys of `Found.value`.
    comment : str
        How the mean is taken, for `cell_methods`.
    doubt : str
        What the errors are.
    carried : bool
        Whether particles move, for the attributes.

    Returns
    -------
    callable
        Decorator of a function that returns `Found`.
    """

    def door(function: Callable[_P, Found]) -> Callable[_P, Any]:
        signature = inspect.signature(function)

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            if any(map(is_xarray, (*args, *kwargs.values()))):
                arguments = _bound(signature, args, kwargs)
                if _holds_labels(arguments["position"], arguments["field"]):
                    if _chunked(arguments["position"], arguments["field"]):
                        from meanfluid.trajectories import chunks

                        return chunks.lazy(called, arguments)
                    met = _computed(function, arguments)
                    return _dataset(arguments, *met, quantities, comment, doubt, carried=carried)
            found = function(*args, **kwargs)
            if found.record is not None:
                return found.record
            return (found.value, found.error) if kwargs.get("return_error") else found.value

        called.__annotations__ = {**function.__annotations__, "return": Any}
        shown = signature.replace(return_annotation=Any)
        called.__signature__ = shown  # type: ignore[attr-defined]
        return called

    return door


def _bound(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _holds_labels(position: Any, field: Any) -> bool:
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
    function: Callable[..., Found], arguments: Arguments
) -> tuple[Found, Labels, dict[str, Any]]:
    """Return what a function finds at the labels, the labels, and times as the field counts."""
    checked_field(arguments["field"])
    labels = labels_of(arguments["position"], arguments["field"])
    times = {
        key: labels.times(arguments[key])
        for key in TIMES
        if key in arguments and not isinstance(arguments[key], str)
    }
    more = {"return_error": True} if "return_error" in arguments else {}
    given = {**arguments, **times, **more, "position": labels.position}
    options = given.pop("options", {})
    return function(**given, **options), labels, times


def _dataset(
    arguments: Arguments, found: Found, labels: Labels, times: Mapping[str, Any], quantities: Any,
    comment: str, doubt: str, *, carried: bool,
) -> Any:  # fmt: skip
    told = quantities(arguments) if callable(quantities) else quantities
    if not isinstance(told, Mapping):
        told, found = {"": told}, Found({"": found.value}, {"": found.error}, found.status)
    about, by_label = _told(arguments, times)
    label = about.get("label")
    result = mean_dataset(
        labels, {part.name: found.value[key] for key, part in told.items()},
        errors={part.name: found.error[key] for key, part in told.items()
                if found.error[key] is not None},
        status=found.status, start=times["start"], end=times["end"],
        attributes={part.name: attributes_of(part, labels) for part in told.values()},
        comment=comment + ("" if label is None else f", label={label}"),
        points=[part.name for part in told.values() if not part.mean], doubt=doubt,
        provenance=_provenance(arguments, carried=carried) | about,
    )  # fmt: skip
    if by_label is None:
        return result
    when = {"long_name": "time at which trajectories are at their labels"}
    return result.assign_coords({_LABEL_TIME: labels.on_grid(by_label, when)})


def _told(arguments: Arguments, times: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return what attributes say of arguments, and times of the labels if each has its own."""
    about = {key: value for key, value in arguments.items() if key not in _NOT_TOLD}
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
        "velocity": labels.units.get("velocity"),
        "rate": f"{labels.units['time']}-1" if "time" in labels.units else None,
        "1": "1",
    }
    found: dict[str, Any] = {"long_name": part.long_name, "units": units.get(part.unit)}
    if part.comment:
        found["comment"] = part.comment
    return {key: value for key, value in found.items() if value is not None}


def _provenance(arguments: Arguments, *, carried: bool) -> dict[str, Any]:
    """Return what `Trajectories.provenance` says, of the arguments of a door."""
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
    told = provenance(arguments["field"], functions, settings, carried=carried, device=device)
    if "tracer" in arguments:
        told["tracer"] = name_of(arguments["tracer"], "tracer")
    told.pop("meanfluid")  # the version, which is said of every mean
    return told


def name_of(function: Any, otherwise: str = "observable") -> str:
    """Return the name of a function, or "velocity", as a variable may be called."""
    if isinstance(function, str):
        return function
    name = str(getattr(function, "__name__", otherwise))
    return name if name.isidentifier() else otherwise
