"""Distances between two sets of samples, the noise floor of a metric, and metrics class by class.

The energy distance and the maximum mean discrepancy are means of a kernel within the sets minus
those between them, and are computed by the same function; so is their permutation test.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.imaging.points import distances, points, two_sets

_MEDIAN_POINTS = 2000


class TwoSample(NamedTuple):
    """A distance between two sets of samples.

    Attributes
    ----------
    value : float
        An unbiased estimate, which can be negative where the distributions are equal.
    p_value : float or None
        The probability of a value at least as large if both sets were drawn from one distribution,
        by permutations; None if none were asked for.
    """

    value: float
    p_value: float | None


def energy_distance(
    a: Any, b: Any, *, permutations: int = 0, generator: np.random.Generator | None = None
) -> TwoSample:
    r"""Energy distance of two sets, :math:`2 E|X - Y| - E|X - X'| - E|Y - Y'|`, unbiased.

    Not its square root. It vanishes for equal distributions only.

    Parameters
    ----------
    a, b : (n, ...), (m, ...)
        Samples of one shape; arrays or tensors.
    permutations : int
        How many random divisions of all samples the value is compared with. The p-value is at
        least 1 over their number plus one.
    generator : numpy.random.Generator, optional
        Draws the permutations.

    Raises
    ------
    ValueError
        If samples do not fit, are fewer than two, or permutations have no generator.

    References
    ----------
    Szekely & Rizzo (2013), J. Stat. Plan. Inference 143, 1249-1272.
    """
    x, y = two_sets(a, b, at_least=2)
    return _two_sample(x, y, np.negative, permutations, generator)


def mmd(
    a: Any,
    b: Any,
    *,
    bandwidth: float | None = None,
    permutations: int = 0,
    generator: np.random.Generator | None = None,
) -> TwoSample:
    r"""Squared maximum mean discrepancy with a Gaussian kernel, unbiased.

    The kernel is :math:`\exp(-|x - y|^2/(2 h^2))`.

    Parameters
    ----------
    a, b : (n, ...), (m, ...)
        Samples of one shape; arrays or tensors.
    bandwidth : float, optional
        h; by default `median_distance` of both sets together. Pass that of the training data if
        several models are to be compared.
    permutations, generator
        As of `energy_distance`.

    Raises
    ------
    ValueError
        As of `energy_distance`, or if the bandwidth is not positive.

    References
    ----------
    Gretton, Borgwardt, Rasch, Scholkopf & Smola (2012), J. Mach. Learn. Res. 13, 723-773, eq. 3.
    """
    x, y = two_sets(a, b, at_least=2)
    h = median_distance(np.concatenate([x, y])) if bandwidth is None else float(bandwidth)
    if not (np.isfinite(h) and h > 0):
        raise ValueError(f"bandwidth must be positive, got {h}")

    def kernel(distance: Array) -> Array:
        return np.asarray(np.exp(-((distance / h) ** 2) / 2))

    return _two_sample(x, y, kernel, permutations, generator)


def median_distance(samples: Any) -> float:
    """Median distance of two different samples, the usual bandwidth of a kernel.

    Of more than 2000 samples, 2000 at equal steps are taken.
    """
    x = points("samples", samples, at_least=2)
    x = x[np.linspace(0, len(x) - 1, min(len(x), _MEDIAN_POINTS)).round().astype(int)]
    pairs = [
        d[np.arange(rows.start, rows.stop)[:, None] < np.arange(len(x))]
        for rows, d in distances(x, x)
    ]
    return float(np.median(np.concatenate(pairs)))


def _two_sample(
    a: Array,
    b: Array,
    kernel: Callable[[Array], Array],
    permutations: int,
    generator: np.random.Generator | None,
) -> TwoSample:
    """Means of a kernel over pairs within a and within b, minus twice that over pairs between."""
    if permutations and generator is None:
        raise ValueError("permutations need a generator: numpy.random.default_rng(seed)")
    n, m = len(a), len(b)
    pooled = np.concatenate([a, b])
    member = np.zeros((n + m, 1 + permutations))  # which samples are in the first set
    member[:n] = 1
    for column in range(1, 1 + permutations):
        assert generator is not None
        member[:, column] = member[generator.permutation(n + m), 0]
    within, joined, total = np.zeros((2, 1 + permutations)), np.zeros(1 + permutations), 0.0
    for rows, distance in distances(pooled, pooled):
        values = kernel(distance)
        values[np.arange(len(values)), np.arange(rows.start, rows.stop)] = 0
        to_first, to_all = values @ member, values.sum(axis=1)
        joined += to_all @ member[rows]
        within[0] += (member[rows] * to_first).sum(axis=0)
        total += to_all.sum()
    between = joined - within[0]  # every pair once
    within[1] = total - within[0] - 2 * between
    found = within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * between / (n * m)
    if not permutations:
        return TwoSample(float(found[0]), None)
    rounding = 1e-12 * np.abs(found).max()  # a permutation may divide them as they are
    reached = int((found[1:] >= found[0] - rounding).sum())
    return TwoSample(float(found[0]), (1 + reached) / (1 + permutations))


def sliced_wasserstein(
    a: Any, b: Any, *, generator: np.random.Generator, projections: int = 256
) -> float:
    r"""Sliced Wasserstein distance of order 2.

    :math:`(\mathrm{mean}_\theta\, W_2^2(\theta \cdot a, \theta \cdot b))^{1/2}` over random
    directions of unit length. On each line the distance is that of the quantile functions, exact
    also for sets of different sizes. Finite sets of one distribution are apart: see `noise_floor`.

    Parameters
    ----------
    a, b : (n, ...), (m, ...)
        Samples of one shape; arrays or tensors.
    generator : numpy.random.Generator
        Draws the directions; the same seed gives the same ones.
    projections : int

    References
    ----------
    Bonneel, Rabin, Peyre & Pfister (2015), J. Math. Imaging Vis. 51, 22-45.
    """
    if projections < 1:
        raise ValueError(f"projections must be at least 1, got {projections}")
    x, y = two_sets(a, b)
    direction = generator.standard_normal((projections, x.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    n, m = len(x), len(y)
    # Both quantile functions are constant between the multiples of 1/n and of 1/m.
    edges = np.union1d(np.arange(n) * m, np.arange(m) * n)
    width = np.diff(edges, append=n * m) / (n * m)
    of_x, of_y = edges // m, edges // n
    square = [
        width @ (np.sort(x @ line)[of_x] - np.sort(y @ line)[of_y]) ** 2 for line in direction
    ]
    return float(np.sqrt(np.mean(square)))


def noise_floor(
    metric: Callable[[Any, Any], Any],
    real: Any,
    *,
    sizes: tuple[int, int],
    generator: np.random.Generator,
    repeats: int = 20,
) -> list[Any]:
    """Return what a metric says of two sets of real samples, again and again.

    Parameters
    ----------
    metric : callable
        ``metric(a, b)``.
    real : (n, ...)
        Real samples; array or tensor.
    sizes : (int, int)
        Of the two sets, drawn without repetition and disjoint: those of the comparison with
        generated samples, since most metrics depend on them.
    generator : numpy.random.Generator
        Draws the sets.
    repeats : int

    Returns
    -------
    list
        One result of the metric each time.

    Raises
    ------
    ValueError
        If there are not enough real samples for two disjoint sets.
    """
    first, second = sizes
    if min(sizes) < 1 or first + second > len(real):
        raise ValueError(
            f"two disjoint sets of {first} and {second} need at least {first + second} real "
            f"samples, got {len(real)}"
        )
    orders = [generator.permutation(len(real)) for _ in range(repeats)]
    return [metric(real[o[:first]], real[o[first : first + second]]) for o in orders]


def per_class(
    metric: Callable[[Any, Any], Any], real: Any, generated: Any, real_labels: Any,
    generated_labels: Any,
) -> dict[int, Any]:  # fmt: skip
    """Return a metric class by class.

    Parameters
    ----------
    metric : callable
        ``metric(real, generated)``.
    real, generated : (n, ...), (m, ...)
        Samples; arrays or tensors.
    real_labels, generated_labels : (n,), (m,) of int
        Their classes.

    Raises
    ------
    ValueError
        If labels do not fit, or a class is in one of the sets only.
    """
    labels = []
    for name, samples, given in (
        ("real", real, real_labels), ("generated", generated, generated_labels),
    ):  # fmt: skip
        label = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        if label.shape != (len(samples),) or label.dtype.kind not in "iu":
            raise ValueError(
                f"{name}_labels must be {len(samples)} integers, got shape {label.shape} and dtype "
                f"{label.dtype}"
            )
        labels.append(label)
    classes = [set(label.tolist()) for label in labels]
    if classes[0] != classes[1]:
        raise ValueError(
            f"classes {sorted(classes[0] ^ classes[1])} are in one of the sets only; a metric "
            "needs samples of both"
        )
    return {
        c: metric(real[np.flatnonzero(labels[0] == c)], generated[np.flatnonzero(labels[1] == c)])
        for c in sorted(classes[0])
    }
