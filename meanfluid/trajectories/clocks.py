"""The time of a Dataset of means: what it is called, its bounds, and its dates."""

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.trajectories import attributes as cf

if TYPE_CHECKING:
    from meanfluid.trajectories.datasets import Labels


def free_name(labels: "Labels", otherwise: str) -> str:
    """Return "time", or a name for the time of the window that the labels do not have."""
    taken = {*labels.dims, *labels.template.coords}
    names = ("time", otherwise, *(f"{otherwise}_{k}" for k in range(2, len(taken) + 3)))
    return next(name for name in names if not taken & {name, f"{name}_bnds", f"{name}_end"})


def with_window(labels: "Labels", clock: str, start: Any, end: Any) -> Any:
    """Return the template with the middle of the window as a coordinate, and its bounds."""
    ends = np.broadcast_arrays(*(np.asarray(devices.to_host(t), float) for t in (start, end)))
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    attributes: dict[str, Any] = {
        "long_name": "middle of the averaging window", "bounds": f"{clock}_bnds",
    }  # fmt: skip
    if labels.time_reference is None and "time" in labels.units:
        attributes["units"] = labels.units["time"]
    varying = lower.ndim > 0
    dims, shape = (labels.dims, labels.shape) if varying else ((), ())
    middle = dated(labels, cf.between(lower, upper).reshape(shape))
    bounds = dated(labels, np.stack([lower.reshape(shape), upper.reshape(shape)], axis=-1))
    last = {"long_name": "end of the averaging window, its earlier bound if it runs backwards"}
    last |= {"units": attributes["units"]} if "units" in attributes else {}
    stop = dated(labels, ends[1].reshape(shape))
    result = labels.template.assign_coords(
        {clock: (dims, middle, attributes), f"{clock}_end": (dims, stop, last)}
    )
    result = encoded(labels, result, clock, f"{clock}_end")  # bounds like their coordinate
    pair = "nv" if "bnds" in labels.dims else "bnds"
    return result.assign({f"{clock}_bnds": ((*dims, pair), bounds)})


def at_time(labels: "Labels", clock: str, time: Any) -> Any:
    """Return the template with one time as a coordinate, unless the labels have that already."""
    moment = np.asarray(devices.to_host(time), float)
    if _is_time_of(labels, moment):
        return labels.template.copy()
    dims, shape = (labels.dims, labels.shape) if moment.ndim else ((), ())
    about = {} if labels.time_reference is not None else {"units": labels.units.get("time")}
    attributes = {"long_name": "time", **{key: unit for key, unit in about.items() if unit}}
    return encoded(
        labels, labels.template.assign_coords(
            {clock: (dims, dated(labels, moment.reshape(shape)), attributes)}
        ), clock,
    )  # fmt: skip


def _is_time_of(labels: "Labels", moment: Array) -> bool:
    """Whether the labels have a coordinate `time` that says the same."""
    if "time" not in labels.template.coords:
        return False
    try:
        own = np.asarray(labels.times(labels.template.coords["time"]), float)
    except (TypeError, ValueError):  # it is another time, or none
        return False
    count = len(labels.position)
    return np.array_equal(np.broadcast_to(own, count), np.broadcast_to(moment, count))


def encoded(labels: "Labels", dataset: Any, *names: str) -> Any:
    """Return a dataset whose dates are written to a file as the field counts them."""
    if labels.time_reference is not None:
        since = str(labels.time_reference).replace("T", " ")
        for name in names:
            dataset[name].encoding = {"units": f"seconds since {since}", "dtype": "float64"}
    return dataset


def dated(labels: "Labels", seconds: Any) -> Any:
    """Return times as dates, if the field has them."""
    if labels.time_reference is None:
        return seconds
    unit = np.datetime_data(labels.time_reference.dtype)[0]
    unit, count = ("ns", 10**9) if unit == "ns" else ("us", 10**6)
    whole = np.floor(seconds)
    ticks = whole.astype(np.int64) * count + np.rint((seconds - whole) * count).astype(np.int64)
    return labels.time_reference.astype(f"datetime64[{unit}]") + ticks.astype(f"m8[{unit}]")
