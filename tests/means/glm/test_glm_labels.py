"""Labels from xarray: the numbers of arrays, on the coordinates that came, with their errors."""

import numpy as np
import pytest
import xarray as xr

from meanfluid import Status, glm
from tests.means.glm.own_waves import cells, own, steep
from tests.means.glm.test_known_displacements import gerstner

GRID = xr.Dataset(coords={"y": [0.4, 0.6, 0.9], "x": [0.0, 2.0], "depth": 7.0})
FLAT = np.stack([part.ravel() for part in np.meshgrid([0.0, 2.0], [0.4, 0.6, 0.9])], axis=1)
WAVE = {"wavevector": [1.0, 0.0], "frequency": 1.0}


def compared(found, plain, observable=None):
    names = ["mean_velocity", "eulerian_velocity", "stokes_drift", "pseudomomentum", "momentum"]
    for name in names:
        for axis, column in zip("xy", getattr(plain, name).T, strict=True):
            variable = found[f"{name}_{axis}"]
            np.testing.assert_array_equal(variable.transpose("y", "x").to_numpy().ravel(), column)
            assert "mean" in variable.attrs["cell_methods"]
        error = found[f"{name}_error"].transpose("y", "x").to_numpy().ravel()
        np.testing.assert_array_equal(error, plain.errors[name])
    density = found["density"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(density, plain.density)
    assert (found["status"] == Status.OK).all() and float(found["depth"]) == 7.0
    if observable:
        for kind, suffix in (
            ("means", "lagrangian_mean"),
            ("stokes_corrections", "stokes_correction"),
        ):
            values = found[f"{observable}_{suffix}"].transpose("y", "x").to_numpy().ravel()
            np.testing.assert_array_equal(values, getattr(plain, kind)[observable])


def test_an_ensemble_on_a_grid_of_mean_positions(tmp_path):
    fields = [own(rotation=0.7), own(rotation=-0.7)]
    options = {"observables": {"steep": steep}}
    found = glm.ensemble_mean(fields, GRID, 0.0, 0.4, **options)
    compared(found, glm.ensemble_mean(fields, FLAT, 0.0, 0.4, **options), "steep")
    said = "realization: mean (comment: at {} positions, label=mean)"
    assert found["density"].attrs["cell_methods"] == said.format("displaced")
    assert found["eulerian_velocity_x"].attrs["cell_methods"] == said.format("mean")
    assert found["steep_eulerian_mean"].attrs["cell_methods"] == said.format("mean")
    assert found.attrs["meanfluid_observables"] == "['steep']"
    assert found.attrs["meanfluid_members"] == 2
    found.to_netcdf(tmp_path / "glm.nc")
    with xr.open_dataset(tmp_path / "glm.nc") as again:
        xr.testing.assert_equal(again.load(), found)


def test_orbits_on_a_grid_end_a_period_of_their_own_later():
    found = glm.orbit_mean(cells(0.1), GRID, 0.0, **WAVE)
    plain = glm.orbit_mean(cells(0.1), FLAT, 0.0, **WAVE)
    compared(found, plain)
    end = found["time_end"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(end, plain.period)


def test_lagrangian_periods_on_a_grid_are_windows_of_drift():
    found = glm.lagrangian_period(cells(0.1), GRID, 0.0, **WAVE)
    plain = glm.lagrangian_period(cells(0.1), FLAT, 0.0, **WAVE)
    for name, value, error in (
        ("period", plain.period, plain.period_error),
        ("drift_x", plain.drift[:, 0], plain.drift_error),
    ):
        np.testing.assert_array_equal(found[name].transpose("y", "x").to_numpy().ravel(), value)
        doubt = found[f"{name.removesuffix('_x')}_error"].transpose("y", "x").to_numpy().ravel()
        np.testing.assert_array_equal(doubt, error)
    np.testing.assert_array_equal(found["time_end"], found["period"])
    assert (found["status"] == Status.OK).all() and "cell_methods" in found["drift_y"].attrs
    assert found.attrs["meanfluid_frequency"] == 1.0


def test_small_waves_on_a_grid_have_no_error_of_integration():
    found = glm.small_amplitude_mean(cells(0.1), GRID, 0.0, **WAVE)
    plain = glm.small_amplitude_mean(cells(0.1), FLAT, 0.0, **WAVE)
    drift = found["stokes_drift_x"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(drift, plain.stokes_drift[:, 0])
    assert "stokes_drift_error" not in found


def test_a_formula_of_displacement_on_a_grid_at_one_time():
    """Nothing is integrated, so that there is a time and no window."""
    wave = GRID.rename(y="z").assign_coords(z=[-1.5, -0.9, -0.5])
    flat = np.stack([p.ravel() for p in np.meshgrid([0.0, 2.0], [-1.5, -0.9, -0.5])], axis=1)
    found, plain = gerstner(wave), gerstner(flat)
    for name in ("momentum", "pseudomomentum"):
        for axis, column in zip("xz", getattr(plain, name).T, strict=True):
            variable = found[f"{name}_{axis}"]
            np.testing.assert_array_equal(variable.transpose("z", "x").to_numpy().ravel(), column)
            said = "realization: mean (comment: at displaced positions)"
            assert variable.attrs["cell_methods"] == said
        error = found[f"{name}_error"].transpose("z", "x").to_numpy().ravel()
        np.testing.assert_array_equal(error, plain.errors[name])
    assert (found["status"] == Status.OK).all()
    assert float(found["time"]) == 0.7 and "time_bnds" not in found
    assert found.attrs["meanfluid_displacement"] == "circles"
    assert found.attrs["meanfluid_members"] == 16 and "initial_position_x" not in found


def test_positions_that_are_no_labels_are_told_too():
    found = glm.ensemble_mean([own(rotation=0.7)], GRID, 0.0, 0.4, label="initial")
    plain = glm.ensemble_mean([own(rotation=0.7)], FLAT, 0.0, 0.4, label="initial")
    mean = found["mean_position_y"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(mean, plain.position[:, 1])
    np.testing.assert_array_equal(found["initial_position_x"], found["x"].broadcast_like(found.y))
    assert "cell_methods" not in found["initial_position_x"].attrs


def test_labels_in_chunks_are_computed_at_once():
    array = pytest.importorskip("dask.array")
    lazy = GRID.assign(mask=(("y", "x"), array.zeros((3, 2), chunks=(2, 1))))
    found = glm.ensemble_mean([own(rotation=0.7)], lazy, 0.0, 0.4)
    xr.testing.assert_identical(found, glm.ensemble_mean([own(rotation=0.7)], GRID, 0.0, 0.4))
    assert not found.chunks


def test_times_from_xarray_go_with_arrays_too():
    found = glm.orbit_mean(cells(0.1), FLAT, xr.DataArray(0.0), **WAVE)
    plain = glm.orbit_mean(cells(0.1), FLAT, 0.0, **WAVE)
    np.testing.assert_array_equal(found.momentum, plain.momentum)
