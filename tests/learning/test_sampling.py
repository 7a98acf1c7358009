"""Noise to data and back: jumps of an exact average, orders of the other schemes, refusals."""

import math

import numpy as np
import pytest
import torch

from meanfluid.learning import AverageVelocity, sample, sample_path
from tests.learning.closed_forms import LINE, PLANE, GrowingImages, Wrapped

N = 40_000  # standard errors of means below are about 1/200 of the spread


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def jumping(path):
    """The exact average velocity."""
    return AverageVelocity(path.velocity, Wrapped(path.average), tangent="free")


def flowing(path):
    """A model of the exact velocity alone."""
    network = Wrapped(lambda x, t, s: path.velocity(x, t))
    return AverageVelocity(None, network, tangent="free")


def exact_data(path, noise):
    """Where the flow carries noise: mean + covariance^(1/2) z."""
    return path.mean + noise @ (path.axes * path.spread.sqrt() @ path.axes.T)


@pytest.mark.parametrize(
    "path, shape", [(LINE, (N, 1)), (PLANE, (N, 2))], ids=["one dimension", "two dimensions"]
)
@pytest.mark.parametrize("steps", [1, 4])
def test_one_jump_from_noise_has_the_mean_and_covariance_of_the_data(path, shape, steps):
    """A map in closed form, in any number of jumps."""
    noise = normal(*shape)
    z = sample(jumping(path), noise, steps)
    torch.testing.assert_close(z, exact_data(path, noise), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.mean(0), path.mean, rtol=0, atol=0.02)
    torch.testing.assert_close(
        torch.cov(z.T).reshape(path.covariance.shape), path.covariance, rtol=0, atol=0.03
    )


def test_the_average_is_not_the_velocity_and_one_euler_step_misses():
    noise = normal(N, 1)
    assert sample(flowing(LINE), noise).std() < 0.01  # v(z, 1) = z - mean: all become the mean


@pytest.mark.parametrize(
    "times",
    [
        (1.0, 0.0),
        (1.0, 0.9, 0.05, 0.0),
        (1.0, 0.2, 0.7, 0.0),
        (1.0, 0.0, 1.0, 0.0),
        torch.linspace(1, 0, 8).square(),
    ],
    ids=["one", "uneven", "back and forth", "all the way back", "a tensor"],
)
def test_an_exact_average_gives_one_sample_whatever_the_times(times):
    noise = normal(50, 2)
    z = sample(jumping(PLANE), noise, times=times)
    torch.testing.assert_close(z, exact_data(PLANE, noise), rtol=0, atol=1e-11)


@pytest.mark.parametrize("scheme, order", [("euler", 1), ("heun", 2)])
def test_the_schemes_of_the_velocity_converge_with_their_order(scheme, order):
    noise = normal(200, 2)
    errors = [
        float((sample(flowing(PLANE), noise, k, scheme=scheme) - exact_data(PLANE, noise)).norm())
        for k in (32, 64, 128, 256)
    ]
    orders = -np.diff(np.log2(errors))
    assert orders[-1] == pytest.approx(order, abs=0.06), orders
    assert errors[-1] < 0.05 * 20  # of data with the norm 20 or so


@pytest.mark.parametrize("scheme", ["euler", "heun"])
def test_a_step_is_that_of_the_formula(scheme):
    z, t, s = normal(5, 2), 0.8, 0.5
    v = PLANE.velocity(z, torch.full((5,), t).double())
    expected = z + (s - t) * v
    if scheme == "heun":
        second = PLANE.velocity(expected, torch.full((5,), s).double())
        expected = z + (s - t) * (v + second) / 2
    found = sample(flowing(PLANE), z, start=t, end=s, scheme=scheme)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("there, back", [(1, 1), (1, 3), (4, 2)])
def test_noise_to_data_and_back_is_the_identity(there, back):
    model, noise = jumping(PLANE), normal(50, 2)
    data = sample(model, noise, there)
    found = sample(model, data, back, start=0.0, end=1.0)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-12)
    assert (data - noise).norm() > 5


def test_heun_there_and_back_is_the_identity_to_its_order():
    model, noise = flowing(PLANE), normal(50, 2)
    misses = []
    for k in (64, 128):
        data = sample(model, noise, k, scheme="heun")
        misses.append((sample(model, data, k, start=0.0, end=1.0, scheme="heun") - noise).norm())
    assert misses[1] < misses[0] / 3.5 and misses[1] < 1e-2


def test_a_path_passes_through_the_exact_positions_at_its_times():
    noise, times = normal(20, 2), [1.0, 0.6, 0.1, 0.0]
    path = sample_path(jumping(PLANE), noise, times=times)
    assert path.times.tolist() == pytest.approx(times) and path.positions.shape == (4, 20, 2)
    assert torch.equal(path.positions[0], noise)
    for t, z in zip(times, path.positions, strict=True):
        root = ((1 - t) ** 2 * PLANE.spread + t**2).sqrt()
        expected = (1 - t) * PLANE.mean + noise @ (PLANE.axes * root @ PLANE.axes.T)
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-12)


def test_equal_steps_and_only_the_end_if_that_is_asked_for():
    noise = normal(6, 2)
    path = sample_path(jumping(PLANE), noise, 4, start=0.9, end=0.1)
    assert path.times.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    last = sample_path(jumping(PLANE), noise, 4, start=0.9, end=0.1, keep=False)
    assert last.times.tolist() == pytest.approx([0.1]) and last.positions.shape == (1, 6, 2)
    assert torch.equal(last.positions[0], path.positions[-1])


@pytest.mark.parametrize("scheme", ["jumps", "euler", "heun"])
def test_conditions_are_handed_on_and_images_are_positions_too(scheme):
    """x' = (1 + class) x cos t from 1 to 0 in images; classes grow at different rates."""
    images, classes = normal(3, 2, 4, 5), torch.tensor([0, 1, 2])
    model = AverageVelocity(None, GrowingImages(), tangent="free")
    steps = {"jumps": 1, "euler": 4000, "heun": 400}[scheme]
    found = sample(model, images, steps, scheme=scheme, condition=classes)
    factor = torch.exp(-(1 + classes.double()) * math.sin(1))[:, None, None, None]
    accuracy = {"jumps": 1e-12, "euler": 2e-3, "heun": 3e-5}[scheme]
    torch.testing.assert_close(found, factor * images, rtol=accuracy, atol=0)


def test_samples_keep_the_dtype_and_carry_no_gradient():
    model = AverageVelocity(None, torch.nn.Identity(), tangent="free")
    model.network = Wrapped(
        lambda x, t, s: x * (1 + t - s)[:, None] * torch.ones((), requires_grad=True)
    )
    z = sample(model, torch.ones(3, 2), 2)
    assert z.dtype == torch.float32 and not z.requires_grad


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "at least 1, got 0"),
        ({"steps": 1.5}, "whole number of at least 1, got 1.5"),
        ({"scheme": "rk4"}, "jumps, euler, heun, got 'rk4'"),
        ({"start": math.nan}, "finite times, got nan and 0.0"),
        ({"times": [1.0]}, "at least two finite numbers"),
        ({"times": [1.0, math.nan]}, "at least two finite numbers"),
        ({"times": [[1.0, 0.0]]}, "at least two finite numbers"),
        ({"times": [1.0, 0.5, 0.0], "steps": 4}, "leave out steps, start and end, got 4, 1.0"),
        ({"times": [1.0, 0.5], "end": 0.5}, "leave out steps, start and end, got 1, 1.0 and 0.5"),
    ],
)
def test_steps_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sample(jumping(PLANE), torch.zeros(1, 2, dtype=torch.float64), **options)
