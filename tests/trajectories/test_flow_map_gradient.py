"""The gradient of the flow map: closed forms, identities, an independent integrator."""

import functools
import itertools
import math

import numpy as np
import pytest

from meanfluid import VelocityField, dop853, rk4, trajectories, tsit5, vern7
from meanfluid.fields import double_gyre, sampled
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    LOGISTIC,
    TIGHT,
    flow_of,
    gradient_of,
    grown,
    rms,
    turned,
    unsteady_rotation,
    whirl,
    whirled,
)

GYRE, WHIRL = double_gyre(), whirl()
EPS = np.finfo(float).eps
POSITION = np.random.default_rng(101).uniform(-1, 1, (64, 2))

# Gerstner's wave is found by iteration, which makes a minute's work for compilers.
DIVERGENCE_FREE = [
    pytest.param(name, marks=() if name in ("double_gyre", "abc_flow") else pytest.mark.slow)
    for name, case in CASES.items()
    if case.field.divergence_free
]


def gradient(field, x, start, end, **options):
    return trajectories(field, x, start, end, gradient=True, **options).gradient


def size(matrices):
    """Frobenius norm of each matrix."""
    return np.linalg.norm(matrices, axis=(-2, -1))


def test_lyapunov_exponents_of_the_double_gyre_are_those_of_the_literature():
    """I4, to the twelve digits and more that are given there."""
    x = [(0.5, 0.5), (1.0, 0.25)]
    expected = {
        5.0: (0.03114704365779359, 0.2634313039285007),
        15.0: (0.1633023608704221, 0.07427402920830545),
    }
    path = trajectories(GYRE, x, 0.0, 15.0, times=list(expected), gradient=True, **TIGHT)
    stretch = np.linalg.svd(path.gradient, compute_uv=False)[..., 0]
    exponent = np.log(stretch) / path.times
    np.testing.assert_allclose(exponent.T, list(expected.values()), rtol=0, atol=2e-13)
    found = [stretch[0, 1], stretch[1, 0]]
    np.testing.assert_allclose(found, [11.58296417506563, 3.732792151264234], rtol=1e-12)


@pytest.mark.parametrize("start, end", [(0.25, 6.25), (6.25, 0.25)])
def test_the_gradient_of_an_unsteady_vortex_is_that_of_its_closed_form(start, end):
    there, exact = whirled(WHIRL, POSITION, start, end)
    path = trajectories(WHIRL, POSITION, start, end, gradient=True)
    np.testing.assert_allclose(path.position, there, rtol=0, atol=1e-9)
    error = size(path.gradient - exact)
    assert error.max() < 1e-8
    ratio = np.maximum(path.gradient_error, 8 * EPS) / np.maximum(error, 8 * EPS)
    assert ((ratio > 0.1) & (ratio < 10)).all(), np.quantile(ratio, [0, 0.5, 1])


def test_the_closed_form_of_these_tests_has_the_gradient_of_its_flow_map():
    exact = whirled(WHIRL, POSITION, 0.25, 6.25)[1]
    differences = gradient_of(lambda x: whirled(WHIRL, x, 0.25, 6.25)[0], POSITION, 1e-3)
    np.testing.assert_allclose(exact, differences, rtol=0, atol=1e-8)


def test_without_asking_there_is_no_gradient_and_asking_does_not_move_particles():
    plain = trajectories(WHIRL, POSITION, 0.0, 3.0)
    assert plain.gradient is None and plain.gradient_error is None
    deformed = trajectories(WHIRL, POSITION, 0.0, 3.0, gradient=True)
    gap = np.linalg.norm(deformed.position - plain.position, axis=1)
    assert (gap <= 10 * (plain.error + deformed.error) + 1e-14).all()
    with pytest.raises(ValueError, match="particles that stay have no flow map"):
        trajectories(WHIRL, POSITION, 0.0, 3.0, gradient=True, carried=False)


def test_the_gradient_on_a_line_is_the_derivative_of_logistic_growth():
    x, h = np.array([[0.1], [1.0], [2.0], [3.0]]), 1.5
    exact = math.exp(-h) * (grown(x, h) / x) ** 2
    found = gradient(LOGISTIC, x, 0.5, 0.5 + h)
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-10)


# Where the leading term of the error rules and rounding does not: dop853's falls faster than that
# in a vortex, until rounding is all that is left.
@pytest.mark.parametrize(
    "scheme, field, end, first",
    [
        (rk4, WHIRL, 6.25, 64),
        (tsit5, WHIRL, 6.25, 256),
        (vern7, whirl(0.2, 0.5, 6.0), 6.25, 48),
        (dop853, unsteady_rotation(2.0, 1.0), 12.25, 16),
    ],
    ids=["rk4", "tsit5", "vern7", "dop853"],
)
def test_the_gradient_converges_at_the_order_of_the_scheme(scheme, field, end, first):
    if field.body is WHIRL.body:
        exact = whirled(field, POSITION, 0.25, end)[1]
    else:
        exact = turned(field, np.eye(2), 0.25, end).T
    errors = [
        rms(gradient(field, POSITION, 0.25, end, scheme=scheme, steps=n) - exact)
        for n in (first, 2 * first, 4 * first)
    ]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([scheme.order] * 2, abs=0.25), (orders, errors)


@pytest.mark.parametrize("name", DIVERGENCE_FREE)
def test_volume_is_kept_where_the_field_is_free_of_divergence(name):
    """det F = 1; an error e of F changes it by up to |F|^(d - 1) e."""
    case = CASES[name]
    x = case.position(60, seed=102)
    path = trajectories(case.field, x, case.start, case.end, gradient=True)
    norm = size(path.gradient)
    allowed = norm ** (case.field.dimension - 1) * (10 * path.gradient_error + 8 * EPS * norm)
    off = abs(np.linalg.det(path.gradient) - 1)
    assert (off <= allowed).all() and np.median(off) < 1e-9, off.max()


@pytest.mark.parametrize("name", ["double_gyre", "abc_flow"])
def test_gradients_of_parts_are_multiplied(name):
    """F(0 -> 2) = F(1 -> 2) F(0 -> 1), and the way back has the inverse."""
    case = CASES[name]
    x, start, end = case.position(30, seed=103), case.start, case.start + 4.0
    middle = start + 1.7
    early = trajectories(case.field, x, start, middle, gradient=True, **TIGHT)
    late = trajectories(case.field, early.position, middle, end, gradient=True, **TIGHT)
    whole = trajectories(case.field, x, start, end, gradient=True, **TIGHT)
    scale = (size(late.gradient) * size(early.gradient)).max()
    np.testing.assert_allclose(
        late.gradient @ early.gradient, whole.gradient, rtol=0, atol=1e-12 * scale
    )
    back = gradient(case.field, whole.position, end, start, **TIGHT)
    unit = np.broadcast_to(np.eye(case.field.dimension), back.shape)
    np.testing.assert_allclose(back @ whole.gradient, unit, rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("duration", [1e-6, -1e-9, 1e-12, 1e-100])
def test_over_short_windows_the_gradient_still_is_exact(duration):
    """F - I = h grad v, up to h^2: nothing is wrong with F itself at the last digit."""
    x = np.random.default_rng(104).uniform(0.1, 0.9, (40, 2))
    slope = gradient_of(lambda y: GYRE.velocity(0.7, y), x, 1e-3)
    found = gradient(GYRE, x, 0.7, 0.7 + duration)
    change = found - np.eye(2) - (0.7 + duration - 0.7) * slope
    assert (size(change) <= 4 * EPS + 1e-9 * abs(duration) + 10 * duration**2).all()


def test_the_rate_of_strain_along_the_way_is_the_growth_of_the_gradient():
    """Liouville in a field with divergence: log det F is the integral of div v, exactly known."""

    def stretching(m, p, t, x, y):
        return m.sin(t) * x + 0.3 * y * y, m.cos(2 * t) * y

    field = VelocityField(body=stretching, dimension=2)
    path = trajectories(field, POSITION, 0.3, 4.3, times=[1.0, 4.3], gradient=True)
    for k, t in enumerate(path.times):
        exact = math.cos(0.3) - math.cos(t) + (math.sin(2 * t) - math.sin(0.6)) / 2
        found = np.log(np.linalg.det(path.gradient[:, k]))
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)


def test_an_empty_window_has_the_unit_matrix():
    path = trajectories(WHIRL, POSITION[:3], 1.0, 1.0, gradient=True)
    np.testing.assert_array_equal(path.gradient, np.broadcast_to(np.eye(2), (3, 2, 2)))
    np.testing.assert_array_equal(path.gradient_error, 0)


def test_shapes_and_failures_of_gradients():
    path = trajectories(GYRE, POSITION[:5], 0.0, 2.0, times=[0.5, 1.0, 2.0], gradient=True)
    assert path.gradient.shape == (5, 3, 2, 2) and path.gradient_error.shape == (5, 3)
    lost = trajectories(GYRE, POSITION[:2], 0.0, 50.0, gradient=True, max_steps=3,
                        on_failure="mark")  # fmt: skip
    assert np.isnan(lost.gradient).all() and np.isnan(lost.gradient_error).all()
    unknown = trajectories(GYRE, POSITION[:2], 0.0, 1.0, gradient=True, estimate_error=False)
    assert np.isfinite(unknown.gradient).all() and np.isnan(unknown.gradient_error).all()


def test_the_gradient_of_a_rotation_is_the_rotation_at_every_place():
    field = unsteady_rotation()
    found = gradient(field, [(1e3, -2e3), (0.1, 0.2)], 0.0, 3.0)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[0] @ found[0].T, np.eye(2), rtol=0, atol=1e-10)


def finite_differences(field, x, start, end, h):
    """Gradient of the flow map by central differences of fourth order."""
    return gradient_of(lambda y: trajectories(field, y, start, end, **TIGHT).position, x, h)


def test_the_gradient_of_a_modal_field_is_that_of_its_flow_map():
    case = CASES["kinematic_simulation_2d"]
    x = case.position(20, seed=105)
    found = gradient(case.field, x, 0.0, 0.5)
    expected = finite_differences(case.field, x, 0.0, 0.5, 2e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@functools.cache
def sampled_whirl(degree, points=33):
    x, t = np.linspace(-2, 2, points), np.linspace(0.0, 2.0, 17)
    clock, *mesh = np.meshgrid(t, x, x, indexing="ij")
    position = np.stack([c.ravel() for c in mesh], axis=-1)
    values = WHIRL.velocity(clock.ravel(), position).T.reshape(2, *clock.shape)
    return sampled(list(values), [x, x], t, degree=degree, time_degree=degree)


@pytest.mark.parametrize("degree", [3, 5])
def test_the_gradient_of_a_sampled_field_is_that_of_its_flow_map(degree):
    """Steps of the differences stay small, since the third derivative of a cubic jumps."""
    field, x = sampled_whirl(degree), 0.9 * POSITION[:20]
    found = gradient(field, x, 0.1, 1.9)
    h = 1e-4 if degree == 3 else 1e-3
    expected = finite_differences(field, x, 0.1, 1.9, h)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if degree == 3 else 2e-8)


def test_the_gradient_of_a_linear_spline_jumps_but_composes():
    """Within one run and in two, each of which sees the cells that it passes."""
    field, x = sampled_whirl(1), 0.9 * POSITION[:20]
    early = trajectories(field, x, 0.1, 1.0, gradient=True)
    late = trajectories(field, early.position, 1.0, 1.9, gradient=True)
    whole = trajectories(field, x, 0.1, 1.9, gradient=True)
    np.testing.assert_allclose(late.gradient @ early.gradient, whole.gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("degree", [3, 5])
def test_the_gradient_of_a_sampled_field_converges_with_the_spacing(degree):
    """Its error falls with the spacing to the power of the degree."""
    x, exact = 0.9 * POSITION, whirled(WHIRL, 0.9 * POSITION, 0.0, 2.0)[1]
    errors = [rms(gradient(sampled_whirl(degree, n), x, 0.0, 2.0) - exact) for n in (17, 33)]
    assert math.log2(errors[0] / errors[1]) > degree - 0.3, errors


SMOOTH = [
    pytest.param(name, marks=() if name in ("double_gyre",) else pytest.mark.slow) for name in CASES
]


@pytest.mark.reference
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_taylor_series_to_the_estimated_error(name):
    """Within a factor of ten for 95 % of particles (200 draws may miss by two deviations)."""
    pytest.importorskip("heyoka")
    from meanfluid.backends.reference import reference_gradient

    case = CASES[name]
    x = case.position(200, seed=106)
    path = trajectories(case.field, x, case.start, case.end, gradient=True)
    exact = reference_gradient(case.field, x, case.start, case.end)
    floor = 8 * EPS * size(exact)
    ratio = np.maximum(path.gradient_error, floor) / np.maximum(size(path.gradient - exact), floor)
    within = np.mean((ratio >= 0.1) & (ratio <= 10))
    enough = 0.95 - 2 * math.sqrt(0.95 * 0.05 / len(ratio))
    assert within >= enough, (within, np.quantile(ratio, [0, 0.01, 0.05, 0.5, 0.95, 1]))


def test_the_gradient_of_a_flow_map_in_closed_form_agrees_with_its_differences():
    """Decaying cells: the flow map is known by elliptic functions, its gradient by differences."""
    case = CASES["taylor_green_decaying"]
    x = case.position(20, seed=107)
    found = gradient(case.field, x, 0.3, 2.3)
    expected = gradient_of(lambda y: flow_of(case.field, y, 0.3, 2.3), x, 1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
