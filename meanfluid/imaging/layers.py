"""Layers of image networks, in tensor operations that forward-mode differentiation handles.

They also work where `torch.func.jvp` is compiled, which refuses torch's own group and layer
normalisation. Weights are drawn by the generator that is passed in; `gain` is the deviation of a
weight times the root of the number of inputs.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # added to variances, of values of order one
ACTIVATION_GAIN = 1.7  # about keeps the size of activations through silu


def linear(
    before: int, after: int, *, generator: Generator, dtype: torch.dtype, gain: float = 1.0
) -> nn.Linear:
    """Return a linear layer with normal weights and without offset."""
    layer: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, before, after, dtype=dtype
    )
    _draw(layer.weight, layer.bias, gain, generator)
    return layer


class Convolution(nn.Module):
    """Convolution of odd kernel; the border is zero, or periodic.

    Parameters
    ----------
    before, after : int
        Channels.
    kernel, stride : int
    periodic : bool
        Whether the image continues with its opposite side.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        periodic: bool = False,
        gain: float = 1.0,
        generator: Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.stride, self.reach, self.periodic = stride, kernel // 2, periodic
        self.weight = nn.Parameter(torch.empty(after, before, kernel, kernel, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(after, dtype=dtype))
        _draw(self.weight, self.bias, gain, generator)

    def forward(self, h: Tensor) -> Tensor:
        """Outputs (n, after, H / stride, W / stride) of inputs (n, before, H, W)."""
        reach = self.reach
        if self.periodic and reach:
            h = torch.cat([h[..., -reach:, :], h, h[..., :reach, :]], dim=-2)
            h = torch.cat([h[..., -reach:], h, h[..., :reach]], dim=-1)
            reach = 0
        return functional.conv2d(h, self.weight, self.bias, self.stride, reach)


def rms_norm(h: Tensor) -> Tensor:
    """Values over their root mean square along the last axis."""
    return h * torch.rsqrt((h * h).mean(dim=-1, keepdim=True) + EPSILON)


def group_norm(h: Tensor, groups: int) -> Tensor:
    """Values (n, channels, H, W) with zero mean and unit variance in each group of channels."""
    n, channels, height, width = h.shape
    grouped = h.reshape(n, groups, channels // groups, height, width)
    centred = grouped - grouped.mean(dim=(2, 3, 4), keepdim=True)
    variance = (centred * centred).mean(dim=(2, 3, 4), keepdim=True)
    return (centred * torch.rsqrt(variance + EPSILON)).reshape(h.shape)


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention (n, heads, tokens, d), with queries and keys of unit mean square."""
    score = rms_norm(query) @ rms_norm(key).transpose(-1, -2) / math.sqrt(query.shape[-1])
    if bias is not None:
        score = score + bias
    return torch.softmax(score, dim=-1) @ value


class Context(nn.Module):
    """What the network is told beside the image: two times and a class, as one vector.

    Times enter as t and s - t, and as their sines and cosines of low frequency: features that
    oscillate fast in time have large time derivatives, which the identity would amplify.

    Parameters
    ----------
    width : int
        Of the vector.
    classes : int
        Number of classes, without the null class; 0 for none.
    frequencies : sequence of float, radians / time
        Of the sines and cosines.
    """

    def __init__(
        self,
        width: int,
        *,
        classes: int,
        frequencies: Sequence[float],
        generator: Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.tensor(tuple(frequencies), dtype=dtype))
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.inner = linear(2 + 4 * len(frequencies), width, **options)
        self.outer = linear(width, width, gain=ACTIVATION_GAIN, **options)
        self.classes = None
        if classes:
            self.classes = nn.Parameter(torch.empty(classes + 1, width, dtype=dtype))
            with torch.no_grad():
                self.classes.normal_(generator=generator)

    def forward(self, t: Tensor, s: Tensor, condition: Tensor | None) -> Tensor:
        """Return a vector (n, width) for anchors t and free ends s, (n,), and classes (n,)."""
        times = torch.stack([t, s - t], dim=1)
        angle = (times[:, :, None] * self.frequencies).flatten(1)
        features = torch.cat([times, torch.sin(angle), torch.cos(angle)], dim=1)
        h: Tensor = self.outer(functional.silu(self.inner(features)))
        if self.classes is not None and condition is not None:
            h = h + functional.embedding(condition, self.classes)
        return functional.silu(h)


def modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Values h (1 + scale) + shift."""
    return h * (1 + scale) + shift


class PointBlock(nn.Module):
    """Residual of two linear layers at every point, steered by the context.

    Scale, shift and size of the residual are linear in the context; the size begins at zero.

    Parameters
    ----------
    width, hidden : int
        Of the values, and of the layer in between.
    context : int
        Width of the context.

    References
    ----------
    Peebles & Xie (2023), arXiv:2212.09748 (adaLN-zero).
    """

    def __init__(
        self, width: int, hidden: int, *, context: int, generator: Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.steer = linear(context, 3 * width, gain=0.0, **options)
        self.inner = linear(width, hidden, **options)
        self.outer = linear(hidden, width, gain=ACTIVATION_GAIN, **options)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        """Values (n, ..., width) for values of that shape and contexts (n, ..., context)."""
        steer: Tensor = self.steer(context)
        scale, shift, size = steer.chunk(3, dim=-1)
        inner = self.inner(modulated(rms_norm(h), scale, shift))
        residual: Tensor = self.outer(functional.silu(inner))
        return h + size * residual


class AttentionBlock(nn.Module):
    """Residual of self-attention between tokens, steered by the context as `PointBlock` is.

    Parameters
    ----------
    width, heads : int
        Of a token, and how many parts of it attend on their own.
    context : int
        Width of the context.
    """

    def __init__(
        self, width: int, heads: int, *, context: int, generator: Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.heads = heads
        self.steer = linear(context, 3 * width, gain=0.0, **options)
        self.inner = linear(width, 3 * width, **options)
        self.outer = linear(width, width, **options)

    def forward(self, h: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens (n, tokens, width) for such tokens and contexts (n, 1, context).

        The bias (heads, tokens, tokens) is added to the scores of attention.
        """
        steer: Tensor = self.steer(context)
        scale, shift, size = steer.chunk(3, dim=-1)
        inner = self.inner(modulated(rms_norm(h), scale, shift))
        query, key, value = inner.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        found = attention(query, key, value, bias).transpose(1, 2).flatten(2)
        residual: Tensor = self.outer(found)
        return h + size * residual


def _draw(weight: Tensor, bias: Tensor, gain: float, generator: Generator) -> None:
    with torch.no_grad():
        weight.normal_(std=gain / math.sqrt(weight[0].numel()), generator=generator)
        bias.zero_()
