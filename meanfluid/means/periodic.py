r"""Trigonometric calculus on periodic boxes of any dimension: the one that all means use.

Values on a uniform grid, the points :math:`i L / n` along each axis, stand for their trigonometric
interpolant. Axes of the grid come last, components of vectors just before them; derivatives add an
axis between both, so that ``[i, j]`` is the derivative of component i by x_j. `lengths` are the
periods, one per axis of the grid.

The wave of two points per period, which even numbers of points carry, is a cosine: its derivative
vanishes on the grid, and products leave it out.

Everything runs on NumPy arrays, and on CuPy arrays where they live.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array

Lengths = Sequence[float] | Array

_FEWEST = 3  # points along an axis; fewer hold no wave
_ENTRIES = 2**21  # of the largest temporary array of a sum over waves
_NEGLIGIBLE = float(np.finfo(float).eps)  # of the largest coefficient: rounding


def mesh(shape: Sequence[int], lengths: Lengths, *, like: Any = None) -> Any:
    """Positions of the grid, (dimension, *shape), length; on the device of an array if given.

    Examples
    --------
    >>> mesh((2, 4), (1.0, 2.0))[1, 0]
    array([0. , 0.5, 1. , 1.5])
    """
    axes = [np.arange(n) * (length / n) for n, length in zip(shape, lengths, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return points if like is None else devices.beside(like, points)


def derivative(values: Any, axis: int, length: float) -> Any:
    """Derivative along one periodic axis of a given length."""
    return _on_points(values, axis, values.shape[axis], length)


def gradient(values: Any, lengths: Lengths) -> Any:
    """Gradient (..., dimension, *grid) of values (..., *grid)."""
    axes = len(lengths)
    parts = [derivative(values, k - axes, length) for k, length in enumerate(lengths)]
    return np.stack(parts, axis=values.ndim - axes)


def divergence(vector: Any, lengths: Lengths) -> Any:
    """Divergence (..., *grid) of a vector (..., dimension, *grid)."""
    axes = len(lengths)
    whole = (slice(None),) * axes
    parts = [
        derivative(vector[(Ellipsis, k, *whole)], k - axes, length)
        for k, length in enumerate(lengths)
    ]
    return sum(parts[1:], start=parts[0])


def curl(vector: Any, lengths: Lengths) -> Any:
    """Curl (nx, ny) of a vector (2, nx, ny) in the plane."""
    return derivative(vector[1], 0, lengths[0]) - derivative(vector[0], 1, lengths[1])


def modes(shape: Sequence[int]) -> list[Array]:
    """Whole numbers of waves in the box, for the modes of ``np.fft.rfftn``: along each axis.

    To be broadcast against each other; that of two points per period has no certain sign.
    """
    found = []
    for axis, n in enumerate(shape):
        last = axis == len(shape) - 1
        index = np.fft.rfftfreq(n, 1.0 / n) if last else np.fft.fftfreq(n, 1.0 / n)
        form = [-1 if k == axis else 1 for k in range(len(shape))]
        found.append(np.asarray(index.reshape(form), dtype=np.float64))
    return found


def wave_numbers(shape: Sequence[int], lengths: Lengths) -> list[Array]:
    """Wave numbers of `modes`, 1 / length, for derivatives: 0 for two points per period."""
    return [
        np.where(2 * np.abs(mode) == n, 0.0, mode * (2.0 * math.pi / length))
        for mode, n, length in zip(modes(shape), shape, lengths, strict=True)
    ]


def leray(vector: Any, lengths: Lengths) -> Any:
    """The part of a vector field that is free of divergence, its mean included.

    Parameters
    ----------
    vector : (dimension, *grid)
    lengths : (dimension,), length

    Returns
    -------
    (dimension, *grid)
        The rest is the gradient of a periodic function.

    Raises
    ------
    ValueError
        If the field has another shape or is not finite, or a period is not positive.
    """
    vector, lengths = checked_vector(vector, lengths)
    grid = vector.shape[1:]
    axes = tuple(range(1, vector.ndim))
    transform = np.fft.rfftn(vector, axes=axes)
    waves, square = _waves_and_square(vector, lengths)
    along = sum(k * part for k, part in zip(waves, transform, strict=True)) / square
    rest = np.stack([k * along for k in waves])
    return np.fft.irfftn(transform - rest, s=grid, axes=axes)


def solenoidal(vorticity: Any, mean: Any, lengths: Lengths) -> Any:
    """Velocity (2, nx, ny) of a vorticity (nx, ny) of zero mean, with a mean velocity (2,)."""
    (kx, ky), square = _waves_and_square(vorticity, lengths)
    stream = -np.fft.rfft2(vorticity) / square
    velocity = np.fft.irfft2(np.stack([-1j * ky * stream, 1j * kx * stream]), s=vorticity.shape)
    return velocity + mean[:, None, None]


def advection(velocity: Any, carried: Any, lengths: Lengths) -> Any:
    r"""Return :math:`v \cdot \nabla f` without aliasing.

    Parameters
    ----------
    velocity : (dimension, *grid)
    carried : (..., *grid)
        f, a scalar or the components of a vector.
    lengths : (dimension,), length

    Returns
    -------
    (..., *grid)

    Raises
    ------
    ValueError
        If the velocity has another shape or is not finite, a period is not positive, or both are
        not on one grid.

    Notes
    -----
    The product is formed on a grid finer by 3/2, and what that grid has beyond the given one is
    dropped: the 2/3 rule, with no loss of what the given grid can hold.
    """
    velocity, lengths = checked_vector(velocity, lengths)
    grid = velocity.shape[1:]
    if carried.shape[-len(grid) :] != grid:
        raise ValueError(
            f"velocity and what it carries must be on one grid, got shapes {velocity.shape} and "
            f"{carried.shape}"
        )
    finer = [(3 * n + 1) // 2 for n in grid]
    product: Any = 0.0
    for along, part in enumerate(resampled(velocity, finer)):
        slope = carried
        for k, (n, length) in enumerate(zip(finer, lengths, strict=True)):
            slope = _on_points(slope, k - len(grid), n, length if k == along else None)
        product = product + part * slope
    return resampled(product, grid)


def resampled(values: Any, shape: Sequence[int]) -> Any:
    """The same waves on another grid; what it cannot hold, and two points a wave, are dropped."""
    for axis, count in enumerate(shape, start=-len(shape)):
        values = _on_points(values, axis, count)
    return values


class Interpolant:
    """Trigonometric interpolants of fields, summed anywhere: exact but for rounding.

    Parameters
    ----------
    fields : (k, *grid)
    lengths : (dimension,), length

    Notes
    -----
    Short waves at the level of rounding are left out. With what remains the cost for each point is
    that of all modes once, as matrix products. On a grid of n x n, rounding leaves about 1e-15 n of
    the largest value.
    """

    def __init__(self, fields: Any, lengths: Lengths) -> None:
        self._lengths = [float(length) for length in lengths]
        for axis in range(1, fields.ndim):
            fields = _real_coefficients(fields, axis)
        self._highest, self._waves = self._shortened(fields)

    def at(self, position: Any) -> Any:
        """Values (k, ...) at positions (dimension, ...)."""
        return self._summed(position, [None])[:, 0]

    def gradient(self, position: Any) -> Any:
        """Derivatives (k, dimension, ...) at positions (dimension, ...)."""
        return self._summed(position, list(range(len(self._lengths))))

    def value_and_gradient(self, position: Any) -> tuple[Any, Any]:
        """Return both, for about twice the cost of values alone."""
        both = self._summed(position, [None, *range(len(self._lengths))])
        return both[:, 0], both[:, 1:]

    def _shortened(self, waves: Any) -> tuple[list[int], Any]:
        """Leave out along each axis what is shorter than any wave that counts.

        Where only every second or third wave counts, the period is a half or a third of the box.
        """
        size = np.abs(waves)
        axes = tuple(range(1, waves.ndim))
        counts = size > _NEGLIGIBLE * size.max(axis=axes, keepdims=True)
        found = []
        for axis in axes:
            rest = tuple(k for k in range(waves.ndim) if k != axis)
            used = np.nonzero(devices.to_host(counts.any(axis=rest)))[0]
            cosines, sines = _numbers_of_waves(waves.shape[axis])
            used = np.where(used <= cosines, used, used - cosines)
            highest, every = int(used.max(initial=0)), max(1, int(np.gcd.reduce(used)))
            parts = (
                slice(0, highest + 1, every),
                slice(cosines + every, cosines + min(highest, sines) + 1, every),
            )
            whole = (slice(None),) * axis
            waves = np.concatenate([waves[(*whole, part)] for part in parts], axis=axis)
            self._lengths[axis - 1] /= every
            found.append(highest // every)
        return found, waves

    def _summed(self, position: Any, wanted: Sequence[int | None]) -> Any:
        """Sums (k, wanted, ...): derivatives along axes, the value itself for None."""
        waves = self._waves
        points = position.reshape(len(self._lengths), -1)
        fields, count = len(waves), points.shape[1]
        result = np.empty_like(waves, shape=(fields, len(wanted), count))
        at_once = max(1, _ENTRIES // max(waves[:, 0].size, *waves.shape[1:], 1))
        for first in range(0, count, at_once):
            part = slice(first, first + at_once)
            sums = self._sums(points[:, part], wanted)
            for k, by in enumerate(wanted):
                result[:, k, part] = sums[by]
        return result.reshape(fields, len(wanted), *position.shape[1:])

    def _sums(self, points: Any, wanted: Sequence[int | None]) -> dict[int | None, Any]:
        """Sums (k, points) by the axis along which they are differentiated, None for values."""
        sums: dict[int | None, Any] = {None: self._waves}
        last = len(points) - 1
        for axis, x in enumerate(points):
            size = self._waves.shape[axis + 1]
            powers = _powers(x, self._highest[axis], self._lengths[axis])
            along = _basis(powers, size)
            found = {
                by: _contracted(part, along, axis)
                for by, part in sums.items()
                if by is not None or axis < last or None in wanted
            }
            if axis in wanted:
                slope = _slope_basis(powers, size, self._lengths[axis])
                found[axis] = _contracted(sums[None], slope, axis)
            sums = found
        return sums


def checked_lengths(lengths: Any, dimension: int) -> tuple[float, ...]:
    """Return the periods of the axes.

    Raises
    ------
    ValueError
        If they are not positive, or not one per axis.
    """
    try:
        found = tuple(float(length) for length in lengths)
    except (TypeError, ValueError):
        found = ()
    if len(found) != dimension or not all(0 < length < math.inf for length in found):
        raise ValueError(
            f"lengths must hold the period of each of the {dimension} axes, positive numbers, got "
            f"{lengths!r}"
        )
    return found


def checked_vector(
    field: Any, lengths: Any, name: str = "a vector field", *, dimension: int | None = None
) -> tuple[Any, tuple[float, ...]]:
    """Return a finite float64 field (dimension, *grid) and its periods.

    Raises
    ------
    ValueError
        If it is something else, or lengths are not the periods of its grid.
    """
    field = as_float(field)
    d = max(field.ndim - 1, 1) if dimension is None else dimension
    if field.ndim != d + 1 or len(field) != d or min(field.shape[1:]) < _FEWEST:
        axes = ", ".join(("nx", "ny", "nz")[:d]) if d <= 3 else "*grid"
        raise ValueError(
            f"{name} on a periodic box must have shape ({d}, {axes}), one component per axis and "
            f"at least {_FEWEST} points along each, got {field.shape}"
        )
    if not bool(np.isfinite(field).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity at some points of the grid")
    return field, checked_lengths(lengths, d)


def as_float(values: Any) -> Any:
    """Return float64 values in NumPy, or in CuPy if they are on a GPU.

    Raises
    ------
    ValueError
        If they are not real numbers.
    """
    if devices.is_on_gpu(values):
        return devices.as_cupy(values).astype(np.float64, copy=False)
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"expected real numbers, got dtype {values.dtype}")
    return values.astype(np.float64, copy=False)


def _on_points(values: Any, axis: int, count: int, length: float | None = None) -> Any:
    """Values along an axis on another number of points; of the derivative if a period is given.

    The wave of two points per period, on the old grid or the new, is left out.
    """
    old = values.shape[axis]
    whole = (min(old, count) + 1) // 2
    kept = [slice(None)] * values.ndim
    kept[axis] = slice(whole)
    transform = np.fft.rfft(values, axis=axis)[tuple(kept)]
    if length is not None:
        shape = [1] * values.ndim
        shape[axis] = -1
        wave = (2 * math.pi / float(length) * (count / old)) * np.arange(whole, like=values)
        transform = 1j * wave.reshape(shape) * transform
    elif count != old:
        transform = transform * (count / old)
    return np.fft.irfft(transform, n=count, axis=axis)


def _waves_and_square(values: Any, lengths: Lengths) -> tuple[list[Any], Any]:
    """Wave numbers where an array lives, and the sum of their squares, 1 in place of 0."""
    waves = wave_numbers(values.shape[-len(lengths) :], lengths)
    square = sum((k**2 for k in waves), start=np.zeros(()))
    square = np.where(square == 0.0, 1.0, square)  # there it divides nothing
    return [devices.beside(values, k) for k in waves], devices.beside(values, square)


def _numbers_of_waves(count: int) -> tuple[int, int]:
    """Highest wave with a cosine, and with a sine, on so many points."""
    return count // 2, (count - 1) // 2


def _real_coefficients(values: Any, axis: int) -> Any:
    """Coefficients along an axis of cosines, the constant first, then of sines."""
    count = values.shape[axis]
    transform = np.moveaxis(np.fft.rfft(values, axis=axis), axis, -1) / count
    cosines = 2.0 * transform.real
    cosines[..., 0] /= 2.0
    if count % 2 == 0:
        cosines[..., -1] /= 2.0
    sines = -2.0 * transform.imag[..., 1 : _numbers_of_waves(count)[1] + 1]
    return np.moveaxis(np.concatenate([cosines, sines], axis=-1), -1, axis)


def _powers(x: Any, highest: int, length: float) -> Any:
    """Waves exp(i k x), (m, highest + 1), at points (m,)."""
    # Powers of one wave: as accurate as the cosine of a multiple of its phase, and much cheaper.
    turn = np.exp((2j * np.pi) * (x / length - np.floor(x / length)))
    powers = np.empty_like(turn, shape=(len(x), highest + 1))
    powers[:, 0], powers[:, 1:] = 1.0, turn[:, None]
    return np.cumprod(powers, axis=1)


def _basis(powers: Any, size: int) -> Any:
    """Cosines, then sines, (m, size): one sine less if the last wave has two points per period."""
    sines = slice(1, 1 + size - powers.shape[1])
    return np.concatenate([powers.real, powers.imag[:, sines]], axis=1)


def _slope_basis(powers: Any, size: int, length: float) -> Any:
    """Derivatives of `_basis`."""
    sines = slice(1, 1 + size - powers.shape[1])
    k = (2.0 * math.pi / length) * np.arange(powers.shape[1], like=powers.real)
    return np.concatenate([-k * powers.imag, k[sines] * powers.real[:, sines]], axis=1)


def _contracted(sums: Any, basis: Any, axis: int) -> Any:
    """Sum over the first axis of waves that is left, of the basis at each point."""
    if axis == 0:
        flat = sums.reshape(*sums.shape[:2], -1)
        whole = np.matmul(basis, flat)
        return whole.reshape(len(sums), len(basis), *sums.shape[2:])
    if sums.ndim == 3:
        return np.einsum("kmw,mw->km", sums, basis)
    flat = sums.reshape(*sums.shape[:3], -1)
    return np.matmul(basis[:, None, :], flat)[:, :, 0].reshape(*sums.shape[:2], *sums.shape[3:])
