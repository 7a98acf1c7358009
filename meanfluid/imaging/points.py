"""What the metrics accept: samples as points in float64, and the distances between them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array

_BLOCK = 2**22  # entries of a block of distances: 32 MB


def host(name: str, values: Any) -> Array:
    """Return an array or tensor, on any device, as float64 on the host.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If one is not finite.
    """
    if hasattr(values, "detach"):  # a tensor, perhaps in bfloat16, which NumPy does not have
        values = values.detach().cpu().double()
    elif hasattr(values, "get") and hasattr(values, "__cuda_array_interface__"):  # CuPy's
        values = values.get()
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} must be finite, got {count} entries that are not")
    return array


def points(name: str, samples: Any, *, at_least: int = 1) -> Array:
    """Return samples (n, ...) as points (n, d); n numbers are points on a line.

    Raises
    ------
    ValueError
        If there are fewer than `at_least`, or they have no entries.
    """
    array = host(name, samples)
    if array.ndim == 0 or len(array) < at_least or array.size == 0:
        raise ValueError(
            f"{name} must hold at least {at_least} samples along its first axis, got shape "
            f"{array.shape}"
        )
    return array.reshape(len(array), -1)


def two_sets(a: Any, b: Any, *, at_least: int = 1) -> tuple[Array, Array]:
    """Return two sets of samples as points of the same dimension.

    Raises
    ------
    ValueError
        If samples differ in shape.
    """
    first, second = points("a", a, at_least=at_least), points("b", b, at_least=at_least)
    if np.shape(a)[1:] != np.shape(b)[1:]:
        raise ValueError(
            f"samples must have the same shape, got {np.shape(a)[1:]} in a and "
            f"{np.shape(b)[1:]} in b"
        )
    return first, second


def distances(rows: Array, columns: Array) -> Iterator[tuple[slice, Array]]:
    """Yield Euclidean distances (rows, all columns) in blocks of rows.

    By the product of matrices, on points centred by their common mean: squares are right to about
    1e-15 of the largest squared distance from it, so that two equal points are found 3e-8 of that
    distance apart or less.
    """
    centre = columns.mean(axis=0)
    rows, columns = rows - centre, columns - centre
    square_rows, square_columns = ((x * x).sum(axis=1) for x in (rows, columns))
    step = max(1, _BLOCK // len(columns))
    for first in range(0, len(rows), step):
        chosen = slice(first, min(first + step, len(rows)))
        square = square_rows[chosen, None] + square_columns - 2 * rows[chosen] @ columns.T
        yield chosen, np.sqrt(np.maximum(square, 0))
