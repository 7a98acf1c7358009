"""What the public doors accept: each check names what was expected, what came, what to do."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.trajectories.problem import Settings
from meanfluid.trajectories.tableaux import Tableau


def checked_field(field: Any) -> None:
    """Refuse anything that is not a `VelocityField`."""
    if not isinstance(field, VelocityField):
        raise TypeError(
            f"field must be a VelocityField, got {type(field).__name__}; wrap a body as "
            "VelocityField(body=..., parameters=..., dimension=...)"
        )


def checked_positions(position: Any, dimension: int) -> Any:
    """Return positions as contiguous float64 (n, dimension), a CuPy array if they are on a GPU."""
    if isinstance(position, np.ma.MaskedArray):
        raise TypeError("position is a masked array; pass position.compressed() or a plain array")
    if getattr(position, "requires_grad", False):
        raise TypeError("position is a tensor that requires grad; pass position.detach()")
    x = _numbers("position", position)
    if x.ndim != 2 or x.shape[1] != dimension:
        one = ", ".join("xyz"[:dimension])
        raise ValueError(
            f"position must have shape (particles, {dimension}), got {x.shape}; "
            f"for one particle pass [[{one}]]"
        )
    if len(x) == 0:
        raise ValueError(f"position holds no particles: shape {x.shape}")
    x = np.require(x, np.float64, "C") if isinstance(x, np.ndarray) else devices.contiguous(x)
    finite = np.isfinite(x)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise ValueError(f"position must be finite, got {x[first].tolist()} for particle {first}")
    return x


def with_constants(x: Any, constants: Any) -> Any:
    """Return positions x (n, dimension), and beside them the constants (n, k) of each particle."""
    kept = devices.beside(x, _numbers("constants", constants))
    if kept.ndim != 2 or len(kept) != len(x) or kept.shape[1] == 0:
        raise ValueError(
            f"constants must have shape ({len(x)}, k), a row for each particle, got {kept.shape}"
        )
    if not np.isfinite(kept).all():
        raise ValueError("constants must be finite")
    return np.concatenate([x, kept.astype(np.float64)], axis=1)


def _numbers(name: str, value: Any) -> Any:
    """Return an array of real numbers where it is, on the host or on a GPU."""
    array = devices.as_cupy(value) if devices.is_on_gpu(value) else np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {array.dtype}; convert it to float64"
        )
    return array


def checked_times(name: str, value: Any, count: int) -> Any:
    """Return a finite time or one per particle, as float64 of shape () or (count,)."""
    time = _numbers(name, value)
    if time.shape not in ((), (count,)):
        raise ValueError(
            f"{name} must be a number or have shape ({count},), one per particle, got {time.shape}"
        )
    if not np.isfinite(time).all():
        raise ValueError(f"{name} must be finite, got {time}")
    return time.astype(np.float64)


def checked_windows(
    field: VelocityField, start: Any, end: Any, times: ArrayLike | None, x: Any
) -> tuple[Any, Any]:
    """Return starts (n,) and signed offsets (n or 1, times) of the outputs, beside positions x."""
    begin, stop = checked_times("start", start, len(x)), checked_times("end", end, len(x))
    for name, time in (("start", begin), ("end", stop)):
        checked_time_range(field, name, time)
    begin, stop = devices.beside(x, begin), devices.beside(x, stop)
    starts = np.full_like(x, begin, shape=(len(x),))
    with np.errstate(over="ignore"):
        duration = stop - begin
    if not np.isfinite(duration).all():
        raise ValueError(f"the window from {start!r} to {end!r} is too long for float64")
    if times is None:
        return starts, duration.reshape(-1, 1)
    if begin.ndim or stop.ndim:
        raise ValueError("times= needs one start and one end for all particles, got arrays")
    outputs = _checked_outputs(times, float(begin), float(stop))
    return starts, devices.beside(x, (outputs - float(begin))[None, :])


def _checked_outputs(times: ArrayLike, begin: float, stop: float) -> Array:
    """Return times of output, in order between begin and stop."""
    outputs: Array = devices.to_host(_numbers("times", times)).astype(np.float64)
    if outputs.ndim != 1 or outputs.size == 0:
        raise ValueError(f"times must be a sequence of numbers, got shape {outputs.shape}")
    direction = math.copysign(1.0, stop - begin)
    along = (outputs - begin) * direction
    if not (np.isfinite(along).all() and along[0] >= 0 and (np.diff(along) > 0).all()):
        raise ValueError(
            "times must run from start towards end without repetition, got "
            f"{outputs.tolist()} between {begin} and {stop}"
        )
    if along[-1] > abs(stop - begin):
        raise ValueError(f"times must lie between start {begin} and end {stop}, got {outputs[-1]}")
    return outputs


def checked_time_range(field: VelocityField, name: str, time: Any) -> None:
    """Refuse a time at which the formula of the field does not hold."""
    low, high = field.time_range
    outside = ~((time >= low) & (time <= high))
    if outside.any():
        raise ValueError(
            f"{name} must lie in the time range [{low}, {high}] of {field.name}, "
            f"got {float(time.reshape(-1)[outside.reshape(-1)][0])}"
        )


def refuse_options_of_trajectories(options: dict[str, Any]) -> None:
    """Refuse, at the doors that pass options on, those that would change what is asked for."""
    for name in (
        "times", "observables", "weights", "constants", "carried", "gradient",
        "interpolation_error",
    ):  # fmt: skip
        if name in options:
            raise ValueError(f"{name}= belongs to meanfluid.trajectories")


def checked_device(device: str | None, position: Any) -> str:
    """Return "cpu" or "cuda": the one asked for, or where the positions are."""
    there = devices.is_on_gpu(position)
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f'device must be "cpu", "cuda" or None, got {device!r}')
    if device == "cpu" and there:
        raise ValueError(
            f'position is on a GPU ({type(position).__name__}), but device="cpu": pass a NumPy '
            "array, or leave out device"
        )
    return "cuda" if there else device or "cpu"


def checked_options(settings: Settings, on_failure: str, threads: int | None) -> None:
    """Refuse tolerances, schemes and numbers that cannot work."""
    rtol, atol, scheme, steps = settings.rtol, settings.atol, settings.scheme, settings.steps
    if not isinstance(scheme, Tableau):
        raise TypeError(
            f"scheme must be a Tableau such as meanfluid.dop853, got {type(scheme).__name__}"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    if rtol == atol == 0:
        raise ValueError("rtol and atol must not both be zero")
    if steps is None and len(scheme.errors) == 0:
        raise ValueError(
            f"{scheme.name} has no embedded error estimate: pass steps= for equal steps, or "
            "choose dop853, vern7 or tsit5"
        )
    numbers = (("steps", steps), ("max_steps", settings.max_steps), ("threads", threads))
    for name, number in numbers:
        optional = number is None and name != "max_steps"
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not optional and not (whole and number is not None and number > 0):
            raise ValueError(f"{name} must be a positive integer, got {number!r}")
    checked_policies(on_failure, settings.out_of_domain)


def checked_policies(on_failure: str, out_of_domain: str) -> None:
    """Refuse unknown words for what happens to a trajectory that fails or leaves."""
    if on_failure not in ("raise", "mark"):
        raise ValueError(f'on_failure must be "raise" or "mark", got {on_failure!r}')
    if out_of_domain not in ("raise", "mark", "clamp", "reflect"):
        raise ValueError(
            f'out_of_domain must be "raise", "mark", "clamp" or "reflect", got {out_of_domain!r}'
        )
