"""What do exact gradients cost? FTLE of the double gyre, against differences by NumbaCS.

The finite-time Lyapunov exponent of every point of a grid on [0, 2] x [0, 1], from t = 0 to 15.
Ours comes from the variational equation, along one trajectory per point. NumbaCS has two ways:
differences between four auxiliary trajectories around every point, at a distance h, and
differences between neighbours in the grid. Exponents are compared with those of Taylor
integration of the variational equation by heyoka: on points at random, and on points at random
among the twentieth with the largest exponents, the ridges. The grid's edge is left out, where
NumbaCS has no value. The Lagrangian-averaged vorticity deviation of the same points follows: see
`lavd.py`.

    python benchmarks/work_precision.py --install      once: NumbaCS needs an environment
    python benchmarks/ftle.py [--quick] [--threads N] [--repeats N]
"""

import time
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import environments
import lavd
import numpy as np
from analysis import time_to
from common import alternated, gyre_grid, median, oracle_gradient, parsed_arguments, write_report

import meanfluid as mf

START, END = 0.0, 15.0
COLUMNS, ROWS = 201, 101
CHECKED = 500  # of all points, and as many of the ridges
RIDGES = 0.95  # quantile of the exponent
TOLERANCES = (1e-5, 1e-7, 1e-9, 1e-11)
TARGETS = (1e-2, 1e-4, 1e-6, 1e-8)


class Entry(NamedTuple):
    """A tool with one method; `settings` are its tolerances."""

    tool: str
    method: str
    settings: tuple[float, ...]


ENTRIES = (
    Entry("meanfluid", "exact gradient", TOLERANCES),
    Entry("meanfluid", "exact gradient, error estimated", (1e-9,)),
    Entry("numbacs", "ftle, h = 1e-05", (1e-6, 1e-8, 1e-10, 1e-12)),
    Entry("numbacs", "ftle, h = 1e-06", (1e-6, 1e-8, 1e-10, 1e-12)),
    Entry("numbacs", "ftle, differences in the grid", (1e-6, 1e-10)),
)


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    columns, rows = (21, 11) if arguments.quick else (COLUMNS, ROWS)
    grid, field = gyre_grid(columns, rows), mf.fields.double_gyre()
    checked = checked_points(field, grid, columns, 20 if arguments.quick else CHECKED)
    gradient = oracle_gradient(field, grid[np.concatenate(checked)], START, END)
    exact = np.log(np.linalg.norm(gradient, 2, axis=(1, 2))) / (END - START)
    missing = [] if environments.interpreter("numbacs") else ["numbacs"]
    if missing:
        print("numbacs is not installed and takes no part: see work_precision.py --install")
    with ExitStack() as stack:
        peer = None
        if not missing:
            peer = stack.enter_context(
                environments.Peer("numbacs", grid, START, END, arguments.threads, len(grid))
            )
        runs = {
            (entry.tool, entry.method, rtol): runner(entry, peer, field, grid, rtol, arguments)
            for entry in ENTRIES
            for rtol in entry.settings[: 2 if arguments.quick else None]
            if entry.tool not in missing
        }
        measured = alternated(runs, arguments.repeats)
        window = START, END
        deviations = alternated(
            lavd.runners(peer, field, grid, window, arguments), arguments.repeats
        )
    exact_lavd = lavd.oracle_lavd(field, grid[checked[0]], START, END)
    lavd_cases = lavd.cases(deviations, checked[0], exact_lavd)
    cases = [
        {"tool": tool, "method": method, "rtol": rtol, "seconds": median(entry)}
        | {"first_call": entry["first_call"]}
        | exponent_errors(entry["value"], checked, exact)
        for (tool, method, rtol), entry in measured.items()
    ]
    write_report(
        "ftle", "What do exact gradients of the flow map cost, and differences?", arguments, began,
        window=[START, END], points=len(grid), missing=missing,
        peer_versions={} if peer is None else peer.versions, cases=cases, lavd_cases=lavd_cases,
        notes=[
            *notes(len(grid), len(checked[0]), missing, peer),
            lavd.note(len(checked[0]), exact_lavd),
        ],
        tables=[*tables(cases), lavd.table(lavd_cases)],
    )  # fmt: skip


def checked_points(field, grid, columns, count):
    """Return indices of points within the grid: some at random, and some of the ridges."""
    inside = np.arange(len(grid)).reshape(-1, columns)[1:-1, 1:-1].ravel()
    rng = np.random.default_rng(0)
    value = mf.ftle(field, grid[inside], START, END)
    ridges = inside[value >= np.quantile(value, RIDGES)]
    return [rng.choice(one, min(count, len(one)), replace=False) for one in (inside, ridges)]


def runner(entry, peer, field, grid, rtol, arguments):
    """Return a function without arguments that gives the exponent of every point of the grid."""
    if entry.tool == "numbacs":
        return lambda: peer.run(entry.method, rtol, len(grid))[1]
    return partial(
        mf.ftle, field, grid, START, END, rtol=rtol, threads=arguments.threads,
        estimate_error="estimated" in entry.method,
    )  # fmt: skip


def exponent_errors(found, checked, exact):
    """Return the columns that stand beside every time: distances to the exponent of the oracle."""
    anywhere, ridges = np.split(np.abs(found[np.concatenate(checked)] - exact), [len(checked[0])])
    return {
        "median_error": float(np.median(anywhere)),
        "p99_error": float(np.percentile(anywhere, 99)),
        "ridge_median_error": float(np.median(ridges)),
        "ridge_p99_error": float(np.percentile(ridges, 99)),
    }


def notes(points, checked, missing, peer):
    told = (
        "NumbaCS took no part: it was not installed."
        if missing
        else "NumbaCS ran with " + ", ".join(f"{k} {v}" for k, v in peer.versions.items()) + "."
    )
    return [
        f"{points} points, one window from {START:g} to {END:g}. *Exact gradient* is `mf.ftle`: "
        "the variational equation along one trajectory per point. NumbaCS takes differences, *h*, "
        "between four auxiliary trajectories at that distance around every point "
        "(`flowmap_aux_grid_2D`, `C_eig_aux_2D` and `ftle_from_eig`; 1e-5 is its default), or, "
        "*in the grid*, between neighbours (`flowmap_grid_2D`, `ftle_grid_2D`). Errors are "
        f"absolute, against the exponent of the oracle, on {checked} points at random, and on "
        f"{checked} of the twentieth with the largest exponents, the ridges. {told}"
    ]


def tables(cases):
    """Return the table of all runs, and that of the time to an error, for the page."""
    rows = [
        [
            f"{names(case['tool'])}, {case['method'].removeprefix('ftle, ')}",
            f"{case['rtol']:.0e}", case["seconds"],
            *(f"{case[k]:.1e}" for k in ERRORS),
        ]
        for case in cases
    ]  # fmt: skip
    columns = ["tool", "rtol", "seconds", "median error", "99th percentile",
               "median on ridges", "99th percentile on ridges"]  # fmt: skip
    return [
        {"title": "Time and error of the exponent", "columns": columns, "rows": rows},
        {
            "title": "Seconds to an error of the exponent; a dash is an error that is not reached",
            "columns": ["error", "of", "meanfluid", "NumbaCS", "NumbaCS / meanfluid"],
            "rows": [race(cases, goal, *kind) for goal in TARGETS for kind in KINDS],
        },
    ]


ERRORS = ("median_error", "p99_error", "ridge_median_error", "ridge_p99_error")
KINDS = (("median_error", "median"), ("ridge_p99_error", "99th percentile on ridges"))


def names(tool):
    return {"numbacs": "NumbaCS"}.get(tool, tool)


def race(cases, goal, measure, told):
    """Return a row: the least time of each tool to an error, and their ratio."""
    times = []
    for tool in ("meanfluid", "numbacs"):
        methods = {case["method"] for case in cases if case["tool"] == tool}
        reached = [
            time_to([c for c in cases if c["method"] == method], goal, measure, "seconds")
            for method in methods
        ]
        times.append(min((t for t in reached if t is not None), default=None))
    ratio = "–" if None in times else times[1] / times[0]
    return [f"{goal:.0e}", told, *("–" if t is None else t for t in times), ratio]


if __name__ == "__main__":
    main()
