"""Running means beside a solver, their state, arrays of other libraries, records, refusals."""

from dataclasses import replace

import numpy as np
import pytest

import meanfluid as mf
from meanfluid.means.lagrangian_pde import (
    Grid,
    RationalFilter,
    RunningMean,
    RunningMeanLabel,
    SemiLagrangian,
    Spectral,
    WindowKernel,
    butterworth,
    exponential,
    interpolated,
    mean_on_grid,
    remapped,
)
from tests import elsewhere
from tests.means.lagrangian_pde.cases import (
    COSINE,
    GYRE,
    KNOWN,
    LINE,
    NODES,
    SWAYING,
    WALLS,
    cosine,
    height,
    wave,
)  # fmt: skip

SIZES = {"f": None}


def on_nodes(time):
    """Velocity and cos x on the nodes."""
    return wave(time, LINE.mesh), np.cos(LINE.mesh)


def stepped(steps, values=3, kernel=None, transport=None):
    """The mean over [0, 5] from arrays alone, as a solver would have them."""
    kernel = kernel or WindowKernel(0.0, 5.0)
    means = RunningMean(transport or Spectral(LINE), kernel, SIZES, 0.0, on_nodes(0.0)[1])
    h = 5.0 / steps
    for n in range(steps):
        times = np.linspace(n * h, (n + 1) * h, values)
        velocity, observed = (np.stack(part) for part in zip(*map(on_nodes, times), strict=True))
        means.step(velocity, observed, h)
    return means


@pytest.mark.parametrize(("values", "order"), [(3, 4), (2, 2)])
def test_beside_a_solver_the_order_is_that_of_the_values_at_hand(values, order):
    """Four with values in the middle of the step, two without."""
    errors = [
        np.abs(stepped(n, values).mean().values["f"][NODES] - KNOWN["final"]).max()
        for n in (100, 200)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2), errors
    assert errors[1] < (1e-9 if order == 4 else 1e-4)


def test_arrays_and_functions_give_the_same_means():
    found = mean_on_grid(wave, {"f": cosine}, LINE, 0.0, 5.0, steps=100, estimate_error=False)
    arrays = stepped(100).mean()
    np.testing.assert_allclose(arrays.values["f"], found.values["f"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(arrays.to_mean, found.to_mean, rtol=0, atol=1e-14)
    assert (arrays.start, arrays.end, arrays.label) == (0.0, pytest.approx(5.0), "final")


def test_a_growing_window_has_its_mean_at_every_time():
    means = RunningMean(Spectral(LINE), WindowKernel(0.0, 5.0), SIZES, 0.0, on_nodes(0.0)[1])
    flow = lambda t, x: (wave(t, x).T, np.cos(x).T)  # noqa: E731
    with pytest.raises(ValueError, match="there is no mean; step on"):
        means.mean()
    for time in (1.0, 2.5):
        means.advance(flow, time, int(50 * time))
        alone = mean_on_grid(wave, {"f": cosine}, LINE, 0.0, time, steps=125, estimate_error=False)
        np.testing.assert_allclose(means.mean().values["f"], alone.values["f"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kernel", [WindowKernel(0.0, 5.0), butterworth(2.0)])
def test_a_state_put_back_goes_on_as_if_nothing_had_happened(kernel):
    whole, half = stepped(40, kernel=kernel), stepped(40, kernel=kernel)
    resumed = RunningMean(Spectral(LINE), kernel, SIZES, 0.0, on_nodes(0.0)[1])
    resumed.state = replace(half.state, fields=half.state.fields.copy())
    for means in (whole, resumed):
        parts = [np.stack([part] * 3) for part in on_nodes(5.0)]
        means.step(*parts, 0.1)
    np.testing.assert_array_equal(whole.state.fields, resumed.state.fields)
    np.testing.assert_array_equal(whole.mean().values["f"], resumed.mean().values["f"])


@pytest.mark.parametrize(("exact", "bound"), [(True, 2e-9), (False, 1e-7)])
def test_the_mean_label_runs_on_arrays_too(exact, bound):
    """With values between the nodes from Fourier series or from splines."""
    means = RunningMeanLabel(Spectral(LINE), WindowKernel(0.0, 5.0), SIZES, 0.0, on_nodes(0.0)[1])
    for n in range(150):
        times = np.linspace(n, n + 1, 3) / 30
        velocity, observed = (np.stack(part) for part in zip(*map(on_nodes, times), strict=True))
        means.step(interpolated(LINE, times, velocity, observed, exact=exact), 1 / 30)
    error = np.abs(means.mean().values["f"][NODES] - KNOWN["mean"]).max()
    assert error < bound


def test_arrays_stay_with_their_library(monkeypatch):
    """As those of CuPy do: no array is made of NumPy's on the way, but for the final remapping."""
    elsewhere.stand_in(monkeypatch)
    ours, theirs = (
        RunningMean(Spectral(LINE), exponential(2.0), SIZES, 0.0, start)
        for start in (on_nodes(0.0)[1], elsewhere.sent(on_nodes(0.0)[1]))
    )
    velocity, observed = (np.stack([part] * 3) for part in on_nodes(1.0))
    ours.step(velocity, observed, 0.1)
    theirs.step(elsewhere.sent(velocity), elsewhere.sent(observed), 0.1)
    mean, there = ours.mean(), theirs.mean()
    is_elsewhere, unwrapped = elsewhere.is_elsewhere, elsewhere.unwrapped
    assert is_elsewhere(there.values["f"]) and is_elsewhere(there.to_mean)
    np.testing.assert_array_equal(there.values["f"].array, mean.values["f"])
    np.testing.assert_array_equal(unwrapped(there.mean_position), mean.mean_position)
    assert is_elsewhere(there.status)
    back = remapped(there)
    assert is_elsewhere(back.values["f"])
    np.testing.assert_array_equal(back.values["f"].array, remapped(mean).values["f"])
    xarray = there.to_dataset()
    np.testing.assert_array_equal(xarray.f.values, mean.values["f"])


def test_a_mean_becomes_a_dataset_with_cf_attributes(tmp_path):
    xarray = pytest.importorskip("xarray")
    found = mean_on_grid(wave, COSINE, LINE, 0.0, 1.0, steps=40, window=mf_window())
    data = found.to_dataset()
    assert data.f.dims == ("x",) and data.v_x.dims == ("x",)
    said = "time: mean (comment: along trajectories, label=final)"
    assert data.f.attrs["cell_methods"] == said
    assert set(data.f.attrs["ancillary_variables"].split()) == {
        "f_error", "status", "f_space_error"}  # fmt: skip
    assert data.time.item() == 0.5 and data.time.attrs["bounds"] == "time_bnds"
    np.testing.assert_array_equal(data.time_bnds, [0.0, 1.0])
    assert data.attrs["meanfluid_label"] == "final" and data.attrs["Conventions"] == "CF-1.11"
    assert data.attrs["meanfluid_window"] == found.window and "flat" in found.window
    assert data.status.attrs["flag_meanings"].split()[0] == "ok"
    np.testing.assert_array_equal(data.f_error, found.time_error["f"])
    np.testing.assert_array_equal(data.v_error, np.abs(found.time_error["v"][0]))
    assert data.v_space_error == found.space_error["v"][0]
    assert {"to_mean_x", "to_end_x"} <= set(data)
    data.to_netcdf(tmp_path / "mean.nc")
    with xarray.open_dataset(tmp_path / "mean.nc") as read:
        np.testing.assert_array_equal(read.f.values, found.values["f"])
    plane = mean_on_grid(GYRE, [height], Grid(WALLS, (17, 9)), 0.0, 0.5, steps=4, label=0.25)
    on_plane = plane.to_dataset()
    assert on_plane.height.dims == ("x", "y") and on_plane.attrs["meanfluid_label"] == 0.25
    np.testing.assert_array_equal(on_plane.height, plane.values["height"])
    np.testing.assert_array_equal(on_plane.to_mean_y, plane.to_mean[1])
    assert "to_end_x" not in on_plane


def mf_window():
    def flat(time):
        return 1.0

    return flat


def test_progress_counts_the_steps_of_the_main_run():
    seen = []
    options = {"steps": 40, "estimate_error": True, "label": 2.0}
    found = mean_on_grid(
        wave, COSINE, LINE, 0.0, 5.0, progress=lambda *done: seen.append(done), **options
    )
    assert seen[-1] == (40, 40) and [a for a, _ in seen] == sorted({a for a, _ in seen})
    alone = mean_on_grid(wave, COSINE, LINE, 0.0, 5.0, **options)
    np.testing.assert_allclose(found.values["f"], alone.values["f"], rtol=0, atol=1e-13)


def gradient_wanted(m, p, t, x, y, gradient):
    return gradient[0][0]


PLANE = Grid.of(SWAYING, 16)
FIRST = {"velocity": wave, "observables": COSINE, "transport": LINE, "start": 0.0, "end": 1.0,
         "steps": 40}  # fmt: skip
REFUSED = {
    "an empty window": ({"end": 0.0}, "the window must have some length"),
    "a window that is no number": ({"end": np.nan}, "end must be one finite number"),
    "many windows": ({"start": [0.0, 1.0]}, "start must be one finite number"),
    "an unknown label": ({"label": "middle"}, '"initial", "final", "mean" or a time'),
    "a label outside": ({"label": 2.0}, "label must lie between start 0.0 and end 1.0"),
    "one step": ({"steps": 1}, "steps must be an integer, at least 2"),
    "no weight": ({"window": lambda t: 0.0}, "must be finite and have a positive integral"),
    "a weight that is no number": ({"window": lambda t: np.nan}, "must be finite"),
    "a weight that is no function": ({"window": "hann"}, "window must be None, a function"),
    "a weight without a start": (
        {"window": lambda t: max(t - 0.5, 0.0), "label": "mean"}, "is zero next to the start",
    ),
    "a velocity with another period": (
        {"velocity": lambda t, x: np.cos(1.5 * x)},
        "must have the period of the grid",
    ),
    "an observable with another period": (
        {"observables": {"x": lambda t, x: x[:, 0]}},
        "must have the period of the grid",
    ),
    "a wall with flow through it": (
        {"transport": Grid((mf.Axis(0.0, 1.0, "wall"),), 16), "velocity": lambda t, x: x},
        "nothing may flow through a wall",
    ),
    "a weight that changes its sign": (
        {"window": lambda t: 1.0 - 1.5 * t, "label": "mean"},
        "is negative somewhere",
    ),
    "the mean label of a filter of order two": (
        {"window": butterworth(1.0), "label": "mean"}, "no such equations for the filter",
    ),
    "an observable that is none": ({"observables": {"f": 3}}, 'a function or "velocity", got 3'),
    "one observable alone": ({"observables": cosine}, "a sequence or mapping of functions"),
    "a velocity of the wrong shape": ({"velocity": lambda t, x: x[:, 0]}, "velocity must return"),
    "an observable of the wrong shape": (
        {"observables": {"f": lambda t, x: 1.0}}, "observable f must return",
    ),
    "another dimension": ({"transport": PLANE, "velocity": mf.fields.abc_flow()}, "3 dimensions"),
    "a gradient": (
        {"transport": PLANE, "velocity": SWAYING, "observables": [gradient_wanted]},
        "only velocity is at hand",
    ),
    "velocity that is not finite": (
        {"velocity": lambda t, x: x / np.where(x == 0, np.nan, 1.0)}, "velocity must be finite",
    ),
    "a failure policy": ({"on_failure": "ignore"}, 'on_failure must be "raise" or "mark"'),
    "a time outside the range of the field": (
        {"velocity": mf.VelocityField(body=lambda m, p, t, x: (x,), dimension=1,
                                      time_range=(0.0, 0.5))}, "end must lie where",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    options, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        mean_on_grid(**{**FIRST, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid((mf.Axis(0.0, np.inf),), 16), "needs bounded axes"),
        (lambda: Grid((mf.Axis(0.0, 1.0, "closed"),), 16), 'must be "periodic", "wall" or "open"'),
        (lambda: Grid((mf.Axis(0.0, 1.0),), 4), "at least 8"),
        (lambda: Grid.of(mf.VelocityField(body=wave, dimension=1), 16), "names no domain"),
        (lambda: Spectral(Grid(WALLS, 16)), "Spectral needs periodic axes"),
        (lambda: Spectral(LINE, kept=0.0), "kept must be above 0"),
        (lambda: SemiLagrangian(LINE, 4), "degree must be 3 or 5"),
        (lambda: exponential(-1.0), "rate must be positive"),
        (lambda: RationalFilter(np.eye(1), np.ones(1), np.ones(1)), "a filter must forget"),
        (lambda: RationalFilter(-np.eye(1), np.ones(1), 2 * np.ones(1)), "divide output by it"),
        (lambda: RationalFilter(-np.eye(2), np.ones(1), np.ones(1)), "a filter needs matrix"),
        (lambda: stepped(10, values=4), "velocity must have shape"),
        (lambda: remapped(mean_on_grid(**FIRST, label="mean")), "labelled by mean position"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_says_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_mean_label_needs_series():
    with pytest.raises(TypeError, match="equations on mean positions need Spectral"):
        mean_on_grid(**{**FIRST, "transport": SemiLagrangian(LINE)}, label="mean")
    with pytest.raises(TypeError, match="transport must be a Grid"):
        mean_on_grid(**{**FIRST, "transport": 128})


def test_steps_of_a_running_mean_keep_their_direction():
    means = stepped(40)
    parts = [np.stack([part] * 3) for part in on_nodes(5.0)]
    with pytest.raises(ValueError, match="must not be zero or change its sign"):
        means.step(*parts, -0.1)
