"""What is met along tracks, how particles spread, and whole trajectories, from and to xarray."""

import numpy as np
import pytest
import xarray as xr

import meanfluid as mf
from meanfluid import Status
from meanfluid.fields import rotation
from meanfluid.means.dispersion import Dispersion, dispersion
from meanfluid.means.observed import observed
from meanfluid.trajectories.results import Trajectories
from tests.means.moving import ROLLING, seen
from tests.means.test_xarray_doors import CURRENT, DAYS, DRIFTERS, FLAT, GRID, MARK

TRACKS = xr.Dataset(
    coords={
        "x": (("drifter", "obs"), np.arange(6.0).reshape(2, 3)),
        "y": (("drifter", "obs"), 1.0 + np.arange(6.0).reshape(2, 3)),
        "time": (("drifter", "obs"), 0.5 * np.arange(6.0).reshape(2, 3)),
        "drifter": ["first", "second"],
    },
    attrs={"featureType": "trajectory", "history": "of no interest"},
)


def warmth(m, p, t, x, y, velocity):
    return x * t + velocity[1]


def test_an_instrument_meets_the_observable_at_each_point_of_its_track():
    found = observed(rotation(2.0), warmth, TRACKS)
    x, t = TRACKS["x"].to_numpy(), TRACKS["time"].to_numpy()
    np.testing.assert_allclose(found["warmth"], x * t + 2.0 * x, rtol=1e-15)
    assert found["warmth"].dims == ("drifter", "obs")
    assert found["time"].variable.identical(TRACKS["time"].variable)
    assert found.attrs["featureType"] == "trajectory" and "history" not in found.attrs
    assert set(found.data_vars) == {"warmth"} and "cell_methods" not in found["warmth"].attrs
    same = observed(rotation(2.0), warmth, TRACKS, TRACKS["time"])
    xr.testing.assert_identical(found, same)
    again = observed(rotation(2.0), warmth, TRACKS.reset_coords("time"))  # no coordinate in data
    np.testing.assert_array_equal(again["time"], TRACKS["time"])


def test_a_time_that_is_not_that_of_the_tracks_has_a_name_of_its_own():
    found = observed(rotation(2.0), warmth, TRACKS, 3.0)
    np.testing.assert_allclose(found["warmth"], 5.0 * TRACKS["x"], rtol=1e-15)
    assert float(found["time_of_values"]) == 3.0
    found = observed(rotation(2.0), "velocity", TRACKS.drop_vars("time"), 3.0)
    assert float(found["time"]) == 3.0 and "bounds" not in found["time"].attrs


def test_dates_and_units_of_tracks_in_data(tmp_path):
    """The current grows from 0.5 m/s by 0.1 a day."""
    tracks = DRIFTERS.assign_coords(time=("drifter", DAYS[[0, 1, 3]]))
    found = observed(CURRENT, "velocity", tracks)
    np.testing.assert_allclose(found["velocity_lon"], [0.5, 0.6, 0.8], rtol=1e-12)
    assert found["velocity_lon"].attrs["units"] == "m s-1"
    one = observed(CURRENT, "velocity", DRIFTERS, DAYS[2])
    assert one["time"].to_numpy() == DAYS[2]
    one.to_netcdf(tmp_path / "met.nc")
    with xr.open_dataset(tmp_path / "met.nc") as again:
        xr.testing.assert_equal(again.load(), one)


def test_an_unknown_time_is_refused():
    for position in (FLAT, GRID):
        with pytest.raises(TypeError, match="pass time="):
            observed(ROLLING, "velocity", position)


SPREAD = {
    "displacement_covariance": "displacement",
    "velocity_covariance": "velocity",
    "velocity_correlation": "correlation",
    "drift": "drift",
}
ENDS = [0.6, 1.0, 1.4]


def test_spread_is_that_of_arrays_and_has_no_labels():
    plain = dispersion(ROLLING, FLAT, 0.2, ENDS)
    found = dispersion(ROLLING, GRID, 0.2, xr.DataArray(ENDS, dims="lead"))
    for name, attribute in SPREAD.items():
        np.testing.assert_array_equal(found[name], getattr(plain, attribute))
        assert "realization: mean" in found[name].attrs["cell_methods"]
    for name in ("displacement_covariance", "velocity_correlation"):
        error = getattr(plain, f"{SPREAD[name]}_error")
        np.testing.assert_array_equal(found[f"{name}_error"], error)
        assert found[name].attrs["ancillary_variables"] == f"{name}_error"
    assert found["velocity_correlation"].dims == ("time", "component", "other_component")
    assert found["component"].to_numpy().tolist() == ["x", "y"]
    np.testing.assert_array_equal(found["time"], ENDS)
    np.testing.assert_array_equal(found["time_bnds"], [[0.2, end] for end in ENDS])
    np.testing.assert_array_equal(found["duration"], plain.duration)
    assert found.attrs["meanfluid_particles"] == 6
    assert found.attrs["meanfluid_scheme"] == "dop853"


def test_spread_has_dates_and_units(tmp_path):
    """All drift alike, 47520 m on the first day and 56160 m on the second."""
    found = dispersion(CURRENT, DRIFTERS.isel(drifter=slice(2)), DAYS[0], DAYS[1:3])
    np.testing.assert_array_equal(found["time"], DAYS[1:3])
    np.testing.assert_array_equal(found["time_bnds"][1], DAYS[[0, 2]])
    np.testing.assert_allclose(found["drift"].sel(component="lon"), [0.55, 0.6], rtol=1e-12)
    assert found["drift"].attrs["units"] == "m s-1"
    assert found["displacement_covariance"].attrs["units"] == "m m"
    np.testing.assert_allclose(found["displacement_covariance"], 0.0, atol=1e-9)
    found.to_netcdf(tmp_path / "spread.nc")
    with xr.open_dataset(tmp_path / "spread.nc") as again:
        xr.testing.assert_equal(again.load(), found)
    with pytest.raises(ValueError, match="start must be one time"):
        dispersion(CURRENT, DRIFTERS, xr.DataArray(DAYS[:3], dims="drifter"), DAYS[3:])


def test_whole_trajectories_on_labels():
    options = {"observables": [seen], "gradient": True}
    plain = mf.trajectories(ROLLING, FLAT, 0.2, 1.4, **options)
    found = mf.trajectories(ROLLING, GRID, 0.2, 1.4, **options)
    for k, axis in enumerate("xy"):
        np.testing.assert_array_equal(
            found[f"displacement_{axis}"].to_numpy().ravel(), plain.displacement[:, k]
        )
        slope = found[f"gradient_x_{axis}"].to_numpy().ravel()
        np.testing.assert_array_equal(slope, plain.gradient[:, 0, k])
    np.testing.assert_array_equal(found["seen_2"].to_numpy().ravel(), plain.means["seen"][:, 2])
    for name, error in (
        ("position", plain.error), ("average_velocity", plain.average_velocity_error),
        ("gradient", plain.gradient_error), ("seen", plain.mean_errors["seen"]),
    ):  # fmt: skip
        np.testing.assert_array_equal(found[f"{name}_error"].to_numpy().ravel(), error)
    np.testing.assert_array_equal(found["accepted_steps"].to_numpy().ravel(), plain.steps[:, 0])
    assert not found["left_domain"].any() and (found["status"] == Status.OK).all()
    said = "time: mean (comment: along trajectories, label=initial)"
    assert found["average_velocity_x"].attrs["cell_methods"] == said
    assert "cell_methods" not in found["gradient_x_y"].attrs
    np.testing.assert_array_equal(found["time_bnds"], [0.2, 1.4])


def test_several_windows_are_a_dimension():
    options = {"observables": [seen], "weights": {"late": lambda m, t: t}, "times": ENDS}
    plain = mf.trajectories(ROLLING, FLAT, 0.2, 1.4, **options)
    found = mf.trajectories(ROLLING, GRID, 0.2, 1.4, **options)
    for k, end in enumerate(ENDS):
        one = found.isel(time=k)
        np.testing.assert_array_equal(one["position_y"].to_numpy().ravel(), plain.position[:, k, 1])
        np.testing.assert_array_equal(
            one["seen.late_0"].to_numpy().ravel(), plain.means["seen.late"][:, k, 0]
        )
        np.testing.assert_array_equal(one["time_bnds"], [0.2, end])
    np.testing.assert_array_equal(found["time_end"], ENDS)
    assert found["status"].dims == found["left_domain"].dims == ("x", "y")
    assert found["x"].variable.identical(GRID["x"].variable)


def test_several_windows_of_dates_survive_a_file(tmp_path):
    found = mf.trajectories(CURRENT, DRIFTERS, DAYS[0], DAYS[2], times=DAYS[1:3], **MARK)
    np.testing.assert_array_equal(found["time_end"], DAYS[1:3])
    assert found["status"].to_numpy().tolist() == [0, 0, Status.OUT_OF_DOMAIN]
    assert found["left_domain"].to_numpy().tolist() == [False, False, True]
    np.testing.assert_allclose(
        found["average_velocity_lon"].isel(drifter=1), [0.55, 0.6], rtol=1e-12
    )
    assert found["displacement_lon"].attrs["units"] == "m"
    found.to_netcdf(tmp_path / "paths.nc")
    with xr.open_dataset(tmp_path / "paths.nc") as again:
        xr.testing.assert_equal(again.load(), found)


def test_what_needs_all_labels_is_computed_at_once():
    array = pytest.importorskip("dask.array")
    lazy = GRID.assign(depth=(("x", "y"), array.zeros((3, 2), chunks=(2, 1))))
    for door in (
        lambda labels: dispersion(ROLLING, labels, 0.2, ENDS),
        lambda labels: mf.trajectories(ROLLING, labels, 0.2, 1.4),
        lambda labels: observed(ROLLING, "velocity", labels, 0.2),
    ):
        found = door(lazy)
        assert not found.chunks
        xr.testing.assert_identical(found, door(GRID))


def test_arrays_still_give_records():
    assert type(mf.trajectories(ROLLING, FLAT, 0.2, 1.4)) is Trajectories
    assert type(dispersion(ROLLING, FLAT, 0.2, ENDS)) is Dispersion
    plain = xr.DataArray(FLAT, dims=("particle", "component"))  # without coordinates: an array
    assert type(mf.trajectories(ROLLING, plain, 0.2, 1.4)) is Trajectories
