"""Nodes, inputs and means of equations on grids as Datasets: with the numbers of arrays."""

import numpy as np
import pytest
import xarray as xr

import meanfluid as mf
from meanfluid.fields import from_xarray
from meanfluid.means.lagrangian_pde import (
    Grid,
    RunningMean,
    RunningMeanLabel,
    Spectral,
    WindowKernel,
    interpolated,
    mean_on_grid,
)
from tests.means.lagrangian_pde.cases import GYRE, SQUARE, SWAYING, TURN, WALLS, height, wavy

NODES = np.arange(24) * TURN / 24
PLANE = xr.Dataset(coords={"y": NODES, "x": NODES, "run": "control"})
SEEN = {"wavy": wavy, "v": "velocity"}


@pytest.mark.parametrize("label", ["final", "mean", 0.2])
def test_means_on_a_grid_of_coordinates_are_those_on_a_grid(label):
    options = {"steps": 8, "label": label}
    plain = mean_on_grid(SWAYING, SEEN, Grid(SQUARE, 24), 0.0, 0.5, **options)
    found = mean_on_grid(SWAYING, SEEN, PLANE, 0.0, 0.5, **options)
    np.testing.assert_array_equal(found["wavy"], plain.values["wavy"].T)
    for k, end in enumerate("xy"):
        np.testing.assert_array_equal(found[f"v_{end}"], plain.values["v"][k].T)
        np.testing.assert_array_equal(found[f"to_mean_{end}"], plain.to_mean[k].T)
    assert found["wavy"].dims == ("y", "x") and found["run"] == "control"
    np.testing.assert_array_equal(found["wavy_error"], plain.time_error["wavy"].T)
    both = np.sqrt((plain.time_error["v"] ** 2).sum(axis=0)).T
    np.testing.assert_allclose(found["v_error"], both, rtol=1e-15)
    assert float(found["wavy_space_error"]) == plain.space_error["wavy"]
    assert (found["status"] == mf.Status.OK).all()
    np.testing.assert_array_equal(found["time_bnds"], [0.0, 0.5])
    said = f"time: mean (comment: along trajectories, label={label})"
    assert found["v_x"].attrs["cell_methods"] == said
    assert set(found["v_x"].attrs["ancillary_variables"].split()) == {
        "v_error", "status", "v_space_error"}  # fmt: skip
    assert found.attrs["meanfluid_steps"] == 8 and found.attrs["meanfluid_window"]


def test_walls_are_those_of_the_field():
    x, y = (np.linspace(axis.lower, axis.upper, n) for axis, n in zip(WALLS, (17, 9), strict=True))
    nodes = xr.Dataset(coords={"x": x, "y": y})
    options = {"steps": 4, "estimate_error": False}
    plain = mean_on_grid(GYRE, [height], Grid(WALLS, (17, 9)), 0.0, 0.5, **options)
    found = mean_on_grid(GYRE, [height], nodes, 0.0, 0.5, **options)
    np.testing.assert_array_equal(found["height"], plain.values["height"])


def test_dates_and_units_come_from_the_data(tmp_path):
    """A uniform current of 0.5 m/s: the mean position is half of a day's way upstream."""
    days = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    lon, lat = 1e5 * np.arange(12.0), 1e5 * np.arange(8.0)
    speed = np.full((4, 8, 12), 0.5)
    data = xr.Dataset(
        {"u": (("time", "lat", "lon"), speed, {"units": "m s-1"}),
         "v": (("time", "lat", "lon"), 0 * speed, {"units": "m s-1"})},
        {"time": days, "lon": ("lon", lon, {"units": "m"}), "lat": ("lat", lat, {"units": "m"})},
    )  # fmt: skip
    field = from_xarray(data, dims={"x": "lon", "y": "lat", "time": "time"}, time_degree=1)
    found = mean_on_grid(
        field, {"v": "velocity"}, data, days[0], days[1], steps=8, estimate_error=False,
        on_failure="mark",
    )  # fmt: skip
    assert (found["status"].isel(lon=0) == mf.Status.OUT_OF_DOMAIN).all()  # it came from outside
    inside = found.isel(lon=slice(6, None))
    np.testing.assert_allclose(inside["v_lon"], 0.5, rtol=1e-12)
    np.testing.assert_allclose(inside["to_mean_lon"], -0.5 * 43200.0, rtol=1e-9)
    assert found["to_mean_lon"].attrs["units"] == "m"
    assert found["v_lat"].attrs["units"] == "m s-1"
    np.testing.assert_array_equal(found["time_bnds"], days[:2])
    assert found["time"].to_numpy() == np.datetime64("2020-01-01T12")
    found.to_netcdf(tmp_path / "means.nc")
    with xr.open_dataset(tmp_path / "means.nc") as again:
        xr.testing.assert_equal(again.load(), found)


REFUSED = {
    "a function": (
        lambda t, x: np.ones_like(x), PLANE, TypeError, "needs a VelocityField"),
    "a section": (SWAYING, PLANE.isel(y=0), ValueError, "y must span a dimension of its own"),
    "a list": (
        SWAYING, xr.Dataset(coords={"x": ("n", NODES), "y": ("n", NODES)}), ValueError,
        "must span a dimension of its own"),
    "downwards": (SWAYING, PLANE.isel(x=slice(None, None, -1)), ValueError, "x must ascend"),
    "a part of a period": (SWAYING, PLANE.isel(x=slice(12)), ValueError, "must go once around"),
    "few nodes": (SWAYING, PLANE.isel(x=slice(None, None, 6)), ValueError, "at least 8"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_grid_is_refused(what):
    velocity, nodes, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        mean_on_grid(velocity, SEEN, nodes, 0.0, 0.5, steps=4)


GRID = Grid(SQUARE, 24)
SIZES = {"warmth": None, "flux": 2}


def levels(times):
    """Velocity, and a number and a vector, on the nodes at some times: as arrays and as data."""
    v = np.stack([SWAYING.velocity(t, GRID.positions).T.reshape(2, 24, 24) for t in times])
    warmth = np.stack([np.cos(GRID.mesh[0] - t) for t in times])
    seen = np.concatenate([warmth[:, None], warmth[:, None] * v], axis=1)
    dims = ("y", "t", "x")
    data = {name: (dims, part.transpose(2, 0, 1)) for name, part in
            (("u", v[:, 0]), ("v", v[:, 1]), ("warmth", warmth), ("flux_x", seen[:, 1]),
             ("flux_y", seen[:, 2]))}  # fmt: skip
    return v, seen, xr.Dataset(data, {"x": NODES, "y": NODES})


def test_running_means_take_datasets_as_a_solver_would_write_them():
    v, seen, data = levels([0.0, 0.05, 0.1])
    plain = RunningMean(Spectral(GRID), WindowKernel(0.0, 0.1), SIZES, 0.0, seen[0])
    found = RunningMean(Spectral(GRID), WindowKernel(0.0, 0.1), SIZES, 0.0, data.isel(t=0))
    plain.step(v, seen, 0.1)
    found.step(data[["u", "v"]], data, 0.1)
    for name, value in plain.mean().values.items():
        np.testing.assert_array_equal(found.mean().values[name], value)
    assert found.mean().to_dataset()["flux_x"].dims == ("x", "y")
    start = RunningMeanLabel(Spectral(GRID), WindowKernel(0.0, 0.1), SIZES, 0.0, data.isel(t=0))
    np.testing.assert_array_equal(start.fields[2:], seen[0])
    other = data.rename(u="velocity_x", v="velocity_y")[["velocity_x", "velocity_y"]]
    here = np.array([[1.0, 2.0]])
    flows = [
        interpolated(GRID, [0.0, 0.05, 0.1], speed, seen) for speed in (v, data, other)
    ]  # fmt: skip
    first, *rest = (flow(0.05, here)[0] for flow in flows)
    for one in rest:
        np.testing.assert_array_equal(one, first)


def test_inputs_on_other_nodes_are_refused():
    _, seen, data = levels([0.0, 0.05, 0.1])
    means = RunningMean(Spectral(GRID), WindowKernel(0.0, 0.1), SIZES, 0.0, seen[0])
    for wrong, message in (
        (data.assign_coords(x=NODES + 0.1), "must be on the nodes of the grid, but x differs"),
        (data.drop_vars("flux_x"), r"must hold \['warmth', 'flux_0', 'flux_1'\]"),
        (data.isel(t=0), "and one of time, got"),
        (
            data.rename(x="along", y="across").drop_vars(["along", "across"]),
            "2 dimensions of space",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            means.step(data, wrong, 0.1)
