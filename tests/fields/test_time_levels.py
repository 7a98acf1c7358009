"""Samples that are read level by level: the same spline, bounded memory, each level read once."""

import collections
import tracemalloc

import numpy as np
import pytest
import xarray

from meanfluid.fields import from_xarray, sampled
from meanfluid.fields.slabs import Ring
from meanfluid.fields.splines import LocalFilter, coefficients

TIME, PLACE = np.linspace(0.0, 30.0, 151), np.linspace(0.0, 1.0, 9)
VALUES = np.random.default_rng(3).normal(size=(2, 151, 9, 9))


class Source:
    """Levels of an array, and how often each was read."""

    def __init__(self, values=VALUES):
        self.values, self.reads = values, collections.Counter()

    def __call__(self, level):
        self.reads[level] += 1
        return [part[level].copy() for part in self.values]


def slabbed(slab, source=VALUES, **options):
    return sampled(source, [PLACE, PLACE], TIME, slab=slab, **options)


@pytest.mark.parametrize("degree", [1, 3, 5])
@pytest.mark.parametrize("nodes", [7, 60, 400])
def test_a_local_sum_gives_the_coefficients_that_the_whole_line_gives(degree, nodes):
    """The rest of the line is worth less than a rounding error of the largest coefficient."""
    values = np.random.default_rng(nodes).normal(size=(nodes, 3))
    whole = coefficients(values, 0, degree, periodic=False)
    local = LocalFilter(nodes, degree, np.finfo(float).eps)
    terms = [local.terms(j) for j in range(len(whole))]
    found = np.stack([w @ values[first : first + len(w)] for first, w in terms])
    assert max(len(w) for _, w in terms) <= 2 * local.reach + 1
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-14 * np.abs(whole).max())


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_what_is_left_out_is_below_rounding_in_either_precision(degree):
    for precision in (np.finfo(np.float32).eps, np.finfo(float).eps):
        local, exact = LocalFilter(400, degree, precision), np.zeros(400)
        first, weights = local.terms(200)
        exact = coefficients(np.eye(400), 0, degree, periodic=False)[200]
        exact[first : first + len(weights)] = 0.0
        assert np.abs(exact).sum() < precision


@pytest.mark.parametrize("degree, slab", [(1, 6), (3, 90), (3, 30), (5, 120), (5, 40)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_velocities_are_those_of_the_whole_field(degree, slab, dtype):
    whole = sampled(VALUES, [PLACE, PLACE], TIME, time_degree=degree, dtype=dtype)
    field = slabbed(slab + 7 * (dtype == "float32"), time_degree=degree, dtype=dtype)
    rng = np.random.default_rng(4)
    time = np.concatenate([rng.uniform(0, 30, 300), TIME, [np.nan, -1.0, 30.1]])
    position = rng.uniform(-0.05, 1.05, (len(time), 2))
    found, expected = field.velocity(time, position), whole.velocity(time, position)
    scale = np.abs(whole.samples.coefficients).max()
    atol = (1e-14 if dtype == "float64" else 3e-7) * scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_coefficients_do_not_depend_on_where_slabs_begin_and_end():
    """Bit for bit: each is the same sum, whichever slab it is computed in."""
    one, other = (Ring(slabbed(slab).samples) for slab in (80, 101))
    found = {}
    for ring, starts in ((one, range(0, 140, 7)), (other, (2, 7, 40, 42, 60, 100, 148))):
        for first in starts:
            low, high = ring.move(first, min(first + 2, 150), backward=False)
            for cell in range(low, high):
                at = cell % ring.plan.ring
                stencil = ring.array[at : at + 4]
                np.testing.assert_array_equal(stencil, found.setdefault(cell, stencil.copy()))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("degree, slab", [(1, 6), (1, 20), (3, 70), (3, 100), (5, 110)])
def test_each_level_is_read_once_in_a_pass(degree, slab, backward):
    source = Source()
    ring = Ring(slabbed(slab, source, time_degree=degree).samples)
    cells = ring.plan.cells
    assert ring.plan.kept
    starts = range(0, 150, cells)
    for first in reversed(starts) if backward else starts:
        ring.move(first, min(first + cells, 150), backward=backward)
    assert source.reads == dict.fromkeys(range(151), 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("degree, slab", [(1, 10), (3, 75), (3, 60)])
@pytest.mark.parametrize("backward", [False, True])
def test_memory_is_bounded_by_the_slab(degree, slab, dtype, backward):
    """What NumPy allocates at most, in levels: the slab and what reading one takes."""
    nodes = 30
    x, t = np.linspace(0, 1, nodes), np.arange(130.0)
    level = 8 * 2 * (nodes + 2) ** 2

    def read(k):
        swing = np.cos(0.3 * k) * np.sin(np.pi * x)
        return [np.outer(x, swing), np.outer(swing, x)]

    samples = sampled(read, [x, x], t, slab=slab, time_degree=degree, dtype=dtype).samples
    cells = samples.plan.cells
    starts = range(0, 129, cells)
    tracemalloc.start()
    ring = Ring(samples)
    for first in reversed(starts) if backward else starts:
        ring.move(first, min(first + cells, 129), backward=backward)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    python = 2**14  # objects that are no arrays
    assert peak <= (slab + 6) * level + python, peak / level


def test_bytes_say_the_same_as_levels():
    bytes_of_level = 8 * 2 * 11 * 11
    by_bytes = slabbed(f"{86 * bytes_of_level / 1000} kB").samples.plan
    assert by_bytes == slabbed(80).samples.plan
    assert slabbed("2 GiB").samples.plan.cells == 150


@pytest.mark.parametrize(
    "slab, message",
    [
        (9, r"holds 9 time levels of .*a spline of degree 3 in time needs at least 10, and 68 so"),
        (-3, "holds 0 time levels"),
        ("1 kB", "holds 0 time levels"),
        ("2 Gb", "number of time levels, or bytes as '500 MB' or '2 GiB', got '2 Gb'"),
        (2.5, "number of time levels, or bytes as '500 MB'"),
        (True, "number of time levels, or bytes as '500 MB'"),
    ],
)
def test_slabs_that_cannot_work_are_refused(slab, message):
    with pytest.raises(ValueError, match=message):
        slabbed(slab)


def test_levels_that_are_not_what_they_should_be_are_refused_with_their_number():
    gap = VALUES.copy()
    gap[0, 90, 3, 4] = np.nan
    gap[1, 90, 5, 6] = np.inf
    field = slabbed(20, gap)
    assert np.isfinite(field.velocity(2.0, [[0.5, 0.5]])).all()
    with pytest.raises(
        ValueError, match="not finite at 2 of 81 points of time level 90, first at index x 3, y 4"
    ):
        field.velocity(18.0, [[0.5, 0.5]])
    late = sampled(gap[:, ::-1], [PLACE, PLACE], TIME[::-1], slab=20)
    with pytest.raises(ValueError, match="of time level 60, first"):
        late.velocity(18.0, [[0.5, 0.5]])
    thin = slabbed(20, lambda k: [part[k, :, :8] for part in VALUES])
    with pytest.raises(ValueError, match=r"level 0 must hold 2 components of shape \(9, 9\)"):
        thin.velocity(0.0, [[0.5, 0.5]])
    with pytest.raises(
        ValueError, match=r"across the lower one reaches .* of time level 0; choose"
    ):
        slabbed(20, boundary="wall").velocity(0.0, [[0.5, 0.5]])
    closed = VALUES.copy()
    closed[:, :, -1] = closed[:, :, 0]
    with pytest.raises(ValueError, match="last plane repeats the first of time level 0"):
        slabbed(20, closed, boundary=["periodic", "open"]).velocity(0.0, [[0.5, 0.5]])


def test_what_needs_all_samples_in_memory_is_refused():
    field = slabbed(20)
    for call in (
        lambda: field.samples.flat, lambda: field.samples.words, lambda: field.samples.largest,
        field.samples.node_values, field.samples.interpolation_error,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="read in slabs of time and never in memory whole"):
            call()
    with pytest.raises(ValueError, match="slab= says how many time levels"):
        sampled(VALUES[:, 0], [PLACE, PLACE], slab=20)
    with pytest.raises(ValueError, match="a function that reads time levels needs slab="):
        sampled(Source(), [PLACE, PLACE], TIME)
    with pytest.raises(ValueError, match="velocity must hold 2 arrays"):
        slabbed(20, VALUES[:, :, :8])


def test_arrays_on_disk_are_read_by_level(tmp_path):
    paths = [tmp_path / name for name in ("u.npy", "v.npy")]
    for path, part in zip(paths, VALUES, strict=True):
        np.save(path, part)
    maps = [np.load(path, mmap_mode="r") for path in paths]
    time, position = [3.3, 21.0], [[0.5, 0.2], [0.1, 0.9]]
    found = slabbed(20, maps).velocity(time, position)
    np.testing.assert_array_equal(found, slabbed(20).velocity(time, position))


def dataset(directions=(1, 1, 1)):
    """Dates, and dimensions in any order and direction."""
    along = tuple(slice(None, None, step) for step in directions)
    dates = np.datetime64("2026-01-01", "ns") + np.arange(151) * np.timedelta64(720, "s")
    u, v = VALUES
    flow = xarray.Dataset(
        {"u": (("time", "lon", "lat"), u), "v": (("lat", "time", "lon"), np.moveaxis(v, 2, 0))},
        {"time": dates, "lon": PLACE, "lat": PLACE},
    )
    return flow.isel(time=along[0], lon=along[1], lat=along[2])


def test_datasets_are_read_by_level_from_a_file(tmp_path):
    """Opened without dask, by SciPy: nothing is read before it is needed."""
    dataset().to_netcdf(tmp_path / "flow.nc", engine="scipy")
    time, position = np.array([1.0, 3000.0, 100_000.0]), [[0.5, 0.2], [0.1, 0.9], [0.3, 0.3]]
    with xarray.open_dataset(tmp_path / "flow.nc", engine="scipy") as lazy:
        field = from_xarray(lazy, slab=20, name="a flow")
        found = field.velocity(time, position)
        assert not lazy["u"].variable._in_memory
    expected = from_xarray(dataset())
    np.testing.assert_allclose(found, expected.velocity(time, position), rtol=0, atol=1e-13)
    assert field.samples.time_reference == expected.samples.time_reference
    assert (field.domain, field.time_range) == (expected.domain, expected.time_range)
    for directions in ((-1, 1, 1), (1, -1, -1)):
        turned = from_xarray(dataset(directions), slab=20)
        np.testing.assert_array_equal(turned.velocity(time, position), found)
    with pytest.raises(ValueError, match="slab= says how many time levels"):
        from_xarray(dataset().isel(time=0, drop=True), slab=20)


def test_chunks_of_dask_are_read_by_level():
    pytest.importorskip("dask")
    field = from_xarray(dataset().chunk(time=1), slab=20)
    found = field.velocity(3000.0, [[0.5, 0.2]])
    np.testing.assert_array_equal(
        found, from_xarray(dataset(), slab=20).velocity(3000.0, [[0.5, 0.2]])
    )
