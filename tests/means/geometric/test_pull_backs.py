"""Pull-backs: the identities that define them, and the exact pull-back means of a wave."""

import numpy as np
import pytest

from meanfluid.means.geometric import (
    TorusMap,
    exp,
    gradient,
    mesh,
    pull_back,
    pull_back_mean,
    pulled_back,
    push_forward,
)

BOX = (2 * np.pi, 2 * np.pi)
X, Y = mesh((32, 32), BOX)
SCALAR = np.cos(X - Y) + 0.5 * np.sin(2 * Y)
VECTOR = np.stack([np.sin(Y), np.cos(X + Y)])
FORM = np.stack([1.0 + np.cos(Y), np.sin(X)])
FIELDS = {"scalar": SCALAR, "vector": VECTOR, "one_form": FORM, "density": 2.0 + SCALAR}
# Neither keeps area, nor are they close to the identity.
MAP = TorusMap([0.15 * np.sin(X) + 0.1 * np.cos(Y) + 0.7, 0.1 * np.sin(X - Y)], BOX)
OTHER = exp(0.05 * np.stack([np.sin(2 * Y), -np.sin(X)]), BOX)


@pytest.mark.parametrize("kind", FIELDS)
def test_push_forward_undoes_pull_back(kind):
    there = pull_back(FIELDS[kind], MAP, kind)
    np.testing.assert_allclose(push_forward(there, MAP, kind), FIELDS[kind], rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", FIELDS)
def test_pull_back_by_a_composition_is_one_after_the_other(kind):
    once = pull_back(FIELDS[kind], MAP.after(OTHER), kind)
    twice = pull_back(pull_back(FIELDS[kind], MAP, kind), OTHER, kind)
    np.testing.assert_allclose(twice, once, rtol=0, atol=1e-7)


def test_the_gradient_of_a_scalar_is_a_one_form():
    slope = gradient(pull_back(SCALAR, MAP, "scalar"), BOX)
    np.testing.assert_allclose(
        pull_back(gradient(SCALAR, BOX), MAP, "one_form"), slope, rtol=0, atol=1e-8
    )


def test_a_one_form_applied_to_a_vector_is_a_scalar():
    both = pull_back(FORM, MAP, "one_form") * pull_back(VECTOR, MAP, "vector")
    applied = pull_back((FORM * VECTOR).sum(axis=0), MAP, "scalar")
    np.testing.assert_allclose(both.sum(axis=0), applied, rtol=0, atol=1e-13)


def test_a_density_keeps_its_integral():
    density = FIELDS["density"]
    assert pull_back(density, MAP, "density").mean() == pytest.approx(density.mean(), abs=1e-12)
    assert abs(pull_back(density, MAP, "scalar").mean() - density.mean()) > 1e-2


def wave(amplitude, k, omega, phases=24, points=64):
    """Exact deviations of v = a cos(k x - omega t), and the velocity, for phases of the wave.

    tan(theta / 2) = g tan(mean / 2): the phase of a particle from that of its mean position.
    """
    box = (2 * np.pi / k, 1.0)
    x, _ = mesh((points, 4), box)
    g = np.sqrt((omega - k * amplitude) / (omega + k * amplitude))
    maps, fields = [], []
    for shift in 2 * np.pi * np.arange(phases) / phases:
        mean = k * x + shift
        away = 2 * np.arctan2((g - 1) * np.tan(mean / 2), 1 + g * np.tan(mean / 2) ** 2)
        maps.append(TorusMap([away / k, 0 * x], box))
        fields.append(np.stack([amplitude * np.cos(k * x + shift), 0 * x]))
    return maps, fields


def test_three_means_of_the_velocity_of_a_wave_are_three_numbers():
    """With c = omega / k and s = a / c: c(1 - sqrt(1 - s^2)), c s^2 / sqrt(1 - s^2), and 0."""
    maps, fields = wave(0.3, 2.0, 1.5)
    assert np.abs(sum(one.displacement for one in maps)).max() < 1e-12
    mean = [pull_back_mean([f[0] for f in fields], maps, "scalar")]
    mean += [pull_back_mean(fields, maps, kind)[0] for kind in ("vector", "one_form")]
    for value, exact in zip(mean, (0.062613645756624, 0.1309307341415954, 0.0), strict=True):
        np.testing.assert_allclose(value, exact, rtol=0, atol=1e-11)
    np.testing.assert_allclose(mean[1] / mean[0], 2.091089451179962, rtol=1e-10)


def test_on_deep_water_the_vector_mean_is_twice_the_mean_velocity():
    """To second order in the amplitude, by extrapolation to none; a=0.1, k=1, z=-0.4."""
    omega, z = 1.3, -0.4
    phase = 2 * np.pi * np.arange(16) / 16

    def means(a):
        e = a * np.exp(z)
        xi = e * np.stack([-np.sin(phase), np.cos(phase)], axis=-1)
        slope = e * np.stack(
            [[-np.cos(phase), -np.sin(phase)], [-np.sin(phase), np.cos(phase)]]
        )  # [i, j]: d xi_i / d x_j
        strength = omega * a * np.exp(z + xi[:, 1])
        moved = phase + xi[:, 0]
        velocity = strength[:, None] * np.stack([np.cos(moved), np.sin(moved)], axis=-1)
        gradient = np.eye(2) + np.moveaxis(slope, -1, 0)
        parts = [velocity[:, 0]] + [
            pulled_back(velocity, gradient, kind)[:, 0] for kind in ("vector", "one_form")
        ]
        return np.array([part.mean() for part in parts]) / a**2

    coarse, middle, fine = (means(a) for a in (0.02, 0.01, 0.005))
    once = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    limit = 0.1**2 * (16 * once[1] - once[0]) / 15
    exact = [0.0058412765335239, 0.011682553067048, 0.0]
    np.testing.assert_allclose(limit, exact, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: pull_back(SCALAR, MAP, "vector"), r"shape \(2, nx, ny\)"),
        (lambda: pull_back(VECTOR, MAP, "density"), r"shape \(nx, ny\)"),
        (lambda: pull_back(np.nan * SCALAR, MAP, "scalar"), "must be finite"),
        (lambda: pull_back(SCALAR, MAP, "tensor"), "kind must be one of"),
        (lambda: pull_back_mean([SCALAR], [MAP, MAP], "scalar"), "one field per deviation"),
        (lambda: pull_back_mean([SCALAR], [MAP], "scalar", weights=[-1]), "none negative"),
        (lambda: pulled_back(np.ones(2), np.zeros((2, 2)), "vector"), "inverse everywhere"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
