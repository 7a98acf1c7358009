"""Calculus on periodic boxes: exact for trigonometric polynomials, in one to three dimensions."""

import itertools

import numpy as np
import pytest

from meanfluid.means import periodic
from meanfluid.means.pull_back import pulled_back

BOX = (2 * np.pi, 3.0, 0.7)
SHAPES = [(9,), (8,), (8, 7), (7, 10), (6, 5, 8)]


def random_waves(shape, seed, part=1.0):
    """Numbers of waves below a part of Nyquist's, with an amplitude and a phase for each."""
    generator = np.random.default_rng(seed)
    below = [range(int(np.ceil(part * n / 2))) for n in shape]  # not two points per period
    signs = list(itertools.product(*[(1, -1)] * (len(shape) - 1)))
    found = [(k[0], *np.multiply(k[1:], s)) for k in itertools.product(*below) for s in signs]
    found = sorted({tuple(int(n) for n in k) for k in found})
    return [(k, *generator.normal(size=2)) for k in found]


def values_of(waves, x):
    """The polynomial at positions (dimension, ...)."""
    return sum(a * np.cos(phase_of(k, x) + shift) for k, a, shift in waves)


def slopes_of(waves, x):
    return np.stack([
        sum(-a * wave_number(k)[i] * np.sin(phase_of(k, x) + shift) for k, a, shift in waves)
        for i in range(len(x))
    ])  # fmt: skip


def wave_number(k):
    return 2 * np.pi * np.array(k) / BOX[: len(k)]


def phase_of(k, x):
    return np.tensordot(wave_number(k), x, axes=1)


def close(found, expected, size=1e-13):
    np.testing.assert_allclose(found, expected, rtol=0, atol=size * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_and_divergence_are_exact_for_all_waves_below_nyquist(shape):
    lengths = BOX[: len(shape)]
    x = periodic.mesh(shape, lengths)
    waves = [random_waves(shape, seed) for seed in range(len(shape))]
    vector = np.stack([values_of(one, x) for one in waves])
    exact = np.stack([slopes_of(one, x) for one in waves])
    close(periodic.gradient(vector, lengths), exact)
    close(periodic.divergence(vector, lengths), sum(exact[i, i] for i in range(len(shape))))
    if len(shape) == 2:
        close(periodic.curl(vector, lengths), exact[1, 0] - exact[0, 1])


def test_further_axes_come_first_and_stay():
    lengths = BOX[:2]
    values = np.random.default_rng(4).normal(size=(3, 2, 8, 7))
    found = periodic.gradient(values, lengths)
    assert found.shape == (3, 2, 2, 8, 7)
    np.testing.assert_array_equal(found[1, 0], periodic.gradient(values[1, 0], lengths))
    np.testing.assert_array_equal(
        periodic.divergence(values, lengths)[2], periodic.divergence(values[2], lengths)
    )
    np.testing.assert_array_equal(
        periodic.derivative(values, 1, 3.0)[:, :, 3], periodic.derivative(values[:, :, 3], 1, 3.0)
    )


def test_the_wave_of_two_points_per_period_is_a_cosine():
    x = periodic.mesh((8,), BOX[:1])
    wave = np.cos(4 * x[0])
    assert np.abs(periodic.derivative(wave, 0, BOX[0])).max() == 0
    assert np.abs(periodic.resampled(wave, (16,))).max() < 1e-15
    anywhere = np.linspace(-3.0, 9.0, 50)[None]
    series = periodic.Interpolant(wave[None], BOX[:1])
    close(series.at(anywhere)[0], np.cos(4 * anywhere[0]))
    close(series.gradient(anywhere)[0], -4 * np.sin(4 * anywhere))


def test_it_does_not_hide_what_other_axes_carry():
    """cos(4 x) sin(y) on 8 points along x has no derivative there by x, and one by y."""
    lengths = (2 * np.pi, 2 * np.pi)
    x, y = periodic.mesh((8, 7), lengths)
    found = periodic.gradient(np.cos(4 * x) * np.sin(y), lengths)
    close(found, [0 * x, np.cos(4 * x) * np.cos(y)])
    points = np.random.default_rng(3).uniform(0, 7, (2, 40))
    series = periodic.Interpolant((np.cos(4 * x) * np.sin(y))[None], lengths)
    close(series.at(points)[0], np.cos(4 * points[0]) * np.sin(points[1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_wave_numbers_are_those_by_which_transforms_are_differentiated(shape):
    lengths = BOX[: len(shape)]
    axes = tuple(range(len(shape)))
    values = np.random.default_rng(1).normal(size=shape)
    transform = np.fft.rfftn(values, axes=axes)
    for axis, k in enumerate(periodic.wave_numbers(shape, lengths)):
        slope = np.fft.irfftn(1j * k * transform, s=shape, axes=axes)
        close(slope, periodic.derivative(values, axis, lengths[axis]))


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval_holds_and_leray_and_its_rest_are_orthogonal(shape):
    lengths = BOX[: len(shape)]
    vector = np.random.default_rng(2).normal(size=(len(shape), *shape))
    modes = periodic.modes(shape)
    power = np.abs(np.fft.rfftn(vector, axes=tuple(range(1, vector.ndim)))) ** 2
    twice = np.where((modes[-1] == 0) | (2 * modes[-1] == shape[-1]), 1.0, 2.0)
    total = (power * twice).sum() / np.prod(shape) ** 2
    assert total == pytest.approx((vector**2).mean() * len(shape), rel=1e-13)
    kept = periodic.leray(vector, lengths)
    assert abs((kept * (vector - kept)).mean()) < 1e-14


@pytest.mark.parametrize("shape", SHAPES)
def test_the_projection_is_idempotent_and_free_of_divergence(shape):
    lengths = BOX[: len(shape)]
    vector = np.random.default_rng(3).normal(size=(len(shape), *shape))
    kept = periodic.leray(vector, lengths)
    close(periodic.leray(kept, lengths), kept)
    assert np.abs(periodic.divergence(kept, lengths)).max() < 1e-12
    close(kept.reshape(len(shape), -1).mean(axis=1), vector.reshape(len(shape), -1).mean(axis=1))
    potential = values_of(random_waves(shape, 5), periodic.mesh(shape, lengths))
    slope = periodic.gradient(potential, lengths)
    close(periodic.leray(vector + slope, lengths), kept, 1e-12)


def test_velocity_comes_back_from_vorticity():
    lengths = BOX[:2]
    shape = (9, 7)
    x = periodic.mesh(shape, lengths)
    slope = periodic.gradient(values_of(random_waves(shape, 6), x), lengths)
    velocity = np.stack([0.3 - slope[1], slope[0] - 0.2])
    vorticity = periodic.curl(velocity, lengths)
    close(periodic.solenoidal(vorticity, np.array([0.3, -0.2]), lengths), velocity)


@pytest.mark.parametrize("shape", [(12,), (13,), (12, 7), (6, 5, 8)])
def test_advection_is_exact_where_the_grid_holds_the_product(shape):
    """Of waves up to a quarter of the points, whose products the grid holds."""
    lengths = BOX[: len(shape)]
    x = periodic.mesh(shape, lengths)
    velocity = np.stack([values_of(random_waves(shape, i, 0.5), x) for i in range(len(shape))])
    waves = random_waves(shape, 9, 0.5)
    found = periodic.advection(velocity, values_of(waves, x), lengths)
    close(found, (velocity * slopes_of(waves, x)).sum(axis=0))


@pytest.mark.parametrize("shape", [(8,), (9,), (8, 7)])
def test_advection_by_all_waves_is_that_on_a_grid_that_holds_everything(shape):
    lengths = BOX[: len(shape)]
    wide = tuple(4 * n + 1 for n in shape)
    x, finer = periodic.mesh(shape, lengths), periodic.mesh(wide, lengths)
    waves = random_waves(shape, 9)
    several = [random_waves(shape, i) for i in range(len(shape))]
    velocity = np.stack([values_of(one, x) for one in several])
    whole = np.stack([values_of(one, finer) for one in several])
    product = (whole * slopes_of(waves, finer)).sum(axis=0)
    found = periodic.advection(velocity, values_of(waves, x), lengths)
    close(found, periodic.resampled(product, shape))
    plain = (velocity * slopes_of(waves, x)).sum(axis=0)
    assert np.abs(plain - found).max() > 0.1  # the plain product is aliased


@pytest.mark.parametrize("shape", SHAPES)
def test_other_grids_hold_the_same_waves(shape):
    lengths = BOX[: len(shape)]
    other = tuple(n + 3 + k for k, n in enumerate(shape))
    waves = random_waves(shape, 7)
    here, there = (values_of(waves, periodic.mesh(s, lengths)) for s in (shape, other))
    close(periodic.resampled(here, other), there)
    close(periodic.resampled(there, shape), here)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_slopes_anywhere_are_those_of_the_polynomial(shape):
    lengths = BOX[: len(shape)]
    x = periodic.mesh(shape, lengths)
    both = [random_waves(shape, 11), random_waves(shape, 12)]
    series = periodic.Interpolant(np.stack([values_of(one, x) for one in both]), lengths)
    points = np.random.default_rng(13).uniform(-5, 5, (len(shape), 4, 10))
    exact = np.stack([values_of(one, points) for one in both])
    slopes = np.stack([slopes_of(one, points) for one in both])
    value, slope = series.value_and_gradient(points)
    close(value, exact)
    close(slope, slopes)
    np.testing.assert_array_equal(series.at(points), value)
    np.testing.assert_array_equal(series.gradient(points), slope)


def test_points_in_portions_have_the_values_of_all_at_once(monkeypatch):
    values = np.random.default_rng(14).normal(size=(2, 8, 7))
    series = periodic.Interpolant(values, BOX[:2])
    points = np.random.default_rng(15).uniform(-5, 5, (2, 50))
    whole = series.value_and_gradient(points)
    monkeypatch.setattr(periodic, "_ENTRIES", 200)
    for part, expected in zip(series.value_and_gradient(points), whole, strict=True):
        close(part, expected, 1e-14)
    close(series.at(periodic.mesh((8, 7), BOX[:2])), values, 1e-14)


@pytest.mark.parametrize("shape", [(8, 7), (9, 8)])
@pytest.mark.parametrize("every", [2, 3])
def test_what_repeats_itself_in_the_box_is_summed_over_the_shorter_period(shape, every):
    values = np.random.default_rng(16).normal(size=(2, *shape))
    short = periodic.Interpolant(values, BOX[:2])
    points = np.random.default_rng(17).uniform(-5, 5, (2, 60))
    for axis in range(2):
        repeats, lengths = [1, 1, 1], list(BOX[:2])
        repeats[axis + 1], lengths[axis] = every, every * lengths[axis]
        series = periodic.Interpolant(np.tile(values, repeats), lengths)
        close(series.at(points), short.at(points))
        close(series.gradient(points), short.gradient(points))


def test_a_tiny_field_is_kept_beside_a_large_one():
    x, y = periodic.mesh((16, 8), BOX[:2])
    k = 2 * np.pi / BOX[1]

    def exact(x, y):
        return np.stack([1e9 * np.cos(x) + 0 * y, 1e-9 * np.sin(4 * x - 2 * k * y)])

    series = periodic.Interpolant(exact(x, y), BOX[:2])
    points = np.random.default_rng(18).uniform(-5, 5, (2, 60))
    for found, wanted, size in zip(series.at(points), exact(*points), (1e9, 1e-9), strict=True):
        close(found / size, wanted / size)
    zero = periodic.Interpolant(np.zeros((1, 8, 8)), BOX[:2])
    close(zero.gradient(points), np.zeros((1, 2, 60)))


def test_nan_stays_nan():
    values = np.full((1, 8), np.nan)
    assert np.isnan(periodic.Interpolant(values, (1.0,)).at(np.zeros((1, 3)))).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: periodic.checked_lengths(1.0, 1), "period of each of the 1 axes"),
        (lambda: periodic.checked_lengths((1.0, 2.0), 3), "period of each of the 3 axes"),
        (lambda: periodic.checked_lengths((1.0, -2.0), 2), "positive numbers"),
        (lambda: periodic.checked_lengths((1.0, np.nan), 2), "positive numbers"),
        (lambda: periodic.checked_lengths("ab", 2), "positive numbers"),
        (lambda: periodic.leray(np.zeros((3, 8, 8)), BOX), r"shape \(2, nx, ny\)"),
        (lambda: periodic.leray(np.zeros((2, 8, 2)), BOX[:2]), "at least 3 points"),
        (lambda: periodic.leray(np.zeros((2, 8, 8)), BOX), "each of the 2 axes"),
        (lambda: periodic.leray(np.full((1, 8), np.inf), BOX[:1]), "must be finite"),
        (lambda: periodic.leray(np.zeros((1, 8), dtype=complex), BOX[:1]), "real numbers"),
        (lambda: periodic.advection(np.zeros((1, 8)), np.zeros(9), BOX[:1]), "on one grid"),
    ],
)
def test_what_is_no_field_on_a_periodic_box_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_points_without_a_gradient_have_no_pull_back_and_do_not_spoil_others():
    gradient = np.stack([np.eye(2), np.full((2, 2), np.nan)])
    found = pulled_back(np.ones((2, 2)), gradient, "vector")
    np.testing.assert_array_equal(found, [[1, 1], [np.nan, np.nan]])
