"""Metrics of samples against closed forms, invariances and their own noise."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.special import comb
from scipy.stats import kstest, wasserstein_distance

from meanfluid.imaging import metrics
from meanfluid.imaging import points as points_module


def normal(n, d=1, mean=0.0, deviation=1.0, seed=0):
    return mean + deviation * np.random.default_rng(seed).standard_normal((n, d))


def rotation_of(d, seed=5):
    return np.linalg.qr(normal(d, d, seed=seed))[0]


def mean_distance(shift, deviation):
    """E|Z| of a normal Z."""
    return deviation * math.sqrt(2 / math.pi) * math.exp(
        -(shift**2) / (2 * deviation**2)
    ) + shift * math.erf(shift / (deviation * math.sqrt(2)))


def gaussian_kernel_mean(square, variance, bandwidth, d):
    """E exp(-|Z|^2/(2 h^2)) of an isotropic normal Z in d dimensions."""
    spread = bandwidth**2 + variance
    return (bandwidth**2 / spread) ** (d / 2) * math.exp(-square / (2 * spread))


def repeated(metric, seeds=300, n=12, m=9, d=1, shift=0.8, deviation=1.5):
    values = [
        metric(normal(n, d, seed=s), normal(m, d, shift, deviation, seed=10_000 + s))
        for s in range(seeds)
    ]
    return np.mean(values), np.std(values) / math.sqrt(seeds)


def test_the_energy_distance_of_normal_samples_is_unbiased():
    mean, error = repeated(lambda a, b: metrics.energy_distance(a, b).value)
    expected = (
        2 * mean_distance(0.8, math.hypot(1, 1.5))
        - mean_distance(0, math.sqrt(2))
        - mean_distance(0, 1.5 * math.sqrt(2))
    )
    assert abs(mean - expected) < 4 * error
    assert error < expected / 10


def test_the_mmd_of_normal_samples_is_unbiased():
    d, h, shift = 3, 1.3, 0.8
    mean, error = repeated(lambda a, b: metrics.mmd(a, b, bandwidth=h).value, d=d)
    expected = (
        gaussian_kernel_mean(0, 2, h, d)
        + gaussian_kernel_mean(0, 2 * 1.5**2, h, d)
        - 2 * gaussian_kernel_mean(d * shift**2, 1 + 1.5**2, h, d)
    )
    assert abs(mean - expected) < 4 * error
    assert error < expected / 10


def test_small_sets_are_compared_by_hand():
    a, b = [[0.0], [1.0]], [[3.0], [5.0], [4.0]]
    between = np.mean([3, 5, 4, 2, 4, 3])
    expected = 2 * between - 1 - np.mean([2, 1, 1])
    assert metrics.energy_distance(a, b).value == pytest.approx(expected, rel=1e-14)
    kernel = [math.exp(-(z**2) / 8) for z in (3, 5, 4, 2, 4, 3)]
    within = math.exp(-1 / 8) + (math.exp(-4 / 8) + 2 * math.exp(-1 / 8)) / 3
    found = metrics.mmd(a, b, bandwidth=2.0).value
    assert found == pytest.approx(within - 2 * np.mean(kernel), rel=1e-13)
    assert metrics.median_distance([0.0, 1.0, 5.0]) == pytest.approx(4.0, rel=1e-14)


@pytest.mark.parametrize("block", [1, 50, 2**22])
def test_results_do_not_depend_on_the_blocks(block, monkeypatch):
    a, b = normal(40, 3), normal(30, 3, 0.5, seed=1)
    whole = (
        metrics.energy_distance(a, b, permutations=9, generator=np.random.default_rng(0)),
        metrics.precision_recall(a, b), metrics.density_coverage(a, b), metrics.median_distance(a),
    )  # fmt: skip
    monkeypatch.setattr(points_module, "_BLOCK", block)
    again = (
        metrics.energy_distance(a, b, permutations=9, generator=np.random.default_rng(0)),
        metrics.precision_recall(a, b), metrics.density_coverage(a, b), metrics.median_distance(a),
    )  # fmt: skip
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("metric", [metrics.energy_distance, metrics.mmd])
def test_the_p_value_is_uniform_for_one_distribution_and_small_for_two(metric):
    """Exactly uniform on 1/20 .. 20/20; made continuous by a random part of one step."""
    rng = np.random.default_rng(8)
    values = [
        metric(rng.standard_normal((8, 2)), rng.standard_normal((6, 2)), permutations=19,
               generator=rng).p_value
        for _ in range(400)
    ]  # fmt: skip
    assert set(np.rint(np.array(values) * 20)) == set(range(1, 21))
    assert kstest(np.array(values) - rng.uniform(0, 1 / 20, 400), "uniform").pvalue > 0.01
    apart = metric(normal(30, 2), normal(30, 2, 1.5, seed=1), permutations=99, generator=rng)
    assert apart.p_value == 0.01


@pytest.mark.parametrize(
    "metric",
    [
        lambda a, b: metrics.energy_distance(a, b).value,
        lambda a, b: metrics.mmd(a, b).value,
        metrics.frechet_distance,
        metrics.precision_recall,
        metrics.density_coverage,
    ],
)
def test_metrics_do_not_depend_on_order_place_and_orientation(metric):
    a, b = normal(50, 4), normal(40, 4, 0.3, 1.2, seed=1)
    turn, shift = rotation_of(4), 3.0
    rng = np.random.default_rng(3)
    moved = metric(rng.permutation(a) @ turn + shift, rng.permutation(b) @ turn + shift)
    np.testing.assert_allclose(moved, metric(a, b), rtol=1e-10)


def test_sliced_wasserstein_on_a_line_is_that_of_sorted_samples():
    a, b = normal(30), normal(30, mean=1.0, deviation=2.0, seed=1)
    expected = math.sqrt(((np.sort(a[:, 0]) - np.sort(b[:, 0])) ** 2).mean())
    found = metrics.sliced_wasserstein(a, b, generator=np.random.default_rng(0), projections=3)
    assert found == pytest.approx(expected, rel=1e-14)


def test_sliced_wasserstein_of_sets_of_different_sizes_is_that_of_their_copies():
    """Sets with each sample repeated have the same distribution; and a known W1 bounds W2."""
    a, b = normal(12, 2), normal(9, 2, 0.4, seed=1)

    def distance(x, y):
        return metrics.sliced_wasserstein(x, y, generator=np.random.default_rng(4), projections=20)

    assert distance(a, b) == pytest.approx(distance(a.repeat(3, 0), b.repeat(4, 0)), rel=1e-13)
    assert distance(a[:, :1], b[:, :1]) >= wasserstein_distance(a[:, 0], b[:, 0])


def test_sliced_wasserstein_of_a_shift_is_the_shift_along_the_lines():
    """Of a vector c in d dimensions the mean square along lines is |c|^2/d."""
    a, c = normal(20, 3), np.array([1.0, -2.0, 0.5])
    found = metrics.sliced_wasserstein(
        a, a + c, generator=np.random.default_rng(1), projections=20_000
    )
    assert found == pytest.approx(np.linalg.norm(c) / math.sqrt(3), rel=0.02)
    again = [
        metrics.sliced_wasserstein(a, 2 * a, generator=np.random.default_rng(s)) for s in (1, 1, 2)
    ]
    assert again[0] == again[1] != again[2]


def test_sliced_wasserstein_and_energy_agree_with_pot():
    ot = pytest.importorskip("ot")
    a, b = normal(20, 3), normal(25, 3, 0.5, seed=1)
    lines = np.random.default_rng(2).standard_normal((64, 3))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    expected = ot.sliced_wasserstein_distance(a, b, projections=lines.T, p=2)
    found = metrics.sliced_wasserstein(a, b, generator=np.random.default_rng(2), projections=64)
    assert found == pytest.approx(expected, rel=1e-12)


def standardised(n, d, seed):
    """Samples whose mean is exactly zero and covariance exactly the unit matrix."""
    x = normal(n, d, seed=seed)
    q = np.linalg.qr(x - x.mean(axis=0))[0]
    return q * math.sqrt(n - 1)


def test_the_frechet_distance_of_known_moments_is_the_closed_form():
    """Covariances that do not commute; the trace of the root by a root of a matrix."""
    first, second = normal(3, 3, seed=7), normal(3, 3, seed=8)
    a, b = standardised(50, 3, 1) @ first, standardised(60, 3, 2) @ second + [1.0, 0.0, -2.0]
    cov_a, cov_b = first.T @ first, second.T @ second
    expected = 5.0 + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    scaled = metrics.frechet_distance(standardised(50, 3, 1), 2.5 * standardised(60, 3, 2))
    assert scaled == pytest.approx(3 * 1.5**2, rel=1e-12)
    assert metrics.frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-13 * np.trace(cov_a))


def test_the_frechet_distance_survives_nearly_singular_covariances():
    """Deviations from 1 to 1e-9 along each axis: a root of the product would lose the small."""
    small = 10.0 ** -np.arange(10)
    a = standardised(200, 10, 1) * small @ rotation_of(10)
    b = standardised(300, 10, 2) * 2 * small @ rotation_of(10)
    assert metrics.frechet_distance(a, b) == pytest.approx((small**2).sum(), rel=1e-12)


def test_principal_components_keep_distances_and_the_variance_they_say():
    train = normal(80, 6) * [5, 3, 2, 1, 0.5, 0.1] @ rotation_of(6) + 2
    whole, part = metrics.pca_features(train, 6), metrics.pca_features(train, 2)
    f = whole(train)
    np.testing.assert_allclose(
        np.linalg.norm(f[0] - f[1:], axis=1), np.linalg.norm(train[0] - train[1:], axis=1)
    )
    np.testing.assert_allclose(np.cov(f.T), np.diag(whole.variance), rtol=0, atol=1e-12)
    assert whole.explained == pytest.approx(1)
    assert part.explained == pytest.approx(part.variance.sum() / whole.variance.sum())
    np.testing.assert_allclose(part(train), f[:, :2], rtol=0, atol=1e-12)
    images = train.reshape(80, 1, 2, 3)
    np.testing.assert_allclose(
        metrics.pca_features(torch.tensor(images), 2)(images), part(train), rtol=0, atol=1e-12
    )


def test_coverage_and_density_of_one_distribution_are_what_ranks_say():
    """Coverage 1 - (n-1)...(n-k)/((n+m-1)...(n+m-k)) and density 1, whatever it is."""
    n, m, k, seeds = 20, 15, 3, 400
    found = np.array(
        [
            metrics.density_coverage(
                normal(n, 2, seed=s) ** 3, normal(m, 2, seed=9999 + s) ** 3, neighbours=k
            )
            for s in range(seeds)
        ]
    )
    error = found.std(axis=0) / math.sqrt(seeds)
    expected = [1.0, 1 - comb(n - 1, k) / comb(n + m - 1, k)]
    assert (abs(found.mean(axis=0) - expected) < 4 * error).all()


def test_precision_and_recall_tell_a_missing_mode_from_invented_ones():
    left, right, far = normal(100, 2, seed=1), normal(100, 2, 30.0, seed=2), normal(50, 2, -40.0)
    both = np.concatenate([left, right])
    dropped = metrics.precision_recall(both, left)
    assert dropped == (1.0, 0.5)
    invented = metrics.precision_recall(both, np.concatenate([both[::2], far]))
    assert invented.precision == pytest.approx(100 / 150)
    assert invented.recall > 0.8
    assert metrics.density_coverage(both, left).coverage == 0.5
    assert metrics.density_coverage(both, far) == (0.0, 0.0)


def test_balls_reach_to_the_k_th_neighbour():
    real, generated = [0.0, 1.0, 3.0, 7.0], [-1.5, 4.9, 12.0]
    # Balls of two neighbours: radii 3, 2, 3, 6.
    assert metrics.density_coverage(real, generated, neighbours=2) == (4 / 6, 3 / 4)
    # Of one neighbour: radii 1, 1, 2, 4 about the real ones and 0.1, 0.1, 3.5, 3.5 about others.
    found = metrics.precision_recall(real, [0.2, 0.3, 4.0, 7.5], neighbours=1)
    assert found == (1.0, 3 / 4)
    assert metrics.precision_recall(real, generated, neighbours=1).precision == 1 / 3


def test_a_metric_is_taken_class_by_class():
    real, made = torch.arange(12.0).reshape(6, 1, 2), torch.arange(8.0).reshape(4, 1, 2)
    found = metrics.per_class(
        lambda a, b: (a.sum().item(), b.sum().item()),
        real, made, torch.tensor([3, 0, 3, 0, 3, 0]), np.array([0, 0, 3, 3]),
    )  # fmt: skip
    assert found == {0: (5 + 13 + 21, 6), 3: (1 + 9 + 17, 22)}
    with pytest.raises(ValueError, match=r"classes \[1, 3\] are in one of the sets only"):
        metrics.per_class(max, real, made, [3, 0, 3, 0, 3, 0], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="real_labels must be 6 integers, got shape"):
        metrics.per_class(max, real, made, [1, 2], [0, 0, 1, 1])


def test_the_noise_floor_compares_disjoint_real_sets():
    real = torch.arange(10.0)
    pairs = metrics.noise_floor(
        lambda a, b: (a, b), real, sizes=(4, 6), generator=np.random.default_rng(1), repeats=5
    )
    for a, b in pairs:
        assert sorted([*a.tolist(), *b.tolist()]) == real.tolist()
    assert len({tuple(a.tolist()) for a, _ in pairs}) > 1
    with pytest.raises(ValueError, match="need at least 11 real samples, got 10"):
        metrics.noise_floor(max, real, sizes=(5, 6), generator=np.random.default_rng(1))


def test_arrays_and_tensors_of_any_shape_are_the_same_samples():
    a, b = normal(10, 12), normal(10, 12, seed=1)
    expected = metrics.energy_distance(a, b)
    shaped = metrics.energy_distance(a.reshape(10, 3, 2, 2), torch.tensor(b).reshape(10, 3, 2, 2))
    assert shaped == expected
    tensor = torch.tensor(a).requires_grad_()
    assert metrics.energy_distance(tensor, b) == expected
    half = torch.tensor(a).bfloat16()
    assert metrics.energy_distance(half, b) == metrics.energy_distance(half.double(), b)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a: metrics.energy_distance(a, a[:1]), "b must hold at least 2 samples"),
        (lambda a: metrics.energy_distance(a, a[:, :1]), r"got \(2,\) in a and \(1,\) in b"),
        (lambda a: metrics.energy_distance(a, a * np.nan), "b must be finite, got 12 entries"),
        (lambda a: metrics.energy_distance(a, a, permutations=3), "need a generator"),
        (lambda a: metrics.mmd(a, a, bandwidth=0.0), "bandwidth must be positive, got 0.0"),
        (lambda a: metrics.mmd(a * 0, a * 0), "bandwidth must be positive, got 0.0"),
        (lambda a: metrics.frechet_distance(a, a[:2]), "features_b must have more samples than"),
        (lambda a: metrics.pca_features(a, 3), "count must be between 1 and 2"),
        (lambda a: metrics.pca_features(a, 1)(a[:, :1]), "must have 2 entries each, got 1"),
        (lambda a: metrics.precision_recall(a, a, neighbours=6), "less than the 6 samples of real"),
        (
            lambda a: metrics.sliced_wasserstein(
                a, a, generator=np.random.default_rng(0), projections=0
            ),
            "projections must be at least 1",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(6, 2))


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="a must hold real numbers, got dtype"):
        metrics.energy_distance(np.array([["x"], ["y"]]), np.zeros((2, 1)))
