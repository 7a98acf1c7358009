"""Means in the plane and in space: known numbers, particles, what is conserved."""

import numpy as np
import pytest

import meanfluid as mf
from meanfluid.means.lagrangian_pde import (
    FourierSeries,
    Grid,
    Spectral,
    exponential,
    mean_on_grid,
    remapped,
)
from meanfluid.trajectories.flow_map import trajectories
from tests.means.lagrangian_pde.cases import SWAYING, TURN, bell, wavy

CELLS = mf.fields.taylor_green()
# Means of cos x over 2 time units, by trajectories in extended precision.
PLACES = np.array([(5, 9), (12, 20), (28, 6)])  # in units of 2 pi / 64
COSINES = (0.903719377190118, -0.06445989627770934, -0.4992453216702753)


def cosine(m, p, t, x, y):
    return m.cos(x)


def stream(m, p, t, x, y):
    return m.sin(x) * m.sin(y)


@pytest.mark.parametrize(
    ("nodes", "steps", "bound"),
    [(32, 32, 9.1e-4), (64, 64, 4.6e-6), pytest.param(128, 256, 5e-10, marks=pytest.mark.slow)],
)
def test_cells_have_known_means_as_far_as_the_grid_resolves_them(nodes, steps, bound):
    """All wave numbers are kept: the velocity has two only, and hardly aliases."""
    grid = Grid.of(CELLS, nodes)
    found = mean_on_grid(
        CELLS, [cosine], Spectral(grid, kept=1.0), 0.0, 2.0, steps=steps, estimate_error=False
    )
    series = FourierSeries(grid, found.values["cosine"][None])
    error = np.abs(series.at(PLACES * TURN / 64)[0] - COSINES).max()
    assert error < bound
    assert error < found.space_error["cosine"] < 1e4 * error


@pytest.mark.parametrize("label", ["final", "initial", "mean"])
def test_what_the_fluid_conserves_is_its_own_mean(label):
    """The streamfunction of a steady flow, under a weight that is not uniform."""
    grid = Grid.of(CELLS, 32)
    found = mean_on_grid(
        CELLS, [stream], Spectral(grid, kept=1.0), 0.0, 1.0, steps=40, label=label,
        window=lambda t: 1.0 + t * t, estimate_error=False,
    )  # fmt: skip
    expected = stream(np, None, 0.0, *grid.mesh)
    if label == "mean":  # at the place where the fluid is at the end
        series = FourierSeries(grid, expected[None])
        place = grid.positions + found.to_end.reshape(2, -1).T
        # Limited by the displacement, which the grid does not resolve to rounding.
        np.testing.assert_allclose(
            found.values["stream"].ravel(), series.at(place)[0], rtol=0, atol=1e-6
        )
    else:
        np.testing.assert_allclose(found.values["stream"], expected, rtol=0, atol=1e-13)


def test_equations_and_particles_agree_within_the_errors_they_state():
    """An unsteady flow, a weight in time; both labels of one trajectory and the mean velocity."""
    grid = Grid.of(SWAYING, 48)
    found = mean_on_grid(
        SWAYING, {"wavy": wavy, "v": "velocity"}, Spectral(grid, kept=1.0), 0.0, 2.0, steps=80,
        window=lambda t: bell(np, t),
    )  # fmt: skip
    path = trajectories(
        SWAYING, grid.positions, 2.0, 0.0, observables=[wavy], weights={"bell": bell}
    )
    scalar = path.means["wavy.bell"].reshape(grid.shape)
    velocity = path.means["velocity.bell"].T.reshape(2, *grid.shape)
    for name, exact in (("wavy", scalar), ("v", velocity)):
        error = np.abs(found.values[name] - exact)
        axes = (-2, -1)
        stated = found.time_error[name].max(axis=axes) + found.space_error[name]
        assert (error.max(axis=axes) < stated).all()
        assert (stated < 1e-3).all()
    ahead = mean_on_grid(
        SWAYING, {"wavy": wavy}, Spectral(grid, kept=1.0), 0.0, 2.0, steps=80, label="initial"
    )
    path = trajectories(
        SWAYING, grid.positions, 0.0, 2.0, observables=[wavy], weights={"bell": bell}
    )
    error = np.abs(ahead.values["wavy"].ravel() - path.means["wavy"]).max()
    assert error < ahead.time_error["wavy"].max() + ahead.space_error["wavy"] < 1e-3


def test_both_ways_to_the_mean_label_agree():
    grid = Grid.of(SWAYING, 48)
    options = {"steps": 60, "estimate_error": True}
    transport = Spectral(grid, kept=1.0)
    direct = mean_on_grid(SWAYING, [wavy], transport, 0.0, 1.5, label="mean", **options)
    final = mean_on_grid(SWAYING, [wavy], transport, 0.0, 1.5, **options)
    detour = remapped(final)
    away = np.abs(direct.values["wavy"] - detour.values["wavy"]).max()
    stated = (
        direct.space_error["wavy"] + final.space_error["wavy"] + direct.time_error["wavy"].max()
    )
    assert away < stated < 1e-3
    spline = remapped(final, interpolation="spline")
    np.testing.assert_allclose(spline.values["wavy"], detour.values["wavy"], rtol=0, atol=2e-5)


def test_folded_mean_positions_are_marked_or_raise():
    """After a turn the middle of a vortex has its mean positions at the centre, then beyond."""
    still = {"f": lambda t, x: x[:, 0]}
    grid = Grid((mf.Axis(-4.0, 4.0, "open"), mf.Axis(-4.0, 4.0, "open")), 25)

    def turning(t, x):
        return np.stack([-x[:, 1], x[:, 0]], axis=1) * np.exp(-(x**2).sum(axis=1) / 2)[:, None]

    final = mean_on_grid(
        turning, still, grid, 0.0, 9.0, steps=60, estimate_error=False, on_failure="mark"
    )
    with pytest.raises(mf.TrajectoryError, match=r"nodes have no mean.*on_failure"):
        remapped(final)
    found = remapped(final, on_failure="mark")
    assert (found.status == mf.Status.NOT_INVERTIBLE).any()
    assert found.status[12, 3] == mf.Status.OK
    np.testing.assert_array_equal(np.isnan(found.values["f"]), found.status != mf.Status.OK)


def test_space_has_three_dimensions():
    """A uniform flow: the mean of a wave along straight paths."""
    axes = tuple(mf.Axis(0.0, TURN, "periodic") for _ in range(3))
    grid = Grid(axes, (12, 8, 10))
    speed = np.array([0.3, -0.2, 0.5])
    k = np.array([2.0, 1.0, -1.0])
    found = mean_on_grid(
        lambda t, x: np.broadcast_to(speed, x.shape), {"f": lambda t, x: np.cos(x @ k)}, grid,
        0.0, 2.0, steps=20, window=exponential(9.0), label="final", estimate_error=False,
    )  # fmt: skip
    omega = k @ speed
    began = np.exp(1j * np.tensordot(k, grid.mesh, axes=1))
    response = exponential(9.0).response(omega)
    np.testing.assert_allclose(found.values["f"], (response * began).real, rtol=0, atol=2e-4)
    assert found.to_mean.shape == (3, 12, 8, 10)
