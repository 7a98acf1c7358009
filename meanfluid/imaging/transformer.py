"""A transformer on the patches of an image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from meanfluid.imaging.layers import AttentionBlock, PointBlock, linear, modulated, rms_norm
from meanfluid.imaging.networks import FREQUENCIES, OUTPUT_GAIN, ImageNetwork


class DiT(ImageNetwork):
    """Transformer whose tokens are the patches of an image, steered by times and class.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    classes : int
        Number of classes, without the null class; 0 for a network without conditions.
    patch : int
        Side of a patch, which divides height and width.
    width, depth, heads : int
        Of a token, number of blocks, and parts of a token that attend on their own.
    expansion : int
        Units of the layer within a block over `width`.
    periodic : bool
        Whether the image continues with its opposite side. Then attention knows the way from patch
        to patch, modulo the period, instead of places: a shift of x by whole patches shifts the
        result.
    context, frequencies
        As of `ImageNetwork`.
    generator : torch.Generator
        Draws the initial weights; on the CPU.

    References
    ----------
    Peebles & Xie (2023), arXiv:2212.09748; Dehghani et al. (2023), arXiv:2302.05442 (queries and
    keys are normalised).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        classes: int = 0,
        patch: int = 2,
        width: int = 96,
        depth: int = 4,
        heads: int = 3,
        expansion: int = 2,
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
        channels, height, width_of_image = shape
        if patch < 1 or height % patch or width_of_image % patch:
            raise ValueError(
                f"height and width must be multiples of patch={patch}, got {height} and "
                f"{width_of_image}"
            )
        if depth < 1 or expansion < 1:
            raise ValueError(f"depth and expansion must be at least 1, got {depth}, {expansion}")
        self.patch, self.periodic = patch, periodic
        rows, columns = height // patch, width_of_image // patch
        self.entry = linear(channels * patch**2, width, **options)
        # Of places, or with a periodic image of the ways between them, for each head.
        drawn = (heads, rows * columns) if periodic else (rows * columns, width)
        self.places = nn.Parameter(torch.empty(drawn, dtype=dtype).normal_(generator=generator))
        self.ways: Tensor
        ways = _ways(rows, columns) if periodic else None
        self.register_buffer("ways", ways, persistent=False)
        self.attending = nn.ModuleList(
            AttentionBlock(width, heads, context=context, **options) for _ in range(depth)
        )
        self.pointwise = nn.ModuleList(
            PointBlock(width, expansion * width, context=context, **options) for _ in range(depth)
        )
        self.steer = linear(context, 2 * width, gain=0.0, **options)
        self.exit = linear(width, channels * patch**2, gain=OUTPUT_GAIN, **options)

    def image(self, x: Tensor, context: Tensor) -> Tensor:
        """Images like x from contexts (n, context)."""
        h, bias, context = self.entry(self._tokens(x)), None, context[:, None]
        if self.periodic:
            bias = self.places[:, self.ways]
        else:
            h = h + self.places
        for attend, act in zip(self.attending, self.pointwise, strict=True):
            h = act(attend(h, context, bias), context)
        scale, shift = self.steer(context).chunk(2, dim=-1)
        return self._untokened(self.exit(modulated(rms_norm(h), scale, shift)), x)

    def _tokens(self, x: Tensor) -> Tensor:
        """Patches (n, tokens, channels * patch^2) of images."""
        n, channels, height, width = x.shape
        p = self.patch
        cut = x.reshape(n, channels, height // p, p, width // p, p)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * p * p)

    def _untokened(self, h: Tensor, like: Tensor) -> Tensor:
        """Images of the shape of another from patches; the inverse of `_tokens`."""
        n, channels, height, width = like.shape
        p = self.patch
        cut = h.reshape(n, height // p, width // p, channels, p, p)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(like.shape)


def _ways(rows: int, columns: int) -> Tensor:
    """Number (tokens, tokens) of the way from one place to another of a periodic grid."""
    row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    down, right = (row - row[:, None]) % rows, (column - column[:, None]) % columns
    return down * columns + right
