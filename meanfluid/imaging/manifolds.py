"""Metrics on features: Frechet distance, and the manifolds of nearest neighbours."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from meanfluid.fields.velocity_field import Array
from meanfluid.imaging.points import distances, points, two_sets


@dataclass(frozen=True, eq=False)
class PCAFeatures:
    """Coordinates along principal components; called like a function of samples.

    Attributes
    ----------
    mean : (d,)
    components : (count, d)
        Orthonormal, by falling variance; the largest entry of each is positive.
    variance : (count,)
        Of the samples that they were found from, along each component.
    explained : float
        Share of the variance that the components hold.
    """

    mean: Array
    components: Array
    variance: Array
    explained: float

    def __call__(self, samples: Any) -> Array:
        """Features (n, count) of samples (n, ...), not whitened."""
        x = points("samples", samples)
        if x.shape[1] != len(self.mean):
            raise ValueError(f"samples must have {len(self.mean)} entries each, got {x.shape[1]}")
        return np.asarray((x - self.mean) @ self.components.T)


def pca_features(train: Any, count: int) -> PCAFeatures:
    """Return features for `frechet_distance`: principal components of the training data.

    Distances and angles between features are those between samples, up to what is left out.

    Parameters
    ----------
    train : (n, ...)
        Training samples, more than `count`; array or tensor.
    count : int
        Number of components.

    Raises
    ------
    ValueError
        If there are not so many components.
    """
    x = points("train", train, at_least=2)
    if not 1 <= count <= min(len(x) - 1, x.shape[1]):
        raise ValueError(
            f"count must be between 1 and {min(len(x) - 1, x.shape[1])}, which {len(x)} samples of "
            f"{x.shape[1]} entries have, got {count}"
        )
    mean = x.mean(axis=0)
    _, size, rows = np.linalg.svd(x - mean, full_matrices=False)
    rows = rows[:count]
    largest = rows[np.arange(count), abs(rows).argmax(axis=1)]
    variance = size**2 / (len(x) - 1)
    explained = float(variance[:count].sum() / variance.sum()) if variance.any() else 0.0
    return PCAFeatures(mean, rows * np.sign(largest)[:, None], variance[:count], explained)


def frechet_distance(features_a: Any, features_b: Any) -> float:
    r"""Squared Frechet distance between Gaussians fitted to two sets of features.

    :math:`|\mu_a - \mu_b|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})`,
    the number known as FID for one choice of features. With factors
    :math:`\Sigma = R^T R` of the centred data, the trace of the root is the sum of the singular
    values of :math:`R_a R_b^T`: no root of a matrix is taken, and rounding is not squared.
    Finite sets are too far apart by order 1/n: compare with `noise_floor` of the same sizes.

    Parameters
    ----------
    features_a, features_b : (n, d), (m, d)

    Raises
    ------
    ValueError
        If a set has no more samples than features, so that its covariance is singular.

    References
    ----------
    Dowson & Landau (1982), J. Multivar. Anal. 12, 450-455; Heusel, Ramsauer, Unterthiner,
    Nessler & Hochreiter (2017), arXiv:1706.08500; Chong & Forsyth (2020), arXiv:1911.07023 (bias).
    """
    a, b = two_sets(features_a, features_b)
    for name, x in (("features_a", a), ("features_b", b)):
        if len(x) <= x.shape[1]:
            raise ValueError(
                f"{name} must have more samples than features, got {len(x)} of {x.shape[1]}; "
                "reduce them with pca_features"
            )
    first, second = _factor(a), _factor(b)
    overlap = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    spread = (first**2).sum() + (second**2).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(shift @ shift + max(spread - 2 * overlap, 0.0))


def _factor(x: Array) -> Array:
    """R of the covariance R^T R of points."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))


class PrecisionRecall(NamedTuple):
    """Share of generated samples that look real, and of real ones that could be generated."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely real samples surround generated ones, and the share of real ones met."""

    density: float
    coverage: float


def precision_recall(real: Any, generated: Any, *, neighbours: int = 3) -> PrecisionRecall:
    """Improved precision and recall.

    The manifold of a set is the union of balls about its samples that reach to their k-th nearest
    neighbour; precision is the share of generated samples within that of the real ones, recall the
    share of real samples within that of the generated ones. For one distribution neither is 1.

    Parameters
    ----------
    real, generated : (n, ...), (m, ...)
        Samples or features; arrays or tensors.
    neighbours : int
        k, less than the number of samples.

    References
    ----------
    Kynkaanniemi, Karras, Laine, Lehtinen & Aila (2019), arXiv:1904.06991.
    """
    x, y = two_sets(real, generated, at_least=2)
    reach_x, reach_y = _reach("real", x, neighbours), _reach("generated", y, neighbours)
    real_met, generated_met = np.zeros(len(x), dtype=bool), np.zeros(len(y), dtype=bool)
    for rows, d in distances(x, y):
        real_met[rows] = (d <= reach_y).any(axis=1)
        generated_met |= (d <= reach_x[rows, None]).any(axis=0)
    return PrecisionRecall(float(generated_met.mean()), float(real_met.mean()))


def density_coverage(real: Any, generated: Any, *, neighbours: int = 5) -> DensityCoverage:
    """Density and coverage.

    Density counts how many balls of real samples a generated one lies in, over k; coverage is the
    share of real samples with a generated one in their ball. For n real and m generated samples of
    one distribution the expected density is 1, and the expected coverage
    1 - (n-1)...(n-k) / ((n+m-1)...(n+m-k)), whatever the distribution.

    Parameters
    ----------
    real, generated : (n, ...), (m, ...)
        Samples or features; arrays or tensors.
    neighbours : int
        k, less than the number of real samples.

    References
    ----------
    Naeem, Oh, Uh, Choi & Yoo (2020), arXiv:2002.09797.
    """
    x, y = two_sets(real, generated)
    reach = _reach("real", x, neighbours)
    inside = np.zeros(len(x))
    for rows, d in distances(x, y):
        inside[rows] = (d <= reach[rows, None]).sum(axis=1)
    return DensityCoverage(float(inside.sum() / (neighbours * len(y))), float((inside > 0).mean()))


def _reach(name: str, x: Array, neighbours: int) -> Array:
    """Distance (n,) of each point from its k-th nearest neighbour, itself not counted."""
    if not 1 <= neighbours < len(x):
        raise ValueError(
            f"neighbours must be at least 1 and less than the {len(x)} samples of {name}, got "
            f"{neighbours}"
        )
    reach = np.empty(len(x))
    for rows, d in distances(x, x):
        d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = np.inf
        reach[rows] = np.partition(d, neighbours - 1, axis=1)[:, neighbours - 1]
    return reach
