"""Inverse of maps: closed forms, folds, points given up, and calls for open points only."""

import numpy as np
import pytest

from meanfluid.means.inversion import inverted

TARGET = np.random.default_rng(3).uniform(-1.0, 1.0, (200, 2))


def cubic(x, which):
    """(x + x^3, y + x y^2 / 4): one to one, far from linear."""
    a, b = x.T
    gradient = np.empty((len(x), 2, 2))
    gradient[:, 0, 0], gradient[:, 0, 1] = 1 + 3 * a**2, 0.0
    gradient[:, 1, 0], gradient[:, 1, 1] = b**2 / 4, 1 + a * b / 2
    return np.stack([a + a**3, b + a * b**2 / 4], axis=1), gradient


def square(x, which):
    return x**2, 2 * x[:, :, None] * np.eye(2)


def test_the_inverse_of_a_cubic_is_cardanos():
    x = inverted(cubic, TARGET, TARGET, 1e-14)
    assert x.found.all()
    root = np.cbrt(TARGET[:, 0] / 2 + np.sqrt(TARGET[:, 0] ** 2 / 4 + 1 / 27))
    np.testing.assert_allclose(x.position[:, 0], root - 1 / (3 * root), rtol=0, atol=3e-14)
    np.testing.assert_allclose(cubic(x.position, None)[0], TARGET, rtol=0, atol=1e-14)
    np.testing.assert_allclose(x.gradient, cubic(x.position, None)[1], rtol=0, atol=1e-15)


def test_what_has_no_inverse_is_nan_and_said():
    x = inverted(square, TARGET, np.ones_like(TARGET), 1e-12)
    reached = (TARGET > 0).all(axis=1)
    assert (x.found == reached).all()
    assert np.isnan(x.position[~reached]).all()
    np.testing.assert_allclose(x.position[reached], np.sqrt(TARGET[reached]), rtol=1e-10)


def test_a_map_onto_one_point_is_not_inverted_even_there():
    """All mean positions of a solid rotation coincide after a turn; the distance is zero."""
    x = inverted(lambda x, which: (0 * x, np.zeros((len(x), 2, 2))), 0 * TARGET, TARGET, 1e-12)
    assert not x.found.any()


def test_nan_of_the_map_gives_up_the_point_alone():
    def holed(x, which):
        value, gradient = cubic(x, which)
        value[which == 7] = np.nan
        return value, gradient

    x = inverted(holed, TARGET, TARGET, 1e-14)
    assert (~x.found).nonzero()[0].tolist() == [7]


def test_points_that_are_done_are_not_evaluated_again():
    seen = np.zeros(len(TARGET), dtype=int)

    def counted(x, which):
        seen[which] += 1
        return cubic(x, which)

    done = inverted(cubic, TARGET, TARGET, 1e-14).position
    guess = np.where(np.arange(len(TARGET))[:, None] < 100, done, TARGET)
    inverted(counted, TARGET, guess, 1e-13)
    assert (seen[:100] == 1).all()
    assert (seen[100:] > 1).all()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_tolerance_may_differ_from_point_to_point(scale):
    tolerance = np.where(np.arange(len(TARGET)) % 2, 1e-3, 1e-13) * scale

    def scaled(x, which):
        value, gradient = cubic(x / scale, which)
        return value * scale, gradient

    x = inverted(scaled, TARGET * scale, TARGET * scale, tolerance)
    assert (x.distance <= tolerance).all()
