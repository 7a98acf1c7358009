"""What happens beyond a closed end: nothing more, the value at the end, or a mirrored field."""

import math

import numpy as np
import pytest

from meanfluid import (
    Axis,
    Status,
    TrajectoryError,
    VelocityField,
    average_velocity,
    flow_map,
    trajectories,
)
from meanfluid.fields import sampled, taylor_green
from tests.trajectories.own_fields import BOX, flow_of

TURN = 2 * math.pi


def growing(m, p, t, x, y):
    return x, m.cos(t)


GROWING = VelocityField(
    body=growing, dimension=2, domain=(Axis(-1.0, 1.0, "closed"), Axis(-1.0, 1.0))
)


def pulsating(m, p, t, x, y):
    """Cells with walls at multiples of pi, whose speed pulsates."""
    speed = 1 + 0.5 * m.sin(2 * t)
    return speed * m.sin(x) * m.cos(y), -speed * m.cos(x) * m.sin(y)


OPEN_CELLS = VelocityField(body=pulsating, dimension=2)
CELL = VelocityField(
    body=pulsating, dimension=2,
    domain=(Axis(0.0, math.pi, "closed"), Axis(0.0, math.pi, "closed")),
)  # fmt: skip


def test_the_end_of_the_domain_ends_a_trajectory_or_not():
    """A uniform current out of a box: marked, raised, or going on as at the end."""
    x = [(0.25, 0.0), (0.5, 3.0), (0.75, 0.0)]
    marked = trajectories(BOX, x, 0.0, 0.4, out_of_domain="mark")
    np.testing.assert_array_equal(marked.status, [0, 0, Status.OUT_OF_DOMAIN])
    np.testing.assert_array_equal(marked.left_domain, [False, False, True])
    assert np.isnan(marked.position[2]).all() and np.isfinite(marked.position[:2]).all()
    with pytest.raises(TrajectoryError, match=r"1 of 3 .*OUT_OF_DOMAIN.*particle 2 at \[0.75, 0"):
        trajectories(BOX, x, 0.0, 0.4)
    clamped = trajectories(BOX, x, 0.0, 0.4, out_of_domain="clamp")
    np.testing.assert_allclose(clamped.position, np.add(x, (0.4, 0)), rtol=1e-14)
    np.testing.assert_array_equal(clamped.left_domain, [False, False, True])
    assert not clamped.status.any()


@pytest.mark.parametrize("end", [2.5, 0.7])
def test_beyond_the_end_a_clamped_particle_goes_on_with_the_velocity_there(end):
    """exp(t) x up to 1, and from then on at speed 1; both have a gradient in closed form."""
    x = np.array([(0.2, 0.1), (-0.5, 0.3), (0.9, -0.2), (0.01, 0.0)])
    path = trajectories(GROWING, x, 0.0, end, out_of_domain="clamp", gradient=True, rtol=1e-10)
    size, arrives = abs(x[:, 0]), -np.log(abs(x[:, 0]))
    out = arrives < end
    expected = np.where(out, 1 + end - arrives, size * math.exp(end)) * np.sign(x[:, 0])
    np.testing.assert_allclose(path.position[:, 0], expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(path.position[:, 1], x[:, 1] + math.sin(end), rtol=0, atol=1e-8)
    np.testing.assert_array_equal(path.left_domain, out)
    slope = np.where(out, 1 / size, math.exp(end))
    np.testing.assert_allclose(path.gradient[:, 0, 0], slope, rtol=1e-7)
    np.testing.assert_allclose(path.gradient[:, 1, 1], 1, rtol=1e-12)


def test_particles_that_start_beyond_the_end_are_clamped_from_the_start():
    path = trajectories(
        GROWING, [(3.0, 0.0), (-2.0, 0.0)], 0.0, 1.0, out_of_domain="clamp", gradient=True
    )
    np.testing.assert_allclose(path.position[:, 0], (4.0, -3.0), rtol=1e-12)
    np.testing.assert_allclose(path.gradient[:, 0, 0], 1.0, rtol=1e-12)
    assert path.left_domain.all()
    for policy in ("raise", "mark"):
        options = {"out_of_domain": policy, "on_failure": "mark"}
        if policy == "raise":
            with pytest.raises(TrajectoryError, match="1 x OUT_OF_DOMAIN"):
                trajectories(GROWING, [(3.0, 0.0)], 0.0, 1.0, **options)
        else:
            lost = trajectories(GROWING, [(3.0, 0.0)], 0.0, 1.0, **options)
            assert lost.status[0] == Status.OUT_OF_DOMAIN and lost.left_domain[0]


@pytest.mark.parametrize("end", [4.0, -4.0])
def test_reflection_at_walls_is_the_flow_of_the_mirrored_field(end):
    """Cells mirror one another, so that one of them, reflected, is the flow of them all."""
    x = np.random.default_rng(131).uniform(-2 * math.pi, 3 * math.pi, (100, 2))
    path = trajectories(CELL, x, 0.0, end, out_of_domain="reflect", gradient=True)
    whole = trajectories(OPEN_CELLS, x, 0.0, end, gradient=True)
    gap = np.linalg.norm(path.position - whole.position, axis=1)
    assert (gap <= 10 * (path.error + whole.error) + 1e-13).all(), gap.max()
    gap = np.linalg.norm(path.gradient - whole.gradient, axis=(1, 2))
    assert (gap <= 10 * (path.gradient_error + whole.gradient_error) + 1e-13).all(), gap.max()
    outside = ((x < 0) | (x > math.pi)).any(axis=1)
    np.testing.assert_array_equal(path.left_domain, outside)
    assert not path.status.any()


def test_mirrored_particles_have_mirrored_trajectories():
    """To rounding: the mirror is at 0, where nothing is lost in the reflection."""
    x = np.random.default_rng(132).uniform(0.1, 3, (50, 2))
    inside = trajectories(CELL, x, 0.5, 3.5, out_of_domain="reflect")
    outside = trajectories(CELL, x * (-1, 1), 0.5, 3.5, out_of_domain="reflect")
    np.testing.assert_allclose(outside.position, inside.position * (-1, 1), rtol=0, atol=1e-13)


def test_reflection_inside_the_domain_changes_nothing():
    """Also of decaying cells, whose flow map is known."""
    field = taylor_green(1.5, 1.0, 0.03)
    closed = VelocityField(
        body=field.body, parameters=field.parameters, dimension=2,
        domain=(Axis(-40.0, 40.0, "closed"), Axis(-40.0, 40.0, "closed")),
    )  # fmt: skip
    x = np.random.default_rng(133).uniform(0, 3, (30, 2))
    exact = flow_of(field, x, 0.3, 4.3)
    for policy in ("mark", "clamp", "reflect"):
        path = trajectories(closed, x, 0.3, 4.3, out_of_domain=policy)
        np.testing.assert_allclose(path.position, exact, rtol=0, atol=1e-9)
        assert not path.left_domain.any()


def singular(m, p, t, x, y):
    """Not a number from x = 1 on, which is inside of the domain."""
    return 1 + m.sqrt(1 - x), 0 * y


SINGULAR = VelocityField(
    body=singular, dimension=2, domain=(Axis(-9.0, 9.0, "closed"), Axis(-1.0, 1.0, "closed"))
)
BOTH = [(0.5, 0.0), (-8.0, 0.0), (0.0, 5.0)]  # singular, fine, outside


def test_leaving_and_failing_have_policies_of_their_own():
    with pytest.raises(TrajectoryError, match=r"1 of 3 .*\(1 x OUT_OF_DOMAIN\).*particle 2"):
        trajectories(SINGULAR, BOTH, 0.0, 0.9, on_failure="mark", out_of_domain="raise")
    with pytest.raises(TrajectoryError, match=r"1 of 3 .*\(1 x NOT_FINITE\).*particle 0"):
        trajectories(SINGULAR, BOTH, 0.0, 0.9, on_failure="raise", out_of_domain="mark")
    for options in ({"on_failure": "mark"}, {"on_failure": "mark", "out_of_domain": "mark"}):
        path = trajectories(SINGULAR, BOTH, 0.0, 0.9, **options)
        expected = [Status.NOT_FINITE, Status.OK, Status.OUT_OF_DOMAIN]
        np.testing.assert_array_equal(path.status, expected)
    for options in ({}, {"out_of_domain": "raise"}):
        with pytest.raises(TrajectoryError, match=r"1 x OUT_OF_DOMAIN, 1 x NOT_FINITE.*particle 0"):
            trajectories(SINGULAR, BOTH, 0.0, 0.9, **options)


def test_an_unknown_policy_is_refused():
    message = 'out_of_domain must be "raise", "mark", "clamp" or "reflect", got'
    for policy in ("wrap", 3):
        with pytest.raises(ValueError, match=message):
            flow_map(BOX, [(0.5, 0.5)], 0.0, 0.1, out_of_domain=policy)


def sampled_cells(boundary, degree=3):
    """Steady cells on 0 to pi, with walls or cut out of a larger sea."""
    x = np.linspace(0, math.pi, 33)
    mesh = np.meshgrid(x, x, indexing="ij")
    velocity = [np.sin(mesh[0]) * np.cos(mesh[1]), -np.cos(mesh[0]) * np.sin(mesh[1])]
    for k in range(2):
        normal = np.moveaxis(velocity[k], k, 0)
        normal[0] = normal[-1] = 0.0
    return sampled(velocity, [x, x], degree=degree, boundary=boundary)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("end", [15.0, -15.0])
def test_particles_stay_between_the_walls_of_a_sampled_field(degree, end):
    """Also those on a wall, but for rounding, which grows by exp(15); none is ever lost."""
    field = sampled_cells("wall", degree)
    x = np.random.default_rng(134).uniform(0, math.pi, (40, 2))
    x[:4] = [(0, 1), (math.pi, 2), (1, 0), (2.5, math.pi)]
    path = trajectories(field, x, 0.0, end)
    assert not path.status.any()
    assert (path.position > -1e-9).all() and (path.position < math.pi + 1e-9).all()
    for row, axis in ((0, 0), (1, 0), (2, 1), (3, 1)):
        assert path.position[row, axis] == pytest.approx(x[row, axis], abs=1e-9)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("end", [15.0, -15.0])
def test_a_particle_in_a_corner_stays_there_in_few_steps(degree, end):
    """All that moves it is rounding of the spline, 1e-17, to and fro across the knots."""
    x = [(0, 0), (math.pi, 0), (0, math.pi), (math.pi, math.pi)]
    path = trajectories(
        sampled_cells("wall", degree), x, 0.0, end, max_steps=500, on_failure="mark"
    )
    assert not path.status.any(), (path.status, path.steps)
    np.testing.assert_allclose(path.position, x, rtol=0, atol=1e-9)


def test_a_sampled_field_between_walls_is_mirrored_beyond_them():
    """A particle and its image behind the wall keep being images."""
    field = sampled_cells("wall")
    x = np.random.default_rng(135).uniform(0.1, 3, (30, 2))
    inside = trajectories(field, x, 0.0, 5.0)
    for image in (x * (-1, 1), x * (1, -1), (2 * math.pi, 0) + x * (-1, 1)):
        path = trajectories(field, image, 0.0, 5.0)
        mirrored = np.where(image == x, inside.position,
                            np.round((image + x) / TURN) * TURN - inside.position)  # fmt: skip
        gap = np.linalg.norm(path.position - mirrored, axis=1)
        assert (gap <= 10 * (path.error + inside.error) + 1e-12).all(), gap.max()
        assert path.left_domain.all() and not inside.left_domain.any()


def test_open_data_end_where_they_end_or_go_on_as_asked():
    """Uniform current in the data: out of them it is lost, goes on, or comes back mirrored."""
    x = np.linspace(0, 1, 9)
    current = sampled([np.ones((9, 9)), np.zeros((9, 9))], [x, x], boundary="open")
    start = [(0.5, 0.5), (0.9, 0.25)]
    path = trajectories(current, start, 0.0, 0.3, on_failure="mark")
    np.testing.assert_array_equal(path.status, [0, Status.OUT_OF_DOMAIN])
    np.testing.assert_array_equal(path.left_domain, [False, True])
    np.testing.assert_allclose(path.position[0], (0.8, 0.5), rtol=1e-14)
    clamped = trajectories(current, start, 0.0, 0.3, out_of_domain="clamp")
    np.testing.assert_allclose(clamped.position, np.add(start, (0.3, 0)), rtol=1e-12)
    np.testing.assert_array_equal(clamped.left_domain, [False, True])
    with pytest.raises(TrajectoryError, match=r"1 of 2 .*OUT_OF_DOMAIN.*particle 1 at \[0.9, 0.2"):
        average_velocity(current, start, 0.0, 0.3, label="initial")


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_clamped_sampled_fields_follow_the_closed_form_too(degree):
    """v = x is a spline of any degree; beyond the data the velocity is that at their end."""
    x = np.linspace(-1, 1, 9)
    mesh = np.meshgrid(x, x, indexing="ij")
    field = sampled([mesh[0], 0 * mesh[1]], [x, x], degree=degree, boundary="open")
    start = np.array([(0.2, 0.1), (-0.5, 0.3), (0.9, -0.2)])
    path = trajectories(field, start, 0.0, 2.0, out_of_domain="clamp", gradient=True)
    size, arrives = abs(start[:, 0]), -np.log(abs(start[:, 0]))
    expected = (1 + 2.0 - arrives) * np.sign(start[:, 0])
    np.testing.assert_allclose(path.position[:, 0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(path.gradient[:, 0, 0], 1 / size, rtol=1e-6)
    assert (abs(path.position[:, 0] - expected) <= 10 * path.error + 1e-14).all()
    assert path.left_domain.all()


def test_reflected_open_data_are_those_of_mirrored_data():
    """The same samples with their mirror image beside them, as one wider field."""
    x = np.linspace(0, math.pi, 33)
    wider = np.concatenate([-x[:0:-1], x])
    mesh = np.meshgrid(x, x, indexing="ij")
    velocity = [np.sin(mesh[0]) * (1.2 + np.cos(mesh[1])), 0.1 * np.cos(mesh[0])]
    both = [np.concatenate([-velocity[0][:0:-1], velocity[0]]),
            np.concatenate([velocity[1][:0:-1], velocity[1]])]  # fmt: skip
    # linear, so that the spline of the mirrored data is the mirrored spline
    field = sampled(velocity, [x, x], degree=1, boundary="open")
    mirrored = sampled(both, [wider, x], degree=1, boundary="open")
    start = np.random.default_rng(136).uniform((-3, 1), (3, 2), (40, 2))
    path = trajectories(field, start, 0.0, 2.0, out_of_domain="reflect")
    whole = trajectories(mirrored, start, 0.0, 2.0, out_of_domain="reflect")
    np.testing.assert_allclose(path.position, whole.position, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(path.left_domain, start[:, 0] < 0)
