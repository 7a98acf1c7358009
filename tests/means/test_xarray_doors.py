"""Every door for particles: xarray in gives xarray out, with the numbers of arrays, to the bit."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import xarray as xr

import meanfluid as mf
from meanfluid import Status, TrajectoryError, transport
from meanfluid.fields import abc_flow, from_xarray
from meanfluid.means.windows import hann
from meanfluid.trajectories.results import Trajectories
from tests.means.moving import ROLLING, seen

X, Y = np.array([0.1, 0.6, 1.1]), np.array([0.4, 1.3])
GRID = xr.Dataset(
    {"depth": (("x", "y"), np.zeros((3, 2)))},  # so the grid is called (x, y)
    {"y": ("y", Y), "x": ("x", X, {"long_name": "along the wave"}), "run": "control", "mu": 2.0},
)
FLAT = np.stack([np.repeat(X, 2), np.tile(Y, 3)], axis=1)  # the same labels, x slowest
SWIRL = abc_flow()
DAYS = np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], dtype="datetime64[ns]")


def waves(position):
    return 2.0 + np.sin(position[:, 0])


def current():
    """0.5 and then 0.8 m/s eastwards on a strip of 800 km, with dates and units."""
    lon, lat = 1e5 * np.arange(9.0), 1e4 * np.arange(5.0)
    speed = np.broadcast_to(np.array([0.5, 0.6, 0.7, 0.8])[:, None, None], (4, 5, 9))
    data = xr.Dataset(
        {"u": (("time", "lat", "lon"), speed, {"units": "m s-1"}),
         "v": (("time", "lat", "lon"), 0 * speed, {"units": "m s-1"})},
        {"time": DAYS, "lon": ("lon", lon, {"units": "m"}), "lat": ("lat", lat, {"units": "m"})},
    )  # fmt: skip
    return from_xarray(data, dims={"x": "lon", "y": "lat", "time": "time"}, time_degree=1)


CURRENT = current()
DRIFTERS = xr.Dataset(
    {"lon": ("drifter", [1e5, 3e5, 7.9e5], {"units": "m"}), "lat": 2e4},
    {"drifter": ["a", "b", "c"]},
)
MARK = {"on_failure": "mark", "out_of_domain": "mark"}

# Door, its arguments before the position, keyword arguments; the variable and its components.
DOORS = {
    "average_velocity": (mf.average_velocity, (), {"window": hann()}, "average_velocity"),
    "eulerian_mean": (mf.eulerian_mean, ("velocity",), {}, "velocity"),
    "lagrangian_mean": (mf.lagrangian_mean, (seen,), {}, "seen"),
    "mean_position": (mf.mean_position, (), {"label": 0.7}, "mean_position"),
    "relabel": (
        mf.relabel, (), {"given": "initial", "wanted": "final"}, "final_position"),
    "stokes_drift": (mf.stokes_drift, (), {}, "stokes_drift"),
    "ftle": (mf.ftle, (), {}, "ftle"),
    "lavd": (mf.lavd, (), {"mean_vorticity": 0.0, "normalise": True}, "lavd"),
    "tracer_mean": (transport.tracer_mean, (waves,), {"label": "final"}, "waves"),
    "tracer_mean at a place": (
        transport.tracer_mean, (waves,), {"kind": "eulerian", "nodes": 4}, "waves"),
    "effective_velocity": (
        transport.effective_velocity, (waves,), {"nodes": 4}, "effective_velocity"),
}  # fmt: skip
WORDS = {2: ("x", "y"), 3: ("0", "1", "2")}


@pytest.mark.parametrize("name", DOORS)
def test_a_grid_of_labels_gives_the_numbers_of_arrays(name):
    door, first, options, variable = DOORS[name]
    value, error = door(ROLLING, *first, FLAT, 0.2, 1.4, return_error=True, **options)
    found = door(ROLLING, *first, GRID, 0.2, 1.4, **options)
    parts = [variable] if value.ndim == 1 else [
        f"{variable}_{word}" for word in WORDS[value.shape[1]]]  # fmt: skip
    assert set(found.data_vars) == {*parts, f"{variable}_error", "status", "time_bnds"}
    for part, column in zip(parts, value.reshape(6, -1).T, strict=True):
        assert found[part].dims == ("x", "y")
        np.testing.assert_array_equal(found[part].to_numpy().ravel(), column)
        assert found[part].attrs["ancillary_variables"] == f"{variable}_error status"
        assert "units" not in found[part].attrs
    np.testing.assert_array_equal(found[f"{variable}_error"].to_numpy().ravel(), error)
    assert (found["status"] == Status.OK).all() and found["status"].dtype == np.int8
    for key, coordinate in GRID.coords.items():
        assert found[key].variable.identical(coordinate.variable)
    np.testing.assert_array_equal(found["time_bnds"], [0.2, 1.4])
    assert float(found["time"]) == 0.8 and float(found["time_end"]) == 1.4


def test_the_flow_map_says_its_error_and_that_it_is_no_mean():
    found = mf.flow_map(ROLLING, GRID, 1.4, 0.2, rtol=1e-9)
    path = mf.trajectories(ROLLING, FLAT, 1.4, 0.2, rtol=1e-9)
    for k, part in enumerate(("position_x", "position_y")):
        np.testing.assert_array_equal(found[part].to_numpy().ravel(), path.position[:, k])
        assert "cell_methods" not in found[part].attrs
    np.testing.assert_array_equal(found["position_error"].to_numpy().ravel(), path.error)
    np.testing.assert_array_equal(found["time_bnds"], [0.2, 1.4])
    assert float(found["time_end"]) == 0.2  # it ran backwards


def test_all_means_of_a_trajectory_come_in_one_dataset():
    observables = {"what is seen": seen}
    plain = mf.lagrangian_means(ROLLING, observables, FLAT, 0.2, 1.4, label="initial")
    found = mf.lagrangian_means(ROLLING, observables, GRID, 0.2, 1.4, label="initial")
    for label, place in plain.position.items():
        for k, axis in enumerate("xy"):
            variable = found[f"{label}_position_{axis}"]
            np.testing.assert_array_equal(variable.to_numpy().ravel(), place[:, k])
            assert ("cell_methods" in variable.attrs) == (label == "mean")
        error = found[f"{label}_position_error"].to_numpy().ravel()
        np.testing.assert_array_equal(error, plain.position_error[label])
    np.testing.assert_array_equal(
        found["what is seen_2"].to_numpy().ravel(), plain.means["what is seen"][:, 2]
    )
    np.testing.assert_array_equal(
        found["average_velocity_y"].to_numpy().ravel(), plain.velocity[:, 1]
    )
    both = {"v": "velocity", "s": seen}
    found = mf.lagrangian_mean(ROLLING, both, GRID, 0.2, 1.4, label="initial")
    expected = mf.lagrangian_mean(ROLLING, both, FLAT, 0.2, 1.4, label="initial")
    np.testing.assert_array_equal(found["v_y"].to_numpy().ravel(), expected["v"][:, 1])
    np.testing.assert_array_equal(found["s_0"].to_numpy().ravel(), expected["s"][:, 0])


def test_a_list_and_a_curvilinear_grid_and_a_single_point():
    plain = mf.average_velocity(ROLLING, FLAT, 0.2, 1.4)
    listed = xr.Dataset({"x": ("p", FLAT[:, 0]), "y": ("p", FLAT[:, 1])}, {"p": list("abcdef")})
    found = mf.average_velocity(ROLLING, listed, 0.2, 1.4)
    np.testing.assert_array_equal(found["average_velocity_x"], plain[:, 0])
    assert found["average_velocity_x"].dims == ("p",) and found["p"].to_numpy()[3] == "d"
    bent = {key: (("j", "i"), FLAT[:, k].reshape(3, 2)) for k, key in enumerate("xy")}
    found = mf.average_velocity(ROLLING, xr.Dataset(coords=bent)["y"], 0.2, 1.4)
    np.testing.assert_array_equal(found["average_velocity_y"], plain[:, 1].reshape(3, 2))
    found = mf.average_velocity(ROLLING, GRID.isel(x=2, y=0), 0.2, 1.4)
    assert found["average_velocity_y"].dims == () and found["run"] == "control"
    assert float(found["average_velocity_y"]) == plain[4, 1]


def test_three_dimensions_in_an_unusual_order():
    data = xr.DataArray(
        np.zeros((2, 1, 3)), {"z": Y, "y": [0.3], "x": X}, dims=("z", "y", "x"), name="any"
    )
    z, y, x = np.meshgrid(Y, [0.3], X, indexing="ij")
    plain = mf.flow_map(SWIRL, np.stack([x, y, z], axis=-1).reshape(-1, 3), 0.0, 1.0)
    found = mf.flow_map(SWIRL, data, 0.0, 1.0)
    assert found["position_z"].dims == ("z", "y", "x")
    np.testing.assert_array_equal(found["position_z"].to_numpy().ravel(), plain[:, 2])


def test_windows_and_labels_may_lie_on_the_labels():
    end = xr.DataArray([1.0, 1.5, 2.0], {"x": X}, dims="x")
    found = mf.average_velocity(ROLLING, GRID, 0.2, end, label=0.5 * end)
    each = np.repeat([1.0, 1.5, 2.0], 2)
    plain = mf.average_velocity(ROLLING, FLAT, 0.2, each, label=0.5 * each)
    np.testing.assert_array_equal(found["average_velocity_x"].to_numpy().ravel(), plain[:, 0])
    np.testing.assert_array_equal(found["time_bnds"].isel(bnds=1).to_numpy().ravel(), each)
    np.testing.assert_array_equal(found["label_time"].to_numpy().ravel(), each / 2)
    assert found.attrs["meanfluid_label"] == "label_time"
    same = mf.average_velocity(ROLLING, GRID, 0.2, each, label=each / 2)
    xr.testing.assert_identical(same, found)


def test_dates_units_and_failures_of_a_gridded_field():
    """From 0.5 to 0.6 m/s in a day: 47520 m; the last drifter leaves the strip."""
    door = partial(mf.average_velocity, CURRENT, DRIFTERS, DAYS[0], DAYS[1], label="initial")
    found = door(**MARK)
    np.testing.assert_allclose(found["average_velocity_lon"], [0.55, 0.55, np.nan], rtol=1e-12)
    assert found["status"].to_numpy().tolist() == [0, 0, Status.OUT_OF_DOMAIN]
    assert found["average_velocity_lat"].attrs == {
        "long_name": "average velocity, lat", "units": "m s-1",
        "cell_methods": "time: mean (comment: along trajectories, label=initial)",
        "ancillary_variables": "average_velocity_error status",
    }  # fmt: skip
    assert found["average_velocity_error"].attrs["units"] == "m s-1"
    np.testing.assert_array_equal(found["time_bnds"], DAYS[:2])
    assert found["time"].to_numpy() == np.datetime64("2020-01-01T12")
    with pytest.raises(TrajectoryError, match="particle 2"):
        door()
    moved = mf.flow_map(CURRENT, DRIFTERS, 0.0, DAYS[1], **MARK)
    np.testing.assert_allclose(moved["position_lon"][:2], [147520.0, 347520.0], rtol=1e-12)
    assert moved["position_lon"].attrs["units"] == moved["position_error"].attrs["units"] == "m"
    stretched = mf.ftle(CURRENT, DRIFTERS.isel(drifter=[0]), 0.0, 86400.0, steps=4)
    assert stretched["ftle"].attrs["units"] == "s-1"
    own = xr.DataArray(DAYS[1:], dims="drifter")
    own = mf.average_velocity(CURRENT, DRIFTERS, DAYS[0], own, label="initial", **MARK)
    np.testing.assert_allclose(own["average_velocity_lon"], [0.55, 0.6, np.nan], rtol=1e-12)
    np.testing.assert_array_equal(own["time_end"], DAYS[1:])


def test_a_lost_tracer_is_missing_whatever_its_formula_makes_of_a_gap():
    found = transport.tracer_mean(
        CURRENT, lambda x: np.where(x[:, 0] > 1.2e5, 1.0, 0.0), DRIFTERS, 0.0, 86400.0,
        kind="eulerian", nodes=4, **MARK,
    )  # fmt: skip
    assert found["status"].to_numpy().tolist() == [0, 0, 0]  # all come from within
    lost = xr.Dataset({"lon": ("n", [1e4, 3e5]), "lat": 2e4})
    for kind in ("lagrangian", "eulerian"):
        found = transport.tracer_mean(
            CURRENT, lambda x: np.where(x[:, 0] > 1e5, 1.0, 0.0), lost, 0.0, 86400.0,
            kind=kind, label="final", nodes=4, **MARK,
        )  # fmt: skip
        assert found["status"].to_numpy().tolist() == [Status.OUT_OF_DOMAIN, 0]
        np.testing.assert_array_equal(found["tracer"], [np.nan, 1.0])
    found = transport.advected(CURRENT, lambda x: x[:, 1], lost, 0.0, 86400.0, **MARK)
    np.testing.assert_array_equal(found["tracer"], [np.nan, 2e4])
    assert set(found.data_vars) == {"tracer", "status", "time_bnds"}  # no error is known


def test_attributes_say_how_to_compute_it_again():
    found = mf.average_velocity(ROLLING, GRID, 0.2, 1.4, rtol=1e-9, window=hann())
    path: Trajectories = mf.trajectories(ROLLING, FLAT, 0.2, 1.4, rtol=1e-9)
    for key, value in path.provenance.items():
        if key != "meanfluid":
            kept = isinstance(value, str | int | float) and not isinstance(value, bool)
            expected = value if kept else repr(value)
            assert found.attrs[f"meanfluid_{key}"] == expected, key
    assert found.attrs["meanfluid_version"] == path.provenance["meanfluid"]
    assert found.attrs["meanfluid_label"] == "final"
    assert found.attrs["meanfluid_window"] == "hann()"
    assert mf.average_velocity(ROLLING, GRID, 0.0, 1.0).attrs["meanfluid_window"] == "top_hat()"
    still = mf.eulerian_mean(ROLLING, "velocity", GRID, 0.0, 1.0)
    assert still.attrs["meanfluid_carried"] == "False"
    whole = mf.lavd(ROLLING, GRID, 0.0, 1.0, mean_vorticity=0.0)
    assert whole.attrs["meanfluid_rtol"] == 1e-8
    assert whole["lavd"].attrs["units"] == "1" and "cell_methods" not in whole["lavd"].attrs


def test_a_result_survives_a_file(tmp_path):
    end = xr.DataArray(DAYS[1:], dims="drifter")
    cases = [
        mf.average_velocity(CURRENT, DRIFTERS, DAYS[0], end, label="initial", **MARK),
        mf.stokes_drift(ROLLING, GRID, 0.2, 1.4),
        mf.flow_map(ROLLING, GRID.isel(x=0, y=0), 0.2, 1.4),
    ]
    for k, found in enumerate(cases):
        found.to_netcdf(tmp_path / f"{k}.nc")
        with xr.open_dataset(tmp_path / f"{k}.nc") as again:
            xr.testing.assert_equal(again.load(), found)
            for name in found.data_vars:
                assert again[name].dims == found[name].dims
            said = found.drop_vars("status").data_vars
            for name in said:
                assert again[name].attrs == found[name].attrs
            assert again.attrs == found.attrs


def test_a_result_may_hold_the_labels_of_the_next_mean():
    first = mf.relabel(ROLLING, xr.Dataset({"x": ("p", X), "y": ("p", 2 * X)}), 0.2, 1.4,
                       given="final", wanted="initial")  # fmt: skip
    there = first.drop_vars(["x", "y"]).rename(initial_position_x="x", initial_position_y="y")
    before = there.copy(deep=True)
    second = mf.average_velocity(ROLLING, there, 0.2, 1.4, label="initial")
    third = mf.flow_map(ROLLING, second, 0.0, 3.0)
    xr.testing.assert_identical(there, before)
    again = mf.average_velocity(ROLLING, np.stack([X, 2 * X], axis=1), 0.2, 1.4)
    np.testing.assert_allclose(second["average_velocity_x"], again[:, 0], rtol=0, atol=1e-12)
    assert float(third["time"]) == 0.8 and float(third["averaging_time"]) == 0.8
    assert float(third["averaging_time_2"]) == 1.5
    assert "bounds" not in third["time"].attrs  # which stayed behind


def test_arrays_stay_arrays():
    held = xr.DataArray(FLAT, dims=("particle", "component"))
    np.testing.assert_array_equal(
        mf.average_velocity(ROLLING, held, 0.2, 1.4), mf.average_velocity(ROLLING, FLAT, 0.2, 1.4)
    )
    for door in (mf.flow_map, mf.average_velocity, mf.ftle):
        assert type(door(ROLLING, FLAT.tolist(), 0.2, 1.4)) is np.ndarray
    script = (
        "import sys; import meanfluid as mf; "
        "print(mf.flow_map(mf.fields.rotation(), [[1.0, 0.0]], 0.0, 0.0)); "
        "assert 'xarray' not in sys.modules and 'dask' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


REFUSED = {
    "a missing coordinate": (GRID.drop_vars("x"), {}, ValueError, "no coordinate 'x', only"),
    "a gap": (GRID.assign_coords(x=[0.0, np.nan, 1.0]), {}, ValueError, "x must be finite"),
    "no labels": (GRID.isel(x=slice(0)), {}, ValueError, "no particles"),
    "times elsewhere": (
        GRID, {"end": xr.DataArray([1.0, 2.0], dims="t")}, ValueError, "must lie on the labels"),
    "times of other places": (
        GRID, {"end": xr.DataArray([1.0, 2.0], {"y": Y + 1}, dims="y")}, ValueError, "align"),
    "a date without a reference": (GRID, {"end": DAYS[0]}, ValueError, "has no dates"),
    "no time": (GRID, {"end": np.nan}, ValueError, "end must be finite"),
    "a word that is no label": (GRID, {"label": "last"}, ValueError, "label must be"),
    "an unknown option": (GRID, {"tolerance": 1.0}, TypeError, "tolerance"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    data, options, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        mf.average_velocity(ROLLING, data, **{"start": 0.2, "end": 1.4, **options})


def test_units_and_names_that_contradict_are_refused():
    far = DRIFTERS.assign(lon=DRIFTERS["lon"].assign_attrs(units="km"))
    with pytest.raises(ValueError, match="lon is in 'km', but that of the field in 'm'"):
        mf.flow_map(CURRENT, far, 0.0, 1.0)
    with pytest.raises(ValueError, match="times are in 'h', but the field counts them in 's'"):
        mf.flow_map(CURRENT, DRIFTERS, 0.0, xr.DataArray(1.0, attrs={"units": "h"}))
    with pytest.raises(ValueError, match="two variables would be called 'average_velocity_x'"):
        mf.average_velocity(ROLLING, GRID.assign_coords(average_velocity_x=1.0), 0.2, 1.4)
    with pytest.raises(TypeError, match="field must be a VelocityField"):
        mf.flow_map(None, GRID, 0.0, 1.0)
    with pytest.raises(ValueError, match="wanted must be"):
        mf.relabel(ROLLING, GRID, 0.2, 1.4, given="final", wanted="last")


def test_labels_in_chunks_stay_lazy_and_give_the_same():
    """Needs dask, which is optional."""
    array = pytest.importorskip("dask.array")
    lazy = GRID.assign(depth=(("x", "y"), array.zeros((3, 2), chunks=(2, 1))))
    end = xr.DataArray([1.0, 1.5, 2.0], {"x": X}, dims="x")
    for door in (
        partial(mf.average_velocity, ROLLING, start=0.2, end=end, label="initial"),
        partial(mf.lagrangian_mean, ROLLING, seen, start=0.2, end=np.linspace(1.0, 2.0, 6)),
    ):
        found, expected = door(position=lazy), door(position=GRID)
        assert found.chunksizes["x"] == (2, 1) and found["status"].chunks == ((2, 1), (1, 1))
        xr.testing.assert_identical(found.compute(), expected)
    listed = xr.Dataset(
        {"lon": ("n", array.from_array(np.array([1e5, 7.9e5, np.nan]), chunks=1)), "lat": 2e4}
    )
    marked = mf.flow_map(CURRENT, listed, 0.0, 86400.0, **MARK)
    assert marked["status"].isel(n=slice(0, 2)).to_numpy().tolist() == [0, Status.OUT_OF_DOMAIN]
    with pytest.raises(ValueError, match="lon must be finite"):
        marked.compute()
    raising = mf.flow_map(CURRENT, listed, 0.0, 86400.0)
    with pytest.raises(TrajectoryError):
        raising["position_lon"].isel(n=1).compute()
