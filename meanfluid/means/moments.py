r"""Moments that hold for any mean, and the parts of a signal.

The product of deviations, :math:`\langle f' g' \rangle`, is a moment only for means that obey
Reynolds' rule :math:`\langle \langle f \rangle g \rangle = \langle f \rangle \langle g \rangle`.
Filters do not. Germano's generalised central moments need no deviations:

.. math:: \tau(f, g) = \langle f g \rangle - \langle f \rangle \langle g \rangle .
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanfluid.backends import devices
from meanfluid.means import cf
from meanfluid.means.sample_rules import checked_finite, checked_numbers

Mean = Callable[[Any], Any]


def central_moment(mean: Mean, f: Any, g: Any, h: Any = None) -> Any:
    r"""Generalised central moment of two or three quantities.

    .. math::
        \tau(f, g) &= \langle f g \rangle - \langle f \rangle \langle g \rangle \\
        \tau(f, g, h) &= \langle f g h \rangle - \langle f \rangle \tau(g, h)
            - \langle g \rangle \tau(h, f) - \langle h \rangle \tau(f, g)
            - \langle f \rangle \langle g \rangle \langle h \rangle

    Parameters
    ----------
    mean : callable
        Turns an array or DataArray into its mean, of the same shape or without some axes: a
        filter, or ``lambda f: time_mean(f, t, axis=0)``.
    f, g, h : arrays or DataArrays

    Returns
    -------
    array or DataArray
        Like the mean of the product. The units of a DataArray are those of the product.

    References
    ----------
    Germano (1992), Turbulence: the filtering approach, J. Fluid Mech. 238, 325-336.

    Examples
    --------
    >>> f, g = np.array([1.0, 3.0]), np.array([5.0, 1.0])
    >>> central_moment(np.mean, f, g).item()
    -2.0
    """
    factors = (f, g) if h is None else (f, g, h)
    if h is None:
        moment = mean(f * g) - mean(f) * mean(g)
    else:
        p, q, r = mean(f), mean(g), mean(h)
        qr, rp, pq = mean(g * h), mean(h * f), mean(f * g)
        moment = mean(f * g * h) - p * qr - q * rp - r * pq + 2 * p * q * r
    if cf.is_xarray(moment):
        about = cf.product_attributes(*factors)
        if "long_name" in about:
            names = about["long_name"].replace(" ", ", ")
            about["long_name"] = f"generalised central moment of {names}"
        moment.attrs = cf.with_provenance(about)
    return moment


def favre(mean: Mean, density: Any, f: Any) -> Any:
    r"""Favre (mass-weighted) mean, :math:`\langle \rho f \rangle / \langle \rho \rangle`.

    Parameters
    ----------
    mean : callable
        As in `central_moment`.
    density : array or DataArray
        Not negative: density, layer thickness, void fraction.
    f : array or DataArray

    Returns
    -------
    array or DataArray
        In the unit of `f`.

    Raises
    ------
    ValueError
        If the density is negative somewhere, or its mean is not positive.

    References
    ----------
    Favre (1965), J. de Mecanique 4, 361-421.

    Examples
    --------
    >>> favre(np.mean, np.array([1.0, 3.0]), np.array([2.0, 6.0])).item()
    5.0
    """
    lowest = float(density.min())
    if not lowest >= 0:
        raise ValueError(f"density must not be negative, got {lowest}")
    below = mean(density)
    if not bool((below > 0).all()):
        raise ValueError(f"the mean of density must be positive, got {float(below.min())}")
    result = mean(density * f) / below
    if cf.is_xarray(result):
        kept = ("units", "long_name", "standard_name")
        about = {key: f.attrs[key] for key in kept if key in f.attrs}
        name = density.name or "density"
        result.attrs = cf.with_provenance(about, average=f"weighted by {name}")
        result.name = f.name
    return result


class TripleDecomposition(NamedTuple):
    """The parts of a signal, which add up to it.

    Attributes
    ----------
    mean
        Over all samples.
    periodic
        What the mean at each phase has beyond that: the organised wave.
    remainder
        What is left: turbulence. Its mean at each phase is zero.
    """

    mean: Any
    periodic: Any
    remainder: Any


def triple_decomposition(
    data: Any, samples_per_period: int, *, axis: int | None = None, dim: str | None = None
) -> TripleDecomposition:
    r"""Split a signal into its mean, a periodic part and the remainder.

    .. math:: f = \bar f + \tilde f + f'' , \qquad \tilde f = \langle f \rangle_{phase} - \bar f

    The three are orthogonal: :math:`\bar{\tilde f f''} = 0` to rounding, for any second signal
    too, and both deviations have mean zero.

    Parameters
    ----------
    data : array or DataArray
        Samples equally spaced in time over a whole number of periods.
    samples_per_period : int
    axis : int
        Of an array: time.
    dim : str
        Of a DataArray: time.

    Returns
    -------
    TripleDecomposition
        Three of the shape of `data`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, the samples are not equally spaced, are no whole number
        of periods, or are not finite.

    References
    ----------
    Reynolds & Hussain (1972), The mechanics of an organized wave in turbulent shear flow. Part 3,
    J. Fluid Mech. 54, 263-288.
    """
    if not cf.is_xarray(data):
        if axis is None or dim is not None:
            raise TypeError("an array needs axis=, the number of the axis of time")
        give = devices.giver_of(data)
        return TripleDecomposition(*map(give, _split(data, samples_per_period, axis)))
    if cf.is_dataset(data) or axis is not None or dim is None:
        raise TypeError("a DataArray needs dim=; split a Dataset variable by variable")
    coordinate = cf.coordinate_of(data, dim)
    if coordinate is not None:
        cf.checked_spacing(coordinate.numbers, dim)
    parts = _split(data.data, samples_per_period, data.dims.index(dim))
    name, about = data.name or "data", data.attrs.get("long_name", data.name or "data")
    kept = {"units": data.attrs["units"]} if "units" in data.attrs else {}
    found = []
    for part, values in zip(TripleDecomposition._fields, parts, strict=True):
        piece = data.copy(data=values).rename(f"{name}_{part}")
        piece.attrs = cf.with_provenance({"long_name": f"{part} part of {about}", **kept})
        found.append(piece)
    return TripleDecomposition(*found)


def _split(data: Any, period: int, axis: int) -> tuple[Any, Any, Any]:
    values = checked_numbers(data)
    checked_finite(values, skip_missing=False)
    if isinstance(period, bool) or not isinstance(period, int | np.integer) or period < 1:
        raise ValueError(f"samples_per_period must be a whole number above 0, got {period!r}")
    count = values.shape[axis]
    if count % period or count == 0:
        raise ValueError(
            f"{count} samples are no whole number of periods of {period}; cut the signal to one"
        )
    samples = np.moveaxis(values, axis, 0)
    cycles = samples.reshape(count // period, int(period), *samples.shape[1:])
    at_phase = cycles.mean(axis=0, keepdims=True)
    mean = at_phase.mean(axis=1, keepdims=True)
    parts = (mean + 0 * cycles, (at_phase - mean) + 0 * cycles, cycles - at_phase)
    whole = [np.moveaxis(part.reshape(samples.shape), 0, axis) for part in parts]
    return whole[0], whole[1], whole[2]
