"""Coefficients and split constants of `meanfluid/backends/polynomials.py`.

Each polynomial completes a known leading part, f(r) = lead(r) (1 + z p(z)) with z = r*r, and
is printed lowest degree first, rounded to float64, with the largest error that the rounded
coefficients leave, relative to the leading part. All in 60 digits.

Run: python tools/fit_polynomials.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp

# Slightly wider than pi/4 and ln(2)/2: rounding to the nearest multiple is not exact.
CIRCULAR = mp.mpf("0.7865")
EXPONENTIAL = mp.mpf("0.3470")
LOGARITHMIC = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * (1 + mp.mpf("1e-12"))
ARCTANGENT = mp.tan(mp.pi / 8) * (1 + mp.mpf("1e-12"))
ARCSINE = mp.mpf("0.5")


def fit(function: Callable[[Any], Any], end: Any, terms: int) -> list[float]:
    """Float64 coefficients of a polynomial in z on [0, end], lowest degree first.

    It interpolates at the roots of a Chebyshev polynomial stretched so that the smallest
    root falls on 0: the error, times z, then has nearly equal peaks.
    """
    roots = [mp.cos((j + mp.mpf(1) / 2) * mp.pi / (terms + 1)) for j in range(terms + 1)]
    nodes = [end * (root - roots[-1]) / (1 - roots[-1]) for root in roots[:-1]]
    powers = mp.matrix([[z**k for k in range(terms)] for z in nodes])
    return [float(c) for c in mp.lu_solve(powers, mp.matrix([function(z) for z in nodes]))]


def remaining_error(
    function: Callable[[Any], Any], weight: Callable[[Any], Any], end: Any, fitted: list[float]
) -> float:
    """Largest weighted error of the rounded coefficients, sampled inside the interval."""
    points = [end * mp.mpf(j + 0.5) / 400 for j in range(400)]
    return float(max(abs(weight(z) * (mp.polyval(fitted[::-1], z) - function(z))) for z in points))


def split(value: Any, bits: tuple[int, ...]) -> list[float]:
    """Parts of `value` of at most so many significant bits each, leading part first."""
    parts = []
    for width in bits:
        with mp.workprec(width):
            part = mp.mpf(value)
            part = +part
        parts.append(float(part))
        value = value - part
    return parts


# name: (function of z = r*r, weight of its error, half width of the interval of r, terms)
POLYNOMIALS = {
    "_SIN": (
        lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z,
        CIRCULAR,
        6,
    ),
    "_COS": (
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        lambda z: z**2,
        CIRCULAR,
        6,
    ),
    "_SINH": (
        lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z,
        EXPONENTIAL,
        5,
    ),
    "_COSH": (
        lambda z: (mp.cosh(mp.sqrt(z)) - 1 - z / 2) / z**2,
        lambda z: z**2,
        EXPONENTIAL,
        5,
    ),
    "_LOG": (
        lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z,
        lambda z: z / 2,
        LOGARITHMIC,
        7,
    ),
    "_ATAN": (
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z,
        ARCTANGENT,
        12,
    ),
    "_ASIN": (
        lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z,
        ARCSINE,
        14,
    ),
}


def main() -> None:
    """Print the tables in the form the module holds them."""
    mp.mp.dps = 60
    for name, (function, weight, half_width, terms) in POLYNOMIALS.items():
        fitted = fit(function, half_width**2, terms)
        error = remaining_error(function, weight, half_width**2, fitted)
        rows = [fitted[j : j + 3] for j in range(0, terms, 3)]
        print(f"{name}: relative error {error:.1e}")
        print("".join(f"    {', '.join(map(repr, row))},\n" for row in rows))
    print("_HALF_PI =", split(mp.pi / 2, (53, 53, 53)))
    print("_QUARTER_PI =", split(mp.pi / 4, (53, 53)))
    print("_LN2 =", split(mp.log(2), (53, 42)))
    print("_LN2_SHORT =", split(mp.log(2), (42, 53)))
    print("_TWO_OVER_PI =", float(2 / mp.pi), "_LOG2_E =", float(1 / mp.log(2)))
    print("_TAN_22_5 =", float(mp.tan(mp.pi / 8)), "_TAN_67_5 =", float(mp.tan(3 * mp.pi / 8)))


if __name__ == "__main__":
    main()
