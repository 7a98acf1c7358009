r"""Weights in time as small linear systems that run along with the fluid.

A mean with memory is the output of :math:`y' = A y + b\, G(\tau) f,\; f^* = c^T y / c^T n`, with n
what the system makes of f = 1. A window has A = 0 and its weight G; a rational filter, of which the
exponential mean and Butterworth's are examples, has G = 1 and no start.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.fields.velocity_field import Array

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True, eq=False)
class WindowKernel:
    """The weight of a window of time.

    Parameters
    ----------
    start, end : float, time
        Of the whole window. ``end < start`` runs backwards.
    weight : callable ``G(time)``, or None
        Of any scale, with an integral that is not zero. None for all times alike. It has to be
        smooth within a step.
    name : str
    """

    start: float
    end: float
    weight: Callable[[float], float] | None = None
    name: str = "top_hat"

    def at(self, time: float) -> float:
        """Return the weight at a time."""
        return 1.0 if self.weight is None else float(self.weight(time))

    def mass(self, begin: float, stop: float) -> float:
        """Return the integral of the weight between two times, positive in both directions."""
        if self.weight is None:
            return abs(stop - begin)
        half, middle = 0.5 * (stop - begin), 0.5 * (stop + begin)
        parts = [w * self.at(middle + half * x) for x, w in zip(_POINTS, _WEIGHTS, strict=True)]
        return abs(half) * math.fsum(parts)

    def positive(self) -> bool:
        """Whether the weight is never negative, on a hundred intervals."""
        return all(self.at(time) >= 0 for time in np.linspace(self.start, self.end, 101))

    def exponent(self) -> float:
        """Return p of G ~ s^p next to the start, at a distance s from it.

        Raises
        ------
        ValueError
            If the weight is zero there.
        """
        s = 1e-4 * (self.end - self.start)
        mass = self.mass(self.start, self.start + s)
        if not mass > 0:
            raise ValueError(
                f"the weight {self.name} is zero next to the start {self.start}, so that there is "
                'no mean position to begin with; start later, or use label="final" and remapped'
            )
        p = abs(s) * self.at(self.start + s) / mass - 1.0
        return round(p) if abs(p - round(p)) < 0.01 else p


def window_of(window: Any, start: float, end: float) -> WindowKernel:
    """Return the weight of a window that a user named.

    Parameters
    ----------
    window : None, callable ``G(time)``, or object with ``weight(time, start, end)``
    start, end : float, time

    Raises
    ------
    ValueError
        If it is something else, not finite, or zero.
    """
    name = str(getattr(window, "__name__", None) or repr(window))
    if window is None:
        return WindowKernel(start, end)
    if hasattr(window, "weight"):
        # Records give the value at many times; a time at a time keeps one form for all.
        method, inside = window.weight, (min(start, end), max(start, end))
        own = WindowKernel(
            start, end, lambda t: float(method(np.clip(np.float64(t), *inside), start, end)), name
        )
    elif callable(window):
        own = WindowKernel(start, end, window, name)
    else:
        raise ValueError(
            "window must be None, a function G(time) or a record with weight(time, start, end), "
            f"got {window!r}"
        )
    values = np.array([own.at(t) for t in np.linspace(start, end, 101)])
    if not np.isfinite(values).all() or not values.sum() > 0:
        raise ValueError(
            f"the weight {name} must be finite and have a positive integral between {start} and "
            f"{end}, got values from {values.min()} to {values.max()}"
        )
    return own


@dataclass(frozen=True, eq=False)
class RationalFilter:
    r"""The causal filter :math:`y' = A y + b f, f^* = c^T y`, carried by the fluid.

    Parameters
    ----------
    matrix : (order, order), 1 / time
    gain : (order,), 1 / time
    output : (order,)
    name : str

    Raises
    ------
    ValueError
        If shapes do not fit, the filter is not stable, or does not leave constants as they are.

    References
    ----------
    Minz, Baker, Kafiabad & Vanneste (2024), Efficient Lagrangian averaging with exponential
    filters, arXiv:2406.18243.
    """

    matrix: Array
    gain: Array
    output: Array
    name: str = "rational"

    def __post_init__(self) -> None:
        for key in ("matrix", "gain", "output"):
            object.__setattr__(self, key, np.asarray(getattr(self, key), dtype=float))
        order = self.gain.size
        if self.matrix.shape != (order, order) or self.output.shape != self.gain.shape != ():
            raise ValueError(
                "a filter needs matrix (order, order), gain (order,) and output (order,), got "
                f"{self.matrix.shape}, {self.gain.shape} and {self.output.shape}"
            )
        eigenvalues = np.linalg.eigvals(self.matrix)
        if not (eigenvalues.real < 0).all():
            raise ValueError(
                "a filter must forget: the eigenvalues of its matrix need negative real parts, "
                f"got {eigenvalues}"
            )
        if abs(self.output @ self.steady - 1.0) > 1e-12:
            raise ValueError(
                "a mean of a constant must be that constant: -output . matrix^-1 gain must be 1, "
                f"got {self.output @ self.steady}; divide output by it"
            )

    @property
    def steady(self) -> Array:
        """What the constant 1 leads to, (order,)."""
        return np.asarray(-np.linalg.solve(self.matrix, self.gain), dtype=np.float64)

    def response(self, frequency: ArrayLike) -> Any:
        """Return the complex factor for exp(i frequency t), of the shape of `frequency`."""
        omega = np.asarray(frequency, dtype=float)
        system = 1j * omega[..., None, None] * np.eye(self.gain.size) - self.matrix
        return np.linalg.solve(system, self.gain.astype(complex)[:, None])[..., 0] @ self.output


def exponential(rate: float) -> RationalFilter:
    """Return the mean with weight rate exp(-rate s) on what was s ago.

    Parameters
    ----------
    rate : float, 1 / time
    """
    _require_positive(rate)
    return RationalFilter([[-rate]], [rate], [1.0], f"exponential({rate:g})")  # type: ignore[arg-type]


def butterworth(rate: float) -> RationalFilter:
    """Return Butterworth's filter of order two, which halves power at the frequency `rate`.

    Parameters
    ----------
    rate : float, 1 / time
    """
    _require_positive(rate)
    matrix = np.array([[0.0, 1.0], [-(rate**2), -math.sqrt(2) * rate]])
    return RationalFilter(matrix, np.array([0.0, rate**2]), np.array([1.0, 0.0]),
                          f"butterworth({rate:g})")  # fmt: skip


def _require_positive(rate: float) -> None:
    if not 0 < rate < math.inf:
        raise ValueError(f"rate must be positive and finite, got {rate!r}")
