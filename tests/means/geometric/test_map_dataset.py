"""A mean map as a dataset: its numbers, where they stand, and how they came about."""

import numpy as np
import xarray as xr

from meanfluid import geometric

BOX = (2 * np.pi, 4.0)


def test_a_mean_map_says_what_it_is(tmp_path):
    x, _ = geometric.mesh((12, 10), BOX)
    waves = [geometric.TorusMap([0 * x, s * 0.2 * np.sin(x)], BOX) for s in (1, -1)]
    mean = geometric.mean_map(waves, "soward_roberts")
    found = mean.to_dataset()
    assert found["displacement_x"].dims == ("x", "y")
    np.testing.assert_array_equal(found["displacement_y"], mean.map.displacement[1])
    np.testing.assert_array_equal(found["determinant"], mean.map.determinant)
    np.testing.assert_allclose(found["y"], np.arange(10) * 0.4, rtol=1e-15)
    assert "soward_roberts" in found["determinant"].attrs["cell_methods"]
    assert (
        found.attrs["meanfluid_converged"] == 1
        and found.attrs["meanfluid_residual"] == mean.residual
    )
    found.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataset(tmp_path / "map.nc") as again:
        xr.testing.assert_equal(again.load(), found)
