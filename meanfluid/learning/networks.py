"""Networks N(x, t, s), made of layers that forward-mode differentiation handles.

A network takes positions (n, d), anchor times (n,) and free ends (n,), and returns (n, outputs).
"""

import itertools
import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.learning.features import Features
from meanfluid.learning.tangent_pass import activation, value_and_tangent

HIDDEN_GAIN = 1.3  # about keeps the size of activations; torch's default is 0.58
OUTPUT_GAIN = 0.17  # begin near zero, so with tangent="exact" near the velocity


class MLP(nn.Module):
    """Fully connected layers, with activations z sigmoid(1.702 z).

    Parameters
    ----------
    features : Features
        What the first layer sees.
    outputs : int, optional
        Number of outputs; the dimension by default.
    width, depth : int
        Units of a hidden layer, and number of hidden layers; depth pays more than width.
    generator : torch.Generator
        Draws the initial weights; on the CPU.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = MLP(Features([(0.0, 2.0), (0.0, 1.0)]), width=8, depth=2, generator=generator)
    >>> network(torch.zeros(5, 2), torch.ones(5), torch.zeros(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        features: Features,
        *,
        outputs: int | None = None,
        width: int = 128,
        depth: int = 6,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"width and depth must be at least 1, got {width} and {depth}")
        self.features = features
        sizes = [features.size] + [width] * depth + [outputs or features.dimension]
        gains = [HIDDEN_GAIN] * depth + [OUTPUT_GAIN]
        self.layers = nn.ModuleList(
            _linear(before, after, gain, generator, features.rates.dtype)
            for (before, after), gain in zip(itertools.pairwise(sizes), gains, strict=True)
        )

    @classmethod
    def for_field(
        cls,
        field: VelocityField,
        *,
        windows: tuple[float, float],
        time_range: tuple[float, float] | None = None,
        time_period: float | None = None,
        generator: torch.Generator,
        width: int = 128,
        depth: int = 6,
        dtype: torch.dtype = torch.float32,
        **features: Any,
    ) -> Self:
        """Network whose features follow the domain of a field and leave t out if it is steady.

        Further keywords are those of `Features`.
        """
        if field.domain is None:
            raise ValueError(
                f"{field.name} has no domain to scale positions by; give it one, or build "
                "MLP(Features(box)) yourself"
            )
        if field.steady:
            time_range = time_period = None
        elif time_range is None and time_period is None:
            raise ValueError(
                f"{field.name} is unsteady: give time_range=(first, last) of the anchor times, or "
                "time_period= if it repeats"
            )
        inputs = Features(
            [(axis.lower, axis.upper) for axis in field.domain],
            periodic=[axis.boundary == "periodic" for axis in field.domain],
            time_range=time_range,
            time_period=time_period,
            windows=windows,
            dtype=dtype,
            **features,
        )
        return cls(inputs, width=width, depth=depth, generator=generator)

    def forward(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Outputs (n, outputs) at positions (n, d), anchor times (n,) and free ends (n,)."""
        h = self.features(x, t, s)
        for layer in self.layers[:-1]:
            h = activation(layer(h))
        return self.layers[-1](h)  # type: ignore[no-any-return]

    def with_tangent(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        along: tuple[Tensor, Tensor, Tensor],
        *,
        differentiable: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Outputs and their derivative along (dx, dt, ds), in one pass; see `tangent_pass`.

        Equal to `torch.func.jvp`. With ``differentiable=False`` only the outputs carry gradients,
        not the derivative.
        """
        return value_and_tangent(
            self.features(x, t, s),
            self.features.tangent(x, t, s, along),
            [layer.get_parameter("weight") for layer in self.layers],
            [layer.get_parameter("bias") for layer in self.layers],
            differentiable=differentiable,
        )


def _linear(
    before: int, after: int, gain: float, generator: torch.Generator, dtype: torch.dtype
) -> nn.Linear:
    """Return a linear layer with uniform weights of deviation gain / sqrt(inputs)."""
    layer: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, before, after, dtype=dtype
    )
    bound = gain * math.sqrt(3 / before)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-1 / math.sqrt(before), 1 / math.sqrt(before), generator=generator)
        if gain == OUTPUT_GAIN:
            layer.bias.zero_()
    return layer
