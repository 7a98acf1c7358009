r"""Windows in time: the shape of a weight over [start, end], normalised there.

A mean with weight G over the window keeps a motion :math:`e^{i\omega t}` up to a factor, the
transfer function

.. math:: H(\omega) = \int G(\sigma) e^{-i\omega\sigma} \, d\sigma ,

where the age :math:`\sigma` is reckoned back from the middle of the window, or from its end if the
window is causal: an exponential or Butterworth window forgets what is long before `end`. Windows
of infinite extent are cut off at `start` and `end` (`Window.coverage`), and what is left is
normalised.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import ArrayLike

from meanfluid.backends.written import written
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import Array
from meanfluid.trajectories.weights import checked_weight

Shape = Callable[[Any, Any, Any, Any], Any]
# Integral of shape times exp(-i omega age) over a duration, which may be infinite.
Fourier = Callable[[Any, float], Any]

_HIGHEST_ORDER = 8  # beyond it the sum of exponentials of a Butterworth filter cancels
_YOUNG, _TERMS = 3.0, 40  # rate * age up to which a series is summed, whose rest is below 1e-17
_NODES = 32  # of Gauss's rule on each panel
_PANELS = 32  # on which a user's weight is integrated, at least


@dataclass(frozen=True)
class Window:
    """The shape of a weight over a window of time; made by the functions of this module.

    Attributes
    ----------
    name : str
    parameters : tuple of (str, value)
        In physical units.
    causal : bool
        Whether ages are reckoned from the end of the window, not from its middle.
    spanning : bool
        Whether the shape stretches with the window; if not, it is cut off.
    delay : float, time
        Mean age of the infinite weight.
    shape : callable ``w(m, t, reference, scale)`` or None
        The weight, not normalised, from elementary functions; None is a constant.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...]
    causal: bool
    spanning: bool
    delay: float
    shape: Shape | None = field(compare=False)
    _fourier: Fourier = field(compare=False)
    _rate: float = field(compare=False)

    @property
    def kinked(self) -> bool:
        """Whether the weight has a kink in the middle of the window."""
        return self.shape is _two_sided

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.parameters)})"

    def transfer(self, frequency: ArrayLike, duration: float | None = None) -> Any:
        """Transfer function H.

        Parameters
        ----------
        frequency : float or array, 1 / time
            Angular frequency omega.
        duration : float, time, optional
            Length of the window to which the weight is cut off; by default it is not.

        Returns
        -------
        complex128, of the shape of `frequency`
            Real for a window that is symmetric about its middle.

        Raises
        ------
        ValueError
            If the duration is not positive, or missing where the shape stretches with it.
        """
        if duration is None and self.spanning:
            raise ValueError(f"{self!r} stretches with the window: pass its duration")
        length = math.inf if duration is None else _positive("duration", duration)
        omega = np.asarray(frequency, dtype=float)
        value = self._fourier(omega, length) / self._fourier(np.zeros(()), length)
        return np.asarray(value, dtype=complex)[()]

    def coverage(self, duration: float) -> float:
        """Part of the infinite weight that lies within a window of some length.

        It may exceed one for a Butterworth window, whose weight changes sign. Where it is small the
        mean is over the window rather than over the filter's own time scale.

        Raises
        ------
        ValueError
            If the duration is not positive.
        """
        length, zero = _positive("duration", duration), np.zeros(())
        if self.spanning:
            return 1.0
        return float(np.real(self._fourier(zero, length) / self._fourier(zero, math.inf)))

    def weight(self, time: ArrayLike, start: float, end: float) -> Any:
        """Weight at given times, with integral one over the window; zero outside of it.

        Parameters
        ----------
        time : float or array, time
        start, end : float, time
            If ``end < start``, a causal window forgets what is long after `end`.

        Returns
        -------
        float64, of the shape of `time`, 1 / time

        Raises
        ------
        ValueError
            If the window is empty.
        """
        t = np.asarray(time, dtype=float)
        length = _positive("the length of the window", abs(end - start))
        whole = float(np.real(self._fourier(np.zeros(()), length)))
        reference, scale = self.constants(start, end)
        inside = (t >= min(start, end)) & (t <= max(start, end))
        shape = 1.0 if self.shape is None else self.shape(numpy_functions, t, reference, scale)
        return np.where(inside, shape / whole, 0.0)[()]

    def constants(self, start: Any, end: Any) -> tuple[Any, Any]:
        """Reference and scale of `shape` for one or many windows, such that empty ones have weight.

        Parameters
        ----------
        start, end : float or NumPy array, time

        Returns
        -------
        reference : time; scale : 1 / time
        """
        start, end = np.asanyarray(start, dtype=float), np.asanyarray(end, dtype=float)
        length, empty = end - start, end == start
        if self.causal:
            return np.where(empty, end + 1.0, end), np.where(
                empty, 1.0, np.sign(length)
            ) * self._rate
        middle = start + 0.5 * length
        if not self.spanning:
            return middle, np.full_like(middle, self._rate)
        with np.errstate(divide="ignore"):
            return middle, np.where(empty, 0.0, 1.0 / np.where(empty, 1.0, length))


def top_hat() -> Window:
    """Return the plain mean: constant over the window."""
    return Window("top_hat", (), False, True, 0.0, None, _top_hat_fourier, 0.0)


def hann() -> Window:
    """Return a Hann window, (1 - cos(2 pi s)) / duration of the fraction s of the window."""
    return Window("hann", (), False, True, 0.0, _hann, _hann_fourier, 0.0)


def gaussian(std: float) -> Window:
    """Return a Gaussian about the middle of the window, cut off at its ends.

    Parameters
    ----------
    std : float, time
        Standard deviation of the infinite weight.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    std = _positive("std", std)

    def fourier(omega: Any, duration: float) -> Any:
        return std * math.sqrt(2 * math.pi) * _cut_gaussian(std * omega, duration / std)

    return Window("gaussian", (("std", std),), False, False, 0.0, _gaussian, fourier, 1 / std)


def exponential(rate: float, *, two_sided: bool = False) -> Window:
    r"""Return an exponential that forgets with the distance from `end`, or from the middle.

    Its infinite weight is :math:`\alpha e^{-\alpha\sigma}`, with transfer function
    :math:`\alpha / (\alpha + i\omega)`, or :math:`\alpha e^{-\alpha|\sigma|} / 2`, with
    :math:`\alpha^2 / (\alpha^2 + \omega^2)`.

    Parameters
    ----------
    rate : float, 1 / time
        :math:`\alpha`.
    two_sided : bool
        Whether what is after the reference counts too; the reference is then the middle.

    Raises
    ------
    ValueError
        If the rate is not positive.

    References
    ----------
    Minz, Baker, Kafiabad & Vanneste, Efficient Lagrangian averaging with exponential filters,
    arXiv:2406.18243.
    """
    rate = _positive("rate", rate)
    parameters = (("rate", rate), ("two_sided", bool(two_sided)))
    if not two_sided:
        return _of_poles("exponential", parameters, rate, 1)

    def fourier(omega: Any, duration: float) -> Any:
        pole = -(rate + 1j * omega)
        return 2 * np.real(_decay(pole, duration / 2))

    return Window("exponential", parameters, False, False, 0.0, _two_sided, fourier, rate)


def butterworth(rate: float, order: int = 2) -> Window:
    r"""Return the impulse response of a Butterworth low-pass filter, as a sum of exponentials.

    With cut-off frequency :math:`\alpha`, :math:`|H|^2 = 1 / (1 + (\omega/\alpha)^{2n})`; for
    n = 2, :math:`H = \alpha^2 / (\alpha^2 + \sqrt 2 i \alpha\omega - \omega^2)`.

    Parameters
    ----------
    rate : float, 1 / time
        Cut-off angular frequency :math:`\alpha`.
    order : int
        n, from 1 (which is `exponential`) to 8.

    Raises
    ------
    ValueError
        If the rate is not positive, or the order not such a number.
    """
    rate = _positive("rate", rate)
    whole = isinstance(order, int | np.integer) and not isinstance(order, bool)
    if not (whole and 1 <= order <= _HIGHEST_ORDER):
        raise ValueError(f"order must be an integer from 1 to {_HIGHEST_ORDER}, got {order!r}")
    return _of_poles("butterworth", (("rate", rate), ("order", int(order))), rate, int(order))


def weighted(function: Callable[[Any, Any], Any]) -> Window:
    """Return a window with a weight of one's own, of any scale.

    Parameters
    ----------
    function : callable ``w(m, s)``
        Of the fraction s of the window, 0 at `start` and 1 at `end`; like a body it uses the
        elementary functions of `m` and does not branch on values.

    Raises
    ------
    ValueError
        If it is not such a function, or its integral vanishes.
    """
    checked_weight(function, "the weight", "s")

    def fourier(omega: Any, duration: float) -> Any:
        highest = float(np.abs(omega).max(initial=0.0)) * duration
        s, share = _panels(max(_PANELS, math.ceil(highest / _NODES)))
        values = share * function(numpy_functions, s)
        turns = np.exp(1j * np.multiply.outer(omega * duration, s - 0.5))
        return duration * (turns @ values)

    s, share = _panels(_PANELS)
    size = share @ np.abs(np.broadcast_to(function(numpy_functions, s), s.shape))
    whole = abs(complex(fourier(np.zeros(()), 1.0)))
    if not (math.isfinite(size) and whole > 1e-10 * size):
        raise ValueError("the integral of the weight must be finite and not zero")
    shape = _of_fraction(function)
    return Window("weighted", (("function", function),), False, True, 0.0, shape, fourier, 0.0)


def checked_window(window: Any) -> Window:
    """Return a window, the plain mean for None.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if window is None:
        return top_hat()
    if not isinstance(window, Window):
        raise TypeError(f"window must be a window such as meanfluid.windows.hann(), got {window!r}")
    return window


def _positive(name: str, value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and 0 < value < math.inf):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


def _hann(m: Any, t: Any, reference: Any, scale: Any) -> Any:
    c = m.cos(m.pi * ((t - reference) * scale))
    return c * c


def _gaussian(m: Any, t: Any, reference: Any, scale: Any) -> Any:
    z = (t - reference) * scale
    return m.exp(-0.5 * z * z)


def _two_sided(m: Any, t: Any, reference: Any, scale: Any) -> Any:
    z = (t - reference) * scale
    return m.exp(m.minimum(z, -z))


def _top_hat_fourier(omega: Any, duration: float) -> Any:
    return duration * np.sinc(omega * duration / (2 * np.pi))


def _hann_fourier(omega: Any, duration: float) -> Any:
    x = omega * duration / (2 * np.pi)
    return duration * (np.sinc(x) / 2 + (np.sinc(x - 1) + np.sinc(x + 1)) / 4)


def _cut_gaussian(nu: Any, duration: float) -> Any:
    """Fourier integral of exp(-z^2/2) / sqrt(2 pi) over abs(z) < duration / 2."""
    from scipy.special import wofz  # with it nothing overflows: erf z = 1 - exp(-z^2) w(iz)

    u, v = duration / math.sqrt(8), nu / math.sqrt(2)
    whole = np.exp(-v * v)
    if math.isinf(u):
        return whole
    return whole - np.real(math.exp(-u * u) * np.exp(-2j * u * v) * wofz(-v + 1j * u))


def _decay(pole: Any, duration: float) -> Any:
    """Integral of exp(pole * age) over ages from 0 to the duration; Re(pole) < 0."""
    return -1 / pole if math.isinf(duration) else np.expm1(pole * duration) / pole


def _poles(order: int) -> tuple[Array, Array]:
    """Poles of the Butterworth filter with cut-off 1, and the residues of its transfer function."""
    k = np.arange(order)
    poles = np.exp(1j * np.pi * (2 * k + order + 1) / (2 * order))
    residues = [1 / np.prod(pole - np.delete(poles, i)) for i, pole in enumerate(poles)]
    return poles, np.array(residues)


def _of_poles(name: str, parameters: Any, rate: float, order: int) -> Window:
    """Return the causal window whose weight is a sum of exponentials of rate * age."""
    poles, residues = _poles(order)

    def fourier(omega: Any, duration: float) -> Any:
        terms = (
            r * _decay(rate * p - 1j * omega, duration)
            for p, r in zip(poles, residues, strict=True)
        )
        return sum(terms)

    delay = float(np.real((residues / poles**2).sum())) / rate
    return Window(name, parameters, True, False, delay, _sum_of(order), fourier, rate)


@lru_cache(maxsize=_HIGHEST_ORDER)
def _sum_of(order: int) -> Shape:
    """Write out the weight of a Butterworth filter: each pair of poles is a damped oscillation.

    Near age zero, where it is as small as a power of the age and they would cancel, by its series.
    """
    terms = []
    for p, r in zip(*_poles(order), strict=True):
        if abs(p.imag) < 1e-12:
            terms.append(f"{r.real!r} * m.exp({p.real!r} * z)")
        elif p.imag > 0:
            wave = (
                f"{2 * r.real!r} * m.cos({p.imag!r} * z) - {2 * r.imag!r} * m.sin({p.imag!r} * z)"
            )
            terms.append(f"m.exp({p.real!r} * z) * ({wave})")
    series, sum_of_all = "0.0", " + ".join(terms)
    for number in reversed(_series(order)):
        series = f"({number!r} + z * {series})"
    power = " * ".join(["z"] * (order - 1) + [series])
    lines = [
        "z = (reference - t) * scale",
        f"return m.where_greater(z, {_YOUNG}, {sum_of_all}, {power})"
        if order > 1
        else f"return {sum_of_all}",
    ]
    numbers = [line.replace("np.float64(", "(") for line in lines]
    return written("butterworth_weight(m, t, reference, scale)", numbers, {})


def _series(order: int) -> list[float]:
    """Coefficients of the weight's series in rate * age, over its leading power."""
    recursion = np.poly(_poles(order)[0]).real[1:]
    derivatives = [0.0] * (order - 1) + [1.0]
    while len(derivatives) < _TERMS + order:
        derivatives.append(-float(recursion @ derivatives[: -order - 1 : -1]))
    return [derivatives[k] / math.factorial(k) for k in range(order - 1, len(derivatives))]


@lru_cache(maxsize=256)
def _of_fraction(function: Any) -> Shape:
    lines = ["return function(m, 0.5 + (t - reference) * scale)"]
    names = {"function": register_jitable(function)}
    return written("weight_of_fraction(m, t, reference, scale)", lines, names)


@lru_cache(maxsize=8)
def _panels(count: int) -> tuple[Array, Array]:
    """Nodes and weights of Gauss's rule on equal panels of (0, 1)."""
    node, share = np.polynomial.legendre.leggauss(_NODES)
    s = (np.arange(count)[:, None] + (1 + node) / 2) / count
    return s.ravel(), np.tile(share / (2 * count), count)
