"""When: samplers of anchor times t and free ends s.

A sampler is a frozen value called with a number and a generator, ``sampler(n, generator)``. It
turns numbers uniform between 0 and 1 into times by ``place``, so that `Anchors` can fill batches
evenly.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NoReturn, Self

import torch
from torch import Generator, Tensor

from meanfluid.learning.schedules import current, refuse

Direction = Literal["backward", "forward", "both"]
TimeSampler = Callable[[int, Generator], tuple[Tensor, Tensor]]
TimeDensity = Callable[[Tensor, Tensor], Tensor]


class _Placing(ABC):
    """What all samplers of times share."""

    def __call__(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw n anchors t and free ends s."""
        sampler: Any = self
        return self.place(uniform(n, sampler.columns, generator))

    @abstractmethod
    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""


@dataclass(frozen=True)
class UniformTriangle(_Placing):
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

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        one, other, side = numbers.unbind(1)
        return _ordered(self, one, other, side)


@dataclass(frozen=True)
class LogitNormal(_Placing):
    """As `UniformTriangle`, of two draws whose logit is normal: most of them about one time.

    Long windows are rare: with a mean of -0.4 and a deviation of 1, used for images, 2 of 100 000
    are longer than 0.9 of the interval. Join `Queried` if such a window is asked for later.

    Parameters
    ----------
    mean, deviation : float
        Of the logarithm of (time - start) / (end - time).
    start, end, direction, diagonal
        As for `UniformTriangle`.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, section 4.3.
    """

    mean: float = -0.4
    deviation: float = 1.0
    start: float = 0.0
    end: float = 1.0
    direction: Direction = "backward"
    diagonal: float = 0.0
    columns: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_times(self.start, self.end, self.direction, self.diagonal)
        if not self.deviation > 0:
            raise ValueError(f"deviation must be positive, got {self.deviation}")

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        normal = torch.special.ndtri(numbers[:, :2])
        one, other = torch.sigmoid(self.mean + self.deviation * normal).unbind(1)
        return _ordered(self, one, other, numbers[:, 2])


@dataclass(frozen=True)
class UniformWindow(_Placing):
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
class Density(_Placing):
    """Anchors and free ends of a density that is given, from a table of its integrals.

    Parameters
    ----------
    density : callable p(t, s)
        Tensors (n,) in and out: how likely a pair is, up to a factor. Asked only where windows
        have the right direction.
    start, end, direction, diagonal
        As for `UniformTriangle`.
    resolution : int
        Cells of the table in either time; the density counts as constant inside one.

    Raises
    ------
    ValueError
        If the density has another shape, is negative or not finite somewhere, or zero everywhere.
    """

    density: TimeDensity
    start: float = 0.0
    end: float = 1.0
    direction: Direction = "backward"
    diagonal: float = 0.0
    resolution: int = 256
    columns: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _check_times(self.start, self.end, self.direction, self.diagonal)
        if self.resolution < 1:
            raise ValueError(f"resolution must be at least 1, got {self.resolution}")
        _tabulated(self)

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        marginal, conditional = (table.to(numbers) for table in _tabulated(self))
        cell, a = _inverted(marginal.expand(len(numbers), -1), numbers[:, 0])
        _, b = _inverted(conditional[cell], numbers[:, 1])
        t, s, _ = self.pair(a, b)
        return t, torch.where(numbers[:, 2] < self.diagonal, t, s)

    def pair(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Times t and s at a point (a, b) of the unit square, and the area that it stands for."""
        one, length = torch.ones_like(a), self.end - self.start
        share, area = {
            "backward": (a * b, a),
            "forward": (a + (1 - a) * b, 1 - a),
            "both": (b, one),
        }[self.direction]
        return self.start + length * a, self.start + length * share, area


@dataclass(frozen=True)
class Queried(_Placing):
    """Another sampler, but a share of the rows at the very windows that will be asked for.

    Parameters
    ----------
    base : sampler of times
    pairs : tuple of (t, s)
        Windows, equally often; one step from noise to data by default.
    share : float
        Of all rows.
    """

    base: Any
    pairs: tuple[tuple[float, float], ...] = ((1.0, 0.0),)
    share: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be a fraction between 0 and 1, got {self.share}")
        if not self.pairs or any(len(pair) != 2 for pair in self.pairs):
            raise ValueError(f"pairs must hold at least one (t, s), got {self.pairs!r}")
        if not isinstance(self.base, Curriculum):
            _require_placing(self.base)

    @property
    def columns(self) -> int:
        """Numbers needed for one window."""
        if isinstance(self.base, Curriculum):
            refuse(self)
        return 1 + int(self.base.columns)

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        t, s = self.base.place(numbers[:, 1:])
        which = numbers[:, 0]
        asked = which < self.share
        number = (which / max(self.share, 1e-300) * len(self.pairs)).long()
        pairs = numbers.new_tensor(self.pairs)[number.clamp(0, len(self.pairs) - 1)]
        return torch.where(asked, pairs[:, 0], t), torch.where(asked, pairs[:, 1], s)

    def at(self, progress: float) -> Self:
        """Return the sampler of that share of the run, if the other one is scheduled."""
        base = current(self.base, progress)
        return self if base is self.base else replace(self, base=base)


@dataclass(frozen=True)
class Shortened(_Placing):
    """Another sampler, the windows of which are shortened by moving the anchor to the free end."""

    base: Any
    share: float

    def __post_init__(self) -> None:
        _require_placing(self.base)
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be a fraction between 0 and 1, got {self.share}")

    @property
    def columns(self) -> int:
        """Numbers needed for one window."""
        return int(self.base.columns)

    def place(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors and free ends from numbers (n, columns) uniform between 0 and 1."""
        t, s = self.base.place(numbers)
        return torch.where(t == s, t, s + self.share * (t - s)), s


@dataclass(frozen=True)
class Curriculum:
    """Short windows first: those of another sampler, growing to their length along the run.

    For `fit`, which asks it for the sampler of every step: it is not a sampler itself.

    Parameters
    ----------
    base : sampler of times
    first : float
        Length of the windows at the beginning of the run, as a share of what they become.
    until : float
        Share of the run after which windows have their length.
    """

    base: Any
    first: float = 0.1
    until: float = 0.5

    def __post_init__(self) -> None:
        _require_placing(self.base)
        if not 0 <= self.first <= 1 or not 0 < self.until <= 1:
            raise ValueError(
                "first and until must be shares between 0 and 1, until more than 0, got "
                f"{self.first} and {self.until}"
            )

    def at(self, progress: float) -> Any:
        """Return the sampler of that share of the run."""
        base = current(self.base, progress)
        if progress >= self.until:
            return base
        return Shortened(base, self.first + (1 - self.first) * progress / self.until)

    def __call__(self, n: int, generator: Generator) -> NoReturn:
        """Refuse: how long windows are is only known `at` some progress."""
        refuse(self)


def uniform(n: int, columns: int, generator: Generator) -> Tensor:
    """Independent numbers (n, columns), uniform between 0 and 1."""
    return torch.rand(n, columns, generator=generator, device=generator.device, dtype=torch.float64)


def _ordered(
    sampler: UniformTriangle | LogitNormal, one: Tensor, other: Tensor, side: Tensor
) -> tuple[Tensor, Tensor]:
    """Two draws between 0 and 1 as anchor and free end, in the direction of a sampler."""
    early, late = torch.minimum(one, other), torch.maximum(one, other)
    t, s = {"backward": (late, early), "forward": (early, late), "both": (one, other)}[
        sampler.direction
    ]
    length = sampler.end - sampler.start
    t, s = sampler.start + length * t, sampler.start + length * s
    return t, torch.where(side < sampler.diagonal, t, s)


@functools.lru_cache(maxsize=8)
def _tabulated(sampler: Density) -> tuple[Tensor, Tensor]:
    """Integrals of a density: over a, and over b in every cell of a; from 0 to 1."""
    cells = sampler.resolution
    middle = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    a, b = (grid.reshape(-1) for grid in torch.meshgrid(middle, middle, indexing="ij"))
    t, s, area = sampler.pair(a, b)
    density = sampler.density(t, s)
    if not isinstance(density, Tensor) or density.shape != t.shape:
        shape = getattr(density, "shape", type(density).__name__)
        raise ValueError(f"density(t, s) must return shape {tuple(t.shape)} like t, got {shape}")
    mass = (density.to(torch.float64) * area).reshape(cells, cells)
    if not bool(((mass >= 0) & mass.isfinite()).all()) or not bool(mass.sum() > 0):
        raise ValueError(
            f"density must be finite and not negative, and positive somewhere; got values from "
            f"{float(density.min())} to {float(density.max())}"
        )
    return _integrals(mass.sum(1)), _integrals(mass)


def _integrals(mass: Tensor) -> Tensor:
    sums = torch.nn.functional.pad(mass.cumsum(-1), (1, 0))
    return sums / sums[..., -1:].clamp_min(torch.finfo(sums.dtype).tiny)


def _inverted(integrals: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Cell, and place between 0 and 1, where each row (n, cells + 1) of integrals is a number."""
    cells = integrals.shape[1] - 1
    wanted = numbers[:, None].contiguous()
    cell = (torch.searchsorted(integrals.contiguous(), wanted, right=True) - 1).clamp(0, cells - 1)
    below, above = integrals.gather(1, cell), integrals.gather(1, cell + 1)
    inside = (wanted - below) / (above - below).clamp_min(torch.finfo(below.dtype).tiny)
    return cell[:, 0], ((cell + inside.clamp(0, 1)) / cells)[:, 0]


def _require_placing(base: object) -> None:
    if not hasattr(base, "place") or not hasattr(base, "columns"):
        raise ValueError(
            f"base must be a sampler of times with place and columns, such as UniformTriangle, "
            f"got {base!r}"
        )


def _check_times(start: float, end: float, direction: str, diagonal: float) -> None:
    if not start < end:
        raise ValueError(f"times must have start < end, got {start} and {end}")
    if direction not in ("backward", "forward", "both"):
        raise ValueError(f'direction must be "backward", "forward" or "both", got {direction!r}')
    if not 0 <= diagonal <= 1:
        raise ValueError(f"diagonal must be a fraction between 0 and 1, got {diagonal}")
