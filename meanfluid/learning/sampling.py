"""Where and when: samplers of anchors for training, and the sampler of N jumps.

A sampler is a frozen value called with a number and a generator, ``sampler(n, generator)``. It
draws in float64 on the device of the generator; `Anchors` joins a position and a time sampler
to the batches that losses take, in the dtype of the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.learning.average_velocity import Model, carry

Direction = Literal["backward", "forward", "both"]
TimeSampler = Callable[[int, Generator], tuple[Tensor, Tensor]]
PositionSampler = Callable[[int, Generator], Tensor]
Batch = dict[str, Tensor]
DIGITS = 30  # binary digits of torch's Sobol points


@dataclass(frozen=True)
class UniformTriangle:
    """Anchor t and free end s, the pair uniform on the triangle between `start` and `end`.

    Every window inside the interval is equally likely, so a small mean residual means a small
    mean error (the identity is integrated over all anchors between t and s).

    Parameters
    ----------
    start, end : float, time
    direction : "backward", "forward" or "both"
        Windows with s < t (final label), s > t (initial label), or either.
    diagonal : float
        Fraction of pairs with s = t.
    """

    start: float = 0.0
    end: float = 1.0
    direction: Direction = "backward"
    diagonal: float = 0.0
    columns: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_times(self.start, self.end, self.direction, self.diagonal)

    def __call__(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw n anchors t and free ends s."""
        return self.place(uniform(n, self.columns, generator))

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        one, other, side = numbers.unbind(1)
        early, late = torch.minimum(one, other), torch.maximum(one, other)
        t, s = {"backward": (late, early), "forward": (early, late), "both": (one, other)}[
            self.direction
        ]
        length = self.end - self.start
        t, s = self.start + length * t, self.start + length * s
        return t, torch.where(side < self.diagonal, t, s)


@dataclass(frozen=True)
class UniformWindow:
    """Windows up to a longest duration: s uniform, and for each s all durations that fit.

    The identity carries what it knows along a trajectory at fixed s, from the empty window on:
    anchors t must be sampled all the way from s. Drawing t first and then s would not do that.

    Parameters
    ----------
    start, end : float, time
        Every window lies between them; with ``overhang=True`` only the free ends do.
    longest : float, time
        Durations are uniform on [0, longest], or on the room between s and the far end.
    direction, diagonal
        As for `UniformTriangle`.
    overhang : bool
        Let anchors lie up to `longest` outside [start, end]; the velocity must hold there.
    """

    start: float
    end: float
    longest: float
    direction: Direction = "backward"
    diagonal: float = 0.0
    overhang: bool = False
    columns: ClassVar[int] = 4

    def __post_init__(self) -> None:
        _check_times(self.start, self.end, self.direction, self.diagonal)
        if not self.longest > 0 or (self.longest > self.end - self.start and not self.overhang):
            raise ValueError(
                f"longest must be positive and fit between start and end, "
                f"{self.end - self.start}, got {self.longest}"
            )

    def __call__(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw n anchors t and free ends s."""
        return self.place(uniform(n, self.columns, generator))

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        place, share, side, empty = numbers.unbind(1)
        s = torch.lerp(place.new_tensor(self.start), place.new_tensor(self.end), place)
        forward = side < {"backward": 0.0, "forward": 1.0, "both": 0.5}[self.direction]
        room = torch.full_like(s, self.longest)
        if not self.overhang:
            room = torch.where(forward, s - self.start, self.end - s).clamp_max(self.longest)
        t = s + torch.where(forward, -share, share) * room
        return torch.where(empty < self.diagonal, s, t), s


@dataclass(frozen=True)
class Box:
    """Positions uniform in a box with corners `lower` and `upper`, one number per coordinate."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.lower) != len(self.upper) or not all(
            a < b for a, b in zip(self.lower, self.upper, strict=True)
        ):
            raise ValueError(f"a box needs lower < upper, got {self.lower} and {self.upper}")

    @classmethod
    def of(cls, field: VelocityField) -> "Box":
        """Box that the domain of a field spans."""
        if field.domain is None:
            raise ValueError(f"{field.name} has no domain; give the corners, Box(lower, upper)")
        return cls(tuple(a.lower for a in field.domain), tuple(a.upper for a in field.domain))

    @property
    def columns(self) -> int:
        """Numbers needed for one position."""
        return len(self.lower)

    def __call__(self, n: int, generator: Generator) -> Tensor:
        """Draw n positions (n, d)."""
        return self.place(uniform(n, self.columns, generator))

    def place(self, numbers: Tensor) -> Tensor:
        """Positions from numbers (n, columns) uniform between 0 and 1."""
        return torch.lerp(numbers.new_tensor(self.lower), numbers.new_tensor(self.upper), numbers)


@dataclass(frozen=True)
class Disc:
    """Positions uniform in a disc of the plane."""

    centre: tuple[float, float] = (0.0, 0.0)
    radius: float = 1.0
    columns: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius must be positive, got {self.radius}")

    def __call__(self, n: int, generator: Generator) -> Tensor:
        """Draw n positions (n, 2)."""
        return self.place(uniform(n, self.columns, generator))

    def place(self, numbers: Tensor) -> Tensor:
        """Positions from numbers (n, columns) uniform between 0 and 1."""
        area, turn = numbers.unbind(1)
        radius, angle = self.radius * area.sqrt(), 2 * math.pi * turn
        x, y = self.centre
        return torch.stack([x + radius * angle.cos(), y + radius * angle.sin()], dim=1)


@dataclass(frozen=True)
class Anchors:
    """Batches of anchors and free ends, as losses take them: ``{"x": ..., "t": ..., "s": ...}``.

    Parameters
    ----------
    positions : callable
        Such as `Box` or `Disc`.
    times : callable
        Such as `UniformTriangle` or `UniformWindow`.
    dtype : torch.dtype
        That of the model.
    even : bool
        Fill each batch evenly, by randomised Sobol points, which lowers the noise of its
        mean. Samplers without a method ``place`` and a number ``columns`` draw independently.
    """

    positions: PositionSampler
    times: TimeSampler
    dtype: torch.dtype = torch.float32
    even: bool = True

    def __call__(self, n: int, generator: Generator) -> Batch:
        """Draw a batch of n."""
        positions: Any = self.positions
        times: Any = self.times
        if self.even and all(hasattr(p, "place") for p in (positions, times)):
            split = positions.columns
            numbers = even(n, split + times.columns, generator)
            x, (t, s) = positions.place(numbers[:, :split]), times.place(numbers[:, split:])
        else:
            x, (t, s) = positions(n, generator), times(n, generator)
        return {"x": x.to(self.dtype), "t": t.to(self.dtype), "s": s.to(self.dtype)}


def sample(
    model: Model, noise: Tensor, steps: int = 1, *, start: float = 1.0, end: float = 0.0
) -> Tensor:
    """Carry noise to samples in a few jumps of the average velocity, z <- z + (s - t) u(z, t, s).

    Parameters
    ----------
    model : AverageVelocity
    noise : (n, d)
        Positions at time `start`. In MeanFlow's clock noise is at time 1 and data at time 0.
    steps : int
        Equal jumps; for an exact u their number makes no difference.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, Algorithm 2.
    """
    with torch.no_grad():
        return carry(model, noise, t=start, s=end, jumps=steps)


def uniform(n: int, columns: int, generator: Generator) -> Tensor:
    """Independent numbers (n, columns), uniform between 0 and 1."""
    return torch.rand(n, columns, generator=generator, device=generator.device, dtype=torch.float64)


def even(n: int, columns: int, generator: Generator) -> Tensor:
    """Numbers (n, columns), each uniform between 0 and 1, that together fill the cube evenly.

    Sobol points with their binary digits flipped at random, the same way for all of a batch.
    """
    device = generator.device
    flips = torch.randint(2**DIGITS, (1, columns), generator=generator, device=device)
    cells: Tensor = _sobol(n, columns).to(device) ^ flips
    return (cells + uniform(n, columns, generator)) / float(2**DIGITS)


@lru_cache(maxsize=8)
def _sobol(n: int, columns: int) -> Tensor:
    engine = torch.quasirandom.SobolEngine(columns)  # type: ignore[no-untyped-call]
    points: Tensor = engine.draw(n, dtype=torch.float64)
    return (points * float(2**DIGITS)).long()


def _check_times(start: float, end: float, direction: str, diagonal: float) -> None:
    if not start < end:
        raise ValueError(f"times must have start < end, got {start} and {end}")
    if direction not in ("backward", "forward", "both"):
        raise ValueError(f'direction must be "backward", "forward" or "both", got {direction!r}')
    if not 0 <= diagonal <= 1:
        raise ValueError(f"diagonal must be a fraction between 0 and 1, got {diagonal}")
