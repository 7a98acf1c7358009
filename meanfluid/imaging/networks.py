"""Networks for images, N(x, t, s, condition), and the one for small images: a residual MLP.

A network takes images (n, channels, height, width), anchor times (n,), free ends (n,) and, if it
has classes, class numbers (n,), and returns images of the same shape. The number `classes` itself
is the null class, which stands for no condition. `UNet` is in `unet`, `DiT` in `transformer`.

Forward-mode differentiation handles them, also inside a compiled function, as `fit` compiles it.
Elsewhere compile with ``options={"allow_buffer_reuse": False}``: otherwise gradients through the
derivative raise an error of ZeroTensors (torch 2.13).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from meanfluid.imaging.layers import Context, PointBlock, linear, modulated, rms_norm

FREQUENCIES = (1.0, 2.0, 4.0)  # of a clock from 0 to 1
OUTPUT_GAIN = 0.02  # begin near zero; not at it, so that all layers learn from the second step


class ImageNetwork(nn.Module):
    """What image networks share: the door, the context, and a multiple of x added at the end.

    The multiple depends on the context and begins at zero. A conditional mean of noise minus data
    has such a part, and without it all layers would have to carry the noise through.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    classes : int
        Number of classes, without the null class; 0 for a network without conditions.
    context : int
        Width of the vector that holds times and class.
    frequencies : sequence of float, radians / time
        Of sines and cosines of t and s - t that enter beside these; low ones, see `Context`.
    generator : torch.Generator
        Draws the initial weights; on the CPU.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        classes: int,
        context: int,
        frequencies: Sequence[float],
        generator: Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {shape!r}")
        if classes < 0:
            raise ValueError(f"classes must be how many there are, 0 for none, got {classes}")
        self.shape, self.classes = tuple(shape), classes
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.context = Context(context, classes=classes, frequencies=frequencies, **options)
        self.multiple = linear(context, shape[0], gain=0.0, **options)

    def forward(self, x: Tensor, t: Tensor, s: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images (n, channels, height, width) for such images x, times t and s, (n,), and classes.

        Parameters
        ----------
        condition : (n,), int64, optional
            Classes from 0 to `classes`, which is the null class; needed if there are classes.

        Raises
        ------
        ValueError
            If an argument has another shape or dtype, or a class is missing or unknown. Numbers of
            classes on a GPU, or in a compiled function, are not looked at.
        """
        self._check(x, t, s, condition)
        context = self.context(t, s, condition)
        multiple: Tensor = self.multiple(context)
        return self.image(x, context) + multiple[:, :, None, None] * x

    def image(self, x: Tensor, context: Tensor) -> Tensor:
        """Images like x from contexts (n, context): what a network of this kind defines."""
        raise NotImplementedError

    def check_size(self, x: Tensor) -> None:
        """Refuse images of another size than `shape`; channels are checked already."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x must be images {self.shape}, got {tuple(x.shape[1:])}")

    def _check(self, x: Tensor, t: Tensor, s: Tensor, condition: Tensor | None) -> None:
        dtype, channels = self.multiple.weight.dtype, self.shape[0]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(
                f"x must have shape (n, channels, height, width) with {channels} channels, got "
                f"{tuple(x.shape)}"
            )
        self.check_size(x)
        for name, value in (("x", x), ("t", t), ("s", s)):
            if value.dtype != dtype:
                raise ValueError(
                    f"{name} must be {dtype} like the network, got {value.dtype}; convert it, or "
                    "the network with network.double() or network.float()"
                )
        if t.shape != (len(x),) or s.shape != (len(x),):
            raise ValueError(
                f"t and s must be one time per image, shape ({len(x)},), got {tuple(t.shape)} and "
                f"{tuple(s.shape)}"
            )
        self._check_condition(condition, len(x))

    def _check_condition(self, condition: Tensor | None, count: int) -> None:
        classes = self.classes
        if not classes:
            if condition is not None:
                raise ValueError(
                    "this network has no classes, so it takes no condition; build it with classes="
                )
            return
        if condition is None:
            raise ValueError(
                f"this network has {classes} classes and needs a condition; for none pass the null "
                f"class, {classes}"
            )
        if condition.shape != (count,) or condition.dtype != torch.int64:
            raise ValueError(
                f"condition must be one class per image, int64 of shape ({count},), got "
                f"{condition.dtype} of shape {tuple(condition.shape)}"
            )
        # Looking at values would stop a compiled function, and make a GPU wait.
        if torch.compiler.is_compiling() or condition.device.type != "cpu" or not count:
            return
        if condition.min() < 0 or condition.max() > classes:
            raise ValueError(
                f"condition must be classes from 0 to {classes - 1}, or {classes} for none, got "
                f"values from {int(condition.min())} to {int(condition.max())}"
            )


class ResidualMLP(ImageNetwork):
    """Residual layers on all pixels at once, for small images.

    The fastest per step, but it must learn from data what is near and what repeats: from few
    images it learns the images themselves sooner than `UNet`. It is not equivariant to shifts.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    classes : int
        Number of classes, without the null class; 0 for a network without conditions.
    width, depth : int
        Units of a layer, and number of residual blocks of two layers.
    context, frequencies
        As of `ImageNetwork`.
    generator : torch.Generator
        Draws the initial weights; on the CPU.

    Examples
    --------
    >>> network = ResidualMLP((1, 8, 8), width=16, generator=torch.Generator().manual_seed(0))
    >>> network(torch.zeros(5, 1, 8, 8), torch.ones(5), torch.zeros(5)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        classes: int = 0,
        width: int = 256,
        depth: int = 4,
        context: int = 64,
        frequencies: Sequence[float] = FREQUENCIES,
        generator: Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        super().__init__(
            shape, classes=classes, context=context, frequencies=frequencies, **options
        )
        if width < 1 or depth < 1:
            raise ValueError(f"width and depth must be at least 1, got {width} and {depth}")
        pixels = math.prod(shape)
        self.entry = linear(pixels, width, **options)
        self.blocks = nn.ModuleList(
            PointBlock(width, width, context=context, **options) for _ in range(depth)
        )
        self.steer = linear(context, 2 * width, gain=0.0, **options)
        self.exit = linear(width, pixels, gain=OUTPUT_GAIN, **options)

    def image(self, x: Tensor, context: Tensor) -> Tensor:
        """Images like x from contexts (n, context)."""
        h = self.entry(x.flatten(1))
        for block in self.blocks:
            h = block(h, context)
        scale, shift = self.steer(context).chunk(2, dim=1)
        return self.exit(modulated(rms_norm(h), scale, shift)).reshape(x.shape)  # type: ignore[no-any-return]
