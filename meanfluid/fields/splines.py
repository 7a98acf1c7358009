r"""Splines of degree 1, 3 or 5 on uniform grids, one axis at a time.

A spline is the sum of B-splines at the nodes times coefficients. In the cell from node j to j + 1,
at fraction u of it, the `degree` + 1 B-splines of nodes j - degree // 2 to j + degree // 2 + 1 are
not zero; `WEIGHTS` are their values and `SLOPES` their derivatives in u, polynomials that also hold
outside 0 <= u <= 1 (there they continue the polynomial of the cell). They are plain arithmetic, so
that NumPy, Numba and torch evaluate one definition.

Coefficients that interpolate values follow from a linear system. A periodic axis closes on
itself; at other ends the spline is *not-a-knot*: the first and last degree // 2 inner nodes are no
knots, that is, the derivative of order `degree` does not jump there. Jumps are alternating
differences of order degree + 1 of the coefficients, so these splines live on the same uniform
B-splines, with degree // 2 more coefficients beyond each end.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def linear_weights(u: Any) -> tuple[Any, ...]:
    """Values of the two hat functions at fraction u of a cell."""
    return 1 - u, u


def linear_slopes(u: Any) -> tuple[Any, ...]:
    """Their derivatives; u - u carries a NaN on."""
    return (u - u) - 1, (u - u) + 1


def cubic_weights(u: Any) -> tuple[Any, ...]:
    """Values of the four cubic B-splines at fraction u of a cell."""
    s = 1 - u
    uu, ss = u * u, s * s
    return (
        s * ss * (1 / 6),
        uu * (0.5 * u - 1) + 2 / 3,
        ss * (0.5 * s - 1) + 2 / 3,
        u * uu * (1 / 6),
    )


def cubic_slopes(u: Any) -> tuple[Any, ...]:
    """Their derivatives."""
    s = 1 - u
    return -0.5 * s * s, u * (1.5 * u - 2), s * (2 - 1.5 * s), 0.5 * u * u


def quintic_weights(u: Any) -> tuple[Any, ...]:
    """Values of the six quintic B-splines at fraction u of a cell."""
    s = 1 - u
    uu, ss = u * u, s * s
    return (
        ss * ss * s * (1 / 120),
        ((((1 / 24 * u - 1 / 6) * u + 1 / 6) * u + 1 / 6) * u - 5 / 12) * u + 13 / 60,
        ((1 / 4 - 1 / 12 * u) * uu - 1 / 2) * uu + 11 / 20,
        ((1 / 4 - 1 / 12 * s) * ss - 1 / 2) * ss + 11 / 20,
        ((((1 / 24 * s - 1 / 6) * s + 1 / 6) * s + 1 / 6) * s - 5 / 12) * s + 13 / 60,
        uu * uu * u * (1 / 120),
    )


def quintic_slopes(u: Any) -> tuple[Any, ...]:
    """Their derivatives."""
    s = 1 - u
    uu, ss = u * u, s * s
    return (
        ss * ss * (-1 / 24),
        (((5 / 24 * u - 2 / 3) * u + 1 / 2) * u + 1 / 3) * u - 5 / 12,
        ((1 - 5 / 12 * u) * uu - 1) * u,
        (1 - (1 - 5 / 12 * s) * ss) * s,
        5 / 12 - (((5 / 24 * s - 2 / 3) * s + 1 / 2) * s + 1 / 3) * s,
        uu * uu * (1 / 24),
    )


WEIGHTS: dict[int, Callable[[Any], tuple[Any, ...]]] = {
    1: linear_weights,
    3: cubic_weights,
    5: quintic_weights,
}
SLOPES: dict[int, Callable[[Any], tuple[Any, ...]]] = {
    1: linear_slopes,
    3: cubic_slopes,
    5: quintic_slopes,
}


def coefficients(values: Array, axis: int, degree: int, *, periodic: bool) -> Array:
    """Coefficients of the spline through values at the nodes, along one axis of an array.

    Parameters
    ----------
    values : array with n nodes along `axis`, at least degree + 1
    axis : int
    degree : 1, 3 or 5
    periodic : bool
        Whether node n is node 0 again.

    Returns
    -------
    Array like `values`, with as many coefficients along `axis` as there are cells, n or n - 1,
    plus `degree`; coefficients 0 to `degree` are those of the cell from node 0 to 1. On a periodic
    axis the last `degree` repeat the first.
    """
    lines = np.moveaxis(values, axis, 0)
    solved = _periodic(lines, degree) if periodic else _not_a_knot(lines, degree)
    return np.moveaxis(solved, 0, axis)


class LocalFilter:
    """The coefficients of a not-a-knot spline, each from the values near it alone.

    The influence of a value on a coefficient falls with their distance k like z^k, with z = 0.268
    for a cubic and 0.431 for a quintic, the largest root of the B-spline's symbol within the unit
    circle (Unser, Aldroubi & Eden 1993, IEEE Trans. Signal Process. 41, 821). What lies further
    off than `reach` is left out, where z^k is below a quarter of `precision`. A coefficient is the
    same sum of the same terms wherever a part of the line begins and ends.

    Parameters
    ----------
    nodes : int
        Of the whole line.
    degree : 1, 3 or 5
    precision : float
        Of the coefficients wanted, relative.
    """

    _DECAY: ClassVar[dict[int, float]] = {1: 0.0, 3: 2 - math.sqrt(3), 5: 0.43057534709997}

    def __init__(self, nodes: int, degree: int, precision: float) -> None:
        decay = self._DECAY[degree]
        self.reach = math.ceil(math.log(precision / 4) / math.log(decay)) if decay else 0
        # So long that neither end is felt in the middle.
        size = min(nodes, 4 * self.reach + 2 * degree + 1)
        self._matrix = _not_a_knot(np.eye(size), degree)
        self._degree, self._more = degree, nodes - size

    def terms(self, j: int) -> tuple[int, Array]:
        """First node and weights of the sum that is coefficient j of those of `coefficients`."""
        size = self._matrix.shape[1]
        middle = size // 2 + self._degree // 2
        shift = min(max(j - middle, 0), self._more)
        row = j - shift
        centre = min(max(row - self._degree // 2, 0), size - 1)
        low, high = max(centre - self.reach, 0), min(centre + self.reach + 1, size)
        return low + shift, self._matrix[row, low:high]


def node_values(coefficients: Array, axis: int, degree: int, *, periodic: bool) -> Array:
    """Values of a spline at its nodes; undoes `coefficients`."""
    lines = np.moveaxis(coefficients, axis, 0)
    nodes = len(lines) - degree + (0 if periodic else 1)
    weights = WEIGHTS[degree](0.0)[:-1]  # the last B-spline of a cell is zero at its first node
    values = sum(w * lines[k : k + nodes] for k, w in enumerate(weights))
    return np.moveaxis(np.asarray(values), 0, axis)


def cell_centre_values(coefficients: Array, axis: int, degree: int) -> Array:
    """Values of a spline in the middle of its cells."""
    lines = np.moveaxis(coefficients, axis, 0)
    cells = len(lines) - degree
    values = sum(w * lines[k : k + cells] for k, w in enumerate(WEIGHTS[degree](0.5)))
    return np.moveaxis(np.asarray(values), 0, axis)


def _periodic(values: Array, degree: int) -> Array:
    """Divide by the Fourier transform of the B-spline at the nodes: the system is circulant."""
    from scipy.fft import irfft, rfft  # here, since importing SciPy takes as long as all the rest

    n, reach = len(values), degree // 2
    solved = values
    if reach:
        middle, *sides = WEIGHTS[degree](0.0)[reach:-1]
        phase = 2 * np.pi * np.arange(n // 2 + 1) / n
        symbol = middle + sum(2 * b * np.cos(k * phase) for k, b in enumerate(sides, start=1))
        spectrum = rfft(values, axis=0)
        spectrum /= symbol.reshape(-1, *[1] * (values.ndim - 1))
        solved = irfft(spectrum, n, axis=0)
    return np.take(solved, np.arange(-reach, n + degree - reach), axis=0, mode="wrap")


def _not_a_knot(values: Array, degree: int) -> Array:
    """Solve for the values at the nodes and for no jump at the outermost inner nodes."""
    from scipy.linalg import solve_banded

    n, reach = len(values), degree // 2
    if not reach:
        return values
    size, band = n + 2 * reach, degree + 1
    matrix = np.zeros((2 * band + 1, size))  # entry (i, j) at [band + i - j, j]

    def put(row: int, first: int, entries: Any) -> None:
        columns = first + np.arange(len(entries))
        matrix[band + row - columns, columns] = entries

    no_jump = [(-1) ** k * math.comb(degree + 1, k) for k in range(degree + 2)]
    for k in range(reach):
        put(k, k, no_jump)
        put(size - 1 - k, size - degree - 2 - k, no_jump)
    for k, b in enumerate(WEIGHTS[degree](0.0)[:-1]):
        inner = np.arange(n)
        matrix[band + reach - k, inner + k] = b
    right = np.zeros((size, values[0].size))
    right[reach : reach + n] = values.reshape(n, -1)
    solved: Array = solve_banded((band, band), matrix, right, overwrite_ab=True, overwrite_b=True)
    return solved.reshape(size, *values.shape[1:])
