"""Generalised Lagrangian means on labels from xarray: a Dataset in, a Dataset out."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.trajectories.attributes import is_xarray, with_cell_method
from meanfluid.trajectories.datasets import Labels, labels_of, mean_dataset
from meanfluid.trajectories.doors import Quantity, attributes_of

_P = ParamSpec("_P")
_R = TypeVar("_R")

_QUANTITIES = (
    Quantity("mean_velocity", "Lagrangian mean velocity", "velocity"),
    Quantity("eulerian_velocity", "Eulerian mean velocity", "velocity"),
    Quantity("stokes_drift", "Stokes drift", "velocity"),
    Quantity("pseudomomentum", "pseudomomentum per mass", "velocity"),
    Quantity("momentum", "Lagrangian-mean momentum per mass", "velocity"),
    Quantity("divergence", "divergence of the Lagrangian mean velocity", "rate"),
    Quantity("density", "density of mean volume", "1"),
    Quantity("steepness", "largest norm of the gradient of displacement", "1"),
)
_TOLD = ("wavevector", "frequency", "period", "phases", "rotation")
_OF_OBSERVABLES = {
    "means": ("lagrangian_mean", "Lagrangian mean", "mean_errors"),
    "eulerian_means": ("eulerian_mean", "Eulerian mean", "eulerian_errors"),
    "stokes_corrections": ("stokes_correction", "Stokes correction", "stokes_errors"),
}


def on_labels(
    method: str,
    field_of: Callable[[dict[str, Any]], VelocityField],
    until: Callable[[Any, dict[str, Any]], Any],
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a door of a function of `position`, `start`, ... that returns a record.

    Given a Dataset of labels, the door returns a Dataset of the quantities that are one number or
    vector at each mean position, with errors and status; those of each member stay in the record
    that arrays give.

    Parameters
    ----------
    method : str
        Over what the mean is, as in `cell_methods`: "realization", or "time".
    field_of : callable ``(arguments) -> VelocityField``
        Whose axes name the coordinates.
    until : callable ``(record, times) -> end``
        End of the window, a number or (n,).
    """

    def door(function: Callable[_P, _R]) -> Callable[_P, _R]:
        plain: Any = function
        signature = inspect.signature(plain)

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not any(map(is_xarray, (*args, *kwargs.values()))):
                return function(*args, **kwargs)
            given = dict(signature.bind(*args, **kwargs).arguments)
            if not is_xarray(given["position"]):
                raise TypeError("start and end from xarray need labels from xarray as position")
            labels = labels_of(given["position"], field_of(given))
            times: dict[str, Any] = {
                key: labels.times(given[key]) for key in ("start", "end") if key in given
            }
            options = given.pop("options", {})
            arguments: Any = {**given, **options, **times, "position": labels.position}
            mean = plain(**arguments)
            result: Any = _dataset(mean, labels, times["start"], until(mean, times), method, given)
            return result  # type: ignore[no-any-return]

        return called

    return door


def _dataset(
    mean: Any, labels: Labels, start: Any, end: Any, method: str, given: dict[str, Any]
) -> Any:
    values, errors, attributes = {}, {}, {}
    for part in _QUANTITIES:
        value = getattr(mean, part.name, None)
        if value is None:
            continue
        values[part.name] = value
        attributes[part.name] = attributes_of(part, labels)
        error = getattr(mean, "errors", {}).get(part.name)
        if error is not None:
            errors[part.name] = error
    for kind, (suffix, words, doubt) in _OF_OBSERVABLES.items():
        for key, value in getattr(mean, kind, {}).items():
            name = f"{key}_{suffix}"
            values[name], attributes[name] = value, {"long_name": f"{words} of {key}"}
            if hasattr(mean, doubt):
                errors[name] = getattr(mean, doubt)[key]
    for name, said in attributes.items():
        attributes[name] = with_cell_method(said, method, "mean", "at displaced positions")
    told = {key: given[key] for key in _TOLD if given.get(key) is not None}
    return mean_dataset(
        labels, values, errors=errors, status=getattr(mean, "status", None), start=start, end=end,
        attributes=attributes, points=list(values), label=given.get("label", "mean"),
        provenance=getattr(mean, "provenance", {}) | told,
    )  # fmt: skip


def period_end(mean: Any, times: dict[str, Any]) -> Any:
    """Return the end of each orbit: its start and its Lagrangian period later."""
    period = devices.to_host(mean.period)
    return times["start"] + np.where(np.isfinite(period), period, 0.0)
