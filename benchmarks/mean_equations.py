"""When do equations on a grid give Lagrangian means faster than one particle per node?

Means of velocity over growing windows [0, t], labelled by the position at t, at all nodes of a
grid, for one or for many times t. Particles start anew at each t and run back to 0; the equations
pass all t on the way. The flow is unsteady and stretches fluid, so that a grid has to resolve ever
sharper fields, while particles do not notice. Errors are measured at nodes drawn at random.

    python benchmarks/mean_equations.py [--quick] [--repeats N] [--threads N]
"""

import time
from functools import partial

import numpy as np
from common import alternated, median, oracle, parsed_arguments, write_report

import meanfluid as mf
from meanfluid.means.lagrangian_pde import Grid, RunningMean, SemiLagrangian, Spectral, WindowKernel
from meanfluid.reporting.tables import markdown_table

TURN = 2 * np.pi
LAST = 3.0
NODES, TIMES = (32, 64, 128), (1, 16, 256)
TOLERANCES = (1e-3, 1e-6, 1e-10)
PARTICLES, SERIES, SPLINES = "particles", "Fourier series", "semi-Lagrangian"
COURANT = 0.5  # of the stable step of the series
CHECKED = 400  # nodes at which errors are measured
COLUMNS = ["grid", "times", "route", "s", "median error", "largest error", "s / particles"]


def swaying(m, p, t, x, y):
    """Cells that sway and breathe, carried by a uniform flow."""
    phase = x - 0.4 * m.sin(1.3 * t)
    strength = 0.5 + 0.2 * m.cos(2.1 * t)
    return strength * m.sin(phase) * m.cos(y) + 0.2, -strength * m.cos(phase) * m.sin(y)


SQUARE = (mf.Axis(0.0, TURN, "periodic"), mf.Axis(0.0, TURN, "periodic"))
FLOW = mf.VelocityField(body=swaying, dimension=2, domain=SQUARE, name="swaying")
FASTEST = 1.6  # bound on abs(u) + abs(v)


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    nodes, counts = ((16,), (1, 2)) if arguments.quick else (NODES, TIMES)
    rows, measured = [], []
    for n in nodes:
        for count in counts:
            some = compared(Grid(SQUARE, n), count, arguments)
            measured += some
            rows += [[f"{n}²", count, *row] for row in table_of(some)]
    table = {"title": "Means of velocity over growing windows", "columns": COLUMNS, "rows": rows}
    notes = [
        "Particles keep two components, the equations two more (mean positions), with which a "
        "mean by mean position follows. Particles run on all threads, the equations on one.",
        *verdicts(measured),
    ]
    write_report(
        "mean_equations", "When are equations on a grid faster than particles?", arguments, began,
        tables=[table], notes=notes, measured=measured,
    )  # fmt: skip
    print(markdown_table(COLUMNS, [[_short(cell) for cell in row] for row in rows]))
    print("\n".join(notes))


def compared(grid, count, arguments):
    """Seconds and errors of every route to `count` means on one grid, as a list of records."""
    times = LAST * np.arange(1, count + 1) / count
    which = np.random.default_rng(0).choice(len(grid.positions), min(CHECKED, len(grid.positions)))
    place = grid.positions[which]
    truth = [(place - oracle(FLOW, place, t, 0.0)) / t for t in times]
    routes = {
        f"{PARTICLES}, rtol {rtol:g}": partial(by_particles, grid, times, rtol, arguments.threads)
        for rtol in TOLERANCES
    }
    limit = 2.83 / (FASTEST * (np.ceil(grid.shape[0] / 3) - 1))
    routes[SERIES] = partial(by_equations, Spectral(grid), times, COURANT * limit)
    step = 2.0 * grid.spacing[0] / FASTEST
    for degree in (3, 5):
        transport = SemiLagrangian(grid, degree)
        routes[f"{SPLINES}, degree {degree}"] = partial(by_equations, transport, times, step)
    found = alternated(routes, arguments.repeats)
    records = []
    for route, entry in found.items():
        away = np.concatenate(
            [
                np.linalg.norm(u[which] - v, axis=1)
                for u, v in zip(entry["value"], truth, strict=True)
            ]
        )
        records.append(
            {
                "nodes": grid.shape[0],
                "times": count,
                "route": route,
                "seconds": entry["seconds"],
                "median_seconds": median(entry),
                "first_call": entry["first_call"],
                "median_error": float(np.median(away)),
                "p99_error": float(np.percentile(away, 99)),
                "largest_error": float(away.max()),
            }
        )
    return records


def by_particles(grid, times, rtol, threads):
    """Run back from every time; the mean is the displacement over the window."""
    options = {"rtol": rtol, "threads": threads, "estimate_error": False}
    return [
        mf.average_velocity(FLOW, grid.positions, 0.0, t, label="final", **options) for t in times
    ]


def by_equations(transport, times, step):
    """Pass all times on the way."""
    grid = transport.grid
    sizes = {"v": 2}

    def flow(t, x):
        v = FLOW.velocity(t, x).T
        return v, v

    still = np.zeros((2, *grid.shape))
    means = RunningMean(transport, WindowKernel(0.0, LAST), sizes, 0.0, still)
    found = []
    for t in times:
        means.advance(flow, t, max(1, int(np.ceil((t - means.state.time) / step - 1e-9))))
        found.append(means.mean().values["v"].reshape(2, -1).T)
    return found


def table_of(records):
    """Rows of the table, with times over that of the particles that are as accurate."""
    return [
        [r["route"], r["median_seconds"], r["median_error"], r["largest_error"],
         r["median_seconds"] / rival(records, r)["median_seconds"]]
        for r in records
    ]  # fmt: skip


def rival(records, record):
    """The fastest particles whose largest error is no larger, or the most accurate ones."""
    particles = [r for r in records if r["route"].startswith(PARTICLES)]
    enough = [r for r in particles if r["largest_error"] <= record["largest_error"]]
    if not enough:
        return min(particles, key=lambda r: r["largest_error"])
    return min(enough, key=lambda r: r["median_seconds"])


def verdicts(measured):
    """One sentence per grid and kind of equations: from how many times on they were faster."""
    sentences = []
    for n in sorted({r["nodes"] for r in measured}):
        here = [r for r in measured if r["nodes"] == n]
        for route in dict.fromkeys(
            r["route"] for r in here if not r["route"].startswith(PARTICLES)
        ):
            mine = [r for r in here if r["route"] == route]
            faster = [
                r["times"] for r in mine
                if r["median_seconds"]
                < rival([q for q in here if q["times"] == r["times"]], r)["median_seconds"]
            ]  # fmt: skip
            error = max(r["largest_error"] for r in mine)
            tried = sorted({r["times"] for r in mine})
            said = f"from {min(faster)} times on" if faster else f"at none of {tried} times"
            sentences.append(
                f"{n}², {route} (largest error {error:.0e}): faster than particles of that "
                f"accuracy {said}."
            )
    return sentences


def _short(cell):
    return f"{cell:.2g}" if isinstance(cell, float) else str(cell)


if __name__ == "__main__":
    main()
