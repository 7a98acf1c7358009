"""Formulas and pull-backs of ensembles from xarray: the numbers of arrays, and what they are."""

import numpy as np
import pytest
import xarray as xr

from meanfluid import geometric, glm, trajectories
from meanfluid.fields import rotation
from tests.means.on_boxes import LENGTHS, MOVED, SPEED, A, B, X, vectors

FIRST = np.stack([SPEED[0] - SPEED.mean(axis=0), SPEED.mean(axis=0) - SPEED[0]])
MEAN = np.stack([0.5 + np.sin(B), np.cos(A)])
XI = vectors(displacement=(MOVED, "m"))
WAVES = vectors(velocity=(FIRST, "m s-1"))
STEADY = vectors(velocity=(np.stack([MEAN, MEAN]), "m s-1")).isel(run=0, drop=True)
FULL = vectors(velocity=(SPEED, "m s-1"))


def same(found, name, expected, comment="", units=None, dims=("y", "x")):
    """A scalar (x, y) or vector (2, x, y) is in a Dataset, and says how it was taken."""
    vector = expected.ndim == 3
    for end, part in zip("xy" if vector else [""], expected if vector else [expected], strict=True):
        variable = found[f"{name}_{end}" if end else name]
        assert variable.dims == dims
        np.testing.assert_allclose(variable, part.T, rtol=0, atol=1e-13)
        assert variable.attrs.get("units") == units
        assert variable.attrs.get("cell_methods", "") == (
            f"run: mean (comment: {comment})" if comment else ""
        )
        assert variable.attrs["long_name"].endswith(f", {end}" if end else "")
    assert found["x"].variable.identical(XI["x"].variable) and "run" not in found.coords
    assert int(found["day"]) == 3 and found.attrs["Conventions"] == "CF-1.11"
    assert "meanfluid_version" in found.attrs and np.abs(expected).max() > 1e-3


TO_SECOND = "at displaced positions, to second order"


def test_second_order_formulas_of_datasets_are_those_of_arrays():
    density = glm.density_second_order(XI)
    same(density, "density", glm.density_second_order(MOVED, LENGTHS), TO_SECOND, "1")
    found = glm.divergence_second_order(XI, WAVES, STEADY)
    arrays = (MOVED, FIRST, MEAN, LENGTHS)
    same(found, "divergence", glm.divergence_second_order(*arrays), TO_SECOND)
    for turn in (None, 0.7):
        found = glm.pseudomomentum_second_order(XI, WAVES, STEADY, rotation=turn)
        expected = glm.pseudomomentum_second_order(*arrays, rotation=turn)
        same(found, "pseudomomentum", expected, TO_SECOND, "m s-1")
        assert found.attrs.get("meanfluid_rotation") == turn


def test_stokes_corrections_of_datasets_are_of_vectors_and_of_scalars():
    found = glm.stokes_correction_second_order(XI, WAVES, STEADY)
    expected = glm.stokes_correction_second_order(MOVED, FIRST, MEAN, LENGTHS)
    same(found, "velocity_stokes_correction", expected, TO_SECOND, "m s-1")
    waves, mean = (part.rename(velocity_x="heat")[["heat"]] for part in (WAVES, STEADY))
    found = glm.stokes_correction_second_order(XI, waves, mean, LENGTHS)
    same(found, "heat_stokes_correction", expected[0], TO_SECOND, "m s-1")


def matrices(values, name, dims, coords):
    """Matrices (..., 2, 2) as a Dataset."""
    return xr.Dataset(
        {f"{name}_{one}_{other}": (dims, values[..., i, j], {"units": "1"})
         for i, one in enumerate("xy") for j, other in enumerate("xy")}, coords,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["scalar", "vector", "one_form", "density"])
def test_pull_backs_at_points_are_those_of_arrays(kind):
    draw = np.random.default_rng(5)
    value, slope = draw.normal(size=(3, 4, 2)), 0.2 * draw.normal(size=(3, 4, 2, 2))
    place = {"member": [1, 2, 3], "drifter": list("abcd"), "x": ("drifter", [1.0, 2.0, 3.0, 4.0])}
    gradient = matrices(slope, "displacement_gradient", ("member", "drifter"), place)
    # The components the other way round, and the members last.
    named = {f"u_{end}": (("drifter", "member"), value[..., k].T, {"units": "m s-1"})
             for k, end in ((1, "y"), (0, "x"))}  # fmt: skip
    data = xr.Dataset(named, place)
    vector = kind in ("vector", "one_form")
    names = ["u_x", "u_y"] if vector else ["u_y"]
    expected = glm.pull_back_mean(value if vector else value[..., 1], slope, kind)
    found = glm.pull_back_mean(data[names], gradient, kind, dim="member")
    assert list(found.data_vars) == names and found.attrs["meanfluid_kind"] == kind
    for k, name in enumerate(names):
        assert found[name].dims == ("drifter",) and found[name].attrs["units"] == "m s-1"
        said = f"member: mean (comment: pulled back as a {kind.replace('_', '-')})"
        assert found[name].attrs["cell_methods"] == said
        part = expected[..., k] if vector else expected
        np.testing.assert_array_equal(found[name], part)
    assert found["drifter"].to_numpy().tolist() == list("abcd") and "x" in found.coords
    one = glm.pull_back_mean(data[names].isel(drifter=0), gradient.isel(drifter=0), kind)
    np.testing.assert_allclose(one[names[0]], found[names[0]][0], rtol=1e-15)
    with pytest.raises(ValueError, match="members have the dimensions"):
        glm.pull_back_mean(data[names], gradient, kind)


MAPS = [geometric.TorusMap(one, LENGTHS) for one in MOVED]
ONE = XI.isel(run=0, drop=True)
FIELDS = {"scalar": SPEED[:, 0], "density": 2 + SPEED[:, 0], "vector": SPEED, "one_form": SPEED}


def field_of(kind, values):
    named = vectors(u=(values if values.ndim == 4 else np.stack([values, values], 1), "kg"))
    return named if values.ndim == 4 else named[["u_x"]].rename(u_x="u")


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_seen_through_maps_are_those_of_arrays(kind):
    values, data = FIELDS[kind], field_of(kind, FIELDS[kind])
    mean = geometric.pull_back_mean(data, XI, kind, weights=[2.0, 1.0])
    expected = geometric.pull_back_mean(list(values), MAPS, kind, weights=[2.0, 1.0])
    same(mean, "u", expected, f"pulled back as a {kind.replace('_', '-')}", "kg")
    assert mean.attrs["meanfluid_kind"] == kind
    for move in (geometric.pull_back, geometric.push_forward):
        found = move(data.isel(run=0, drop=True), ONE, kind)
        same(found, "u", move(values[0], MAPS[0], kind), units="kg")
        assert found.attrs["meanfluid_kind"] == kind


def test_shifts_and_corrected_means_are_those_of_arrays():
    mean_map = geometric.mean_map(XI, "arithmetic")
    plain_map = geometric.mean_map(MAPS, "arithmetic").map
    away, plain = geometric.deviations(XI, mean_map), geometric.deviations(MAPS, plain_map)
    for k, one in enumerate(plain):
        found = away.isel(run=k, drop=True)
        same(found, "displacement", one.displacement, units="m")
    assert away["displacement_x"].dims == ("run", "y", "x")
    assert away["run"].to_numpy().tolist() == ["a", "b"]
    comment = "soward_roberts, to second order"
    shift = geometric.second_order_shift(away, "soward_roberts", weights=[2.0, 1.0])
    s = geometric.second_order_shift(plain, "soward_roberts", weights=[2.0, 1.0])
    same(shift, "shift", s, comment, "m")
    rate = 0.3 * shift  # without attributes
    velocity = geometric.corrected_velocity(STEADY, shift, rate)
    expected = geometric.corrected_velocity(MEAN, s, 0.3 * s, LENGTHS)
    same(velocity, "velocity", expected, comment, "m s-1")
    assert velocity.attrs["meanfluid_kind"] == "soward_roberts"
    heat, other = STEADY[["velocity_x"]], STEADY[["velocity_y"]]
    found = geometric.corrected_scalar(heat, shift, other, LENGTHS)
    same(
        found.rename(velocity_x="heat"), "heat",
        geometric.corrected_scalar(MEAN[0], s, MEAN[1], LENGTHS), comment, "m s-1",
    )  # fmt: skip


def test_the_velocity_of_mean_maps_at_dates_is_that_of_maps():
    day = np.datetime64("2024-03-01", "ns") + np.arange(3) * np.timedelta64(10, "m")
    sizes = (1.0, 1.1, 1.3)  # of a mean that is a tenth of the first member
    each = [geometric.mean_map(s * XI + 0.1 * s * ONE, "arithmetic") for s in sizes]
    means = xr.concat(each, xr.DataArray(day, dims="time", name="time"))
    maps = [geometric.TorusMap(0.1 * s * MOVED[0], LENGTHS) for s in sizes]
    found = geometric.mean_velocity(means)
    expected = geometric.mean_velocity(maps, 600.0)
    assert found["mean_velocity_x"].attrs["cell_methods"] == "run: mean (comment: arithmetic)"
    for k, end in enumerate("xy"):
        variable = found[f"mean_velocity_{end}"]
        np.testing.assert_allclose(variable, expected[k].T, rtol=0, atol=1e-16)
        assert variable.dims == ("y", "x") and variable.attrs["units"] == "m s-1"
    assert found["time"].to_numpy() == day[1]
    hours = means.assign_coords(time=("time", [0.0, 0.5, 1.0], {"units": "h"}))
    found = geometric.mean_velocity(hours)
    expected = geometric.mean_velocity(maps, 0.5)
    np.testing.assert_allclose(found["mean_velocity_x"], expected[0].T, rtol=0, atol=1e-13)
    assert found["mean_velocity_y"].attrs["units"] == "m h-1" and float(found["time"]) == 0.5
    bare = geometric.mean_velocity(means.drop_vars("time"), 0.5)
    np.testing.assert_array_equal(bare["mean_velocity_x"], found["mean_velocity_x"])
    assert "units" not in bare["mean_velocity_x"].attrs and "time" not in bare.coords
    with pytest.raises(TypeError, match="got both"):
        geometric.mean_velocity(means, 0.5)
    with pytest.raises(TypeError, match="got neither"):
        geometric.mean_velocity(means.drop_vars("time"))
    with pytest.raises(TypeError, match="need step="):
        geometric.mean_velocity(maps)


def turned(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


@pytest.mark.parametrize("name", ["group_exponential_mean", "unimodular_mean", "rotation_mean"])
def test_means_of_matrices_are_those_of_arrays_at_each_point(name):
    take = getattr(geometric, name)
    angles = np.array([[0.1, 0.4], [0.5, -0.2], [-0.3, 0.6]])  # members, points
    values = turned(angles)
    data = matrices(values, "matrix", ("run", "place"), {"place": ["here", "there"]})
    found = take(data.assign(other=1.0), weights=[1, 2, 3], dim="run")
    for k, place in enumerate(("here", "there")):
        expected = take(values[:, k], weights=[1, 2, 3])
        there = found.sel(place=place)
        got = [[float(there[f"matrix_{i}_{j}"]) for j in "xy"] for i in "xy"]
        np.testing.assert_array_equal(got, expected)
    about = found["matrix_x_y"].attrs
    kind = name.removesuffix("_mean")
    assert about["cell_methods"] == f"run: mean (comment: {kind})" and about["units"] == "1"
    assert found.attrs["meanfluid_kind"] == kind
    alone = take(data.isel(place=1), weights=[1, 2, 3])
    assert alone["matrix_x_y"].dims == () and str(alone["place"].values) == "there"


def test_gradients_of_flow_maps_have_a_mean_as_they_come():
    """Of rotations by 0.2 and 0.6 that is the one by 0.4."""
    places = xr.Dataset({"x": ("p", [1.0, 2.0]), "y": 0.5}).set_coords(["x", "y"])
    members = [trajectories(rotation(w), places, 0.0, 1.0, gradient=True) for w in (0.2, 0.6)]
    names = [name for name in members[0].data_vars
             if name.startswith("gradient") and not name.endswith("error")]  # fmt: skip
    mean = geometric.rotation_mean(xr.concat(members, "run")[names], dim="run")
    np.testing.assert_allclose(mean["gradient_x_y"], -np.sin([0.4, 0.4]), rtol=0, atol=1e-9)
    assert mean["gradient_x_y"].dims == ("p",) and "x" in mean.coords


def test_centres_on_the_sphere_are_those_of_arrays():
    draw = np.random.default_rng(2).normal(size=(3, 4, 3)) * 0.3 + [0, 0, 2]
    points = draw / np.linalg.norm(draw, axis=-1, keepdims=True)
    data = xr.Dataset({f"at_{end}": (("run", "p"), points[..., k]) for k, end in enumerate("xyz")})
    found = geometric.sphere_mean(data, dim="run")
    expected = geometric.sphere_mean(points)
    for k, end in enumerate("xyz"):
        np.testing.assert_array_equal(found[f"at_{end}"], expected[:, k])
        said = "run: mean (comment: extended_glm)"
        assert found[f"at_{end}"].attrs["cell_methods"] == said
    one = geometric.sphere_mean(data.isel(p=2))
    np.testing.assert_allclose(one["at_z"], expected[2, 2], rtol=1e-15)


def test_means_of_ensembles_survive_a_file(tmp_path):
    cases = [
        glm.stokes_correction_second_order(XI, WAVES, STEADY),
        glm.pseudomomentum_second_order(XI, WAVES, STEADY, rotation=0.7),
        geometric.pull_back_mean(FULL, XI, "vector"),
        geometric.deviations(XI, geometric.mean_map(XI, "arithmetic")),
        geometric.second_order_shift(XI, "geodesic"),
        geometric.rotation_mean(matrices(turned(np.array([0.1, 0.4])), "matrix", "run", {})),
    ]
    for k, found in enumerate(cases):
        found.to_netcdf(tmp_path / f"{k}.nc")
        with xr.open_dataset(tmp_path / f"{k}.nc") as again:
            xr.testing.assert_equal(again.load(), found)


CENTI = vectors(velocity=(FIRST, "cm s-1"))
AWAY = STEADY.assign_coords(x=X + 1)
UNIT = matrices(np.zeros((2, 2, 2)), "gradient", "run", {})
BAD = {
    "an array of waves": (
        lambda: glm.pseudomomentum_second_order(XI, FIRST, STEADY), TypeError,
        "fluctuation must be a Dataset of fluctuation_x"),
    "an array of displacements": (
        lambda: glm.divergence_second_order(MOVED, WAVES, STEADY), TypeError,
        "displacement must be a Dataset"),
    "an array as the mean": (
        lambda: glm.stokes_correction_second_order(XI, WAVES, MEAN), TypeError,
        "mean must be a Dataset"),
    "a DataArray": (
        lambda: glm.density_second_order(XI["displacement_x"]), TypeError,
        "displacement must be a Dataset of displacement_x .* got DataArray"),
    "members in the mean": (
        lambda: glm.divergence_second_order(XI, WAVES, WAVES), ValueError,
        r"velocity_x must have the dimensions \('y', 'x'\)"),
    "a component of waves": (
        lambda: glm.divergence_second_order(XI, WAVES[["velocity_y"]], STEADY), ValueError,
        "fluctuation must have the components"),
    "elsewhere": (
        lambda: glm.divergence_second_order(XI, WAVES, AWAY), ValueError, "align"),
    "no lengths": (
        lambda: glm.density_second_order(MOVED), ValueError, "lengths must hold"),
    "another unit": (
        lambda: glm.density_second_order(vectors(displacement=(MOVED, "km"))), ValueError,
        "is in 'km'"),
    "waves in another unit than their mean": (
        lambda: glm.divergence_second_order(XI, CENTI, STEADY), ValueError,
        "fluctuation is in 'cm s-1', but mean in 'm s-1'"),
    "a fluctuation in another unit than its mean": (
        lambda: glm.stokes_correction_second_order(XI, CENTI, STEADY), ValueError,
        "fluctuation is in 'cm s-1', but mean in 'm s-1'"),
    "scalars in two units": (
        lambda: geometric.corrected_scalar(
            STEADY[["velocity_x"]], ONE, CENTI[["velocity_x"]].isel(run=0)),
        ValueError, "velocity_x is in 'm s-1', but scalar in 'cm s-1'"),
    "a gradient from an array": (
        lambda: glm.pull_back_mean(FULL, np.zeros((2, 2, 2)), "vector"), TypeError,
        "gradient must be a Dataset of gradient_x_x"),
    "values from an array": (
        lambda: glm.pull_back_mean(np.zeros((2, 2)), UNIT, "vector"), TypeError,
        "value must be a Dataset of value_x"),
    "a scalar from an array": (
        lambda: glm.pull_back_mean(np.zeros(2), UNIT, "scalar"), TypeError,
        "value must be a Dataset of one variable"),
    "half a matrix": (
        lambda: glm.pull_back_mean(FULL, UNIT.drop_vars("gradient_x_y"), "vector"), ValueError,
        "one for each pair"),
    "too many scalars": (
        lambda: glm.pull_back_mean(FULL, UNIT, "scalar"), ValueError,
        "value must be a variable 'value' or the only one"),
    "components that the gradient has not": (
        lambda: glm.pull_back_mean(FULL[["velocity_x"]], UNIT, "vector"), ValueError,
        "value must have the components"),
    "no kind": (lambda: glm.pull_back_mean(FULL, UNIT, "tensor"), ValueError, "kind must be one"),
    "dim= of arrays": (
        lambda: glm.pull_back_mean(np.zeros(2), np.zeros((2, 2, 2)), "scalar", dim="run"),
        TypeError, "dim= is of Datasets"),
    "dim= of matrices": (
        lambda: geometric.rotation_mean([np.eye(2)], dim="run"), TypeError, "dim= is of Datasets"),
    "no such dimension": (
        lambda: geometric.rotation_mean(UNIT, dim="k"), ValueError, "no dimension 'k'"),
    "no points": (
        lambda: geometric.sphere_mean(FULL.to_dataarray()), TypeError, "point must be a Dataset"),
    "maps beside a Dataset": (
        lambda: geometric.pull_back_mean(FULL, MAPS, "vector"), TypeError,
        "displacement must be a Dataset"),
    "fields from arrays": (
        lambda: geometric.pull_back_mean(SPEED, XI, "vector"), TypeError,
        "fields must be a Dataset"),
    "a TorusMap beside a Dataset": (
        lambda: geometric.pull_back(STEADY, MAPS[0], "vector"), TypeError,
        "through must be a Dataset of displacement_x and displacement_y"),
    "a mean that is a TorusMap": (
        lambda: geometric.deviations(XI, MAPS[0]), TypeError, "mean must be a Dataset"),
    "several maps in place of one": (
        lambda: geometric.pull_back(STEADY, XI, "vector"), ValueError, "and no more"),
    "a map on other points": (
        lambda: geometric.pull_back(AWAY, ONE, "vector"), ValueError, "align"),
    "a list of Datasets": (
        lambda: geometric.mean_map([ONE, ONE], "arithmetic"), TypeError, "or one Dataset of all"),
    "a shift from an array": (
        lambda: geometric.corrected_velocity(STEADY, MEAN, STEADY), TypeError,
        "shift must be a Dataset"),
    "a mean from an array": (
        lambda: geometric.corrected_scalar(MEAN[0], ONE, STEADY[["velocity_x"]]), TypeError,
        "arithmetic must be a Dataset"),
    # What takes no Dataset, and says what it takes:
    "exp": (lambda: geometric.exp(ONE, LENGTHS), TypeError, r"must be an array \(2, nx, ny\)"),
    "euler_exp": (
        lambda: geometric.euler_exp(ONE, LENGTHS), TypeError, r"must be an array \(2, nx, ny\)"),
    "log": (lambda: geometric.log(ONE), TypeError, "expected a TorusMap, got Dataset"),
    "euler_log": (lambda: geometric.euler_log(ONE), TypeError, "expected a TorusMap, got Dataset"),
    "TorusMap": (
        lambda: geometric.TorusMap(ONE, LENGTHS), TypeError, "a displacement must be an array"),
    "a point of a map": (
        lambda: MAPS[0](ONE), TypeError, r"position must be an array \(n, 2\)"),
    "a composition": (lambda: MAPS[0].after(ONE), TypeError, "expected a TorusMap, got Dataset"),
    "gradient": (
        lambda: geometric.gradient(ONE["displacement_x"], LENGTHS), TypeError,
        "gradient takes arrays .* got DataArray; .* pass"),
    "divergence": (
        lambda: geometric.divergence(ONE, LENGTHS), TypeError, "divergence takes arrays"),
    "curl": (lambda: geometric.curl(ONE, LENGTHS), TypeError, "curl takes arrays"),
    "leray": (lambda: geometric.leray(ONE, LENGTHS), TypeError, "leray takes arrays"),
    "advection": (
        lambda: geometric.advection(MEAN, carried=ONE, lengths=LENGTHS), TypeError,
        "advection takes arrays"),
    "mesh": (lambda: geometric.mesh(ONE, LENGTHS), TypeError, "mesh takes arrays"),
    "pulled_back": (
        lambda: geometric.pulled_back(STEADY, UNIT, "vector"), TypeError,
        "geometric.pull_back and glm.pull_back_mean Datasets"),
    "kelvin": (lambda: glm.kelvin(FULL), TypeError, "kelvin needs the record"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_refused(what):
    wrong, kind, message = BAD[what]
    with pytest.raises(kind, match=message):
        wrong()
