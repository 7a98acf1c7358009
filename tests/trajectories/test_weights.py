"""Means with a weight in time, against closed forms and Gauss's rule along known trajectories."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanfluid import eulerian_mean, lagrangian_mean, trajectories
from meanfluid.fields import inertial_oscillation, rotation, sampled, strain
from tests.catalogue import CASES
from tests.trajectories.own_fields import (
    place,
    torque,
    turned,
    unsteady_rotation,
)

TURNING = unsteady_rotation()
POSITION = np.random.default_rng(121).uniform(-1, 1, (30, 2))
TURN = 2 * math.pi


def where(m, p, t, x, y):
    return x, y


def hann(m, t):
    """Over one turn from 0, whatever its scale."""
    return 3 - 3 * m.cos(t)


def linear(m, t):
    return t


def wave(m, t):
    """Of both signs."""
    return m.sin(3 * t) + 0.2


def flat(m, t):
    return 2


WEIGHTS = {"hann": hann, "linear": linear, "wave": wave, "flat": flat}


class Plain:
    """The vocabulary of a weight, for quadrature."""

    cos, sin = np.cos, np.sin


def weighted(weight, function, start, end, nodes=60):
    """Weighted mean over a window by Gauss's rule; the function gives an axis of times first."""
    node, share = np.polynomial.legendre.leggauss(nodes)
    t = (start + end) / 2 + (end - start) / 2 * node
    share = share * weight(Plain, t)
    return np.tensordot(share, function(t), axes=1) / share.sum()


def test_a_hann_window_over_one_turn_filters_half_of_a_circular_motion():
    """The mean of (1 - cos t) exp(i t) over a turn is -1/2; that of velocity turns with it."""
    x = POSITION
    path = trajectories(rotation(1.0), x, 0.0, TURN, observables=[where], weights={"hann": hann})
    np.testing.assert_allclose(path.means["where.hann"], -x / 2, rtol=0, atol=1e-9)
    across = np.stack([x[:, 1], -x[:, 0]], axis=-1) / 2
    np.testing.assert_allclose(path.means["velocity.hann"], across, rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.means["where"], 0, rtol=0, atol=1e-9)


def test_a_linear_weight_on_a_strain():
    """The mean of t exp(a t) over (0, h), by parts; the weight vanishes at the start."""
    a, h = 0.7, 2.0
    path = trajectories(
        strain(a), POSITION, 0.0, h, observables=[where], weights={"linear": linear}
    )
    factor = [2 / h**2 * (math.exp(s * h) * (h / s - 1 / s**2) + 1 / s**2) for s in (a, -a)]
    np.testing.assert_allclose(path.means["where.linear"], factor * POSITION, rtol=0, atol=1e-9)


@pytest.mark.parametrize("start, end", [(0.3, 5.3), (5.3, 0.3)])
def test_several_weights_observables_and_windows_at_once(start, end):
    """Along the known path of an unsteady rotation, by Gauss's rule."""
    times = [start + 0.37 * (end - start), end]
    path = trajectories(
        TURNING, POSITION, start, end, times=times, observables=[torque, where], weights=WEIGHTS
    )
    assert list(path.means) == list(path.mean_errors)
    expected = {"torque", "where"} | {
        f"{g}.{w}" for g in ("velocity", "torque", "where") for w in WEIGHTS
    }
    assert set(path.means) == expected

    def along(function):
        return lambda ts: np.stack([function(t, turned(TURNING, POSITION, start, t)) for t in ts])

    def moment(t, x):
        return np.stack([(1 + 0.5 * math.sin(t)) * x.prod(axis=1), (x * x).sum(axis=1)], axis=-1)

    seen = {"where": lambda t, x: x, "torque": moment, "velocity": TURNING.velocity}
    for k, until in enumerate(times):
        for g, function in seen.items():
            for w, weight in WEIGHTS.items():
                exact = weighted(weight, along(function), start, until)
                found = path.means[f"{g}.{w}"][:, k]
                error = np.linalg.norm(found - exact, axis=1)
                assert error.max() < 1e-8, (g, w, until)
                estimate = path.mean_errors[f"{g}.{w}"][:, k]
                assert np.mean(error <= 10 * estimate + 1e-14) >= 0.95, (g, w, until)


def test_a_constant_weight_changes_nothing():
    path = trajectories(TURNING, POSITION, 0.3, 5.3, observables=[torque, where], weights=WEIGHTS)
    np.testing.assert_allclose(path.means["torque.flat"], path.means["torque"], rtol=1e-13)
    np.testing.assert_allclose(path.means["velocity.flat"], path.average_velocity, atol=1e-12)


def test_uniform_motion_has_the_same_weighted_mean_everywhere():
    """An inertial oscillation: velocity depends on time alone."""
    field = inertial_oscillation(0.4, 1.1, 0.3, 0.05, -0.02)
    exact = weighted(
        wave, lambda t: np.stack([0.05 + 0.4 * np.cos(1.1 * t + 0.3),
                                  -0.02 - 0.4 * np.sin(1.1 * t + 0.3)], axis=-1), 0.5, 7.5,
    )  # fmt: skip
    path = trajectories(field, POSITION, 0.5, 7.5, weights={"wave": wave}, carried=False)
    found = path.means["velocity.wave"]
    np.testing.assert_allclose(found, np.tile(exact, (30, 1)), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_weighted_eulerian_means_stay_in_their_place():
    start, end = 0.3, 5.3
    path = trajectories(
        TURNING, POSITION, start, end, carried=False, observables=[torque], weights=WEIGHTS
    )
    np.testing.assert_array_equal(path.position, POSITION)
    for w, weight in WEIGHTS.items():
        rate = weighted(weight, lambda t: 1 + 0.5 * np.sin(t), start, end)
        across = np.stack([-POSITION[:, 1], POSITION[:, 0]], axis=-1)
        found = path.means[f"velocity.{w}"]
        np.testing.assert_allclose(found, rate * across, rtol=0, atol=1e-9)
        found = path.means[f"torque.{w}"][:, 0]
        np.testing.assert_allclose(found, rate * POSITION.prod(axis=1), rtol=0, atol=1e-9)
    plain = eulerian_mean(TURNING, torque, POSITION, start, end)
    np.testing.assert_allclose(path.means["torque.flat"], plain, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_weights_see_the_velocity_of_modal_and_sampled_fields():
    """The integral of t v is known from positions and their mean, by parts."""
    case = CASES["kinematic_simulation_2d"]
    x = np.linspace(0, TURN, 16, endpoint=False)
    mesh = np.meshgrid(x, x, indexing="ij")
    grid = sampled([np.sin(mesh[1]) + 0.2, np.cos(mesh[0])], [x, x], degree=5, boundary="periodic")
    for field, h in ((case.field, 1.0), (grid, 4.0)):
        x = case.position(20, seed=122)
        path = trajectories(field, x, 0.0, h, weights={"linear": linear}, observables=[where])
        # the integral of t v = h X(h) - the integral of X
        exact = 2 / h * (path.position - path.means["where"])
        np.testing.assert_allclose(path.means["velocity.linear"], exact, rtol=0, atol=1e-9)


def test_an_empty_window_has_the_limit_where_the_weight_is_not_zero():
    path = trajectories(TURNING, POSITION, 2.0, 2.0, observables=[torque, where], weights=WEIGHTS)
    for w in WEIGHTS:
        found, plain = path.means[f"torque.{w}"], path.means["torque"]
        np.testing.assert_allclose(found, plain, rtol=1e-13)
        found = path.means[f"velocity.{w}"]
        np.testing.assert_allclose(found, path.average_velocity, rtol=1e-13)


def test_a_weight_whose_integral_vanishes_leaves_no_mean():
    """Not a number with an honest error: the quotient is infinite or huge, and so is its error."""

    def odd(m, t):
        return m.sin(t)

    path = trajectories(rotation(0.5), POSITION, 0.0, TURN, weights={"odd": odd})
    error = path.mean_errors["velocity.odd"]
    size = np.linalg.norm(path.means["velocity.odd"], axis=1)
    assert (~np.isfinite(error) | (error > 1e-3 * size)).all()


REFUSED = {
    "no function": ({"w": 1.0}, r"weight w must be a function w\(m, t\) .*, got 1.0"),
    "a class": ({"w": Plain}, r"weight w must be a function w\(m, t\)"),
    "one argument": ({"w": lambda t: t}, r"weight w could not be called as w\(m, t\)"),
    "three arguments": ({"w": lambda m, p, t: t}, r"weight w could not be called as w\(m, t\)"),
    "an unknown function": ({"w": lambda m, t: m.hann(t)}, "weight w could not be called"),
    "a tuple": ({"w": lambda m, t: (t, t)}, "weight w must return a real number, got"),
    "nothing": ({"w": lambda m, t: None}, "weight w must return a real number, got None"),
    "a complex number": ({"w": lambda m, t: 1j * t}, "weight w must return a real number"),
    "the name of an observable": ({"torque": linear}, r"different names, got \['torque'\] twice"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_weights_that_make_no_sense_are_refused(what):
    weights, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        trajectories(TURNING, POSITION, 0.0, 1.0, observables=[torque], weights=weights)


def test_the_name_of_a_product_may_not_be_that_of_an_observable():
    with pytest.raises(ValueError, match=r"got \['torque.linear'\] twice"):
        trajectories(
            TURNING, POSITION, 0.0, 1.0, weights={"linear": linear},
            observables={"torque": torque, "torque.linear": place},
        )  # fmt: skip


def test_doors_to_a_single_mean_refuse_weights():
    with pytest.raises(ValueError, match="weights= belongs to"):
        lagrangian_mean(TURNING, torque, POSITION, 0.0, 1.0, weights={"linear": linear})


ON_CUDA = """
import json, numpy as np
from meanfluid import rk4, trajectories
from tests.trajectories.own_fields import unsteady_rotation
from tests.trajectories.test_weights import POSITION, fading
x, own = POSITION[:3], np.array([[1.0, 0.5], [2.0, 0.1], [0.3, -0.2]])
options = dict(observables=[fading], constants=own, gradient=True, scheme=rk4, steps=4)
here, there = (
    trajectories(unsteady_rotation(), x, 0.2, 1.0, device=device, **options)
    for device in ("cpu", "cuda")
)
pairs = [(p.position, p.gradient, p.error, p.means["fading"]) for p in (here, there)]
print(json.dumps([float(np.abs(a - b).max()) for a, b in zip(*pairs)]))
"""


def fading(m, p, t, x, y, deformation, constants):
    return m.exp((t - constants[0]) * constants[1]) * x, deformation[1][0] * constants[0]


@pytest.mark.slow
def test_numbers_of_a_particle_are_the_same_on_cuda():
    """In the simulator, which runs the same source one particle at a time."""
    pytest.importorskip("numba_cuda")
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", ON_CUDA], capture_output=True, text=True, check=False, cwd=root,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert max(json.loads(done.stdout)) <= 1e-14
