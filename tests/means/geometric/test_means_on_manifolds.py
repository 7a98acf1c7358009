"""Means of linear maps, of rotations and on the sphere: known numbers and invariances."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from meanfluid.means.geometric import (
    group_exponential_mean,
    rotation_mean,
    sphere_mean,
    unimodular_mean,
)

LINEAR = np.stack([expm([[0.4, -0.3], [0.5, -0.4]]), expm([[-0.1, 0.6], [0.2, 0.1]])])
TURNS = Rotation.from_rotvec([[0.6, 0, 0], [0, 0.5, 0.1], [-0.1, 0.2, 0.7]]).as_matrix()


def plane(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_rotations_there_and_back_have_no_mean_turn():
    """Their arithmetic mean shrinks; all means that keep area are the identity."""
    both = np.stack([plane(0.5), plane(-0.5)])
    shrunk = both.mean(axis=0)
    np.testing.assert_allclose(shrunk, 0.877582561890373 * np.eye(2), atol=1e-15)
    assert np.linalg.det(shrunk) == pytest.approx(0.77015115293407, abs=1e-14)
    for mean in (group_exponential_mean, unimodular_mean, rotation_mean):
        np.testing.assert_allclose(mean(both), np.eye(2), rtol=0, atol=1e-14)


def test_means_of_linear_maps_of_determinant_one():
    """Known numbers, computed apart in extended precision."""
    assert np.linalg.det(LINEAR.mean(axis=0)) == pytest.approx(0.994579629535639, abs=1e-14)
    nearest, group = unimodular_mean(LINEAR), group_exponential_mean(LINEAR)
    np.testing.assert_allclose(
        nearest.ravel(),
        [1.18665410279819, 0.155477775641351, 0.352238157438032, 0.888856493840358],
        rtol=0, atol=2e-14,
    )  # fmt: skip
    np.testing.assert_allclose(
        group.ravel(),
        [1.18782239271689, 0.156717566734001, 0.353557176145339, 0.888523929855219],
        rtol=0, atol=2e-14,
    )  # fmt: skip
    assert np.linalg.norm(nearest - group) == pytest.approx(0.00218, abs=5e-6)
    for mean in (nearest, group):
        assert np.linalg.det(mean) == pytest.approx(1.0, abs=1e-14)


def test_the_nearest_unimodular_map_leaves_a_gradient():
    between = LINEAR.mean(axis=0) @ np.linalg.inv(unimodular_mean(LINEAR))
    np.testing.assert_allclose(between, between.T, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "sigma", [(1.5, 0.2), (2.0, 1.9), (9.0, 4.0), (1.2, -0.3), (2.0, 0.0), (1.4, 1.1, 0.3)]
)
def test_no_other_matrix_of_determinant_one_is_nearer(sigma):
    """Among a million with the same singular vectors, whatever the singular values."""
    from meanfluid.means.geometric.manifolds import _unimodular

    sigma = np.array(sigma)
    best = _unimodular(sigma)
    assert np.prod(best) == pytest.approx(1.0, abs=1e-12)
    generator = np.random.default_rng(2)
    tried = np.exp(generator.uniform(-3.0, 3.0, (1_000_000, len(sigma) - 1)))
    tried = np.concatenate([tried, 1.0 / tried.prod(axis=1, keepdims=True)], axis=1)
    distance = ((tried - sigma) ** 2).sum(axis=1).min()
    assert ((best - sigma) ** 2).sum() <= distance * (1 + 1e-12)


def test_two_maps_equally_near_are_refused():
    with pytest.raises(ValueError, match="equally near"):
        unimodular_mean([np.diag([10.0, 0.1]), np.diag([0.1, 10.0])])


def test_the_group_mean_moves_with_both_sides_and_with_inversion():
    generator = np.random.default_rng(4)
    left, right = expm(0.3 * generator.normal(size=(2, 2, 2)))
    w = [0.3, 0.7]
    mean = group_exponential_mean(LINEAR, weights=w)
    moved = group_exponential_mean(left @ LINEAR @ right, weights=w)
    np.testing.assert_allclose(moved, left @ mean @ right, rtol=0, atol=1e-13)
    inverse = group_exponential_mean(np.linalg.inv(LINEAR), weights=w)
    np.testing.assert_allclose(inverse @ mean, np.eye(2), rtol=0, atol=1e-13)


def test_the_mean_of_rotations_of_space():
    mean = rotation_mean(TURNS)
    expected = [0.171050977591395, 0.237737890923713, 0.270695119107783]
    ours = Rotation.from_matrix(mean).as_rotvec()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-14)
    theirs = Rotation.from_matrix(TURNS).mean().as_rotvec()  # nearest in the ambient space
    assert np.abs(ours - theirs).max() > 1e-4
    assert np.linalg.det(TURNS.mean(axis=0)) == pytest.approx(0.789320763627508, abs=1e-14)


def turned(colatitude, angle=0.5):
    """Points of the sphere turned by +-angle about the pole."""
    z = np.cos(colatitude)
    a, b = np.sin(colatitude) * np.cos(angle), np.sin(colatitude) * np.sin(angle)
    return np.stack([np.stack([a, b, z], axis=-1), np.stack([a, -b, z], axis=-1)])


def test_centres_on_the_sphere_lie_on_a_shifted_parallel():
    """tan(mean) = tan(colatitude) cos(angle), and how areas change with it."""
    v, h = 1.1, 1e-3
    mean = np.arccos(sphere_mean(turned(v + h * np.arange(-2.0, 3.0)))[:, 2])
    assert mean[2] == pytest.approx(1.045237926372582, abs=1e-14)
    slope = (8 * (mean[3] - mean[1]) - (mean[4] - mean[0])) / (12 * h)
    area = slope * np.sin(mean[2]) / np.sin(v)
    assert area == pytest.approx(1.042053962777726, abs=1e-11)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: group_exponential_mean(np.eye(2)), r"shape \(members, d, d\)"),
        (lambda: group_exponential_mean([np.diag([1.0, -1.0])]), "above zero"),
        (lambda: group_exponential_mean([np.eye(2), -np.eye(2)]), "too far apart"),
        (lambda: unimodular_mean([2 * np.eye(2)]), "determinant 1"),
        (lambda: rotation_mean(LINEAR), "expected rotations"),
        (lambda: sphere_mean(np.ones((2, 1, 3))), "length 1"),
        (lambda: sphere_mean([[[0.0, 0.0, 1.0]], [[0.0, 0.0, -1.0]]]), "half sphere"),
        (lambda: rotation_mean(TURNS, weights=[1.0]), "one per member"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
