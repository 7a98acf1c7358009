"""A network for periodic snapshots: an isotropic filter that depends on time, beside another one.

For snapshots that are Gaussian, homogeneous and isotropic, the velocity between data and noise and
its averages multiply every Fourier mode by a number that depends on its wavenumber and the times.
A filter holds that part exactly, over all scales, and leaves the rest to the other network.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from meanfluid.imaging.layers import ACTIVATION_GAIN, Context, linear
from meanfluid.imaging.networks import FREQUENCIES, ImageNetwork


class Filtered(nn.Module):
    """A network with an isotropic spectral filter beside it, N(x, t, s) + F(t, s) x.

    Parameters
    ----------
    network : ImageNetwork
        Of square images that continue periodically.
    width : int
        Of the two layers that give the filter's gains.
    frequencies : sequence of float, radians / time
        Of sines and cosines of t and s - t that enter beside these.
    generator : torch.Generator
        Draws the initial weights; on the CPU.

    Raises
    ------
    ValueError
        If images are not square, or at a call not of the size of the network.
    """

    def __init__(
        self,
        network: ImageNetwork,
        *,
        width: int = 128,
        frequencies: Sequence[float] = FREQUENCIES,
        generator: Generator,
    ) -> None:
        super().__init__()
        _, height, size = network.shape
        if height != size:
            raise ValueError(f"images must be square, got {height} x {size}")
        dtype = next(network.parameters()).dtype
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.network = network
        self.context = Context(width, classes=0, frequencies=frequencies, **options)
        self.inner = linear(width, width, gain=ACTIVATION_GAIN, **options)
        self.shells: Tensor
        self.register_buffer("shells", shells(size))
        self.gains = linear(width, int(self.shells.max()) + 1, gain=0.0, **options)

    def forward(self, x: Tensor, t: Tensor, s: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images (n, channels, size, size) for such images; see `ImageNetwork`."""
        rest: Tensor = self.network(x, t, s, condition)
        size = len(self.shells)
        if x.shape[-2:] != (size, size):
            raise ValueError(
                f"x must be images of {size} x {size} points like the filter, got "
                f"{x.shape[-2]} x {x.shape[-1]}; build the network for their size"
            )
        inner = functional.silu(self.inner(self.context(t, s, None)))
        return rest + filtered(x, self.gains(inner)[:, self.shells][:, None])


def filtered(x: Tensor, gains: Tensor) -> Tensor:
    """Images (n, channels, size, size) with modes times real gains (n, 1, size, size // 2 + 1)."""
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * gains, s=x.shape[-2:])
    return result


def shells(size: int) -> Tensor:
    """Number of the shell, the nearest whole wavenumber, of the modes of `torch.fft.rfft2`."""
    k = torch.fft.fftfreq(size, 1 / size)
    along = torch.fft.rfftfreq(size, 1 / size)
    number: Tensor = torch.hypot(k[:, None], along).round().long()
    return number
