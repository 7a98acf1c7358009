"""Pieces shared by the catalogue: checks of parameters and closed forms of exact flow maps.

Everything here is vectorised over particles and exact up to rounding, also where the usual formula
divides zero by zero or takes the difference of large numbers.
"""

import numpy as np
import scipy

from meanfluid.fields.velocity_field import Array

_AGM_STEPS = 16  # the mean of 1 and 1e-150 has converged after 13
_GROWTH_LIMIT = 700.0  # exp of it still fits a double


def require_positive(**values: float) -> None:
    """Raise a ValueError naming the first value that is not positive and finite."""
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}")


def rotated(position: Array, angle: Array | float) -> Array:
    """Positions (n, 2) turned about the origin by angles (n,)."""
    x, y = position.T
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)


def traceless_exponential(square: float, duration: Array) -> tuple[Array, Array]:
    """C and S of exp(M h) = C I + S M, for a matrix with M M = square I."""
    rate = np.sqrt(abs(square))
    if square > 0:
        return np.cosh(rate * duration), np.sinh(rate * duration) / rate
    return np.cos(rate * duration), duration * np.sinc(rate * duration / np.pi)


def stretched_angle(angle: Array, growth: Array) -> Array:
    """Solution at g = growth of da/dg = sin a, for angles a in [-pi, pi]."""
    half = np.exp(np.clip(growth, -_GROWTH_LIMIT, _GROWTH_LIMIT) / 2)
    return np.asarray(2 * np.arctan2(half * np.sin(angle / 2), np.cos(angle / 2) / half))


def agm_ratios(complement: Array) -> tuple[Array, list[tuple[Array, Array]]]:
    """Quarter period K of the elliptic functions with modulus k' = complement, and their ladder.

    The ladder holds (c/a, b/a) of the arithmetic-geometric mean of 1 and k', step by step. In
    terms of k' nothing cancels near the separatrix, where 1 - k'**2 is rounded to 1.
    """
    a, b = np.ones_like(complement), complement
    ladder = []
    for _ in range(_AGM_STEPS):
        a, b, gap = (a + b) / 2, np.sqrt(a * b), (a - b) / 2
        ladder.append((gap / a, b / a))
    return np.pi / (2 * a), ladder


def elliptic_argument(amplitude: Array, complement: Array, quarter: Array) -> Array:
    """Incomplete elliptic integral F of the amplitude, by Carlson's symmetric form."""
    half_turns = np.round(amplitude / np.pi)
    s, c = np.sin(amplitude - np.pi * half_turns), np.cos(amplitude)
    return np.asarray(
        s * scipy.special.elliprf(c * c, c * c + (complement * s) ** 2, 1.0)
        + 2 * quarter * half_turns
    )


def elliptic_sine(
    argument: Array, complement: Array, quarter: Array, ladder: list[tuple[Array, Array]]
) -> tuple[Array, Array]:
    """Jacobi's sn and dn, by the descending ladder of `agm_ratios`."""
    w = argument - 4 * quarter * np.round(argument / (4 * quarter))
    w = np.where(abs(w) > quarter, np.copysign(2 * quarter, w) - w, w)
    phase = 2.0**_AGM_STEPS * np.pi / (2 * quarter) * w
    for lean, ratio in reversed(ladder):
        s, c = np.sin(phase), np.cos(phase)
        phase = (phase + np.arctan2(lean * s, np.sqrt(c * c + (ratio * s) ** 2))) / 2
    sn, cn = np.sin(phase), np.cos(phase)
    return sn, np.sqrt(cn * cn + (complement * sn) ** 2)


def logarithmic_integral(z: Array) -> Array:
    """Ein(z) = E1(z) + log z + gamma, entire: the integral of (1 - exp(-s))/s from 0 to z."""
    series, term = np.zeros_like(z), np.ones_like(z)
    small = np.minimum(z, 1.0)
    for n in range(1, 22):  # 1/(21 * 21!) is below rounding
        term = term * -small / n
        series = series - term / n
    large = np.maximum(z, 1.0)
    return np.where(z <= 1, series, scipy.special.exp1(large) + np.log(large) + np.euler_gamma)
