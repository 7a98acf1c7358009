"""Means of arrays and datasets: closed forms, orders of convergence, errors, attributes."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr
from scipy.special import i0

from meanfluid.fields import plane_wave, rotation
from meanfluid.means.eulerian import ensemble_mean, phase_mean, time_mean, zonal_mean
from meanfluid.means.filters import top_hat
from meanfluid.means.observed import observed

T = np.linspace(0.5, 2.0, 13)


def cosine_mean(start, end, frequency=2.0):
    return (math.sin(frequency * end) - math.sin(frequency * start)) / (frequency * (end - start))


def uneven(count):
    """Smoothly stretched times of the same window."""
    s = np.linspace(0.0, 1.0, count)
    return 0.5 + 1.5 * (s + 0.15 * np.sin(math.pi * s) ** 2)


def test_straight_lines_have_their_middle_at_any_spacing():
    t = np.array([0.0, 0.3, 1.1, 1.2, 4.0])
    mean, error = time_mean(np.stack([3 * t - 1, 0 * t + 7]), t, axis=1, return_error=True)
    np.testing.assert_allclose(mean, [5.0, 7.0], rtol=1e-15)
    assert (error < 1e-13).all()


@pytest.mark.parametrize("times", [lambda n: np.linspace(0.5, 2.0, n), uneven])
@pytest.mark.parametrize("more", [0, 1])
def test_the_time_mean_is_of_second_order_and_its_error_estimate_of_higher(times, more):
    """The estimate is right to a few per cent, for odd and even numbers of samples."""
    exact, errors = cosine_mean(0.5, 2.0), []
    for n in (20 + more, 39 + more, 77 + more):
        found, estimate = time_mean(np.cos(2 * times(n)), times(n), axis=0, return_error=True)
        errors.append(abs(found - exact))
        assert estimate == pytest.approx(errors[-1], rel=0.05 if n > 30 else 0.15)
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx([2, 2], abs=0.12)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_of_a_parabola_the_estimated_error_is_the_error(n):
    """At any spacing: the second derivative is found exactly."""
    t = np.sort(np.random.default_rng(n).uniform(1, 3, n))
    found, estimate = time_mean(t**2, t, axis=0, return_error=True)
    exact = (t[-1] ** 3 - t[0] ** 3) / (3 * (t[-1] - t[0]))
    assert estimate == pytest.approx(found - exact, rel=1e-11) and estimate > 1e-6


def test_times_may_run_backwards_and_one_sample_is_its_own_mean():
    values = np.cos(T)
    assert time_mean(values[::-1], T[::-1], axis=0) == pytest.approx(time_mean(values, T, axis=0))
    mean, error = time_mean(values[:1], T[:1], axis=0, return_error=True)
    assert mean == values[0] and np.isnan(error)
    assert np.isnan(time_mean(values[:2], T[:2], axis=0, return_error=True)[1])


def test_complex_amplitudes_are_averaged_like_their_parts():
    values = np.exp(2j * T)
    parts = [time_mean(part, T, axis=0) for part in (values.real, values.imag)]
    assert time_mean(values, T, axis=0) == pytest.approx(complex(*parts), rel=1e-15)


@pytest.mark.parametrize(("points", "error"), [(4, 0.102), (8, 5.54e-5), (16, 1.01e-13)])
def test_the_phase_mean_converges_exponentially(points, error):
    """exp(2 cos) has the mean I0(2); errors are the aliased Bessel functions 2 I_n(2)."""
    found, estimate = phase_mean(
        lambda phase: np.exp(2 * np.cos(phase)), points=points, return_error=True
    )
    assert abs(found - i0(2.0)) == pytest.approx(error, rel=0.01, abs=2e-15)
    assert estimate >= abs(found - i0(2.0))
    assert estimate == pytest.approx({4: 1.4, 8: 0.102, 16: 5.54e-5}[points], rel=0.1)


def test_an_odd_number_of_phases_is_held_against_a_third_of_them_and_a_prime_against_none():
    values = np.exp(2 * np.cos(2 * np.pi * np.arange(15) / 15))
    mean, error = phase_mean(values, axis=0, return_error=True)
    assert error == pytest.approx(abs(values[::3].mean() - mean))
    assert np.isnan(phase_mean(values[:7], axis=0, return_error=True)[1])


def test_the_phase_mean_of_a_wave_is_its_current():
    """u = U + a cos(k x - w t + phase): a phase is a time of start. The energy is U^2 + a^2/2."""
    x = np.random.default_rng(3).uniform(0, 6, (5, 2))
    wave = plane_wave(amplitude_x=0.3, frequency=1.5, current_x=0.1)

    def velocity(phase):
        return observed(wave, "velocity", x, -phase / 1.5)

    def square(m, p, t, x, y, velocity):
        return velocity[0] ** 2

    mean = phase_mean(velocity, points=8)
    np.testing.assert_allclose(mean, np.broadcast_to([0.1, 0.0], (5, 2)), rtol=0, atol=1e-16)
    energy = phase_mean(lambda phase: observed(wave, square, x, -phase / 1.5), points=8)
    np.testing.assert_allclose(energy, 0.1**2 + 0.3**2 / 2, rtol=1e-14)


def test_an_ensemble_of_rotations_turns_with_the_mean_rate():
    x, rates = [[1.0, 0.5], [0.2, -0.3]], [0.5, 1.0, 3.0]
    mean, error = ensemble_mean(
        [observed(rotation(rate), "velocity", x, 0.0) for rate in rates], axis=0, return_error=True
    )
    np.testing.assert_allclose(mean, rotation(1.5).velocity(0.0, x), rtol=1e-15)
    spread = np.std(rates, ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(error, abs(rotation(spread).velocity(0.0, x)), rtol=1e-14)


def test_the_standard_error_is_the_spread_of_means_over_many_ensembles():
    """Of weighted means too: 20000 ensembles of 10 normal members, variance 4."""
    values = np.random.default_rng(7).normal(1.0, 2.0, (10, 20000))
    weights = np.array([1, 1, 1, 1, 1, 2, 2, 3, 3, 0.0])
    mean, error = ensemble_mean(values, weights=weights, axis=0, return_error=True)
    effective = weights.sum() ** 2 / (weights**2).sum()
    assert mean.std() == pytest.approx(2 / math.sqrt(effective), rel=0.02)
    assert np.mean(error**2) == pytest.approx(4 / effective, rel=0.02)  # unbiased
    assert np.isnan(ensemble_mean(values[:1], axis=0, return_error=True)[1]).all()


def test_a_zonal_mean_takes_every_wave_out():
    lon = np.arange(0.0, 360.0, 15.0)
    field = 2.0 + np.cos(np.radians(5 * lon)) + np.add.outer(np.zeros(3), np.sin(np.radians(lon)))
    mean = zonal_mean(xr.DataArray(field, {"lon": ("lon", lon, {"units": "degrees_east"})},
                                   ("lat", "lon")), dim="lon")  # fmt: skip
    np.testing.assert_allclose(mean, 2.0, rtol=1e-14)
    assert mean.dims == ("lat",) and mean.attrs["lon_bounds"] == [0.0, 360.0]
    np.testing.assert_allclose(zonal_mean(field, axis=-1, keepdims=True), np.full((3, 1), 2.0))


def test_gaps_are_refused_with_their_number_and_place_and_bridged_on_request():
    t = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    values = np.stack([2 * t, 2 * t, 2 * t, 2 * t], axis=1)
    values[2, 1] = values[0, 2] = np.nan
    values[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"7 of 20 samples.*axis 0=0, axis 1=2; fill the gaps"):
        time_mean(values, t, axis=0)
    mean, error = time_mean(values, t, axis=0, skip_missing=True, return_error=True)
    np.testing.assert_allclose(mean, [6.0, 6.0, 7.0, np.nan])  # the third window starts at 1
    assert (error[:3] < 1e-13).all() and np.isnan(error[3])
    values[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"1 of 20 samples.*remove them"):
        time_mean(values, t, axis=0, skip_missing=True)


def test_an_ensemble_may_miss_members_and_a_circle_points():
    values = np.array([[1.0, 1.0], [2.0, np.nan], [6.0, 6.0]])
    weights = [1.0, 5.0, 3.0]
    mean = ensemble_mean(values, weights=weights, axis=0, skip_missing=True)
    np.testing.assert_allclose(mean, [29 / 9, 19 / 4])
    theta = 2 * np.pi * np.arange(48) / 48
    wave = 1.0 + np.cos(theta)
    wave[7] = np.nan
    mean, error = zonal_mean(wave, axis=0, skip_missing=True, return_error=True)
    chord = (math.cos(theta[6]) + math.cos(theta[8])) / 2 - math.cos(theta[7])
    assert mean == pytest.approx(1.0 + chord / 48, rel=1e-14) and np.isnan(error)


def series(**attributes):
    values = np.stack([np.cos(2 * T), 3 * T], axis=1)
    return xr.DataArray(
        values, {"time": ("time", T, {"units": "s"}), "x": [0.0, 5.0], "z": 1.5},
        ("time", "x"), "u", {"units": "m s-1", "standard_name": "sea_water_x_velocity",
                            **attributes},
    )  # fmt: skip


def test_a_dataarray_says_how_it_was_averaged():
    data = series(cell_methods="area: mean")
    mean, error = time_mean(data, dim="time", return_error=True)
    np.testing.assert_array_equal(mean, time_mean(data.to_numpy(), T, axis=0))
    assert mean.dims == ("x",) and mean.name == "u" and float(mean["z"]) == 1.5
    assert mean.attrs["cell_methods"] == "area: mean time: mean"
    assert mean.attrs["units"] == error.attrs["units"] == "m s-1"
    assert mean.attrs["standard_name"] == "sea_water_x_velocity"
    assert mean.attrs["time_bounds"] == [0.5, 2.0] and float(mean["time"]) == 1.25
    assert mean.attrs["meanfluid_average"] == "trapezoidal rule, 13 samples"
    assert error.name == "u_error" and "standard_name" not in error.attrs
    assert data.attrs["cell_methods"] == "area: mean"  # the input is left alone
    spread = ensemble_mean(data.rename(time="realization"), dim="realization", return_error=True)[1]
    assert spread.attrs["standard_name"] == "sea_water_x_velocity standard_error"


def test_a_dataset_keeps_what_has_no_time_and_gets_bounds_and_errors(tmp_path):
    data = xr.Dataset({"u": series(), "depth": ("x", [1.0, 2.0])}, attrs={"title": "a tank"})
    mean = time_mean(data, dim="time", return_error=True)
    assert set(mean.data_vars) == {"u", "u_error", "depth", "time_bnds"}
    assert mean["u"].attrs["ancillary_variables"] == "u_error"
    assert mean["time"].attrs["bounds"] == "time_bnds"
    np.testing.assert_array_equal(mean["time_bnds"], [0.5, 2.0])
    assert mean.attrs["title"] == "a tank" and mean.attrs["Conventions"] == "CF-1.11"
    mean.to_netcdf(tmp_path / "mean.nc")
    with xr.open_dataset(tmp_path / "mean.nc") as again:
        np.testing.assert_array_equal(again["u"], mean["u"])
        assert again["u"].attrs["cell_methods"] == "time: mean"


def test_dates_are_averaged_by_their_distances(tmp_path):
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-05"], dtype="datetime64[ns]")
    data = xr.Dataset({"u": ("time", [0.0, 1.0, 4.0])}, {"time": days})
    mean = time_mean(data, dim="time")
    assert float(mean["u"]) == pytest.approx(2.0)
    assert mean["time"].to_numpy() == np.datetime64("2020-01-03")
    np.testing.assert_array_equal(mean["time_bnds"], days[[0, 2]])
    mean.to_netcdf(tmp_path / "mean.nc")
    with xr.open_dataset(tmp_path / "mean.nc") as again:
        assert again["time"].to_numpy() == np.datetime64("2020-01-03")
    assert time_mean(np.array([0.0, 1.0, 4.0]), days, axis=0) == pytest.approx(2.0)


def test_former_bounds_are_replaced():
    data = xr.Dataset({"u": series()})
    data["time"].attrs["bounds"] = "time_bnds"
    data["time_bnds"] = (("time", "bnds"), np.stack([T - 0.1, T + 0.1], axis=1))
    np.testing.assert_array_equal(time_mean(data, dim="time")["time_bnds"], [0.5, 2.0])
    assert "bounds" not in time_mean(data["u"], dim="time")["time"].attrs  # a DataArray has none


MONTHS = np.array(["2021-01", "2021-02", "2021-03", "2021-04"], dtype="datetime64[M]")


def monthly():
    """Means of cos over months, and the seconds from the first to the last."""
    ends = MONTHS.astype("datetime64[ns]")
    clock = (ends - ends[0]) / np.timedelta64(1, "s") / 1e6
    values = [cosine_mean(a, b) for a, b in itertools.pairwise(clock)]
    data = xr.Dataset(
        {"u": ("time", values, {"cell_methods": "time: mean (interval: 1 hour)"}),
         "time_bnds": (("time", "bnds"), np.stack([ends[:-1], ends[1:]], axis=1))},
        {"time": ("time", ends[:-1] + np.timedelta64(14, "D"), {"bounds": "time_bnds"})},
    )  # fmt: skip
    return data, cosine_mean(clock[0], clock[-1])


def test_means_over_months_are_weighted_by_their_lengths_and_exact():
    data, exact = monthly()
    mean = time_mean(data, dim="time", return_error=True)
    assert float(mean["u"]) == pytest.approx(exact, rel=1e-14)
    assert float(mean["u_error"]) < 1e-15
    np.testing.assert_array_equal(mean["time_bnds"], MONTHS[[0, -1]].astype("datetime64[ns]"))
    data["u"][1] = np.nan
    short = time_mean(data, dim="time", skip_missing=True, return_error=True)
    assert float(short["u"]) == pytest.approx(float(data["u"][0] + data["u"][2]) / 2, rel=1e-14)
    assert np.isnan(short["u_error"])  # January and March have 31 days each


def test_means_over_cells_that_are_not_known_or_do_not_touch_are_refused():
    data, _ = monthly()
    with pytest.raises(ValueError, match="pass the Dataset with the bounds of the cells"):
        time_mean(data["u"], dim="time")
    with pytest.raises(ValueError, match="u: cells of time must touch"):
        time_mean(data.isel(time=[0, 2]), dim="time")
    data["v"] = data["u"].drop_attrs(deep=False)  # without cell_methods: values at points
    with pytest.raises(ValueError, match="average them separately"):
        time_mean(data, dim="time")


def test_a_filtered_series_is_one_of_values_at_points():
    smooth = top_hat(0.5)(series(), dim="time", ends="bounded")
    expected = time_mean(smooth.to_numpy(), T, axis=0)
    np.testing.assert_array_equal(time_mean(smooth, dim="time"), expected)


LON = xr.DataArray(np.zeros(4), {"lon": ("lon", np.arange(4.0), {"units": "degrees"})}, ("lon",))
ROUND = LON.assign_coords(lon=("lon", [0.0, 120.0, 240.0, 360.0], {"units": "degrees"}))
UNEVEN = LON.assign_coords(lon=("lon", [0.0, 1.0, 2.0, 4.0]))
REFUSED = {
    "no axis": (lambda: time_mean(T, T), TypeError, "an array needs axis="),
    "no times": (lambda: time_mean(T, axis=0), TypeError, "needs the times"),
    "few times": (lambda: time_mean(T, T[:3], axis=0), ValueError, r"must have shape \(13,\)"),
    "times out of order": (lambda: time_mean(T[:3], [0, 2, 1], axis=0), ValueError, "in order"),
    "no dim": (lambda: time_mean(series()), TypeError, "needs dim="),
    "unknown dim": (lambda: time_mean(series(), dim="t"), ValueError, "no dimension 't', only"),
    "no coordinate": (
        lambda: time_mean(series().drop_vars("time"), dim="time"), ValueError, "no coordinate"),
    "a wrong axis": (lambda: zonal_mean(T, axis=1), ValueError, "axis must be one of 1"),
    "nothing": (lambda: zonal_mean(np.zeros((0, 2)), axis=0), ValueError, "no samples along axis"),
    "words": (lambda: zonal_mean(["a"], axis=0), TypeError, "must hold numbers"),
    "masked": (lambda: zonal_mean(np.ma.zeros(3), axis=0), TypeError, "masked array; pass"),
    "a part of a circle": (lambda: zonal_mean(LON, dim="lon"), ValueError, "360, but its 4 points"),
    "a repeated point": (lambda: zonal_mean(ROUND, dim="lon"), ValueError, "repeats the first"),
    "unequal spacing": (lambda: zonal_mean(UNEVEN, dim="lon"), ValueError, "equally spaced"),
    "another period": (lambda: zonal_mean(UNEVEN, dim="lon", period=-1), ValueError, "positive"),
    "negative weights": (
        lambda: ensemble_mean(T[:2], axis=0, weights=[1, -1]), ValueError, "not negative"),
    "few weights": (lambda: ensemble_mean(T, axis=0, weights=[1]), ValueError, r"shape \(13,\)"),
    "no points": (lambda: phase_mean(np.cos), ValueError, "number of phases"),
    "points of data": (lambda: phase_mean(T, points=3, axis=0), ValueError, "for a callable"),
    "an axis of a callable": (lambda: phase_mean(np.cos, points=3, axis=0), ValueError, "no axis"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    call, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_a_gap_in_a_dataset_is_named_with_its_variable_and_dimensions():
    data = xr.Dataset({"u": series()})
    data["u"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"u: 1 of 26 samples.*index time=3, x=1"):
        time_mean(data, dim="time")


OBSERVED_REFUSED = {
    "a word": ("vorticity", 'a function or "velocity"'),
    "the gradient": (lambda m, p, t, x, y, gradient: gradient[0][0], "use eulerian_mean"),
    "no number": (lambda m, p, t, x, y: "x", "must return a real number"),
}


@pytest.mark.parametrize("what", OBSERVED_REFUSED)
def test_observables_that_cannot_be_evaluated_are_refused(what):
    observable, message = OBSERVED_REFUSED[what]
    with pytest.raises(ValueError, match=message):
        observed(rotation(), observable, [[1.0, 2.0]], 0.0)


def test_an_observable_sees_time_parameters_and_place():
    def several(m, p, t, x, y):
        return p.rate * x, t * y, 1.0

    found = observed(rotation(2.0), several, [[1.0, 2.0], [3.0, 4.0]], [10.0, 20.0])
    np.testing.assert_array_equal(found, [[2.0, 20.0, 1.0], [6.0, 80.0, 1.0]])
