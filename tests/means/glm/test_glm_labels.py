"""Labels from xarray: the numbers of arrays, on the coordinates that came, with their errors."""

import numpy as np
import pytest
import xarray as xr

from meanfluid import Status, glm
from tests.means.glm.own_waves import cells, own, steep

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
    assert found["density"].attrs["cell_methods"].startswith("realization: mean")
    found.to_netcdf(tmp_path / "glm.nc")
    with xr.open_dataset(tmp_path / "glm.nc") as again:
        xr.testing.assert_equal(again.load(), found)


def test_orbits_on_a_grid_end_a_period_of_their_own_later():
    found = glm.orbit_mean(cells(0.1), GRID, 0.0, **WAVE)
    plain = glm.orbit_mean(cells(0.1), FLAT, 0.0, **WAVE)
    compared(found, plain)
    end = found["time_end"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(end, plain.period)


def test_small_waves_on_a_grid_have_no_error_of_integration():
    found = glm.small_amplitude_mean(cells(0.1), GRID, 0.0, **WAVE)
    plain = glm.small_amplitude_mean(cells(0.1), FLAT, 0.0, **WAVE)
    drift = found["stokes_drift_x"].transpose("y", "x").to_numpy().ravel()
    np.testing.assert_array_equal(drift, plain.stokes_drift[:, 0])
    assert "stokes_drift_error" not in found


def test_times_from_xarray_need_labels_from_xarray():
    with pytest.raises(TypeError, match="need labels from xarray as position"):
        glm.orbit_mean(cells(0.1), FLAT, xr.DataArray(0.0), **WAVE)
