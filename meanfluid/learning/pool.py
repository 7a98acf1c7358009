"""Exact averages as training data: anchors, free ends and the means that belong to them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.learning.anchors import Anchors, Batch, PositionSampler
from meanfluid.learning.times import TimeSampler

ExactAverage = Callable[..., Any]  # average_velocity(field, position, start, end, *, label=...)


@dataclass(frozen=True, eq=False)
class Pool:
    """A fixed set of examples; called like a sampler, it draws a run of neighbouring rows.

    Rows of `exact_pool` come in an order in which every run fills the domain evenly; rows of
    another origin should be shuffled.

    Attributes
    ----------
    x, t, s : (n, d), (n,), (n,)
        Anchors and free ends.
    mean : (n, outputs)
        Exact average at each, for `supervised_loss`.
    """

    x: Tensor
    t: Tensor
    s: Tensor
    mean: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __call__(self, n: int, generator: Generator) -> Batch:
        """Draw a batch of n, one of the runs into which the pool divides."""
        if n > len(self):
            raise ValueError(f"a batch of {n} is more than the {len(self)} rows of the pool")
        runs = len(self) // n
        first = n * int(torch.randint(runs, (1,), generator=generator, device=generator.device))
        rows = slice(first, first + n)
        return {
            "x": self.x[rows],
            "t": self.t[rows],
            "s": self.s[rows],
            "mean": self.mean[rows],
        }


def exact_pool(
    field: VelocityField,
    positions: PositionSampler,
    times: TimeSampler,
    n: int,
    generator: Generator,
    *,
    dtype: torch.dtype = torch.float32,
    exact: ExactAverage | None = None,
    **tolerances: Any,
) -> Pool:
    """Integrate n trajectories and return their average velocities as training data.

    Parameters
    ----------
    field : VelocityField
    positions, times : callable
        Such as `Box` and `UniformTriangle`.
    n : int
        Number of examples.
    generator : torch.Generator
    dtype : torch.dtype
        Of the result; integration is in float64.
    exact : callable, optional
        Replaces `trajectories.average_velocity`.
    **tolerances
        Passed on: rtol, atol and the like.

    Raises
    ------
    ValueError
        If n is not positive, or an average is not finite.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    x, t, s = Anchors(positions, times, torch.float64)(n, generator).values()
    mean = averages(exact, field, *(a.cpu().numpy() for a in (x, t, s)), **tolerances)
    bad = ~np.isfinite(mean).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{int(bad.sum())} of {n} averages are not finite, first at position "
            f"{x[first].tolist()}, times {float(t[first])} to {float(s[first])}; "
            "sample positions and times where the field is defined"
        )
    values = torch.from_numpy(mean).to(x.device)
    return Pool(*(a.to(dtype) for a in (x, t, s, values)))


def averages(
    exact: ExactAverage | None, field: VelocityField, x: Array, t: Array, s: Array, **options: Any
) -> Array:
    """Exact u(x, t, s) in NumPy, by the integrators or by the function given in their place."""
    if exact is None:
        from meanfluid.means import average_velocity

        exact = average_velocity
    return np.asarray(exact(field, x, t, s, label="initial", **options), dtype=float)
