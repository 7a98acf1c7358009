"""How long does one velocity of a sampled field take, against C++ and the libraries?

All contestants evaluate all components at the same points on one thread, points in random order
and sorted by cell. The data are samples of a sum of waves, so that the error beside each time is
known exactly: root mean square over the points, relative to that of the velocity. Two packages take
part if they are installed here: interpolation (interpolation.py) and interpn (Rust).

    pip install "interpn[pydantic]==0.11.2"            its splines need pydantic
    python benchmarks/interpolation.py [--quick] [--repeats N]
"""

import ctypes
import importlib
import importlib.machinery
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import HERE, alternated, median, parsed_arguments, write_report
from numba import njit
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates, spline_filter

import meanfluid as mf
from meanfluid.backends.compiled import LANES
from meanfluid.backends.interpolation import sampler

TURN = 2 * np.pi
OURS = "meanfluid"
COLUMNS = ["grid", "spline", "points", "contestant", "ns", "time / ours", "relative rms error"]
PEER = "C++, g++ -O3 -march=native"
# Of interpn, by degree: the interpolator, and the planes repeated beyond the ends of a period. The
# influence of the end on a spline falls by 0.27 from one plane to the next.
RUST = {
    1: {"interpn, linear": ("MultilinearRegular", 0)},
    3: {
        "interpn, cubic Hermite": ("MulticubicRegular", 2),
        "interpn, cubic B-spline": ("MultiBsplineRegular", 24),
    },
}


class Case(NamedTuple):
    """A periodic grid of nodes**dimension points, and times if it is unsteady."""

    dimension: int
    nodes: int
    degree: int
    times: int = 0

    @property
    def title(self):
        space = f"{self.nodes}{'²' if self.dimension == 2 else '³'}"
        return f"{space} × {self.times} times" if self.times else space


CASES = [
    Case(2, 512, 1), Case(2, 512, 3), Case(2, 512, 5), Case(2, 256, 3, times=32),
    Case(3, 64, 1), Case(3, 64, 3), Case(3, 64, 5), Case(3, 32, 3, times=16),
]  # fmt: skip


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    arguments.threads = 1
    count = 2**10 if arguments.quick else 2**17
    library, notes = built_peer()
    rows = []
    for case in CASES:
        flow = Waves(case.dimension)
        field = flow.sampled(case)
        for order in ("random", "sorted"):
            points = placed(case, count, order)
            runs = contestants(case, field, points, library)
            rows += measured(case, order, flow.velocity(*points), runs, arguments.repeats)
    notes += missing_peers()
    table = {"title": "One velocity, all components", "columns": COLUMNS, "rows": rows}
    write_report(
        "interpolation", "How long does one velocity of a sampled field take?", arguments, began,
        points=count, tables=[table], notes=notes,
    )  # fmt: skip
    print(as_markdown(table))
    print("\n".join(notes))


class Waves:
    """A sum of waves, 2 pi periodic in space and, in case, in time."""

    def __init__(self, dimension, count=12, largest=6):
        rng = np.random.default_rng(0)
        self.dimension = dimension
        self.waves = rng.integers(-largest, largest + 1, (count, dimension))
        self.beats = rng.integers(-2, 3, count)
        self.phases = rng.uniform(0, TURN, count)
        self.amplitudes = rng.normal(size=(dimension, count))

    def velocity(self, t, *position):
        """Components along the first axis of the result."""
        total = 0.0
        for k, beat, phase, a in zip(
            self.waves, self.beats, self.phases, self.amplitudes.T, strict=True
        ):
            angle = sum(n * x for n, x in zip(k, position, strict=True)) + beat * t + phase
            total = total + a.reshape(-1, *[1] * np.ndim(angle)) * np.sin(angle)
        return total

    def sampled(self, case):
        axis = np.arange(case.nodes) * (TURN / case.nodes)
        axes = [axis] * case.dimension
        times = np.arange(case.times) * (TURN / case.times) if case.times else None
        grid = np.meshgrid(*([times, *axes] if case.times else axes), indexing="ij")
        values = self.velocity(*grid) if case.times else self.velocity(0.0, *grid)
        return mf.fields.sampled(values, axes, times, degree=case.degree, boundary="periodic")


def placed(case, count, order):
    """Return times and coordinates, (count,) each, inside the data."""
    rng = np.random.default_rng(1)
    last = TURN * (case.times - 1) / case.times if case.times else 0.0
    points = [rng.uniform(0, last, count), *rng.uniform(0, TURN, (case.dimension, count))]
    if order == "sorted":  # by cell, as particles that were laid out in order remain for a while
        spacings = [TURN / max(case.times, 1), *[TURN / case.nodes] * case.dimension]
        cells = [np.floor(x / h) for x, h in zip(points, spacings, strict=True)]
        rank = np.lexsort(cells[::-1])
        points = [x[rank] for x in points]
    return points


def contestants(case, field, points, library):
    """Map names to functions that return velocities, as `by_components` takes them."""
    single = mf.fields.sampled(
        np.moveaxis(field.samples.node_values(), -1, 0),
        [np.arange(case.nodes) * (TURN / case.nodes)] * case.dimension,
        np.arange(case.times) * (TURN / case.times) if case.times else None,
        degree=case.degree, boundary="periodic", dtype="float32",
    )  # fmt: skip
    runs = {
        OURS: ours(field, points),
        f"{OURS}, with the gradient": ours(field, points, gradient=True),
        f"{OURS}, float32 samples": ours(single, points),
    }
    if library is not None:
        runs[PEER] = peer(field, points, library)
    runs["scipy map_coordinates"] = map_coordinates_of(case, field, points)
    if case.degree == 1:
        runs["scipy RegularGridInterpolator"] = regular_grid_of(field, points)
        eval_linear = econforge()
        if eval_linear is not None:
            runs["interpolation.py"] = econforge_of(eval_linear, field, points)
    interpn = rust_package()
    if interpn is not None:
        for name, (kind, width) in RUST.get(case.degree, {}).items():
            runs[name] = rust_of(getattr(interpn, kind), width, field, points)
    return runs


def ours(field, points, *, gradient=False):
    """Evaluate block after block, as the stepper does."""
    samples, d = field.samples, field.dimension
    f = sampler(d, samples.degree, samples.time_degree, samples.single, gradient=gradient)

    @njit(error_model="numpy")
    def evaluate(table, samples, time, place, rate):
        for block in range(len(time)):
            t, x = time[block], place[block]
            f(table, samples, t, x, t, x, rate[block], 0, d)

    time = points[0].reshape(-1, LANES)
    place = np.ascontiguousarray(np.reshape(points[1:], (d, -1, LANES)).swapaxes(0, 1))
    rate = np.empty((len(time), d + (d * d if gradient else 0), LANES))

    def run():
        evaluate(samples.table, samples.flat, time, place, rate)
        return rate

    return run


def by_components(velocity, d):
    """Bring what `ours` returns, (blocks, rows, lanes), to (components, points)."""
    return velocity if velocity.ndim == 2 else velocity[:, :d].swapaxes(0, 1).reshape(d, -1)


def built_peer():
    """Compile the C++ of ``cpp/interpolation.cpp``; None and why, if there is no compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None, ["No g++ on this machine: C++ did not take part."]
    target = HERE / ".build" / "interpolation.so"
    target.parent.mkdir(exist_ok=True)
    source = HERE / "cpp" / "interpolation.cpp"
    flags = ["-std=c++20", "-O3", "-march=native", "-fPIC", "-shared"]
    subprocess.run([compiler, *flags, str(source), "-o", str(target)], check=True)
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return ctypes.CDLL(str(target)), [f"C++ compiler: {told.stdout.splitlines()[0]}"]


def peer(field, points, library):
    samples, d = field.samples, field.dimension
    function = getattr(library, f"evaluate_{len(samples.axes)}_{samples.degree}_{d}")
    pointer = np.ctypeslib.ndpointer(dtype=np.float64, flags="C_CONTIGUOUS")
    function.argtypes, function.restype = [pointer] * 4 + [ctypes.c_long], None
    places = np.array(points if samples.unsteady else points[1:])
    velocity = np.empty((d, places.shape[1]))

    def run():
        function(samples.table, samples.flat, places, velocity, places.shape[1])
        return velocity

    return run


def map_coordinates_of(case, field, points):
    """Prefiltered beforehand; in time, too, it takes the data as periodic."""
    values = np.moveaxis(field.samples.node_values(), -1, 0)
    if case.degree > 1:
        values = [spline_filter(v, order=case.degree, mode="grid-wrap") for v in values]
    spacings = [axis.spacing for axis in field.samples.axes]
    places = points if case.times else points[1:]
    indices = np.array([x / h for x, h in zip(places, spacings, strict=True)])

    def run():
        return np.stack([
            map_coordinates(v, indices, order=case.degree, mode="grid-wrap", prefilter=False)
            for v in values
        ])  # fmt: skip

    return run


def closed_grid(field):
    """Return nodes and values with the first plane of each period repeated behind the last."""
    values, nodes = field.samples.node_values(), []
    for k, axis in enumerate(field.samples.axes):
        nodes.append(axis.lower + axis.spacing * np.arange(axis.cells + 1))
        if axis.periodic:
            values = np.concatenate([values, np.take(values, [0], axis=k)], axis=k)
    return nodes, values


def regular_grid_of(field, points):
    nodes, values = closed_grid(field)
    interpolator = RegularGridInterpolator(nodes, values, method="linear")
    places = np.stack(points if field.samples.unsteady else points[1:], axis=-1)
    return lambda: interpolator(places).T


def econforge():
    """Return the function of the package interpolation, which has the name of this file."""
    elsewhere = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    if importlib.machinery.PathFinder.find_spec("interpolation", elsewhere) is None:
        return None
    here, sys.path[:] = list(sys.path), elsewhere
    try:
        return importlib.import_module("interpolation.splines").eval_linear
    finally:
        sys.path[:] = here


def econforge_of(eval_linear, field, points):
    nodes, values = closed_grid(field)
    grid = tuple((n[0], n[-1], len(n)) for n in nodes)
    places = np.stack(points[1:], axis=-1)
    return lambda: eval_linear(grid, values, places).T


def rust_package():
    """Return the package interpn, or None: without pydantic its interpolators are missing, too."""
    try:
        interpn = importlib.import_module("interpn")
    except ImportError:
        return None
    return interpn if hasattr(interpn, "MultiBsplineRegular") else None


def rust_of(kind, width, field, points):
    """Evaluate component after component, on the calling thread, into arrays that are there."""
    grid, values = haloed_grid(field, width)
    interpolators = [kind.new(*grid, np.ascontiguousarray(v)) for v in np.moveaxis(values, -1, 0)]
    places = [np.ascontiguousarray(x) for x in (points if field.samples.unsteady else points[1:])]
    velocity = np.empty((field.dimension, len(places[0])))

    def run():
        for interpolator, component in zip(interpolators, velocity, strict=True):
            interpolator.eval_unchecked(places, component)
        return velocity

    return run


def haloed_grid(field, width):
    """Return nodes per axis, first nodes, spacings, and values that go on over each period's ends.

    `width` planes are repeated at both ends of a periodic axis, and one more behind the last.
    """
    values, first, spacings = field.samples.node_values(), [], []
    for k, axis in enumerate(field.samples.axes):
        if axis.periodic:
            around = np.arange(-width, axis.cells + 1 + width)
            values = np.take(values, around, axis=k, mode="wrap")
        first.append(axis.lower - (width * axis.spacing if axis.periodic else 0.0))
        spacings.append(axis.spacing)
    return (list(values.shape[:-1]), np.array(first), np.array(spacings)), values


def missing_peers():
    notes = []
    if econforge() is None:
        notes.append(
            "The package interpolation is not installed: interpolation.py did not take part."
        )
    if rust_package() is None:
        notes.append(
            "The package interpn, with pydantic, is not installed: interpn did not take part (how: "
            "see the head of the script)."
        )
    else:
        notes.append(
            f"interpn {version('interpn')} (Rust) ran on one thread, one component after the "
            "other. Its *cubic Hermite* takes slopes from neighbouring nodes: it needs no "
            "coefficients, its second derivatives jump between cells, and its error falls with "
            "the third power of the spacing where that of a spline falls with the fourth. Its "
            "*cubic B-spline* is the spline that the others evaluate, but for the condition at "
            "the first and last time. Neither knows periodic axes: planes were repeated at both "
            "ends beforehand."
        )
    return notes


def measured(case, order, exact, runs, repeats):
    """Time the contestants in turn, and compare each with the exact velocity."""
    count, size = exact.shape[1], np.sqrt(np.mean(exact**2))
    entries = alternated(runs, repeats, least=0.05)
    rows = []
    for name, entry in entries.items():
        difference = by_components(entry["value"], case.dimension) - exact
        error = np.sqrt(np.mean(difference**2)) / size
        rows.append([
            case.title, ("linear", "cubic", "quintic")[case.degree // 2], order, name,
            median(entry) / count * 1e9, median(entry) / median(entries[OURS]), float(error),
        ])  # fmt: skip
    return rows


def as_markdown(table):
    lines = ["| " + " | ".join(table["columns"]) + " |", "|---|---|---|---|---:|---:|---:|"]
    for *words, nanoseconds, ratio, error in table["rows"]:
        lines.append(f"| {' | '.join(words)} | {nanoseconds:.1f} | {ratio:.2f} | {error:.1e} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
