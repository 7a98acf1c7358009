"""Positions out of xarray objects, and means back on the same coordinates."""

import datetime

import numpy as np
import pytest
import xarray as xr

from meanfluid import Status
from meanfluid.fields import (
    VelocityField,
    abc_flow,
    deep_water_wave,
    from_xarray,
    rotation,
    sampled,
)
from meanfluid.means import cf
from meanfluid.trajectories.datasets import axis_names, labels_of, mean_dataset, status_attributes

FIELD = rotation(2.0)
X, Y = np.array([0.0, 1.0, 2.0]), np.array([10.0, 20.0])
GRID = xr.Dataset(coords={"y": ("y", Y, {"units": "m"}), "x": ("x", X, {"units": "m"})})


def ocean():
    lon, lat, zero = np.arange(8.0), np.arange(6.0), np.zeros((6, 8))
    return from_xarray(xr.Dataset(
        {"u": (("lat", "lon"), zero, {"units": "km/d"}), "v": (("lat", "lon"), zero)},
        {"lat": ("lat", lat, {"units": "km"}), "lon": ("lon", lon, {"units": "km"})},
    ), dims={"x": "lon", "y": "lat"})  # fmt: skip


def test_axes_are_called_as_in_the_samples_or_by_their_place():
    assert axis_names(FIELD) == ("x", "y") and axis_names(abc_flow()) == ("x", "y", "z")
    assert axis_names(ocean()) == ("lon", "lat")
    grid = np.zeros((3, 6, 8))
    plain = sampled([grid, grid], [np.arange(6.0), np.arange(8.0)], np.arange(3.0), time_degree=1)
    assert axis_names(plain) == ("x", "y")
    assert axis_names(deep_water_wave()) == ("x", "z")  # the arguments of its body

    def body(m, p, t, *place):
        return place

    assert axis_names(VelocityField(body=body, dimension=3)) == ("x", "y", "z")


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_a_grid_of_labels_keeps_its_order_and_coordinates(order):
    data = xr.DataArray(np.zeros([GRID.sizes[d] for d in order]), GRID.coords, order)
    labels = labels_of(data, FIELD)
    assert labels.dims == order and labels.shape == data.shape
    expected = np.stack([c.transpose(*order).to_numpy().ravel()
                         for c in xr.broadcast(GRID["x"], GRID["y"])], axis=1)  # fmt: skip
    np.testing.assert_array_equal(labels.position, expected)
    speed = FIELD.velocity(0.0, labels.position)
    back = mean_dataset(labels, {"u": speed}, start=0.0, end=1.0)
    assert back["u_x"].dims == order
    np.testing.assert_array_equal(back["u_x"].transpose("y", "x"), np.add.outer(-2 * Y, 0 * X))
    np.testing.assert_array_equal(back["u_y"].sel(x=2.0), [4.0, 4.0])
    assert back["x"].attrs == {"units": "m"}


def test_a_list_of_particles_keeps_its_dimension_and_names():
    data = xr.Dataset(
        {"x": ("drifter", X), "y": ("drifter", 3 * X), "mass": ("drifter", X)},
        {"drifter": ["a", "b", "c"]},
    )
    labels = labels_of(data, FIELD)
    np.testing.assert_array_equal(labels.position, np.stack([X, 3 * X], axis=1))
    back = mean_dataset(labels, {"u": X}, start=0.0, end=1.0)
    assert back["u"].dims == ("drifter",) and set(back.data_vars) == {"u", "time_bnds"}
    assert float(back["u"].sel(drifter="c")) == 2.0
    np.testing.assert_array_equal(back["y"], 3 * X)


def test_a_curvilinear_grid_and_single_coordinates_are_kept():
    x, y = np.meshgrid(X, Y)
    data = xr.Dataset(
        coords={"x": (("j", "i"), x), "y": (("j", "i"), y + x), "z": 5.0, "run": "control"}
    )
    labels = labels_of(data, abc_flow())
    expected = np.stack([x.ravel(), (y + x).ravel(), np.full(6, 5.0)], axis=1)
    np.testing.assert_array_equal(labels.position, expected)
    back = mean_dataset(labels, {"s": np.arange(6.0)}, start=0.0, end=1.0)
    np.testing.assert_array_equal(back["s"], np.arange(6.0).reshape(2, 3))
    assert back["s"].dims == ("j", "i") and float(back["z"]) == 5.0 and back["run"] == "control"
    np.testing.assert_array_equal(back["y"], y + x)


def test_a_single_point_gives_single_numbers():
    labels = labels_of(xr.Dataset(coords={"x": 1.0, "y": 2.0}), FIELD)
    np.testing.assert_array_equal(labels.position, [[1.0, 2.0]])
    back = mean_dataset(labels, {"s": np.array([7.0])}, start=[0.0], end=1.0)
    assert back["s"].dims == () and float(back["s"]) == 7.0 and float(back["time"]) == 0.5


def test_dimensions_that_hold_no_coordinate_of_the_field_are_left_out():
    data = xr.DataArray(np.zeros((4, 2, 3)), {"time": np.arange(4.0), **GRID.coords},
                        ("time", "y", "x"))  # fmt: skip
    labels = labels_of(data, FIELD)
    assert labels.dims == ("y", "x") and set(labels.template.coords) == {"x", "y"}


def test_a_mean_says_what_it_is(tmp_path):
    labels = labels_of(GRID, FIELD)
    status = np.array([0, 0, 1, 0, 0, 4], dtype=np.int8)
    back = mean_dataset(
        labels, {"speed": np.arange(6.0)}, start=2.0, end=0.5, errors={"speed": np.full(6, 1e-9)},
        status=status, attributes={"speed": {"units": "m s-1", "long_name": "mean speed"}},
        comment="along trajectories, label=final", label="final", window=None,
        provenance={"rtol": 1e-11},
    )  # fmt: skip
    assert back["speed"].attrs == {
        "units": "m s-1", "long_name": "mean speed", "ancillary_variables": "speed_error status",
        "cell_methods": "time: mean (comment: along trajectories, label=final)",
    }  # fmt: skip
    assert back["speed_error"].attrs["units"] == "m s-1"
    assert back["speed_error"].attrs["long_name"] == "estimated error of mean speed"
    assert float(back["time"]) == 1.25 and back["time"].attrs["bounds"] == "time_bnds"
    np.testing.assert_array_equal(back["time_bnds"], [0.5, 2.0])
    assert back.attrs["meanfluid_label"] == "final" and back.attrs["meanfluid_rtol"] == 1e-11
    assert back.attrs["Conventions"] == "CF-1.11"
    back.to_netcdf(tmp_path / "mean.nc")
    with xr.open_dataset(tmp_path / "mean.nc") as again:
        flags = dict(zip(again["status"].attrs["flag_values"].tolist(),
                         again["status"].attrs["flag_meanings"].split(), strict=True))  # fmt: skip
        assert flags == {s.value: s.name.lower() for s in Status}
        assert again["status"].dtype == np.int8
        np.testing.assert_array_equal(again["status"].to_numpy().ravel(), status)


def test_flags_are_those_of_status():
    found = status_attributes()
    assert len(found["flag_values"]) == len(found["flag_meanings"].split()) == len(Status)


def test_windows_of_their_own_get_bounds_on_the_labels():
    labels = labels_of(GRID, FIELD)
    end = np.arange(1.0, 7.0)
    back = mean_dataset(labels, {"s": end}, start=0.0, end=end)
    assert back["time"].dims == ("y", "x") and back["time_bnds"].dims == ("y", "x", "bnds")
    np.testing.assert_array_equal(back["time"], end.reshape(2, 3) / 2)
    np.testing.assert_array_equal(back["time_bnds"][..., 0], 0.0)


def test_a_time_of_the_labels_is_not_overwritten():
    labels = labels_of(GRID.assign_coords(time=9.0), FIELD)
    back = mean_dataset(labels, {"s": np.zeros(6)}, start=0.0, end=1.0)
    assert float(back["time"]) == 9.0 and float(back["averaging_time"]) == 0.5
    assert back["s"].attrs["cell_methods"] == "averaging_time: mean"


def test_times_may_be_given_on_the_labels():
    labels = labels_of(GRID, FIELD)
    by_x = xr.DataArray([1.0, 2.0, 3.0], {"x": X}, ("x",))
    np.testing.assert_array_equal(labels.times(by_x), [1, 2, 3, 1, 2, 3])
    assert labels.times(2.5) == 2.5
    with pytest.raises(ValueError, match="must lie on the labels"):
        labels.times(by_x.rename(x="t"))
    with pytest.raises(ValueError, match="align"):
        labels.times(by_x.assign_coords(x=X + 1))
    with pytest.raises(ValueError, match="no dates, but a time is"):
        labels.times(np.datetime64("2020-01-01"))


def test_units_of_a_field_go_into_the_window_and_are_held_against_the_labels():
    labels = labels_of(xr.Dataset(coords={"lon": X, "lat": [1.0, 2.0]}), ocean())
    assert labels.units == {"length": "km", "velocity": "km/d"} and labels.names == ("lon", "lat")
    wrong = xr.Dataset(coords={"lon": ("lon", X, {"units": "m"}), "lat": 1.0})
    with pytest.raises(ValueError, match="coordinate lon is in 'm', but that of the field in 'km'"):
        labels_of(wrong, ocean())


def test_dates_of_a_field_are_those_of_the_window():
    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[ns]")
    zero = np.zeros((3, 6, 8))
    dims = ("time", "y", "x")
    field = from_xarray(
        xr.Dataset({"u": (dims, zero), "v": (dims, zero)},
                   {"time": times, "y": np.arange(6.0), "x": np.arange(8.0)}), time_degree=1,
    )  # fmt: skip
    labels = labels_of(GRID, field)
    start, end = (labels.times(t) for t in times[:2])
    assert (start, end) == (0.0, 86400.0)
    back = mean_dataset(labels, {"s": np.zeros(6)}, start=start, end=end)
    assert back["time"].to_numpy() == np.datetime64("2020-01-01T12:00:00")
    np.testing.assert_array_equal(back["time_bnds"], times[:2])
    assert labels.times(datetime.datetime(2020, 1, 2)) == 86400.0
    each = labels.times(xr.DataArray(times[:2], {"y": Y}, ("y",)))
    np.testing.assert_array_equal(each, [0, 0, 0, 86400, 86400, 86400])
    np.testing.assert_array_equal(labels.times(times), [0.0, 86400.0, 172800.0])


def test_every_axis_has_a_unit_of_its_own():
    data = xr.Dataset(coords={"x": ("x", X, {"units": "m"}), "y": ("y", Y, {"units": "km"})})
    labels = labels_of(data, FIELD)
    assert labels.axis_units == ("m", "km") and labels.units == {}
    zero = np.zeros(6)
    back = mean_dataset(
        labels, {"p": labels.position, "q": labels.position, "r": zero}, start=0.0, end=1.0,
        errors={"p": zero, "q": zero},
        attributes={"p": {"units": labels.axis_units}, "q": {"units": ("m", "m")}}, points=["p"],
    )  # fmt: skip
    assert back["p_x"].attrs == {"units": "m", "ancillary_variables": "p_error"}
    assert back["p_y"].attrs["units"] == "km" and "units" not in back["p_error"].attrs
    assert back["q_y"].attrs["units"] == back["q_error"].attrs["units"] == "m"
    assert back["r"].attrs == {"cell_methods": "time: mean"}


def test_bounds_that_stay_behind_are_not_named():
    data = GRID.assign_coords(time=9.0).assign(time_bnds=("bnds", [8.0, 10.0]))
    data["time"].attrs["bounds"] = "time_bnds"
    labels = labels_of(data, FIELD)
    assert "bounds" not in labels.template["time"].attrs
    assert data["time"].attrs == {"bounds": "time_bnds"}  # the data are as they were
    assert labels_of(data.set_coords("time_bnds").drop_dims("bnds"), FIELD).dims == ("y", "x")
    own = mean_dataset(
        labels_of(GRID.rename(y="bnds").assign_coords(y=("bnds", Y)), FIELD), {"s": np.zeros(6)},
        start=0.0, end=np.ones(6),
    )  # fmt: skip
    assert own["time_bnds"].dims == ("bnds", "x", "nv")


REFUSED = {
    "an array": (lambda: labels_of(X, FIELD), TypeError, "expected a Dataset or DataArray"),
    "a missing coordinate": (
        lambda: labels_of(GRID.drop_vars("x"), FIELD), ValueError, "no coordinate 'x', only 'y'"),
    "a gap": (
        lambda: labels_of(xr.Dataset(coords={"x": np.nan, "y": 1.0}), FIELD),
        ValueError, "x must be finite"),
    "words": (
        lambda: labels_of(xr.Dataset(coords={"x": "a", "y": 1.0}), FIELD),
        ValueError, "x must hold numbers"),
    "too many names": (
        lambda: labels_of(GRID, FIELD, names="xyz"), ValueError, "names must be 2"),
    "few values": (
        lambda: mean_dataset(labels_of(GRID, FIELD), {"s": np.zeros(5)}, start=0.0, end=1.0),
        ValueError, r"shape \(6,\)"),
    "one name for two": (
        lambda: mean_dataset(labels_of(GRID, FIELD), {"x": np.zeros(6)}, start=0.0, end=1.0),
        ValueError, "two variables would be called 'x'"),
    "a tensor": (
        lambda: mean_dataset(labels_of(GRID, FIELD), {"s": np.zeros((6, 2, 3))}, start=0, end=1),
        ValueError, r"\(n,\), \(n, size\) or \(n, 2, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_components_are_numbered_where_they_are_not_those_of_space():
    labels = labels_of(GRID, FIELD)
    back = mean_dataset(labels, {"s": np.zeros((6, 3))}, start=0.0, end=1.0,
                        attributes={"s": {"long_name": "three"}})  # fmt: skip
    assert {"s_0", "s_1", "s_2"} < set(back) and back["s_1"].attrs["long_name"] == "three, 1"


def test_methods_are_appended_in_the_order_they_were_applied():
    once = cf.with_cell_method({}, "x", "mean")
    assert cf.with_cell_method(once, "time", "mean")["cell_methods"] == "x: mean time: mean"


def test_the_units_of_a_product_are_left_out_if_one_is_not_known():
    known = xr.DataArray(1.0, name="u", attrs={"units": "m"})
    assert "units" not in cf.product_attributes(known, known.drop_attrs())
    bare = xr.DataArray(1.0, name="c", attrs={"units": "1"})
    assert cf.product_attributes(known, bare)["units"] == "m"
    assert cf.product_attributes(bare, bare)["units"] == "1"
