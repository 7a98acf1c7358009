"""Kelvin's theorem for Lagrangian-mean momentum: closed forms, Euler flows, any flow."""

import math

import numpy as np
import pytest
from scipy.special import iv

from meanfluid.means import glm
from tests.means.glm.own_waves import cells
from tests.means.glm.test_known_displacements import SPEED, gerstner

ANGLE = 2 * np.pi * np.arange(32) / 32
ROUND = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1)
LOOP = [1.4, 1.2] + 0.5 * ROUND


def steady(amplitude):
    """Taylor-Green vortices of other strength, each a steady solution of Euler."""
    return cells(amplitude, frequency=0.0)


EULER = [steady(0.8), steady(1.0), steady(1.3)]


def test_a_circulation_is_its_closed_form():
    """Of (-y, x), twice the area; around a period, the mean velocity times it."""
    ellipse = ROUND * [2.0, 0.7]
    turned = np.stack([-ellipse[:, 1], ellipse[:, 0]], axis=1)
    found, error = glm.circulation(turned, ellipse, return_error=True)
    assert found == pytest.approx(2 * math.pi * 1.4, rel=1e-14) and error < 1e-13
    across = np.stack([ANGLE, 0.3 * np.sin(ANGLE)], axis=1)
    current = np.stack([0.5 + np.cos(ANGLE), np.cos(ANGLE)], axis=1)
    found = glm.circulation([current, 2 * current], [across] * 2, winding=[2 * math.pi, 0.0])
    expected = math.pi + 0.3 * math.pi
    np.testing.assert_allclose(found, [expected, 2 * expected], rtol=1e-14)


def test_in_gerstners_wave_it_is_the_vorticity_inside():
    """Of density times vorticity, 2 c e^{2 z}, over a circle: 2 pi c r e^{2 z} I1(2 r)."""
    loop = [0.3, -1.0] + 0.4 * ROUND
    both = glm.kelvin(gerstner(loop))
    expected = 2 * math.pi * SPEED * 0.4 * math.exp(-2.0) * iv(1, 0.8)
    assert both.of_mean == pytest.approx(expected, rel=1e-12)
    assert both.mean_of == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("end", [0.0, 0.7, 1.4])
def test_circulation_around_mean_loops_is_kept_by_solutions_of_euler(end):
    found = glm.ensemble_mean(EULER, LOOP, 0.0, end, label="initial")
    both = glm.kelvin(found)
    start = [glm.circulation(field.velocity(0.0, LOOP), LOOP) for field in EULER]
    assert both.of_mean == pytest.approx(np.mean(start), rel=2e-6)
    assert both.mean_of == pytest.approx(np.mean(start), rel=2e-6)
    assert abs(both.of_mean - np.mean(start)) <= 10 * both.of_mean_error
    assert abs(both.mean_of - np.mean(start)) <= 10 * both.mean_of_error
    if end > 0:  # mean velocity alone, or the Eulerian mean, is not kept
        assert abs(glm.circulation(found.mean_velocity, found.position) - both.of_mean) > 1e-2
        assert abs(glm.circulation(found.eulerian_velocity, found.position) - both.of_mean) > 1e-2


@pytest.mark.parametrize("rotation", [None, 0.7])
def test_both_sides_agree_in_any_flow_and_rotating_frame(rotation):
    """Which is no dynamics: momentum is the pull-back of velocity as a one-form."""
    found = glm.ensemble_mean(
        lambda phase: cells(0.3, shear=0.5, shift=phase), LOOP, 0.0, 1.0,
        label="initial", phases=8, rotation=rotation,
    )  # fmt: skip
    both = glm.kelvin(found, rotation=rotation)
    assert both.of_mean == pytest.approx(both.mean_of, rel=1e-8)
    assert abs(both.of_mean) > 0.01


def test_what_is_no_loop_is_refused():
    for points, options, message in (
        (ROUND[:31], {}, "even number"),
        (ROUND[0], {}, "must have one shape"),
        (ROUND * np.nan, {}, "must be finite"),
        (ROUND, {"winding": [1.0]}, "winding must hold 2"),
    ):
        with pytest.raises(ValueError, match=message):
            glm.circulation(points, points, **options)
