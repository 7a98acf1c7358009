"""A particle's result is its own, bit for bit, in any batch, order and number of threads."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanfluid import dop853, rk4, trajectories, tsit5
from meanfluid.fields import double_gyre, sampled
from tests.catalogue import CASES
from tests.trajectories.own_fields import torque, unsteady_rotation, whirl, wide

GYRE = double_gyre()


def sampled_gyre(boundary, time=True):
    """The gyres on a grid that ends at their walls, or a smooth periodic field."""
    x, y, t = np.linspace(-1, 3, 33), np.linspace(-1, 3, 33), np.linspace(0, 15, 31)
    if boundary == "periodic":
        x = y = np.linspace(0, 2, 16, endpoint=False)
    clock, *mesh = np.meshgrid(t, x, y, indexing="ij")
    a, b = np.pi * mesh[0], np.pi * mesh[1]
    swing = 1 + 0.3 * np.sin(clock)
    velocity = [-swing * np.sin(a) * np.cos(b), swing * np.cos(a) * np.sin(b) + 0.1]
    if not time:
        velocity = [component[0] for component in velocity]
    return sampled(velocity, [x, y], t if time else None, boundary=boundary)


def spin(m, p, t, x, y, gradient):
    return gradient[1][0] - gradient[0][1]


def rising(m, t):
    return t


def falling(m, t):
    return m.exp(-t)


RUNS = {
    "adaptive": (GYRE, 0.0, 15.0, {}),
    "backwards, tsit5": (GYRE, 15.0, 0.0, {"scheme": tsit5, "rtol": 1e-8}),
    "fixed steps": (GYRE, 0.0, 15.0, {"scheme": rk4, "steps": 100}),
    "several times": (GYRE, 0.0, 15.0, {"times": [0.0, 0.1, 7.0, 15.0]}),
    "observables": (unsteady_rotation(), 0.25, 9.0, {"observables": [torque]}),
    "fixed steps with observables": (
        unsteady_rotation(), 0.25, 9.0, {"observables": [torque], "scheme": dop853, "steps": 30},
    ),
    "modal with observables": (
        CASES["kinematic_simulation_2d"].field, 0.0, 3.0, {"observables": [wide]},
    ),
    "in space": (CASES["abc_flow"].field, 0.0, 4.0, {}),
    "deformed": (GYRE, 0.0, 5.0, {"gradient": True}),
    "weights": (
        whirl(), 0.25, 5.0,
        {"observables": [spin], "weights": {"rising": rising, "falling": falling}},
    ),
    "sampled": (sampled_gyre("periodic"), 0.0, 9.0, {}),
    "sampled, deformed, backwards": (
        sampled_gyre("periodic"), 9.0, 5.0, {"gradient": True, "observables": [spin]},
    ),
    "sampled, without knots": (sampled_gyre("periodic"), 0.0, 5.0, {"knots": False, "rtol": 1e-7}),
    "sampled, out of the data": (
        sampled_gyre("open", time=False), 0.0, 30.0, {"out_of_domain": "mark"},
    ),
    "sampled, clamped": (
        sampled_gyre("open", time=False), 0.0, 30.0, {"out_of_domain": "clamp"},
    ),
}  # fmt: skip


def positions(field, count: int) -> np.ndarray:
    return np.random.default_rng(71).uniform(0, 1, (count, field.dimension)) * 2.0


def assert_same(path, whole, chosen):
    """Every array of `path` equals that of the chosen particles of `whole`, to the bit."""
    arrays = ("position", "displacement", "average_velocity", "error", "average_velocity_error",
              "status", "steps", "left_domain")  # fmt: skip
    if whole.gradient is not None:
        arrays += ("gradient", "gradient_error")
    for name in arrays:
        np.testing.assert_array_equal(getattr(path, name), getattr(whole, name)[chosen], name)
    for name in whole.means:
        np.testing.assert_array_equal(path.means[name], whole.means[name][chosen], name)
        np.testing.assert_array_equal(path.mean_errors[name], whole.mean_errors[name][chosen], name)


def run(key, x, **options):
    field, start, end, own = RUNS[key]
    return trajectories(field, x, start, end, **own, **options)


@pytest.fixture(scope="module", params=RUNS)
def batch(request):
    """Key, positions of 300 particles, and their trajectories together."""
    x = positions(RUNS[request.param][0], 300)
    return request.param, x, run(request.param, x)


def test_results_do_not_depend_on_the_number_of_threads(batch):
    key, x, whole = batch
    for threads in (1, 2, 3):
        assert_same(run(key, x, threads=threads), whole, slice(None))


def test_results_do_not_depend_on_the_order_of_the_batch(batch):
    key, x, whole = batch
    order = np.random.default_rng(72).permutation(len(x))
    assert_same(run(key, x[order]), whole, order)


def test_results_do_not_depend_on_the_rest_of_the_batch(batch):
    """Single particles, the first few of a longer batch, every third one."""
    key, x, whole = batch
    for chosen in (slice(0, 1), slice(137, 138), slice(0, 64), slice(0, 65), slice(None, None, 3)):
        assert_same(run(key, x[chosen]), whole, chosen)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 299), max_size=6, unique=True),
    key=st.sampled_from(["adaptive", "observables", "modal with observables", "sampled"]),
)
def test_results_do_not_depend_on_how_the_batch_is_split(cuts, key):
    x = positions(RUNS[key][0], 300)
    whole = run(key, x)
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
        assert_same(run(key, x[first:last]), whole, slice(first, last))


def test_a_neighbour_that_fails_or_is_far_away_changes_nothing():
    """Far away, the polynomials give up and libm steps in, in that lane only."""
    x = positions(GYRE, 130)
    whole = trajectories(GYRE, x, 0.0, 5.0)
    disturbed = x.copy()
    disturbed[::2] = [1e15, -1e18]
    mixed = trajectories(GYRE, disturbed, 0.0, 5.0, on_failure="mark", max_steps=200)
    np.testing.assert_array_equal(mixed.position[1::2], whole.position[1::2])
    np.testing.assert_array_equal(mixed.error[1::2], whole.error[1::2])


def test_windows_of_their_own_are_those_of_the_particle():
    rng = np.random.default_rng(73)
    x, start, end = positions(GYRE, 200), rng.uniform(0, 9, 200), rng.uniform(0, 9, 200)
    whole = trajectories(GYRE, x, start, end)
    order = rng.permutation(200)
    assert_same(trajectories(GYRE, x[order], start[order], end[order]), whole, order)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 64, 1000])
def test_progress_counts_up_to_the_total(threads, count):
    seen = []
    trajectories(
        GYRE, positions(GYRE, count), 0.0, 1.0, threads=threads,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    done = [d for d, _ in seen]
    assert done[-1] == count and {total for _, total in seen} == {count}
    assert done == sorted(set(done)) and done[0] > 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_what_progress_raises_stops_the_run_at_once_and_leaves_nothing_behind(kind, threads):
    """The whole run would take a minute; the first chunk, a fraction of a second."""
    x, calls = positions(GYRE, 20_000), []

    def stop(done, total):
        calls.append(done)
        raise kind("enough")

    before, started = threading.active_count(), time.perf_counter()
    with pytest.raises(kind, match="enough"):
        trajectories(GYRE, x, 0.0, 20.0, scheme=rk4, steps=5_000, threads=threads, progress=stop)
    assert time.perf_counter() - started < 10
    assert len(calls) == 1 and 0 < calls[0] < 20_000
    assert threading.active_count() == before
    assert not trajectories(GYRE, x[:3], 0.0, 1.0).status.any()  # and the next run is not cancelled


LONG_RUN = """
import sys, numpy as np
from meanfluid import trajectories, rk4
from meanfluid.fields import rotation
count, threads = int(sys.argv[1]), int(sys.argv[2])
x = np.random.default_rng(0).uniform(0, 1, (count, 2))
trajectories(rotation(), x, 0.0, 1.0, scheme=rk4, steps=2, threads=threads)  # compiled
print("ready", flush=True)
trajectories(rotation(), x, 0.0, 1e4, scheme=rk4, steps=400_000_000 // count, threads=threads)
print("not interrupted", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize(
    "count, threads",
    [
        pytest.param(20_000, 2, id="two threads"),
        pytest.param(10, 1, id="few particles"),
        pytest.param(10_000_000, 2, id="ten million", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_a_long_run_within_two_seconds(count, threads):
    """The run would take half a minute or more."""
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_RUN, str(count), str(threads)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(0.5)
        sent = time.perf_counter()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=5)
        took = time.perf_counter() - sent
    finally:
        process.kill()
        process.communicate()
    assert "not interrupted" not in output and "KeyboardInterrupt" in errors, errors
    assert took < 3, took
