"""What the public doors accept: each check names what was expected, what came, what to do."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

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


def checked_positions(position: ArrayLike, dimension: int) -> Array:
    """Return positions as contiguous float64 (n, dimension)."""
    if hasattr(position, "__cuda_array_interface__"):
        raise TypeError(
            f"position is a GPU array ({type(position).__name__}); trajectories run on the CPU "
            "here: pass a NumPy array"
        )
    if isinstance(position, np.ma.MaskedArray):
        raise TypeError("position is a masked array; pass position.compressed() or a plain array")
    if getattr(position, "requires_grad", False):
        raise TypeError("position is a tensor that requires grad; pass position.detach()")
    x = np.asarray(position)
    if x.dtype.kind not in "iuf":
        raise TypeError(
            f"position must hold real numbers, got dtype {x.dtype}; convert it to float64"
        )
    if x.ndim != 2 or x.shape[1] != dimension:
        one = ", ".join("xyz"[:dimension])
        raise ValueError(
            f"position must have shape (particles, {dimension}), got {x.shape}; "
            f"for one particle pass [[{one}]]"
        )
    if len(x) == 0:
        raise ValueError(f"position holds no particles: shape {x.shape}")
    x = np.ascontiguousarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        first = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise ValueError(f"position must be finite, got {x[first].tolist()} for particle {first}")
    return x


def checked_times(name: str, value: ArrayLike, count: int) -> Array:
    """Return a finite time or one per particle, as float64 of shape () or (count,)."""
    time = np.asarray(value)
    if time.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {time.dtype}")
    if time.shape not in ((), (count,)):
        raise ValueError(
            f"{name} must be a number or have shape ({count},), one per particle, got {time.shape}"
        )
    if not np.isfinite(time).all():
        raise ValueError(f"{name} must be finite, got {time}")
    return time.astype(np.float64)


def checked_windows(
    field: VelocityField, start: ArrayLike, end: ArrayLike, times: ArrayLike | None, count: int
) -> tuple[Array, Array]:
    """Return starts (count,) and signed offsets (count or 1, times) of the outputs after them."""
    begin, stop = checked_times("start", start, count), checked_times("end", end, count)
    for name, time in (("start", begin), ("end", stop)):
        checked_time_range(field, name, time)
    starts = np.ascontiguousarray(np.broadcast_to(begin, (count,)))
    with np.errstate(over="ignore"):
        finite = np.isfinite(stop - begin).all()
    if not finite:
        raise ValueError(f"the window from {start!r} to {end!r} is too long for float64")
    if times is None:
        offsets = np.atleast_1d(stop - begin)[:, None]
        return starts, np.ascontiguousarray(offsets)
    if np.asarray(times).dtype.kind not in "iuf":
        raise TypeError(f"times must hold real numbers, got dtype {np.asarray(times).dtype}")
    outputs = np.asarray(times, dtype=np.float64)
    if begin.ndim or stop.ndim:
        raise ValueError("times= needs one start and one end for all particles, got arrays")
    if outputs.ndim != 1 or outputs.size == 0:
        raise ValueError(f"times must be a sequence of numbers, got shape {outputs.shape}")
    offsets = outputs - begin
    direction = math.copysign(1.0, stop - begin)
    along = offsets * direction
    if not (np.isfinite(along).all() and along[0] >= 0 and (np.diff(along) > 0).all()):
        raise ValueError(
            "times must run from start towards end without repetition, got "
            f"{outputs.tolist()} between {begin} and {stop}"
        )
    if along[-1] > abs(stop - begin):
        raise ValueError(f"times must lie between start {begin} and end {stop}, got {outputs[-1]}")
    return starts, np.ascontiguousarray(offsets[None, :])


def checked_time_range(field: VelocityField, name: str, time: Array) -> None:
    """Refuse a time at which the formula of the field does not hold."""
    low, high = field.time_range
    outside = ~((time >= low) & (time <= high))
    if outside.any():
        raise ValueError(
            f"{name} must lie in the time range [{low}, {high}] of {field.name}, "
            f"got {np.atleast_1d(time)[np.atleast_1d(outside)][0]}"
        )


def refuse_options_of_trajectories(options: dict[str, Any]) -> None:
    """Refuse, at the doors that pass options on, those that would change what is asked for."""
    for name in ("times", "observables", "weights", "carried", "gradient", "interpolation_error"):
        if name in options:
            raise ValueError(f"{name}= belongs to meanfluid.trajectories")


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
    if on_failure not in ("raise", "mark"):
        raise ValueError(f'on_failure must be "raise" or "mark", got {on_failure!r}')
    if settings.out_of_domain not in ("raise", "mark", "clamp", "reflect"):
        raise ValueError(
            'out_of_domain must be "raise", "mark", "clamp" or "reflect", got '
            f"{settings.out_of_domain!r}"
        )
