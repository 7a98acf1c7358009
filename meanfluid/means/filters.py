r"""Spatial filters as in large-eddy simulation: convolutions with a kernel of some width.

On a periodic axis a filter multiplies each Fourier mode by its transfer function, exactly; there
it commutes with derivatives. On a bounded axis the kernel is cut off at the ends and divided by
what is left of it, so that constants stay what they are; next to the ends the filter then does
*not* commute with derivatives, nor does it keep the integral.

==============  ===================================  =========================================
filter          kernel G(r)                          transfer function, k wavenumber
==============  ===================================  =========================================
top-hat         1/D for abs(r) < D/2                 sin(k D/2) / (k D/2)
Gaussian        variance D^2/12, that of a top-hat   exp(-k^2 D^2/24)
sharp spectral  sin(pi r/D) / (pi r)                 1 for abs(k) <= pi/D, else 0
==============  ===================================  =========================================

Over several axes one is applied after the other: a top-hat over a square, a sharp cut-off to a
square of wavenumbers; the Gaussian is isotropic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means import cf
from meanfluid.means.sample_rules import checked_finite, checked_numbers

Ends = Literal["periodic", "bounded"]

_EDGE = 1e-12  # relative: a wavenumber this near to the cut-off counts as on it, and is kept


class Kernel(NamedTuple):
    """The kernel of width 1, integrated once and twice from minus infinity."""

    once: Callable[[Array], Array]
    twice: Callable[[Array], Array]


@dataclass(frozen=True)
class Filter:
    """A filter of some width; made by `top_hat`, `gaussian` and `sharp_spectral`.

    Attributes
    ----------
    name : str
    width : float, length
        In the unit of the axis.
    response : callable
        Transfer function of wavenumber times width.
    kernel : Kernel, optional
        None if the filter has no sense on a bounded axis.
    """

    name: str
    width: float
    response: Callable[[Any], Any]
    kernel: Kernel | None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width must be positive, got {self.width!r}")

    def __repr__(self) -> str:
        return f"<{self.name} filter of width {self.width:g}>"

    def transfer(self, wavenumber: ArrayLike) -> Any:
        """Return the factor by which a mode of given wavenumber, 1 / length, is multiplied."""
        k: Any = wavenumber
        if not devices.is_on_gpu(wavenumber):
            k = np.asarray(wavenumber, dtype=float)
        return self.response(k * self.width)

    def __call__(
        self,
        data: Any,
        *,
        spacing: float | Sequence[float] | None = None,
        axis: int | Sequence[int] | None = None,
        dim: str | Sequence[str] | None = None,
        ends: Ends | Sequence[Ends] = "periodic",
    ) -> Any:
        """Filter an array or DataArray along one axis or several.

        Parameters
        ----------
        data : array or DataArray
        spacing : float or one per axis, length
            Of an array: distance of neighbours. A DataArray has its own, which must be equal.
        axis : int or sequence of int
            Of an array.
        dim : str or sequence of str
            Of a DataArray.
        ends : "periodic" or "bounded", or one per axis
            "periodic": the point after the last is the first again, and is not repeated.
            "bounded": there is nothing beyond the first and last point. Between points the data
            are taken for straight lines, whose convolution is exact.

        Returns
        -------
        array or DataArray
            Like `data`, in double precision.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape, type or range, a value is not finite, points are
            not equally spaced, or the filter needs a periodic axis.
        """
        if not cf.is_xarray(data):
            if dim is not None or axis is None or spacing is None:
                raise TypeError("an array needs axis= and spacing=; dim= is for a DataArray")
            axes = [axis] if isinstance(axis, int | np.integer) else list(axis)
            return devices.giver_of(data)(
                self._filtered(data, axes, _each(spacing, len(axes)), _each(ends, len(axes)))
            )
        if cf.is_dataset(data):
            raise TypeError("a Dataset must be filtered by variable: dataset.map(filter, dim=...)")
        if axis is not None or spacing is not None or dim is None:
            raise TypeError("a DataArray needs dim= and brings its own spacing and axes")
        return self._of_xarray(data, [dim] if isinstance(dim, str) else list(dim), ends)

    def _of_xarray(self, data: Any, dims: Sequence[str], ends: Any) -> Any:
        each = _each(ends, len(dims))
        steps, attributes = [], dict(data.attrs)
        for name, end in zip(dims, each, strict=True):
            coordinate = cf.coordinate_of(data, name)
            if coordinate is None:
                raise ValueError(f"{name} has no coordinate, and so no spacing; assign_coords")
            if end == "periodic":
                cf.checked_circle(coordinate, None)
            steps.append(abs(coordinate.spacing))
            comment = f"{self.name} filter of width {self.width:.10g}, {end}"
            attributes = cf.with_cell_method(attributes, name, "mean", comment)
        axes = [data.dims.index(name) for name in dims]
        labels = [str(name) for name in data.dims]
        values = self._filtered(data.data, axes, steps, each, labels)
        result = data.copy(data=values)
        result.attrs = cf.with_provenance(attributes)
        return result

    def _filtered(
        self, data: Any, axes: Sequence[int], steps: Any, ends: Any,
        labels: Sequence[str] | None = None,
    ) -> Any:  # fmt: skip
        values = checked_numbers(data)
        checked_finite(values, skip_missing=False, labels=labels)
        places = [
            axis % values.ndim if -values.ndim <= axis < values.ndim else None for axis in axes
        ]
        if None in places or len(set(places)) < len(places) or not places:
            raise ValueError(f"axis must name different axes of shape {values.shape}, got {axes}")
        for axis, step, end in zip(axes, steps, ends, strict=True):
            if not (np.isfinite(step) and step > 0):
                raise ValueError(f"spacing must be positive, got {step!r}")
            if end not in ("periodic", "bounded"):
                raise ValueError(f'ends must be "periodic" or "bounded", got {end!r}')
            along = self._around if end == "periodic" else self._within
            values = along(values, axis, float(step))
        return values

    def _around(self, values: Any, axis: int, step: float) -> Any:
        """Convolve along a periodic axis, by multiplication in Fourier space."""
        count, real = values.shape[axis], values.dtype.kind == "f"
        frequencies = np.fft.rfftfreq(count, step) if real else np.fft.fftfreq(count, step)
        factors = devices.beside(values, self.transfer(2 * np.pi * frequencies))
        shape = [1] * values.ndim
        shape[axis] = -1
        factors = factors.reshape(shape)
        if real:
            return np.fft.irfft(np.fft.rfft(values, axis=axis) * factors, count, axis=axis)
        return np.fft.ifft(np.fft.fft(values, axis=axis) * factors, axis=axis)

    def _within(self, values: Any, axis: int, step: float) -> Any:
        """Convolve along a bounded axis, with the kernel normalised by its part inside."""
        if self.kernel is None:
            raise ValueError(
                f'the {self.name} filter has no sense on a bounded axis: use ends="periodic", '
                "or another filter"
            )
        weights = _weights(self.kernel, values.shape[axis], step / self.width)
        weights = devices.beside(values, weights)
        return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)


def top_hat(width: float) -> Filter:
    """Return the filter that takes the mean over an interval of a width.

    Examples
    --------
    >>> round(float(top_hat(0.8).transfer(3.0)), 12)
    0.776699238306
    """
    return Filter("top-hat", width, _sinc, Kernel(_top_hat_once, _top_hat_twice))


def gaussian(width: float) -> Filter:
    """Return the Gaussian filter of standard deviation width / sqrt(12).

    Examples
    --------
    >>> round(float(gaussian(0.8).transfer(3.0)), 12)
    0.786627861067
    """
    return Filter("Gaussian", width, _gaussian_response, Kernel(_gaussian_once, _gaussian_twice))


def sharp_spectral(width: float) -> Filter:
    """Return the filter that keeps wavenumbers up to pi / width; for periodic axes only.

    Examples
    --------
    >>> sharp_spectral(0.5).transfer([6.2, 6.4])
    array([1., 0.])
    """
    return Filter("sharp spectral", width, _cut_off, None)


def _sinc(x: Any) -> Any:
    return np.sinc(x / (2 * np.pi))


def _top_hat_once(u: Array) -> Array:
    return np.clip(u + 0.5, 0.0, 1.0)


def _top_hat_twice(u: Array) -> Array:
    return np.where(u > 0.5, u, np.clip(u + 0.5, 0.0, None) ** 2 / 2)


def _gaussian_response(x: Any) -> Any:
    return np.exp(-(x**2) / 24)


def _gaussian_once(u: Array) -> Array:
    return np.array([math.erfc(-math.sqrt(6.0) * v) / 2 for v in u.tolist()])


def _gaussian_twice(u: Array) -> Array:
    return u * _gaussian_once(u) + np.exp(-6 * u**2) / math.sqrt(24 * math.pi)


def _cut_off(x: Any) -> Any:
    return 1.0 * (np.abs(x) <= np.pi * (1 + _EDGE))


def _weights(kernel: Kernel, count: int, step: float) -> Any:
    """Weights (n, n) of the samples in each filtered value, rows adding up to one.

    They are integrals of the kernel, in units of its width, times the hat functions of linear
    interpolation.
    """
    if count == 1:
        return np.ones((1, 1))
    away: Any = np.arange(-count, count + 1) * step
    twice: Any = kernel.twice(away)
    hats = twice[2:] - 2 * twice[1:-1] + twice[:-2]  # at distances 1 - n, ..., n - 1
    # Half of a hat at either end lies outside.
    halves = twice[2:] - twice[1:-1] - step * kernel.once(away[1:-1])
    index = np.arange(count)
    weights = hats[index[:, None] - index + count - 1]
    weights[:, 0] -= halves[index + count - 1]
    weights[:, -1] -= halves[index + count - 1][::-1]
    return weights / weights.sum(axis=1, keepdims=True)


def _each(value: Any, count: int) -> list[Any]:
    """Return one value per axis."""
    several = [value] * count if isinstance(value, str) or np.ndim(value) == 0 else list(value)
    if len(several) != count:
        raise ValueError(f"expected one value or {count}, one per axis, got {value!r}")
    return several
