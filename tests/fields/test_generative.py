"""Flows between data and noise: closed forms, conditional means, identities, integrators."""

import math
import pickle

import mpmath
import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import norm

import meanfluid as mf
from meanfluid import fields
from meanfluid.backends.tensors import torch_velocity
from meanfluid.fields.generative import gaussian_average_velocity
from meanfluid.fields.mixtures import _source
from tests.catalogue import integrated

LINE = fields.gaussian_path(2.0, 0.25)
COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])
PLANE = fields.gaussian_path((1.0, -0.5), COVARIANCE)
TWISTED = fields.gaussian_path((0.0, 0.0), COVARIANCE, np.diag([0.5, 2.0]))
SPACE_COVARIANCE = np.array([[1.0, 0.3, -0.2], [0.3, 0.7, 0.1], [-0.2, 0.1, 0.4]])
SPACE = fields.gaussian_path((0.4, -1.0, 0.2), SPACE_COVARIANCE)
WEIGHTS, MEANS, DEVIATIONS = (0.3, 0.7), (-1.5, 1.0), (0.4, 0.6)
MIXTURE = fields.mixture_path(WEIGHTS, MEANS, DEVIATIONS)
POINTS = fields.two_point_path()
RING = fields.mixture_path(
    (1.0, 2.0, 3.0), [(1.5, 0.0), (-0.5, 1.2), (-0.6, -1.3)], (0.3, 0.5, 0.2)
)
CLOUDS = fields.mixture_path((0.5, 0.5), [(1.0, 0.0, -0.5), (-1.0, 0.5, 0.2)], 0.6)
CLOSED = {"line": LINE, "plane": PLANE, "twisted": TWISTED, "space": SPACE, "mixture": MIXTURE,
          "points": POINTS}  # fmt: skip
GAUSSIAN = {name: CLOSED[name] for name in ("line", "plane", "twisted", "space")}


def exact(field, position, start, end):
    position = np.array(position, dtype=float, ndmin=2)
    times = [np.broadcast_to(np.asarray(s, dtype=float), len(position)) for s in (start, end)]
    return field.exact_flow_map(field.parameters, position, *times)


def places(field, n=20, seed=3):
    return np.random.default_rng(seed).normal(0.0, 1.2, (n, field.dimension))


def test_velocities_of_the_three_paths_have_their_known_values():
    for field, z, t, expected in (
        (LINE, [0.3], 0.9, [-1.89230769230769231]),
        (PLANE, [0.3, 0.4], 0.9, [-0.8411226700824824, 0.9534315779392575]),
        (MIXTURE, [0.3], 0.9, [-0.01083440562413778]),
        (POINTS, [0.3], 0.9, [0.2921998764041095]),
    ):
        np.testing.assert_allclose(field.velocity(t, [z])[0], expected, rtol=1e-14)


AVERAGES = [
    (LINE, [0.3], 0.2, 0.9, [-1.92801984833669055]),
    (LINE, [0.3], 0.0, 1.0, [-1.85]),
    (PLANE, [0.3, 0.4], 0.2, 0.9, [-1.166559511837848, 0.6793429420162184]),
    (PLANE, [0.3, 0.4], 0.0, 1.0, [-1.134994466118569, 0.5467581360509194]),
    (MIXTURE, [0.3], 0.2, 0.9, [-0.6311260870907527]),
    (MIXTURE, [0.3], 0.0, 1.0, [-0.6309040352578663]),
    (MIXTURE, [-0.8], 0.0, 1.0, [0.4832826891961374]),
    (POINTS, [0.3], 0.4, 0.9, [-0.1053522316717927]),
]  # fmt: skip


@pytest.mark.parametrize("field, z, r, t, expected", AVERAGES)
def test_the_average_velocity_has_its_known_values(field, z, r, t, expected):
    displaced = (np.array([z]) - exact(field, z, t, r)) / (t - r)
    np.testing.assert_allclose(displaced[0], expected, rtol=0, atol=2e-15)
    if field in GAUSSIAN.values():
        closed = gaussian_average_velocity(field, [z], r, t)[0]
        np.testing.assert_allclose(closed, expected, rtol=0, atol=5e-16)


@pytest.mark.parametrize(
    "field, z, r, t, expected", [row for row in AVERAGES if row[0] in (PLANE, MIXTURE)]
)
def test_integrated_it_is_the_mean_labelled_by_the_final_position(field, z, r, t, expected):
    """In MeanFlow's clock, noise at 1; the other label is another number."""
    found, error = mf.average_velocity(
        field, [z], r, t, label="final", rtol=1e-12, atol=1e-13, return_error=True
    )
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-11)
    assert (error < 1e-10).all()
    other = mf.average_velocity(field, [z], r, t, label="initial")
    assert abs(other - found).max() > 0.01


def test_one_step_from_noise_is_a_sample_of_the_data():
    """z - u(z, 0, 1) = mean + root(covariance) z, and the rank-preserving map of the mixture."""
    z = places(PLANE)
    expected = [1.0, -0.5] + z @ sqrtm(COVARIANCE)
    sample = z - gaussian_average_velocity(PLANE, z, 0.0, 1.0)
    np.testing.assert_allclose(sample, expected, rtol=0, atol=5e-15)
    data = exact(MIXTURE, places(MIXTURE), 1.0, 0.0)
    cumulative = norm.cdf((data - MEANS) / DEVIATIONS) @ WEIGHTS
    np.testing.assert_allclose(cumulative, norm.cdf(places(MIXTURE))[:, 0], rtol=1e-12)


def test_noise_that_does_not_commute_with_the_data_is_not_carried_by_square_roots():
    """The linear flow's end point, from which the formula with square roots is away by 0.028."""
    found = exact(TWISTED, [0.3, 0.4], 1.0, 0.0)[0]
    np.testing.assert_allclose(found, [0.48063327730792, 0.35208892481443], rtol=0, atol=1e-14)
    wrong = sqrtm(COVARIANCE) @ np.linalg.inv(sqrtm(np.diag([0.5, 2.0]))) @ [0.3, 0.4]
    np.testing.assert_allclose(wrong, [0.50199601592045, 0.33466401061363], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found, integrated(TWISTED, [0.3, 0.4], 1, 0)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.35, 0.9, 1.0])
@pytest.mark.parametrize(
    "field, mean, data, noise",
    [
        (PLANE, [1.0, -0.5], COVARIANCE, np.eye(2)),
        (TWISTED, [0.0, 0.0], COVARIANCE, np.diag([0.5, 2.0])),
        (SPACE, [0.4, -1.0, 0.2], SPACE_COVARIANCE, np.eye(3)),
    ],
)
def test_gaussian_velocity_is_the_matrix_formula(field, mean, data, noise, t):
    """v = -mu + (t C - (1-t) Sigma) S^-1 (z - m), S = (1-t)^2 Sigma + t^2 C."""
    z = places(field)
    mixed = (1 - t) ** 2 * data + t**2 * noise
    pull = (t * noise - (1 - t) * data) @ np.linalg.inv(mixed)
    expected = -np.array(mean) + (z - (1 - t) * np.array(mean)) @ pull.T
    np.testing.assert_allclose(field.velocity(t, z), expected, rtol=0, atol=2e-14)


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-15, 0.0])
@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_gaussian_average_keeps_its_digits_as_the_window_closes(name, gap):
    """u = v - (h/2) D_t v + O(h^2), where forming (z - X)/h would lose every digit."""
    field, z, t = CLOSED[name], places(CLOSED[name]), 0.6
    v, step = field.velocity(t, z), 1e-4
    ahead, behind = (field.velocity(t + s, exact(field, z, t, t + s)) for s in (step, -step))
    expected = v - gap / 2 * (ahead - behind) / (2 * step)
    found = gaussian_average_velocity(field, z, t - gap, t)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 + 20 * gap**2)


@pytest.mark.parametrize("name", CLOSED)
def test_the_average_velocity_is_the_mean_of_the_velocity_along_the_path(name):
    field, z, r, t = CLOSED[name], places(CLOSED[name], 6), 0.3, 0.9
    node, weight = np.polynomial.legendre.leggauss(48)
    times = (r + t) / 2 + (t - r) / 2 * node
    along = np.array([field.velocity(s, exact(field, z, t, s)) for s in times])
    mean = np.tensordot(weight / 2, along, 1)
    expected = (z - exact(field, z, t, r)) / (t - r)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=2e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_flow_maps_compose_return_and_stand_still(name):
    field, z = CLOSED[name], places(CLOSED[name])
    middle = exact(field, z, 0.9, 0.5)
    np.testing.assert_allclose(
        exact(field, middle, 0.5, 0.2), exact(field, z, 0.9, 0.2), rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(exact(field, middle, 0.5, 0.9), z, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(exact(field, z, 0.7, 0.7), z)


@pytest.mark.parametrize("field", [MIXTURE, RING, CLOUDS], ids=["line", "plane", "space"])
@pytest.mark.parametrize("t", [0.0, 0.02, 0.6, 1.0])
def test_mixture_velocity_is_the_mean_of_the_gaussian_ones(field, t):
    """Weighted by their densities, in 40 digits; also at the ends of the path."""
    table = np.array(field.parameters).reshape(-1, field.dimension + 2)
    z = places(field, 8)
    with mpmath.workdps(40):
        s = mpmath.mpf(t)
        for z_i, found in zip(z, field.velocity(t, z), strict=True):
            total, parts = 0, [0] * field.dimension
            for row in table:
                own = mpmath.mpf(row[-1]) ** 2
                spread = (1 - s) ** 2 * own + s**2
                away = [
                    mpmath.mpf(a) - (1 - s) * mpmath.mpf(b)
                    for a, b in zip(z_i, row[1:-1], strict=True)
                ]
                square = sum(a * a for a in away)
                share = mpmath.exp(row[0] - square / (2 * spread)) / spread ** (
                    mpmath.mpf(field.dimension) / 2
                )
                total += share
                for k, a in enumerate(away):
                    pull = (s - (1 - s) * own) / spread
                    parts[k] += share * (pull * a - mpmath.mpf(row[1 + k]))
            expected = [float(part / total) for part in parts]
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_mixtures_in_more_dimensions_agree_with_an_integrator_and_with_torch():
    z = places(RING, 6)
    found = mf.flow_map(RING, z, 1.0, 0.0, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found, integrated(RING, z, 1.0, 0.0), rtol=0, atol=1e-9)
    for field in (RING, CLOUDS):
        z, t = places(field, 6), torch.full((6,), 0.4, dtype=torch.float64)
        tensor = torch_velocity(field)(torch.tensor(z), t)
        np.testing.assert_allclose(tensor.numpy(), field.velocity(0.4, z), rtol=0, atol=1e-13)


def test_a_mixture_of_equal_components_is_one_gaussian():
    single = fields.gaussian_path((0.4, -0.3), 0.49 * np.eye(2))
    double = fields.mixture_path((0.2, 0.8), [(0.4, -0.3)] * 2, 0.7)
    z = places(single)
    for t in (0.0, 0.4, 1.0):
        np.testing.assert_allclose(double.velocity(t, z), single.velocity(t, z), atol=1e-14)
    line = fields.mixture_path((0.2, 0.8), (2.0, 2.0), 0.5)
    z = np.array([[-30.0], [-2.0], [0.3], [2.0], [40.0]])
    np.testing.assert_allclose(exact(line, z, 1, 0), exact(LINE, z, 1, 0), rtol=1e-13)


@pytest.mark.parametrize("deviation", [0.05, 1e-3])
def test_the_map_of_a_mixture_is_right_in_tails_and_gaps(deviation):
    """Against the distribution function in 60 digits: conditioned as the map itself is."""
    field = fields.mixture_path((0.25, 0.75), (-1.0, 1.0), deviation)
    z = np.array([[-25.0], [-0.7], [-0.6744897], [-0.67], [0.0], [8.0]])
    moved = exact(field, z, 1.0, 0.0)
    with mpmath.workdps(400):
        for z_i, x in zip(z[:, 0], moved[:, 0], strict=True):
            below = [
                mpmath.erfc(-(mpmath.mpf(x) - c) / (deviation * mpmath.sqrt(2))) / 2 * w
                for c, w in ((-1, 0.25), (1, 0.75))
            ]
            density = [
                w * mpmath.npdf(mpmath.mpf(x), c, deviation) for c, w in ((-1, 0.25), (1, 0.75))
            ]
            rank = mpmath.ncdf(mpmath.mpf(z_i))
            small = min(rank, 1 - rank)
            miss = (sum(below) - rank) / sum(density)
            allowed = 1e-13 * small / sum(density) + 2e-15 * max(1, abs(x))
            assert abs(miss) <= allowed, (z_i, x, float(miss), float(allowed))


def test_two_points_are_the_limit_of_narrow_mixtures_and_jump_at_zero():
    narrow = fields.mixture_path((0.5, 0.5), (-1.0, 1.0), 1e-9)
    z = np.array([[-2.0], [-0.3], [-1e-3], [0.2], [1.7]])
    np.testing.assert_allclose(POINTS.velocity(0.2, z), narrow.velocity(0.2, z), rtol=1e-12)
    r = POINTS.time_range[0]
    u = (z - exact(POINTS, z, 1.0, r)) / (1.0 - r)
    np.testing.assert_allclose(u, z - np.sign(z), rtol=0, atol=1e-15)
    assert abs(POINTS.velocity(r, [[1.0], [-1.0], [0.0]])).max() == 0
    with pytest.raises(ValueError, match=r"time range \[1e-100, 1.0\] of two_point_path"):
        mf.average_velocity(POINTS, z, 0.0, 1.0)


def test_the_mean_of_the_straight_conditional_paths_is_v_and_not_u():
    """By quadrature over the data that could have led to z; the known difference u - v."""
    z, r, t, mean, deviation = 0.3, 0.2, 0.9, 2.0, 0.5
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    x = mean + deviation * node  # the data; the noise that leads from each to z follows
    noise = (z - (1 - t) * x) / t
    likelihood = weight * np.exp(-(noise**2) / 2)
    conditional = noise - x  # the average over [r, t] of a straight path is its constant velocity
    expectation = likelihood @ conditional / likelihood.sum()
    variance = likelihood @ (conditional - expectation) ** 2 / likelihood.sum()
    v = LINE.velocity(t, [[z]])[0, 0]
    u = gaussian_average_velocity(LINE, [[z]], r, t)[0, 0]
    assert expectation == pytest.approx(v, abs=1e-13)
    assert u - expectation == pytest.approx(-0.035712156029, abs=1e-12)
    assert variance == pytest.approx(0.30769230769231, abs=1e-13)
    # The target v_c - (t - r) (v_c du/dz + du/dt) is affine in v_c, with this slope:
    h = 1e-3
    steepness = np.diff(gaussian_average_velocity(LINE, [[z - h], [z + h]], r, t)[:, 0]) / (2 * h)
    slope = 1 - (t - r) * steepness[0]
    assert slope**2 * variance == pytest.approx(0.075739644970414, abs=1e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_the_identity_of_meanflow_holds(name):
    """u = v - (t - r) (d_t u + v . grad u), the derivative taken along the path."""
    field, z, r, t, h = CLOSED[name], places(CLOSED[name], 6), 0.3, 0.8, 1e-3

    def u(s):
        here = exact(field, z, t, s)
        return (here - exact(field, here, s, r)) / (s - r)

    rate = (8 * (u(t + h) - u(t - h)) - (u(t + 2 * h) - u(t - 2 * h))) / (12 * h)
    expected = field.velocity(t, z) - (t - r) * rate
    np.testing.assert_allclose(u(t), expected, rtol=0, atol=1e-8)


def test_a_mixture_can_be_pickled_and_its_formula_read():
    again = pickle.loads(pickle.dumps(RING))
    assert again.body is RING.body
    assert type(again.parameters) is type(RING.parameters)
    assert RING.parameters.mean_y_2 == 1.2
    assert math.isclose(math.exp(RING.parameters.log_weight_3), 0.5)
    assert "def mixture_2_3(m, p, t, x, y):" in _source(2, 3)
    with pytest.raises(AttributeError, match="mixture_4_2"):
        from meanfluid.fields import mixtures

        mixtures.__getattr__("mixture_4_2")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fields.gaussian_path(0.0, -1.0), "covariance must be positive definite"),
        (lambda: fields.gaussian_path((0, 0), 1.0), r"covariance must have shape \(2, 2\), got"),
        (lambda: fields.gaussian_path((0, 0), [[1, 2], [2, 1]]), "positive definite, got eigenv"),
        (lambda: fields.gaussian_path((0, 0), [[1, 2], [0, 1]]), "finite and symmetric"),
        (lambda: fields.gaussian_path((0, 0), np.eye(2), np.zeros((2, 2))), "noise_covariance"),
        (lambda: fields.gaussian_path(np.zeros(4), np.eye(4)), r"1 to 3 entries, got shape \(4,\)"),
        (lambda: fields.mixture_path((1, -1), (0, 1), 0.1), "weights must be positive, got"),
        (lambda: fields.mixture_path((1, 1), (0, 1), 0.0), "deviations must be at least 1e-100"),
        (lambda: fields.mixture_path((1, 1), (0, 1), (1, 1, 1)), r"shape \(2,\), got \(3,\)"),
        (lambda: fields.mixture_path((1, 1), np.eye(4), 1.0), r"got \(2,\) and \(4, 4\)"),
        (lambda: fields.two_point_path(-1.0), "distance must be positive, got -1.0"),
        (
            lambda: gaussian_average_velocity(MIXTURE, [[0.0]], 0, 1),
            "made by gaussian_path, got mixture_path",
        ),
        (lambda: gaussian_average_velocity(PLANE, [0.0], 0, 1), r"shape \(n, 2\), got \(1,\)"),
    ],
)
def test_impossible_parts_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
