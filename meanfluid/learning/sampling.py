r"""Carrying noise to data, and data back to noise, with a learned velocity or its average.

Data are at time 0 and noise at time 1, in MeanFlow's clock. A model u(z, t, s) of the average
velocity jumps, :math:`z_s = z_t + (s - t) \, u(z_t, t, s)`; its value on the empty window is the
velocity itself, which "euler" and "heun" integrate, as flow matching does.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from meanfluid.learning.average_velocity import Model, beside, given_as, jump, spread

Scheme = Literal["jumps", "euler", "heun"]


class SamplePath(NamedTuple):
    """Where samples went.

    Attributes
    ----------
    times : (k + 1,)
    positions : (k + 1, n, ...)
    """

    times: Tensor
    positions: Tensor


def sample(
    model: Model,
    noise: Tensor,
    steps: int = 1,
    *,
    start: float = 1.0,
    end: float = 0.0,
    times: Sequence[float] | Tensor | None = None,
    scheme: Scheme = "jumps",
    condition: Tensor | None = None,
) -> Tensor:
    """Carry noise to samples in a few steps, z <- z + (s - t) u(z, t, s).

    Parameters
    ----------
    model : AverageVelocity
    noise : (n, ...)
        Positions at time `start`.
    steps : int
        Equal steps; for an exact u the number of jumps makes no difference.
    start, end : float
        From noise, 1, to data, 0. The other way round it finds the noise that belongs to data,
        if the model knows windows of both signs.
    times : (k + 1,), optional
        Where the steps begin and end, instead of `steps`, `start` and `end`; jumps of any length
        and of either sign.
    scheme : "jumps", "euler" or "heun"
        Jumps of the average velocity; or steps of first or second order with the model's
        velocity u(z, t, t), for models of the velocity alone.
    condition : (n, ...), optional
        Handed to the model, such as the numbers of classes.

    Returns
    -------
    (n, ...)
        Positions at the last time.

    Raises
    ------
    ValueError
        If the scheme is unknown, a time is not finite, there is no step, or `times` are given
        beside `steps`, `start` or `end`.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, Algorithm 2.
    """
    return sample_path(
        model,
        noise,
        steps,
        start=start,
        end=end,
        times=times,
        scheme=scheme,
        condition=condition,
        keep=False,
    ).positions[-1]


def sample_path(
    model: Model,
    noise: Tensor,
    steps: int = 1,
    *,
    start: float = 1.0,
    end: float = 0.0,
    times: Sequence[float] | Tensor | None = None,
    scheme: Scheme = "jumps",
    condition: Tensor | None = None,
    keep: bool = True,
) -> SamplePath:
    """As `sample`, with the way there.

    Parameters
    ----------
    keep : bool
        Keep the positions at all times, or only the last.
    """
    if scheme not in STEPS:
        raise ValueError(f"scheme must be one of {', '.join(STEPS)}, got {scheme!r}")
    instants = _instants(steps, start, end, times, noise)
    given = given_as(condition)
    z, kept = noise, [noise]
    with torch.no_grad():
        for t, s in itertools.pairwise(instants):
            z = STEPS[scheme](model, z, t=spread(t, z), s=spread(s, z), **given)
            kept = [*kept, z] if keep else [z]
    return SamplePath(instants if keep else instants[-1:], torch.stack(kept))


def _euler(model: Model, x: Tensor, *, t: Tensor, s: Tensor, **given: Tensor) -> Tensor:
    v: Tensor = model(x, t=t, s=t, **given)
    return x + beside(s - t, x) * v


def _heun(model: Model, x: Tensor, *, t: Tensor, s: Tensor, **given: Tensor) -> Tensor:
    first: Tensor = model(x, t=t, s=t, **given)
    step = beside(s - t, x)
    second: Tensor = model(x + step * first, t=s, s=s, **given)
    return x + step * (first + second) / 2


STEPS: dict[str, Callable[..., Tensor]] = {"jumps": jump, "euler": _euler, "heun": _heun}


def _instants(
    steps: int,
    start: float,
    end: float,
    times: Sequence[float] | Tensor | None,
    noise: Tensor,
) -> Tensor:
    if times is None:
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError(f"start and end must be finite times, got {start} and {end}")
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
        return torch.linspace(start, end, steps + 1, dtype=noise.dtype, device=noise.device)
    if (steps, start, end) != (1, 1.0, 0.0):
        raise ValueError(
            "times say where all steps begin and end; leave out steps, start and end, got "
            f"{steps}, {start} and {end}"
        )
    instants = torch.as_tensor(times, dtype=noise.dtype, device=noise.device)
    if instants.ndim != 1 or len(instants) < 2 or not bool(instants.isfinite().all()):
        raise ValueError(
            f"times must be at least two finite numbers, where steps begin and end, got {times!r}"
        )
    return instants
