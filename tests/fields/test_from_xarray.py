"""Sampled fields from xarray: any order and direction of dimensions, units, and what is refused."""

import itertools

import numpy as np
import pytest
import xarray

from meanfluid.fields import from_xarray, sampled

TIME, LAT, LON = np.linspace(0.0, 3.0, 7), np.linspace(-1.0, 1.0, 9), np.linspace(0.0, 4.0, 8)
VALUES = np.random.default_rng(0).normal(size=(2, 7, 8, 9))  # component, time, lon, lat


def flow(**units):
    """u and v on (lon, time, lat), with the given units."""
    dims = ("lon", "time", "lat")
    variables = {
        name: (dims, np.swapaxes(VALUES[k].copy(), 0, 1), _units(units, name))
        for k, name in enumerate(("u", "v"))
    }
    coordinates = {
        name: (name, place, _units(units, name))
        for name, place in (("time", TIME), ("lat", LAT), ("lon", LON))
    }
    return xarray.Dataset(variables, coordinates)


def _units(units, name):
    return {"units": units[name]} if name in units else {}


def same(one, other):
    np.testing.assert_array_equal(one.samples.flat, other.samples.flat)
    np.testing.assert_array_equal(one.table, other.table)
    assert (one.domain, one.time_range) == (other.domain, other.time_range)


EXPECTED = sampled(VALUES, [LON, LAT], TIME)


@pytest.mark.parametrize("order", list(itertools.permutations(("time", "lat", "lon"))))
def test_the_order_of_dimensions_does_not_matter(order):
    dataset = flow()
    dataset["v"] = dataset["v"].transpose(*order)
    same(from_xarray(dataset), EXPECTED)


@pytest.mark.parametrize("dim", ["time", "lat", "lon"])
def test_descending_coordinates_give_the_same_field(dim):
    same(from_xarray(flow().isel({dim: slice(None, None, -1)})), EXPECTED)


@pytest.mark.parametrize(
    "attributes",
    [
        ({"axis": "X"}, {"axis": "Y"}, {"axis": "T"}),
        ({"standard_name": "longitude"}, {"standard_name": "latitude"}, {"standard_name": "time"}),
        ({"units": "degrees_east"}, {"units": "degrees_north"}, {"axis": "T"}),
    ],
)
def test_attributes_say_which_dimension_is_which_whatever_the_names(attributes):
    dataset = flow().rename(lon="y", lat="x", time="step")
    for name, own in zip(("y", "x", "step"), attributes, strict=True):
        dataset[name].attrs.update(own)
    same(from_xarray(dataset), EXPECTED)


def test_an_explicit_mapping_goes_before_names():
    dataset = flow().rename(lon="y", lat="x", time="step")
    same(from_xarray(dataset, dims={"x": "y", "y": "x", "time": "step"}), EXPECTED)
    with pytest.raises(ValueError, match=r'dims must map "x", "y", "z" or "time" to each of'):
        from_xarray(dataset, dims={"x": "y", "y": "x"})


def test_options_are_passed_on():
    dataset = flow().assign_attrs(title="a flow")
    field = from_xarray(
        dataset, degree=5, time_degree=1, dtype="float32", boundary={"lon": "periodic"}
    )
    expected = sampled(
        VALUES, [LON, LAT], TIME, degree=5, time_degree=1, dtype="float32",
        boundary=("periodic", "open"),
    )  # fmt: skip
    same(field, expected)
    assert field.name == "a flow" and field.samples.single
    same(from_xarray(dataset, boundary={"x": "periodic"}), from_xarray(
        dataset, boundary={"lon": "periodic"}))  # fmt: skip
    with pytest.raises(ValueError, match="boundary must be a word or map lon, lat to words"):
        from_xarray(dataset, boundary={"time": "periodic"})


def test_a_vertical_slice_and_space_are_fields_too():
    x, z = np.arange(6.0), np.arange(8.0)
    u, w = np.random.default_rng(1).normal(size=(2, 6, 8))
    dataset = xarray.Dataset({"u": (("x", "z"), u), "w": (("x", "z"), w)}, {"x": x, "z": z})
    same(from_xarray(dataset, velocity=("u", "w")), sampled([u, w], [x, z]))
    volume = dataset.expand_dims(y=[0.0, 1.0, 2.0, 3.0]).assign(v=lambda d: d.u + d.w)
    field = from_xarray(volume, velocity=("u", "v", "w"))
    assert field.dimension == 3 and field.steady
    place = [[2.0, 1.7, 5.0]]
    np.testing.assert_allclose(
        field.velocity(0.0, place), [[u[2, 5], u[2, 5] + w[2, 5], w[2, 5]]], atol=1e-14
    )


def test_dates_become_seconds_after_the_first():
    first = np.datetime64("2021-03-04T06:00", "ns")
    dates = first + np.arange(7) * np.timedelta64(3, "h")
    field = from_xarray(flow(u="m s-1", v="m/s", lon="m", lat="metres").assign_coords(time=dates))
    assert field.time_range == (0.0, 64800.0) and field.samples.time_reference == first
    assert field.samples.units == {"velocity": "m s-1", "time": "s", "x": "m", "y": "metres"}
    backwards = flow().assign_coords(time=dates).isel(time=slice(None, None, -1))
    same(from_xarray(backwards), field)
    assert from_xarray(backwards).samples.time_reference == first
    spans = flow().assign_coords(time=dates - first)
    assert from_xarray(spans).time_range == (0.0, 64800.0)


@pytest.mark.parametrize(
    "units, message",
    [
        ({"u": "m s-1", "v": "m s-1", "lon": "km"}, "in 'm s-1', but x is in 'km'; .* to 'm'"),
        ({"u": "m s-1", "v": "km/h"}, "components have different units"),
        ({"u": "m s**-1", "lat": "degrees_north"}, "y is in 'degrees_north'; .* cosine of lat"),
        ({"u": "m s-1", "time": "days"}, "but time is in 'days'; convert the coordinate to 's'"),
        ({"u": "knots", "lon": "m"}, "unit of velocity 'knots' is not understood; write it as"),
        ({"time": "hours since 2000-01-01"}, "time counts .*; decode it with xarray.decode_cf"),
    ],
)
def test_units_that_contradict_each_other_are_refused(units, message):
    with pytest.raises(ValueError, match=message):
        from_xarray(flow(**units))


@pytest.mark.parametrize(
    "units",
    [
        {"u": "m s-1", "v": "metre/second", "lon": "m", "lat": "meters", "time": "seconds"},
        {"u": "km d-1", "v": "km/day", "lon": "km", "time": "days"},
        {"u": "1", "v": "1", "lon": "1", "lat": "", "time": "1"},
        {"u": "degrees/day", "lon": "degrees_east", "lat": "degrees_north", "time": "days"},
        {"lon": "m"},
    ],
)
def test_units_that_fit_are_accepted_and_kept(units):
    field = from_xarray(flow(**units))
    same(field, EXPECTED)
    assert field.samples.units.get("x") == units.get("lon")


def _refused(message, dataset, **options):
    with pytest.raises(ValueError, match=message):
        from_xarray(dataset, **options)


def test_datasets_that_do_not_fit_are_refused():
    dataset = flow()
    _refused("no variable 'w', only 'u', 'v'; name them", dataset, velocity=("u", "w"))
    _refused("velocity must name 1 to 3 variables", dataset, velocity="u")
    _refused("3 velocity components need as many coordinates, .* lon \\(x\\), time",
             dataset.assign(w=dataset.u), velocity=("u", "v", "w"))  # fmt: skip
    _refused("dimension lat has no coordinate; give it one", dataset.drop_vars("lat"))
    _refused("dimension station is none of x, y, z, time .*; pass dims",
             dataset.rename(lat="station"))  # fmt: skip
    _refused("dimension lat seems to be x, and so does lon",
             dataset.assign_coords(lat=dataset.lat.assign_attrs(axis="X")))  # fmt: skip
    deep = dataset.expand_dims(depth=[5.0])
    _refused("select one point of those that are not wanted", deep)
    same(from_xarray(deep.isel(depth=0)), EXPECTED)


def test_staggered_components_are_refused():
    dataset = flow()
    edges = dataset.v.rename(lat="lat_edge")
    _refused("components on a staggered grid must be interpolated", dataset.assign(v=edges))


def test_missing_values_and_uneven_steps_are_refused_by_the_name_of_the_dimension():
    dataset = flow()
    dataset.v[3, 2, 1] = np.nan  # lon, time, lat
    _refused("not finite at 1 of 504 points, first at index time 2, lon 3, lat 1", dataset)
    lat = LAT.copy()
    lat[4] += 0.01
    _refused(r"lat must be equally spaced, but point 4 lies 0\.01 from", flow().assign_coords(
        lat=lat))  # fmt: skip
    words = flow().assign_coords(lon=list("abcdefgh"))
    _refused("coordinate lon must hold numbers or dates", words)


def test_a_repeated_meridian_is_refused():
    dataset = flow()
    dataset.u[-1], dataset.v[-1] = dataset.u[0], dataset.v[0]
    _refused("lon is periodic, but its last plane repeats", dataset, boundary={"lon": "periodic"})
