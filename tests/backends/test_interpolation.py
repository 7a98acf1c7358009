"""Compiled and torch forms of sampled fields: values, gradients, pieces, any number of lanes."""

import math

import numpy as np
import pytest
import torch
from numba import njit

from meanfluid.backends.interpolation import sampler
from meanfluid.backends.tensors import torch_velocity
from meanfluid.fields import sampled

TURN = 2 * np.pi


def interpolated(field, time, position, piece_time=None, piece_position=None):
    """Velocity (n, d) and gradient (n, d, d) by the compiled form, in blocks of n lanes."""
    samples, d = field.samples, field.dimension
    evaluate = _block(d, samples.degree, samples.time_degree, samples.single)
    place = np.ascontiguousarray(np.transpose(position), dtype=float)
    time = np.array(np.broadcast_to(time, place.shape[1:]), dtype=float)
    piece_time = time if piece_time is None else np.asarray(piece_time, dtype=float)
    piece = place if piece_position is None else np.ascontiguousarray(np.transpose(piece_position))
    rate = np.full((1 + d + d * d, place.shape[1]), np.inf)
    evaluate(samples.table, samples.flat, time, place, piece_time, piece, rate)
    assert (rate[0] == np.inf).all()  # rows of others are left alone
    return rate[1 : 1 + d].T, np.moveaxis(rate[1 + d :].reshape(d, d, -1), -1, 0)


def _block(*kind):
    if kind not in _BLOCKS:
        d, f = kind[0], sampler(*kind, gradient=True)

        @njit(error_model="numpy")
        def evaluate(table, samples, time, place, piece_time, piece_place, rate):
            f(table, samples, time, place, piece_time, piece_place, rate, 1, 1 + d)

        _BLOCKS[kind] = evaluate
    return _BLOCKS[kind]


_BLOCKS = {}

KINDS = [
    (1, 1, None), (1, 3, 3), (1, 5, 5), (2, 1, 1), (2, 3, None), (2, 3, 3), (2, 5, None),
    (2, 5, 3), (2, 3, 5), (3, 1, None), (3, 3, None), (3, 3, 3), (3, 5, None),
]  # fmt: skip


def random_field(dimension, degree, time_degree, **options):
    """Random samples: the spline is all there is, no smooth function is near it."""
    rng = np.random.default_rng([dimension, degree, time_degree or 0])
    shape = (7, 8, 9)[:dimension]
    axes = [np.arange(n) * 0.5 - k for k, n in enumerate(shape)]
    time = None if time_degree is None else np.linspace(2.0, 3.5, 9)
    values = rng.normal(size=(dimension, *(() if time is None else (9,)), *shape))
    options.setdefault("boundary", ("periodic", "open", "periodic")[:dimension])
    return sampled(values, axes, time, degree=degree, time_degree=time_degree or 3, **options)


def points(field, n, seed=0):
    """Times and positions in the data, up to many periods away on periodic axes."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(2.0, 3.5, n)
    columns = [
        rng.uniform(-40, 40, n)
        if axis.boundary == "periodic"
        else rng.uniform(axis.lower, axis.upper, n)
        for axis in field.domain
    ]
    return time, np.stack(columns, axis=-1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_velocity_is_that_of_numpy(kind, dtype):
    field = random_field(*kind, dtype=dtype)
    time, position = points(field, 130)
    velocity, _ = interpolated(field, time, position)
    np.testing.assert_allclose(velocity, field.velocity(time, position), atol=2e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_depends_neither_on_its_neighbours_nor_on_their_number(kind):
    field = random_field(*kind)
    time, position = points(field, 67)
    together = interpolated(field, time, position)
    for n in (1, 3, 4, 64):
        some = interpolated(field, time[:n], position[:n])
        for one, other in zip(some, together, strict=True):
            np.testing.assert_array_equal(one, other[:n])
    reverse = interpolated(field, time[::-1], position[::-1])
    np.testing.assert_array_equal(reverse[1], together[1][::-1])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_numpys_piece_by_exact_differences(kind):
    """In a cell, the velocity along a line is a polynomial: its slope at the centre, exactly."""
    field, (dimension, degree, _) = random_field(*kind), kind
    time, centre = points(field, 60)
    lower = np.array([axis.lower for axis in field.domain])
    centre = lower + (np.floor((centre - lower) / 0.5) + 0.5) * 0.5
    _, gradient = interpolated(field, time, centre)
    steps = np.array([-0.2, -0.12, -0.04, 0.04, 0.12, 0.2][: degree + 1])
    for j in range(dimension):
        along = [centre + s * np.eye(dimension)[j] for s in steps]
        values = np.stack([field.velocity(time, place) for place in along])
        slope = np.linalg.solve(np.vander(steps, increasing=True), values.reshape(len(steps), -1))
        np.testing.assert_allclose(
            gradient[:, :, j].ravel(), slope[1], atol=1e-10, err_msg=f"along axis {j}"
        )


def waves(t, x, y):
    u = np.sin(1.3 * x + t) * np.cos(y - 0.4 * t)
    return u, np.exp(-x * y / 2) * np.cos(2 * t - x)


def gradient_of_waves(t, x, y):
    decay, swing = np.exp(-x * y / 2), 2 * t - x
    du = (
        1.3 * np.cos(1.3 * x + t) * np.cos(y - 0.4 * t),
        -np.sin(1.3 * x + t) * np.sin(y - 0.4 * t),
    )
    dv = decay * (np.sin(swing) - y / 2 * np.cos(swing)), -x / 2 * decay * np.cos(swing)
    return np.moveaxis(np.array([du, dv]), -1, 0)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_gradient_converges_one_order_below_velocity_up_to_the_ends(degree):
    """Unsteady, on axes without period; a linear spline's gradient is of first order."""
    error = []
    for n in (12, 24, 48):
        t, x, y = (np.linspace(0.0, end, n + 1) for end in (1.0, 1.5, 2.0))
        grid = np.meshgrid(t, x, y, indexing="ij")
        field = sampled(waves(*grid), [x, y], t, degree=degree, time_degree=5)
        rng = np.random.default_rng(1)
        time, position = rng.uniform(0, 1, 6000), rng.uniform(0, [1.5, 2.0], (6000, 2))
        position[:2000, 0] /= n / 2  # in the first cells, where not-a-knot matters
        _, gradient = interpolated(field, time, position)
        error.append(np.abs(gradient - gradient_of_waves(time, *position.T)).max())
    assert math.log2(error[1] / error[2]) == pytest.approx(degree, abs=0.3), error


@pytest.mark.parametrize("kind", [(1, 1, None), (1, 3, None), (1, 5, None)])
def test_a_piece_goes_on_as_its_polynomial(kind):
    """Through degree + 1 points of a cell goes one polynomial, also far beyond the cell."""
    field, degree = random_field(*kind), kind[1]
    inside = 1.0 + 0.5 * (np.arange(degree + 1) + 0.5) / (degree + 1)
    values = field.velocity(0.0, inside[:, None])[:, 0]
    beyond = np.linspace(0.2, 2.3, 40)
    powers = np.vander((inside - 1.25) / 0.25)
    expected = np.polyval(np.linalg.solve(powers, values), (beyond - 1.25) / 0.25)
    piece = np.full((40, 1), 1.25)
    velocity, _ = interpolated(field, 0.0, beyond[:, None], np.zeros(40), piece)
    np.testing.assert_allclose(velocity[:, 0], expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("kind", [(2, 1, 1), (2, 3, 3), (2, 5, 5), (2, 3, 5)])
@pytest.mark.parametrize("axis", ["time", 0, 1])
def test_pieces_join_with_all_derivatives_but_the_last(kind, axis):
    """Two pieces differ by a multiple of (x - knot)**degree, so 2**degree times at twice that."""
    field = random_field(*kind)
    degree = kind[2] if axis == "time" else kind[1]
    knot_time, knot = 2.75, np.array([1.0, 0.5])
    far = np.array([0.0, 0.05, 0.1, 0.2])
    time, place = np.full(4, 2.61), np.tile([0.83, 0.21], (4, 1))
    pieces = []
    for side in (-0.1, 0.1):
        piece_time, piece = time.copy(), place.copy()
        if axis == "time":
            time[:], piece_time[:] = knot_time + far, knot_time + side
        else:
            place[:, axis], piece[:, axis] = knot[axis] + far, knot[axis] + side
        pieces.append(interpolated(field, time, place, piece_time, piece)[0])
    jump = pieces[1] - pieces[0]
    np.testing.assert_allclose(jump[0], 0.0, atol=1e-13)
    assert (np.abs(jump[3]) > 1e-4).all()
    for near, twice in ((1, 2), (2, 3)):
        np.testing.assert_allclose(jump[twice], 2**degree * jump[near], rtol=1e-6, atol=1e-11)


def test_places_without_data_take_the_nearest_piece_and_nan_gives_nan():
    field = random_field(2, 3, 3, boundary="open")
    last = np.array([2.99, 2.49])
    beyond = np.array([[3.05, 2.55], [np.nan, 1.0], [1.0, np.inf], [1.0, -np.inf], [1e300, 0.0]])
    piece = np.array([last, *beyond[1:]])
    time, piece_time = np.full(5, 3.52), np.array([3.49, 3.52, 3.52, 3.52, 3.52])
    own, own_gradient = interpolated(field, time, beyond)
    extended, gradient = interpolated(field, time, beyond, piece_time, piece)
    np.testing.assert_array_equal(own[0], extended[0])
    np.testing.assert_array_equal(own_gradient[0], gradient[0])
    assert np.isfinite(own[0]).all() and np.isnan(own[1:4]).any(axis=1).all()


@pytest.mark.parametrize("kind", [(1, 1, None), (2, 3, 3), (2, 5, None), (3, 3, None)])
def test_places_and_pieces_that_are_not_finite_spoil_only_their_lane(kind):
    field = random_field(*kind, boundary="periodic")
    time, position = points(field, 8)
    before, _ = interpolated(field, time, position)
    for number in (np.nan, np.inf, -np.inf):
        lost = position.copy()
        lost[3, -1] = number
        for arguments in ((time, lost), (time, position, time, lost)):
            velocity, gradient = interpolated(field, *arguments)
            assert not np.isfinite([*velocity[3], *gradient[3].ravel()]).any()
            others = np.arange(8) != 3
            np.testing.assert_array_equal(velocity[others], before[others])


def test_a_period_is_wrapped_at_any_distance():
    field = random_field(2, 3, None, boundary="periodic")
    _, position = points(field, 50)
    period = np.array([3.5, 4.0])
    home, _ = interpolated(field, 0.0, position)
    for turns in (-1, 1, 1000, -(2**20), 2**40):
        away, _ = interpolated(field, 0.0, position + turns * period)
        rounding = 60 * np.spacing(abs(turns) * 4.0 + 40)  # slopes of random data
        np.testing.assert_allclose(away, home, atol=rounding + 1e-13)
    far, gradient = interpolated(field, 0.0, position * 1e290)
    assert np.isfinite(far).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", [(1, 5, None), (2, 1, 3), (2, 3, None), (2, 3, 3), (3, 3, 1)])
def test_torch_has_the_same_velocity_and_gradient(kind):
    field = random_field(*kind)
    time, position = points(field, 40)
    velocity, gradient = interpolated(field, time, position)
    v, x, t = torch_velocity(field), torch.tensor(position), torch.tensor(time)
    np.testing.assert_allclose(v(x, t), velocity, atol=2e-12)
    np.testing.assert_allclose(torch.vmap(torch.func.jacrev(v))(x, t), gradient, atol=1e-10)
    for j in range(field.dimension):
        along = torch.zeros_like(x)
        along[:, j] = 1.0
        _, slope = torch.func.jvp(v, (x, t), (along, torch.zeros_like(t)))
        np.testing.assert_allclose(slope, gradient[:, :, j], atol=1e-10)


def test_torch_differentiates_in_time_and_keeps_shape_and_precision():
    field = random_field(2, 3, 3)
    time, position = points(field, 12)
    x, t = torch.tensor(position), torch.tensor(time)
    _, rate = torch.func.jvp(torch_velocity(field), (x, t), (torch.zeros_like(x), 1 + 0 * t))
    h = 1e-5
    difference = (field.velocity(time + h, position) - field.velocity(time - h, position)) / (2 * h)
    np.testing.assert_allclose(rate, difference, atol=1e-6)
    few = torch_velocity(field)(x.float().reshape(3, 4, 2) % 4, 2.5)
    assert few.shape == (3, 4, 2) and few.dtype == torch.float32
    exact = field.velocity(2.5, (x.float() % 4).double().numpy()).reshape(3, 4, 2)
    np.testing.assert_allclose(few, exact, atol=2e-4)


def test_torch_has_no_velocity_beyond_the_data():
    field = random_field(2, 3, 3)  # open along y, from -1 to 2.5
    v = torch_velocity(field)
    velocity = v(torch.tensor([[9.0, 2.5], [9.0, 2.6], [9.0, math.nan]]).double(), 3.0)
    assert velocity.isnan().all(-1).tolist() == [False, True, True]
    assert v(torch.zeros(1, 2).double(), 3.6).isnan().all()
