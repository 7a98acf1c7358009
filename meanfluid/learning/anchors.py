"""Where, and where and when: samplers of positions and of anchors for training.

A sampler is a frozen value called with a number and a generator, ``sampler(n, generator)``. It
draws in float64 on the device of the generator; `Anchors` joins a position and a time sampler
to the batches that losses take, in the dtype of the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.learning.schedules import current
from meanfluid.learning.times import TimeSampler as TimeSampler
from meanfluid.learning.times import UniformTriangle as UniformTriangle
from meanfluid.learning.times import UniformWindow as UniformWindow
from meanfluid.learning.times import uniform as uniform

PositionSampler = Callable[[int, Generator], Tensor]
Batch = dict[str, Tensor]
DIGITS = 30  # binary digits of torch's Sobol points


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
        Such as `UniformTriangle` or `UniformWindow`, or a schedule of those.
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

    def at(self, progress: float) -> Self:
        """Return the sampler of that share of a run, if a part of it is scheduled."""
        positions, times = current(self.positions, progress), current(self.times, progress)
        if positions is self.positions and times is self.times:
            return self
        return replace(self, positions=positions, times=times)


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
