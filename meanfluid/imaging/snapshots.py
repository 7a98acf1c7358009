"""Statistics of snapshots of turbulence on a periodic square: spectra, increments, divergence.

A snapshot is a scalar on n x n points, its last two axes; further axes before them, such as the
number of the sample and a channel, are kept. The side is `length`, 2 pi by default, so that the
wavenumbers of the grid are integers.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.imaging.points import host
from meanfluid.means import periodic


class ShellSpectrum(NamedTuple):
    """Spectrum by shells.

    Attributes
    ----------
    wavenumber : (shells,), 1 / length
        Multiples of 2 pi / length, from one on.
    density : (..., shells)
        Its sum times 2 pi / length is half the variance of the snapshot.
    """

    wavenumber: Array
    density: Array


def shell_spectrum(snapshots: Any, *, length: float = 2 * math.pi) -> ShellSpectrum:
    r"""Spectrum :math:`E(k)` of each snapshot, with :math:`\sum E \Delta k = \mathrm{var}/2`.

    A Fourier mode belongs to the shell of the nearest multiple of :math:`\Delta k = 2\pi/L`. The
    corners beyond the Nyquist wavenumber are kept, since they belong to the sum, but their shells
    are incomplete; so is that of n/2 itself. Of vorticity it is the enstrophy spectrum.

    Parameters
    ----------
    snapshots : (..., n, n)
        Array or tensor.
    length : float
        Side of the square.

    Raises
    ------
    ValueError
        If the last two axes are not equal.
    """
    field, step = _squares("snapshots", snapshots), _wavenumber_step(length)
    n = field.shape[-1]
    power = np.abs(np.fft.fft2(field) / n**2) ** 2 / 2
    index = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.hypot(index[:, None], index)).astype(int).ravel()
    flat = power.reshape(-1, n * n)
    sums = np.stack([np.bincount(shell, row, shell.max() + 1)[1:] for row in flat])
    density = sums.reshape(*field.shape[:-2], -1) / step
    return ShellSpectrum(step * np.arange(1, shell.max() + 1), density)


def spectrum_difference(
    real: Any, generated: Any, *, length: float = 2 * math.pi
) -> tuple[ShellSpectrum, Array]:
    """Relative difference of mean spectra, shell by shell, and its standard error.

    Parameters
    ----------
    real, generated : (m, ..., n, n)
        At least two snapshots each.
    length : float
        Side of the square.

    Returns
    -------
    ShellSpectrum
        Its density (shells,) is generated over real, minus one; infinite or NaN in shells without
        real energy.
    (shells,)
        Standard error of that, from the scatter between snapshots.
    """
    moments = []
    for name, given in (("real", real), ("generated", generated)):
        k, density = shell_spectrum(given, length=length)
        if density.ndim < 2 or len(density) < 2:
            raise ValueError(f"{name} must hold at least two snapshots, got {np.shape(given)}")
        each = density.reshape(-1, len(k))
        moments.append((each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))))
    (real_mean, real_error), (mean, error) = moments
    if real_mean.shape != mean.shape:
        raise ValueError(
            f"snapshots must have the same grid, got {np.shape(real)[-2:]} and "
            f"{np.shape(generated)[-2:]}"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = mean / real_mean
        scatter = np.hypot(error / real_mean, ratio * real_error / real_mean)
    return ShellSpectrum(k, ratio - 1), scatter


def increments(snapshots: Any, separation: int, *, axis: int = -1) -> Array:
    """Differences f(x + r) - f(x) over `separation` points along an axis, the square periodic.

    Parameters
    ----------
    snapshots : (..., n, n)
        Array or tensor.
    separation : int
        r in points of the grid.
    axis : -1 or -2
        Along the last axis, or the one before.

    Returns
    -------
    (..., n, n)
    """
    field = _squares("snapshots", snapshots)
    if axis not in (-1, -2):
        raise ValueError(f"axis must be -1 or -2, got {axis}")
    return np.asarray(np.roll(field, -int(separation), axis=axis) - field)


def structure_function(snapshots: Any, order: int, separations: Iterable[int]) -> Array:
    """Mean of the increments to a power, over both axes, points and snapshots.

    Parameters
    ----------
    snapshots : (..., n, n)
        Array or tensor.
    order : int
        The power, at least 1. Of order 2 it is twice the variance less the covariance.
    separations : iterable of int
        In points of the grid.

    Returns
    -------
    (separations,)
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    field = _squares("snapshots", snapshots)
    return np.array(
        [
            np.mean([(increments(field, r, axis=axis) ** order).mean() for axis in (-1, -2)])
            for r in separations
        ]
    )


def rms_divergence(velocity: Any, *, length: float = 2 * math.pi, relative: bool = True) -> Array:
    """Root mean square of the divergence of each snapshot, by spectral derivatives.

    Parameters
    ----------
    velocity : (..., 2, n, n)
        Components along the last axis (x) and the one before it (y), in this order; array or
        tensor. The unpaired mode n/2 of an even grid has no derivative and is left out.
    length : float
        Side of the square.
    relative : bool
        Over the root mean square of the velocity gradient, which makes it 0 for incompressible
        flow and about 0.7 for independent isotropic components; NaN for uniform flow.

    Returns
    -------
    (...)
    """
    field, _ = _squares("velocity", velocity), _wavenumber_step(length)
    if field.ndim < 3 or field.shape[-3] != 2:
        raise ValueError(f"velocity must have shape (..., 2, n, n), got {field.shape}")
    slope = periodic.gradient(field[..., ::-1, :, :], (length, length))  # axes as components
    divergence = slope[..., 0, 0, :, :] + slope[..., 1, 1, :, :]
    size = np.sqrt((divergence**2).mean(axis=(-2, -1)))
    if not relative:
        return np.asarray(size)
    with np.errstate(invalid="ignore"):
        return np.asarray(size / np.sqrt((slope**2).mean(axis=(-2, -1)).sum(axis=(-2, -1))))


def _wavenumber_step(length: float) -> float:
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"length must be positive, got {length}")
    return 2 * math.pi / length


def _squares(name: str, snapshots: Any) -> Array:
    field = host(name, snapshots)
    if field.ndim < 2 or field.shape[-1] != field.shape[-2] or field.size == 0:
        raise ValueError(f"{name} must have shape (..., n, n), got {field.shape}")
    return field
