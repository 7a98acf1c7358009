"""A convolutional network on several scales."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from meanfluid.imaging.layers import (
    ACTIVATION_GAIN,
    AttentionBlock,
    Convolution,
    group_norm,
    linear,
    modulated,
)
from meanfluid.imaging.networks import FREQUENCIES, OUTPUT_GAIN, ImageNetwork

GROUPS = 8  # groups of channels that are normalised together


class ConvolutionBlock(nn.Module):
    """Residual of two convolutions, steered by the context; it begins at zero.

    Parameters
    ----------
    before, after : int
        Channels.
    context : int
        Width of the context.
    periodic : bool
        Whether the image continues with its opposite side.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        context: int,
        periodic: bool,
        generator: Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.steer = linear(context, 3 * after, gain=0.0, **options)
        options["periodic"] = periodic
        self.inner = Convolution(before, after, gain=ACTIVATION_GAIN, **options)
        self.outer = Convolution(after, after, gain=ACTIVATION_GAIN, **options)
        self.across = Convolution(before, after, kernel=1, **options) if before != after else None

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        """Values (n, after, H, W) for values (n, before, H, W) and contexts (n, context)."""
        steer: Tensor = self.steer(context)
        scale, shift, size = steer[:, :, None, None].chunk(3, dim=1)
        inner = self.inner(functional.silu(group_norm(h, GROUPS)))
        inner = functional.silu(modulated(group_norm(inner, GROUPS), scale, shift))
        residual: Tensor = self.outer(inner)
        return (h if self.across is None else self.across(h)) + size * residual


class UNet(ImageNetwork):
    """Convolutions on several scales, down and up again, steered by times and class.

    Of the three networks it needs the fewest images, since it knows what is near. It takes images
    of other sizes than `shape` too.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    classes : int
        Number of classes, without the null class; 0 for a network without conditions.
    widths : sequence of int
        Channels on each level, multiples of 8; from level to level sides are halved.
    depth : int
        Residual blocks on each level, on the way down and again on the way up.
    heads : int
        Of self-attention on the last level; 0 for none.
    periodic : bool
        Whether the image continues with its opposite side. Then a shift of x by a multiple of
        2^(levels - 1) pixels shifts the result.
    context, frequencies
        As of `ImageNetwork`.
    generator : torch.Generator
        Draws the initial weights; on the CPU.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), arXiv:1505.04597; Dhariwal & Nichol (2021),
    arXiv:2105.05233 (group normalisation steered by the time).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        classes: int = 0,
        widths: Sequence[int] = (16, 32),
        depth: int = 1,
        heads: int = 0,
        periodic: bool = False,
        context: int = 64,
        frequencies: Sequence[float] = FREQUENCIES,
        generator: Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        super().__init__(
            shape, classes=classes, context=context, frequencies=frequencies, **options
        )
        if not widths or any(width < 1 or width % GROUPS for width in widths):
            raise ValueError(f"widths must be multiples of {GROUPS}, one a level, got {widths}")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.cell = 2 ** (len(widths) - 1)
        self._check_cells(*shape[1:])
        self.attend = None
        if heads:
            self.attend = AttentionBlock(widths[-1], heads, context=context, **options)
        options["periodic"] = periodic
        levels = list(itertools.pairwise(widths))
        self.entry = Convolution(shape[0], widths[0], **options)
        options["context"] = context
        self.down = nn.ModuleList(_blocks(width, width, depth, **options) for width in widths)
        self.up = nn.ModuleList(_blocks(2 * fine, fine, depth, **options) for fine, _ in levels)
        del options["context"]
        self.halve = nn.ModuleList(
            Convolution(fine, coarse, stride=2, **options) for fine, coarse in levels
        )
        self.refine = nn.ModuleList(Convolution(coarse, fine, **options) for fine, coarse in levels)
        self.exit = Convolution(widths[0], shape[0], gain=OUTPUT_GAIN, **options)

    def image(self, x: Tensor, context: Tensor) -> Tensor:
        """Images like x from contexts (n, context)."""
        h, kept = self.entry(x), []
        for level, blocks in enumerate(self.down):
            if level:
                kept.append(h)
                h = self.halve[level - 1](h)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, context)
        if self.attend is not None:
            tokens = self.attend(h.flatten(2).transpose(1, 2), context[:, None])
            h = tokens.transpose(1, 2).reshape(h.shape)
        for level in reversed(range(len(kept))):
            h = torch.cat([self.refine[level](_doubled(h)), kept[level]], dim=1)
            for block in self.up[level]:  # type: ignore[attr-defined]
                h = block(h, context)
        return self.exit(functional.silu(group_norm(h, GROUPS)))  # type: ignore[no-any-return]

    def check_size(self, x: Tensor) -> None:
        """Refuse images that cannot be halved from level to level."""
        self._check_cells(*x.shape[2:])

    def _check_cells(self, height: int, width: int) -> None:
        if height % self.cell or width % self.cell:
            raise ValueError(
                f"height and width must be multiples of {self.cell}, which is 2 to the number of "
                f"levels but one, got {height} and {width}; give fewer widths"
            )


def _blocks(before: int, after: int, depth: int, **options: Any) -> nn.ModuleList:
    inputs = [before] + [after] * (depth - 1)
    return nn.ModuleList(ConvolutionBlock(channels, after, **options) for channels in inputs)


def _doubled(h: Tensor) -> Tensor:
    """Every point four times, on twice the height and width."""
    n, channels, height, width = h.shape
    wide = h[:, :, :, None, :, None].expand(n, channels, height, 2, width, 2)
    return wide.reshape(n, channels, 2 * height, 2 * width)
