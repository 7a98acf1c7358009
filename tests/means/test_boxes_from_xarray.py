"""Ensembles on periodic grids, and loops, from and to xarray: with the numbers of arrays."""

import numpy as np
import pytest
import xarray as xr

from meanfluid import geometric, glm
from tests.means.glm.own_waves import own
from tests.means.on_boxes import LENGTHS, MOVED, SPEED, A, X, vectors

BOTH = vectors(displacement=(MOVED, "m"), velocity=(SPEED, "m s-1"))


@pytest.mark.parametrize("rotation", [None, 0.7])
def test_means_on_a_grid_are_those_of_arrays(rotation):
    """In a rotating frame too, whichever component comes first."""
    plain = glm.grid_mean(MOVED, SPEED, LENGTHS, rotation=rotation)
    found = glm.grid_mean(BOTH, BOTH, rotation=rotation)
    for name in ("mean_velocity", "pseudomomentum", "momentum"):
        for k, end in enumerate("xy"):
            variable = found[f"{name}_{end}"]
            assert variable.dims == ("y", "x") and variable.attrs["units"] == "m s-1"
            said = "run: mean (comment: at displaced positions)"
            assert variable.attrs["cell_methods"] == said
            expected = getattr(plain, name)[k].T
            np.testing.assert_allclose(variable, expected, rtol=0, atol=1e-15)
    for name in ("divergence", "density", "density_spread"):
        np.testing.assert_allclose(found[name], getattr(plain, name).T, rtol=0, atol=1e-14)
    assert np.abs(plain.pseudomomentum).max() > 1e-3
    assert "run" not in found.coords and int(found["day"]) == 3
    assert found["x"].variable.identical(BOTH["x"].variable)
    assert found.attrs.get("meanfluid_rotation") == rotation


def test_vectors_may_have_other_names():
    others = BOTH.rename({f"{a}_{e}": f"{b}_{e}" for a, b in
                          (("displacement", "xi"), ("velocity", "u")) for e in "xy"})  # fmt: skip
    others = others.drop_vars("run")  # members need no names
    found = glm.grid_mean(others[["xi_x", "xi_y"]], others[["u_x", "u_y"]])
    xr.testing.assert_identical(found, glm.grid_mean(BOTH, BOTH))


@pytest.mark.parametrize("kind", ["arithmetic", "soward_roberts"])
def test_a_mean_map_of_a_dataset_is_that_of_maps(kind):
    wave = np.stack([0 * A, 0.2 * np.sin(A)])  # keeps area
    wave = np.stack([wave, -0.5 * wave])
    maps = [geometric.TorusMap(one, LENGTHS) for one in wave]
    plain = geometric.mean_map(maps, kind, weights=[2.0, 1.0])
    weights = xr.DataArray([2.0, 1.0], dims="run")
    found = geometric.mean_map(vectors(shift=(wave, "m")), kind, weights=weights)
    for k, end in enumerate("xy"):
        variable = found[f"displacement_{end}"]
        np.testing.assert_allclose(variable, plain.map.displacement[k].T, rtol=0, atol=1e-13)
        assert variable.attrs["cell_methods"] == f"run: mean (comment: {kind})"
        assert variable.attrs["units"] == "m"
    np.testing.assert_allclose(found["determinant"], plain.map.determinant.T, atol=1e-12)
    assert found["x"].variable.identical(BOTH["x"].variable) and "run" not in found.coords
    assert found.attrs["meanfluid_kind"] == kind and found.attrs["meanfluid_converged"] == 1


def test_results_on_grids_survive_a_file(tmp_path):
    cases = (glm.grid_mean(BOTH, BOTH, rotation=0.7), geometric.mean_map(BOTH, "arithmetic"))
    for k, found in enumerate(cases):
        found.to_netcdf(tmp_path / f"{k}.nc")
        with xr.open_dataset(tmp_path / f"{k}.nc") as again:
            xr.testing.assert_equal(again.load(), found)


DOWN = BOTH.isel(y=slice(None, None, -1))
BAD = {
    "an array beside it": ((BOTH, SPEED), TypeError, "velocity must be a Dataset"),
    "no vector": ((BOTH[["day"]], BOTH), ValueError, "displacement must be variables"),
    "two unknown vectors": (
        (BOTH.rename(displacement_x="a_x", displacement_y="a_y"), BOTH), ValueError,
        "displacement must be variables"),
    "no members": ((BOTH.isel(run=0), BOTH.isel(run=0)), ValueError, "and one more"),
    "downwards": ((DOWN, DOWN), ValueError, r"data.sortby\('y'\)"),
    "no coordinate": (
        (BOTH.drop_vars("y"), BOTH.drop_vars("y")), ValueError, "'y' has no coordinate"),
    "uneven": (
        (BOTH.isel(y=[0, 1, 2, 5]), BOTH), ValueError, "must be equally spaced"),
    "elsewhere": ((BOTH, BOTH.assign_coords(x=X + 1)), ValueError, "align"),
    "another period": ((BOTH, BOTH, (1.0, 4.0)), ValueError, "must go once around"),
    "one period": ((BOTH, BOTH, (1.0,)), ValueError, "lengths must hold 2"),
    "a gap": ((BOTH.where(BOTH.x > 3.1), BOTH), ValueError, "finite numbers"),
    "another unit": (
        (vectors(displacement=(MOVED, "km")), BOTH), ValueError,
        "displacement is in 'km', but the coordinates are in 'm'"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_ensemble_on_a_periodic_grid_is_refused(what):
    arguments, kind, message = BAD[what]
    with pytest.raises(kind, match=message):
        glm.grid_mean(*arguments)


def test_maps_need_two_components_of_their_unit():
    with pytest.raises(ValueError, match="two components"):
        geometric.mean_map(BOTH[["displacement_x"]].isel(y=0), "arithmetic")
    with pytest.raises(ValueError, match="is in 'km'"):
        geometric.mean_map(vectors(displacement=(MOVED, "km")), "arithmetic")


ANGLE = 2 * np.pi * np.arange(32) / 32
LOOP = xr.Dataset(
    {"turn_x": ("s", -0.7 * np.sin(ANGLE), {"units": "m s-1"}),
     "turn_y": ("s", 2.0 * np.cos(ANGLE), {"units": "m s-1"})},
    {"x": ("s", 2.0 * np.cos(ANGLE), {"units": "m"}), "y": ("s", 0.7 * np.sin(ANGLE)),
     "depth": 5.0},
)  # fmt: skip


def test_a_circulation_around_a_loop_of_coordinates():
    """Of (-y, x), twice the area."""
    found = glm.circulation(LOOP)
    assert float(found["circulation"]) == pytest.approx(2 * np.pi * 1.4, rel=1e-14)
    assert 0 < float(found["circulation_error"]) < 1e-13 and float(found["depth"]) == 5.0
    assert found["circulation"].attrs["units"] == "m s-1 m" and found["circulation"].dims == ()
    several = LOOP[["turn_x", "turn_y"]] * xr.DataArray([1.0, 2.0], {"k": [3, 4]}, dims="k")
    twice = glm.circulation(several, LOOP, dim="s")
    np.testing.assert_allclose(twice["circulation"], 2.8 * np.pi * np.array([1, 2]), rtol=1e-14)
    assert twice["k"].to_numpy().tolist() == [3, 4]
    with pytest.raises(ValueError, match="say along which one"):
        glm.circulation(several, LOOP)
    with pytest.raises(ValueError, match="no dimension 'q'"):
        glm.circulation(LOOP, dim="q")
    with pytest.raises(TypeError, match="need position="):
        glm.circulation(np.ones((4, 2)))
    with pytest.raises(TypeError, match="position must be a Dataset too"):
        glm.circulation(LOOP, np.ones((32, 2)))


def test_momentum_is_integrated_around_mean_positions_not_labels():
    fields = [own(rotation=0.5), own(rotation=-0.9)]
    labels = LOOP.drop_vars(["turn_x", "turn_y", "depth"])
    mean = glm.ensemble_mean(fields, labels, 0.0, 0.4, label="initial")
    flat = np.stack([labels["x"], labels["y"]], axis=1)
    record = glm.ensemble_mean(fields, flat, 0.0, 0.4, label="initial")
    momentum = mean[["momentum_x", "momentum_y"]]
    with pytest.raises(ValueError, match="the coordinates are initial positions"):
        glm.circulation(momentum)
    places = mean[["mean_position_x", "mean_position_y"]].drop_vars(["x", "y"])
    places = places.rename(mean_position_x="x", mean_position_y="y")
    found = glm.circulation(momentum, places)
    both = glm.kelvin(record)
    assert float(found["circulation"]) == pytest.approx(both.of_mean, rel=1e-13)
    told = both.to_dataset()
    assert float(told["of_mean"]) == both.of_mean
    assert float(told["mean_of_error"]) == both.mean_of_error
    assert told["of_mean"].attrs["cell_methods"] == "realization: mean"
    with pytest.raises(TypeError, match="needs the record"):
        glm.kelvin(mean)
