"""The semi-Lagrangian transport: its order between walls, open ends, closed forms on lines."""

import numpy as np
import pytest

import meanfluid as mf
from meanfluid.means.lagrangian_pde import (
    Grid,
    GridSpline,
    SemiLagrangian,
    butterworth,
    exponential,
    mean_on_grid,
    remapped,
)
from tests.means.lagrangian_pde.cases import COSINE, GYRE, KNOWN, LINE, NODES, WALLS, height, wave


def by_particles(position, start, end, steps=300):
    """Means of height and position over [start, end], by Runge-Kutta of order four in NumPy."""
    h = (end - start) / steps
    state = np.concatenate([position, np.zeros((len(position), 3))], axis=1)

    def rate(t, state):
        x = state[:, :2]
        return np.column_stack([GYRE.velocity(t, x), height(np, None, t, *x.T), x])

    for n in range(steps):
        t = start + n * h
        first = rate(t, state)
        second = rate(t + h / 2, state + h / 2 * first)
        third = rate(t + h / 2, state + h / 2 * second)
        state = state + h / 6 * (first + 2 * (second + third) + rate(t + h, state + h * third))
    return state[:, 2] / (end - start), state[:, 3:] / (end - start)


@pytest.mark.parametrize(("degree", "order"), [(3, 3.0), (5, 4.0)])
def test_between_walls_it_has_its_order_in_step_and_spacing_together(degree, order):
    """The step is proportional to the spacing: order min(4, degree) at least, in rms."""
    errors = []
    coarse = Grid(WALLS, (33, 17))
    exact = by_particles(coarse.positions, 1.5, 0.0)[0].reshape(coarse.shape)
    for nodes, steps in ((17, 6), (33, 12), (65, 24)):
        grid = Grid(WALLS, (2 * nodes - 1, nodes))
        found = mean_on_grid(
            GYRE, [height], SemiLagrangian(grid, degree), 0.0, 1.5, steps=steps,
            estimate_error=False,
        )  # fmt: skip
        every = (nodes - 1) // 16
        shared = found.values["height"][::every, ::every]
        errors.append(np.sqrt(np.mean((shared - exact) ** 2)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.mean(orders) > order and min(orders) > order - 0.2, (errors, orders)


def test_its_stated_errors_are_those_that_are_made():
    grid = Grid(WALLS, (65, 33))
    found = mean_on_grid(GYRE, [height], SemiLagrangian(grid), 0.0, 1.5, steps=6)
    exact = by_particles(grid.positions, 1.5, 0.0)[0].reshape(grid.shape)
    error = np.abs(found.values["height"] - exact).max()
    stated = found.time_error["height"].max() + found.space_error["height"]
    assert error < stated < 30 * error, (error, stated)


def test_between_walls_the_mean_label_follows_by_remapping():
    """Against particles: released where the fluid is at the end, they have the node as mean."""
    grid = Grid(WALLS, (65, 33))
    final = mean_on_grid(GYRE, [height], SemiLagrangian(grid), 0.0, 1.5, steps=30)
    found = remapped(final)
    mean, place = by_particles(grid.positions + found.to_end.reshape(2, -1).T, 1.5, 0.0)
    away = np.abs(place - grid.positions).max(axis=0)
    stated = final.space_error["to_mean"] + final.time_error["to_mean"].max(axis=(1, 2))
    assert (away < stated).all() and stated.max() < 1e-3, (away, stated)
    away = np.abs(mean - found.values["height"].ravel()).max()
    stated = found.space_error["height"] + found.time_error["height"].max()
    assert away < stated < 1e-2, (away, stated)
    with pytest.raises(ValueError, match='"series" needs periodic axes'):
        remapped(final, interpolation="series")


@pytest.mark.parametrize(
    ("label", "exact"),
    [
        ("final", 0.8184690360079745),
        ("initial", 4.391541423331034),
        (0.6, 1.895874646526726),
        ("mean", 1.788222677748529),
    ],
)
def test_a_linear_flow_has_the_closed_form_for_every_label(label, exact):
    """Of x^2, which splines hold exactly, in v = 0.7 x over 1.2, at x = 1.3; the ends are open."""
    grid = Grid((mf.Axis(-10.4, 10.4, "open"),), 161)
    found = mean_on_grid(
        lambda t, x: 0.7 * x, {"f": lambda t, x: x[:, 0] ** 2}, grid, 0.0, 1.2, steps=60,
        label="final" if label == "mean" else label, on_failure="mark", estimate_error=False,
    )  # fmt: skip
    if label == "mean":
        found = remapped(found, on_failure="mark")
    # Next to where fluid came in the spline is disturbed, by a factor of 0.43 per node inwards.
    assert grid.coordinates[0][90] == pytest.approx(1.3, abs=1e-14)
    assert found.values["f"][90] == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize(
    ("label", "exact"), [("final", 0.661304347826087), ("mean", 2.090048309178744)]
)
def test_the_exponential_mean_of_a_linear_flow_has_its_closed_form(label, exact):
    grid = Grid((mf.Axis(-5.2, 5.2, "open"),), 81)
    found = mean_on_grid(
        lambda t, x: 0.7 * x, {"f": lambda t, x: x[:, 0] ** 2}, grid, 0.0, 12.0, steps=240,
        window=exponential(0.9), estimate_error=False,
    )  # fmt: skip
    if label == "mean":
        found = remapped(found, on_failure="mark")
    assert found.values["f"][50] == pytest.approx(exact, abs=1e-6)


def test_fluid_that_came_in_is_marked_and_no_other():
    """A uniform flow through a channel that is open at both ends."""
    grid = Grid((mf.Axis(0.0, 4.0, "open"),), 41)
    flow = (lambda t, x: np.ones_like(x), {"f": lambda t, x: np.sin(x[:, 0])})
    with pytest.raises(mf.TrajectoryError, match=r"of 41 nodes have no mean \(OUT_OF_DOMAIN\)"):
        mean_on_grid(*flow, grid, 0.0, 1.0, steps=12)
    found = mean_on_grid(*flow, grid, 0.0, 1.0, steps=12, on_failure="mark", estimate_error=False)
    x = grid.coordinates[0]
    lost = found.status == mf.Status.OUT_OF_DOMAIN
    assert lost[x < 1.0].all() and not lost[x > 1.5].any()
    np.testing.assert_array_equal(np.isnan(found.values["f"]), lost)
    exact = np.cos(x - 1) - np.cos(x)
    far = x > 2.0  # ten nodes on
    np.testing.assert_allclose(found.values["f"][far], exact[far], rtol=0, atol=2e-5)


def test_on_a_periodic_box_it_has_the_means_of_the_series():
    """Under a window, and for a filter of order two, whose fields act on each other."""
    options = {"estimate_error": False}
    found = mean_on_grid(wave, COSINE, SemiLagrangian(LINE), 0.0, 5.0, steps=60, **options)
    np.testing.assert_allclose(found.values["f"][NODES], KNOWN["final"], rtol=0, atol=1e-6)
    options["window"] = butterworth(2.0)
    found = mean_on_grid(wave, COSINE, SemiLagrangian(LINE), 0.0, 5.0, steps=60, **options)
    series = mean_on_grid(wave, COSINE, LINE, 0.0, 5.0, steps=200, **options)
    np.testing.assert_allclose(found.values["f"], series.values["f"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.to_mean, series.to_mean, rtol=0, atol=2e-5)


def test_a_rotation_in_a_box_with_open_ends_has_its_closed_form():
    """The mean of x, which splines hold exactly: Re[z (1 - exp(-i q)) / (i q)], q = 1.3 h."""
    axes = (mf.Axis(-3.2, 3.2, "open"), mf.Axis(-3.2, 3.2, "open"))
    found = mean_on_grid(
        lambda t, x: 1.3 * np.stack([-x[:, 1], x[:, 0]], axis=1), {"f": lambda t, x: x[:, 0]},
        Grid(axes, 49), 0.0, 1.5, steps=24, on_failure="mark", estimate_error=False,
    )  # fmt: skip
    assert (found.grid.coordinates[0][30], found.grid.coordinates[1][21]) == pytest.approx(
        (0.8, -0.4)
    )
    assert found.values["f"][30, 21] == pytest.approx(0.100048943314144, abs=2e-6)
    assert found.status[0, 0] == mf.Status.OUT_OF_DOMAIN  # corners turn out of the box


def test_a_grid_of_both_kinds_of_axes_is_solved():
    """A channel: periodic along x, with walls along y; the flow is a shear."""
    axes = (mf.Axis(0.0, 2 * np.pi, "periodic"), mf.Axis(0.0, 1.0, "wall"))
    grid = Grid(axes, (32, 17))
    found = mean_on_grid(
        lambda t, x: np.stack([x[:, 1], 0 * x[:, 1]], axis=1),
        {"f": lambda t, x: np.cos(x[:, 0])}, grid, 0.0, 2.0, steps=16, estimate_error=False,
    )  # fmt: skip
    x, y = grid.mesh
    with np.errstate(invalid="ignore"):
        exact = np.where(y > 0, (np.sin(x) - np.sin(x - 2 * y)) / (2 * y), np.cos(x))
    np.testing.assert_allclose(found.values["f"], exact, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.to_mean, [-y, 0 * y], rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("boundary", ["periodic", "wall"])
def test_splines_on_a_grid_are_those_of_sampled_fields(degree, boundary):
    axes = (mf.Axis(0.0, 2.0, boundary), mf.Axis(-1.0, 1.5, boundary))
    grid = Grid(axes, (10, 9))
    values = np.random.default_rng(5).normal(size=(2, 10, 9))
    boundary = "open" if boundary == "wall" else boundary
    known = mf.fields.sampled(
        list(values), list(grid.coordinates), degree=degree, boundary=boundary
    )
    inside = np.random.default_rng(6).uniform([0.0, -1.0], [1.75, 1.2], (200, 2))
    spline = GridSpline(grid, values, degree)
    np.testing.assert_allclose(spline.at(inside).T, known.velocity(0.0, inside), atol=1e-13)
    step = 1e-6
    if degree > 1:
        for axis in range(2):
            aside = step * np.eye(2)[axis]
            slope = (spline.at(inside + aside) - spline.at(inside - aside)) / (2 * step)
            np.testing.assert_allclose(spline.gradient(inside)[..., axis], slope, atol=1e-6)
