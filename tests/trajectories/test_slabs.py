"""Trajectories through slabs of time: as if the whole field were in memory, whatever the slab."""

import collections
import functools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanfluid import TrajectoryError, average_velocity, flow_map, rk4, trajectories
from meanfluid.fields import sampled
from meanfluid.fields.splines import LocalFilter
from tests.trajectories.own_fields import rms

HERE = Path(__file__).parent
END, LEVELS = 6.0, 121
SPACING = END / (LEVELS - 1)
TIME = np.linspace(0.0, END, LEVELS)
PLACE = np.linspace(0.0, 2 * math.pi, 16, endpoint=False)
START = np.random.default_rng(11).uniform(0.0, 2 * math.pi, (70, 2))
SLABS = {1: (6, 25), 3: (68, 30), 5: (104, 60)}


def level(k, spacing=SPACING):
    """Pulsating cells in an unsteady current, at one time level."""
    t, x, y = k * spacing, PLACE[:, None], PLACE[None, :]
    a = 1 + 0.3 * np.sin(1.7 * t)
    return [
        -a * np.sin(x) * np.cos(y) + 0.2 * np.cos(t),
        a * np.cos(x) * np.sin(y) + 0.1 * np.sin(x + t),
    ]


class Source:
    """The levels, and how often each is read."""

    def __init__(self):
        self.reads = collections.Counter()

    def __call__(self, k):
        self.reads[k] += 1
        return level(k)


def slabbed(slab, degree=3, read=level, **options):
    options = {"boundary": "periodic"} | options
    return sampled(read, [PLACE, PLACE], TIME, slab=slab, time_degree=degree, **options)


@functools.cache
def whole(degree=3, **options):
    values = np.stack([level(k) for k in range(LEVELS)], axis=1)
    options = {"boundary": "periodic"} | options
    return sampled(values, [PLACE, PLACE], TIME, time_degree=degree, **options)


def pull(m, p, t, x, y, velocity):
    return velocity[0] * m.sin(t)


def same(one, other):
    """Bit for bit."""
    for name in ("position", "error", "status", "steps", "left_domain", "gradient"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    for name in one.means:
        np.testing.assert_array_equal(one.means[name], other.means[name], name)
        np.testing.assert_array_equal(one.mean_errors[name], other.mean_errors[name], name)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("window", [(0.0, END), (5.83, 0.317)])
def test_slabs_give_what_the_whole_field_gives_and_each_other_bit_for_bit(degree, window):
    """Linear in time, coefficients are the same bits; else they differ by rounding.

    So do positions, and the steps are the same ones.
    """
    times = np.linspace(*window, 8)[1:]
    expected = trajectories(whole(degree), START, *window, times=times)
    first = None
    for slab in SLABS[degree]:
        path = trajectories(slabbed(slab, degree), START, *window, times=times)
        np.testing.assert_array_equal(path.steps, expected.steps)
        atol = 0.0 if degree == 1 else 2e-13
        np.testing.assert_allclose(path.position, expected.position, rtol=0, atol=atol)
        np.testing.assert_allclose(path.error, expected.error, rtol=1e-2, atol=2e-15)
        first = first or path
        same(path, first)


@functools.cache
def everything(field, **options):
    return trajectories(
        field, START, 0.3, 5.9, observables=[pull], weights={"ramp": ramp}, gradient=True, **options
    )


def ramp(m, t):
    return t


def test_observables_weights_and_gradients_are_carried_from_slab_to_slab():
    expected, found = everything(whole()), everything(slabbed(70))
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-11, atol=1e-12)
    assert set(found.means) == {"pull", "pull.ramp", "velocity.ramp"}
    for name, mean in expected.means.items():
        np.testing.assert_allclose(found.means[name], mean, rtol=0, atol=1e-12)
        ratio = found.mean_errors[name] / expected.mean_errors[name]
        assert ((ratio > 0.1) & (ratio < 10)).all(), name
    velocity = np.einsum("ni,i->ni", found.displacement, [1 / 5.6] * 2)
    np.testing.assert_allclose(found.average_velocity, velocity, rtol=1e-13)


def test_neither_threads_nor_batches_nor_the_slab_change_a_bit():
    field = slabbed(70)
    path = everything(field)
    same(everything(field, threads=3), path)
    same(everything(slabbed(97)), path)
    options = {"observables": [pull], "weights": {"ramp": ramp}, "gradient": True}
    part = trajectories(field, START[11:37], 0.3, 5.9, **options)
    np.testing.assert_array_equal(part.position, path.position[11:37])
    np.testing.assert_array_equal(part.means["pull"], path.means["pull"][11:37])
    np.testing.assert_array_equal(part.gradient_error, path.gradient_error[11:37])


WINDOWS = [(0.0, 6.0), (6.0, 0.0), (1.0, 1.2), (5.0, 5.4), (2.2, 0.1), (3.0, 3.0), (6.0, 6.0),
           (0.0, 0.0), (4.321, 4.322), (5.95, 6.0), (0.05, 0.0), (2.0, 5.0)]  # fmt: skip


def test_every_particle_may_have_a_window_of_its_own_either_way():
    """And its result does not depend on the others, though they decide where slabs lie."""
    start, end = np.array(WINDOWS).T
    expected = trajectories(whole(), START[:12], start, end)
    for slab in (66, 24):
        path = trajectories(slabbed(slab), START[:12], start, end)
        np.testing.assert_allclose(path.position, expected.position, rtol=0, atol=1e-13)
        np.testing.assert_allclose(
            path.average_velocity, expected.average_velocity, rtol=0, atol=1e-12
        )
        np.testing.assert_array_equal(path.steps, expected.steps)
        for k in (0, 1, 4, 9, 10):
            alone = trajectories(slabbed(70), START[k : k + 1], start[k], end[k])
            np.testing.assert_array_equal(alone.position[0], path.position[k])
            np.testing.assert_array_equal(alone.error[0], path.error[k])


@pytest.mark.parametrize(
    "options", [{"knots": False, "rtol": 1e-9}, {"steps": 60}, {"steps": 75, "scheme": rk4}]
)
@pytest.mark.parametrize("window", [(0.1, 5.9), (6.0, 0.0)])
def test_steps_that_heed_no_knots_are_the_same_ones_too(options, window):
    """A pair that would lead out of the slab waits for the next one."""
    expected = trajectories(whole(), START, *window, **options)
    one, other = (trajectories(slabbed(s), START, *window, **options) for s in (110, 60))
    np.testing.assert_array_equal(one.steps, expected.steps)
    atol = 1e-13 if "steps" in options else 1e-12  # of lengths that rounding changes
    np.testing.assert_allclose(one.position, expected.position, rtol=0, atol=atol)
    same(one, other)


def test_a_step_that_is_longer_than_the_slab_is_refused():
    with pytest.raises(ValueError, match="particle 0 cannot step through a slab of 1 intervals"):
        flow_map(slabbed(10), START, 0.0, END, steps=20)


def test_the_public_means_and_the_two_errors_work():
    field = slabbed(70)
    for label in ("initial", "final", 2.5):
        found, expected = (
            average_velocity(f, START, 0.2, 5.0, label=label) for f in (field, whole())
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    still, expected = (
        trajectories(f, START, 0.2, 5.0, carried=False, rtol=1e-9) for f in (field, whole())
    )
    np.testing.assert_allclose(
        still.average_velocity, expected.average_velocity, rtol=0, atol=1e-12
    )
    times = [1.0, 4.0]
    found, expected = (
        trajectories(f, START, 0.0, 4.0, times=times, interpolation_error=True)
        for f in (field, whole())
    )
    np.testing.assert_allclose(
        found.interpolation_error, expected.interpolation_error, rtol=1e-6, atol=1e-14
    )


@pytest.mark.parametrize("policy", ["mark", "clamp"])
def test_leaving_the_data_is_the_same_with_slabs(policy):
    options = {"out_of_domain": policy, "on_failure": "mark", "rtol": 1e-7}
    expected = trajectories(whole(boundary="open"), START, 0.0, 4.0, **options)
    path = trajectories(slabbed(70, boundary="open"), START, 0.0, 4.0, **options)
    assert 0 < np.count_nonzero(expected.left_domain) < len(START)
    np.testing.assert_array_equal(path.left_domain, expected.left_domain)
    np.testing.assert_array_equal(path.status, expected.status)
    np.testing.assert_allclose(path.position, expected.position, rtol=0, atol=1e-10)
    with pytest.raises(TrajectoryError, match="OUT_OF_DOMAIN"):
        flow_map(slabbed(70, boundary="open"), START, 0.0, 4.0)


def test_a_current_carries_exactly_through_many_slabs():
    """u = 3 t^2 - 2 t: a cubic in time holds it, and the displacement is t^3 - t^2."""
    t, x = np.linspace(0, 4, 201), np.linspace(-1, 1, 8, endpoint=False)

    def read(k):
        return [np.full((8, 8), 3 * t[k] ** 2 - 2 * t[k]), np.zeros((8, 8))]

    field = sampled(read, [x, x], t, slab=70, boundary="periodic")
    path = trajectories(field, START, 0.0, 4.0, times=[1.0, 2.5, 4.0])
    exact = np.array([0.0, 2.5**3 - 2.5**2, 48.0])
    np.testing.assert_allclose(path.displacement[..., 0] - exact, 0, atol=1e-12)
    back = trajectories(field, START, 4.0, 0.0)
    np.testing.assert_allclose(back.displacement[:, 0], -48.0, rtol=1e-14)


def test_the_flow_map_converges_with_the_time_levels_at_the_order_of_the_spline():
    """Space is the same, so only interpolation in time is left; order 4 for a cubic."""

    def through(levels):
        t = np.linspace(0.0, END, levels)
        spacing = t[1]
        return sampled(lambda k: level(k, spacing), [PLACE, PLACE], t, slab=64, boundary="periodic")

    finest = flow_map(through(961), START, 0.5, 3.5)
    errors = [rms(flow_map(through(n), START, 0.5, 3.5) - finest) for n in (31, 61)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3), errors


@pytest.mark.parametrize("time_degree, slab", [(1, 7), (3, 70)])
def test_in_space(time_degree, slab):
    x, t = np.linspace(0, 2 * math.pi, 8, endpoint=False), np.linspace(0, 3, 91)
    east, north, up = np.meshgrid(x, x, x, indexing="ij")

    def read(k):
        a = 1 + 0.4 * np.sin(t[k])
        return [
            np.sin(up) * a + np.cos(north),
            np.sin(east) + a * np.cos(up),
            np.sin(north) * a + np.cos(east),
        ]

    values = np.stack([read(k) for k in range(91)], axis=1)
    options = {"time_degree": time_degree, "boundary": "periodic"}
    start = np.random.default_rng(12).uniform(0, 6, (20, 3))
    for window in ((0.0, 2.0), (2.9, 0.9)):
        expected = trajectories(sampled(values, [x] * 3, t, **options), start, *window)
        path = trajectories(sampled(read, [x] * 3, t, slab=slab, **options), start, *window)
        np.testing.assert_array_equal(path.steps, expected.steps)
        np.testing.assert_allclose(path.position, expected.position, rtol=0, atol=2e-13)


@pytest.mark.parametrize("window", [(0.0, END), (END, 0.0)])
@pytest.mark.parametrize("degree", [1, 3])
def test_a_pass_reads_each_level_once(degree, window):
    source = Source()
    flow_map(slabbed(SLABS[degree][0], degree, source), START, *window)
    assert source.reads == dict.fromkeys(range(LEVELS), 1)


def test_only_the_levels_around_the_windows_are_read():
    """Three cells on from time 2.5, the margins, the stencil, and what the filter reaches."""
    source = Source()
    field = slabbed(80, read=source)
    for window in ((-0.1, 1.0), (0.0, END + 0.1)):
        with pytest.raises(ValueError, match=r"must lie in the time range \[0.0, 6.0\]"):
            flow_map(field, START, *window)
    assert not source.reads
    flow_map(field, START, 2.5, 2.65)
    reach = LocalFilter(LEVELS, 3, np.finfo(float).eps).reach
    assert set(source.reads) == set(range(50 - 2 - reach, 53 + 3 + reach))
    assert set(source.reads.values()) == {1}
    source = Source()
    start = np.where(np.arange(len(START)) % 2, 0.5, 5.0)
    flow_map(slabbed(20, 1, source), START, start, start + 0.1)
    assert set(source.reads) == {*range(9, 14), *range(99, 104)}


def test_a_gap_that_is_met_on_the_way_is_named():
    def torn(k):
        u, v = level(k)
        u[3, 4:6] = np.nan if k == 80 else u[3, 4:6]
        return [u, v]

    field = slabbed(20, 1, torn)
    assert np.isfinite(flow_map(field, START, 0.0, 3.0)).all()
    with pytest.raises(ValueError, match="not finite at 2 of 256 points of time level 80, first"):
        flow_map(field, START, 0.0, END)


def test_progress_grows_to_all_and_an_interruption_ends_the_run():
    seen = []
    flow_map(slabbed(20, 1), START, 0.0, END, progress=lambda *both: seen.append(both))
    done = [d for d, _ in seen]
    assert len(seen) > 5 and done == sorted(done) and seen[-1] == (len(START), len(START))
    assert 0 < done[1] < len(START)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow_map(slabbed(20, 1), START, 0.0, END, progress=stop)

    def broken(k):
        if k == 40:
            raise OSError("the disk is gone")
        return level(k)

    with pytest.raises(OSError, match="the disk is gone"):
        flow_map(slabbed(20, 1, broken), START, 0.0, END)


def test_failures_stop_where_they_happen():
    path = trajectories(
        slabbed(20, 1), START, 0.0, END, times=[1.0, END], max_steps=60, on_failure="mark"
    )
    expected = trajectories(
        whole(1), START, 0.0, END, times=[1.0, END], max_steps=60, on_failure="mark"
    )
    assert (path.status == 3).all() and np.isfinite(path.position[:, 0]).all()
    np.testing.assert_array_equal(path.status, expected.status)
    np.testing.assert_array_equal(path.steps, expected.steps)
    np.testing.assert_array_equal(path.position, expected.position)


SIMULATED = """
import cuda_cases, numpy as np
from meanfluid.trajectories import launch_cuda, slabs
from test_slabs import START, pull, slabbed
cuda_cases.quicken()
start, offsets = np.array([0.3, 0.32, 4.0]), np.array([[0.1, 0.25], [-0.1, -0.3], [0.1, 0.2]])
for field in (slabbed(11), slabbed(19, dtype="float32")):
    evaluator, problem = cuda_cases.prepared(field, (pull,), rtol=1e-6)
    engine = slabs.HostEngine(problem, START[:3], start, offsets, 1)
    here = slabs.run(field, evaluator.layout, problem, engine, start, offsets)
    there = launch_cuda.run(
        field, (pull,), evaluator.layout, problem, START[:3], start, offsets
    )
    report = cuda_cases.compared(here, there)
    assert report["status"] == [[0, 0, 0]] * 2 and report["steps"][0] == report["steps"][1], report
    assert report["travelled"] < 1e-14, report
"""


@pytest.mark.slow
def test_one_thread_of_a_gpu_for_each_particle_goes_through_slabs_as_blocks_of_lanes_do():
    pytest.importorskip("numba_cuda")
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SIMULATED],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.gpu
@pytest.mark.parametrize("there", [False, True])
def test_slabs_pass_by_on_a_gpu(there):
    cupy = pytest.importorskip("cupy")
    start = START if not there else cupy.asarray(START)
    for window in ((0.3, 5.9), (5.9, 0.3)):
        options = {"observables": [pull], "times": np.linspace(*window, 4)[1:], "device": "cuda"}
        path, other = (trajectories(slabbed(s), start, *window, **options) for s in (70, 24))
        same_there = path.position == other.position
        assert bool(same_there.all())
        on_cpu = trajectories(slabbed(70), START, *window, **(options | {"device": "cpu"}))
        gap = np.abs(np.asarray(path.position.get() if there else path.position) - on_cpu.position)
        assert gap.max() < 1e-11
        single = trajectories(slabbed(70, dtype="float32"), start, *window, **options)
        rough = single.position.get() if there else single.position
        assert 0 < np.abs(rough - on_cpu.position).max() < 1e-4
