"""What a network is shown: positions and times brought to order one, waves where they help.

Times enter slowly varying, as t and s - t in units of their range or as the first harmonics of a
period: embeddings that oscillate fast in time have large time derivatives, which the identity
would amplify.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Scaling = tuple[int, float, float]  # column of the inputs, centre, rate
UNIT = (0.0, 1.0)  # its identity tells the default from a range that was given


class Features(nn.Module):
    """Inputs of order one: scaled positions and times, sines and cosines where periodic.

    Parameters
    ----------
    box : sequence of (lower, upper), length
        One interval per coordinate, mapped to [-1, 1] or, if periodic, to one turn.
    periodic : sequence of bool, optional
        Which coordinates repeat; none by default.
    time_range : (float, float), time, optional
        Interval of anchor times mapped to [-1, 1], (0, 1) by default; None leaves t out, for a
        steady field.
    time_period : float, time, optional
        If the velocity repeats in time: t enters as sines and cosines instead of by its range.
    windows : (float, float), time
        Interval of s - t mapped to [-1, 1], for instance (-5, 0) for windows of up to 5 backward.
    harmonics : int
        How many multiples of each periodic coordinate, and of a periodic time, enter.
    half_waves : int
        How many sines and cosines of half the box, and its fractions, enter beside coordinates
        that are not periodic.
    rotation : float, 1 / time, optional
        Coordinates in a frame that turns about the origin of the plane at this rate also enter.
    """

    def __init__(
        self,
        box: Sequence[tuple[float, float]],
        *,
        periodic: Sequence[bool] | None = None,
        time_range: tuple[float, float] | None = UNIT,
        time_period: float | None = None,
        windows: tuple[float, float] = (-1.0, 1.0),
        harmonics: int = 1,
        half_waves: int = 0,
        rotation: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        periodic = [False] * len(box) if periodic is None else periodic
        _check(box, periodic, time_range, time_period, windows, harmonics, half_waves, rotation)
        straight: list[Scaling] = []
        turning: list[Scaling] = []
        for k, ((lower, upper), repeats) in enumerate(zip(box, periodic, strict=True)):
            width, waves = upper - lower, harmonics if repeats else half_waves
            turn = (2 * math.pi if repeats else math.pi) / width
            turning += [(k, lower, m * turn) for m in range(1, waves + 1)]
            if not repeats:
                straight.append((k, (lower + upper) / 2, 2 / width))
                if rotation is not None:
                    straight.append((len(box) + 2 + k, 0.0, 2 / width))
        if time_period is not None:
            turn = 2 * math.pi / time_period
            turning += [(len(box), 0.0, m * turn) for m in range(1, harmonics + 1)]
        elif time_range is not None:
            first, last = time_range
            straight.append((len(box), (first + last) / 2, 2 / (last - first)))
        shortest, longest = windows
        straight.append((len(box) + 1, (shortest + longest) / 2, 2 / (longest - shortest)))
        self.dimension, self.rotation = len(box), rotation
        self.size, self._straight = len(straight) + 2 * len(turning), len(straight)
        columns, centres, rates = zip(*straight, *turning, strict=True)
        self.columns: Tensor
        self.centres: Tensor
        self.rates: Tensor
        self.register_buffer("columns", torch.tensor(columns))
        self.register_buffer("centres", torch.tensor(centres, dtype=dtype))
        self.register_buffer("rates", torch.tensor(rates, dtype=dtype))

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Features (n, size) of positions (n, d), anchors (n,) and free ends (n,)."""
        straight, angle = self._scaled(self._inputs(x, t, s))
        return torch.cat([straight, torch.sin(angle), torch.cos(angle)], dim=1)

    def tangent(self, x: Tensor, t: Tensor, s: Tensor, along: tuple[Tensor, ...]) -> Tensor:
        """Derivative of the features along a tangent (dx, dt, ds)."""
        _, angle = self._scaled(self._inputs(x, t, s))
        change = self._change(x, t, along).index_select(1, self.columns) * self.rates
        straight, turn = change[:, : self._straight], change[:, self._straight :]
        return torch.cat([straight, torch.cos(angle) * turn, -torch.sin(angle) * turn], dim=1)

    def _inputs(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        columns = [x, t[:, None], (s - t)[:, None]]
        if self.rotation is not None:
            columns.append(_turned(x, -self.rotation * t))
        return torch.cat(columns, dim=1)

    def _change(self, x: Tensor, t: Tensor, along: tuple[Tensor, ...]) -> Tensor:
        dx, dt, ds = along
        columns = [dx, dt[:, None], (ds - dt)[:, None]]
        if self.rotation is not None:
            angle = -self.rotation * t
            sideways = torch.stack([-x[:, 1], x[:, 0]], dim=1)
            columns.append(
                _turned(dx, angle) - self.rotation * dt[:, None] * _turned(sideways, angle)
            )
        return torch.cat(columns, dim=1)

    def _scaled(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        z = (inputs.index_select(1, self.columns) - self.centres) * self.rates
        return z[:, : self._straight], z[:, self._straight :]


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], dim=1)


def _check(
    box: Sequence[tuple[float, float]],
    periodic: Sequence[bool],
    time_range: tuple[float, float] | None,
    time_period: float | None,
    windows: tuple[float, float],
    harmonics: int,
    half_waves: int,
    rotation: float | None,
) -> None:
    if not box or any(len(interval) != 2 or not interval[0] < interval[1] for interval in box):
        raise ValueError(f"box must hold (lower, upper) with lower < upper, got {box!r}")
    if len(periodic) != len(box):
        raise ValueError(
            f"periodic must say one bool per coordinate, {len(box)}, got {len(periodic)}"
        )
    if time_range is not None and time_range is not UNIT and time_period is not None:
        raise ValueError(
            f"give time_range or time_period, not both, got {time_range} and {time_period}: a "
            "time that repeats enters by its phase alone"
        )
    if time_range is not None and not time_range[0] < time_range[1]:
        raise ValueError(f"time_range must increase, got {time_range}")
    if time_period is not None and not time_period > 0:
        raise ValueError(f"time_period must be positive, got {time_period}")
    if not windows[0] < windows[1]:
        raise ValueError(f"windows must be (lowest, highest) of s - t, got {windows}")
    if harmonics < 1:
        raise ValueError(f"harmonics must be at least 1, got {harmonics}")
    if half_waves < 0:
        raise ValueError(f"half_waves must not be negative, got {half_waves}")
    if rotation is not None and (len(box) != 2 or any(periodic)):
        raise ValueError(
            f"rotation needs an open plane, got {len(box)} coordinates, periodic={list(periodic)}"
        )
