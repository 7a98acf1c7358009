"""Where does a step of the CPU engine spend its time, and what stands between it and C++?

Processor time of one thread, per lane and evaluation, in the parts of the stepping: the field's
formula alone, and all that surrounds it (stages through memory, error, acceptance).

    python benchmarks/stepper_profile.py [--quick] [--repeats N]
"""

import statistics
import time

import numpy as np
from common import parsed_arguments, write_report
from numba import njit

import meanfluid as mf
from meanfluid.backends.compiled import LANES, block_evaluator, call_block
from meanfluid.trajectories.tableaux import dop853, rk4

END = 20.0


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    field, repeats = mf.fields.double_gyre(), arguments.repeats
    rng = np.random.default_rng(0)
    times = {"one clock for all": np.full(LANES, 3.0), "own clocks": rng.uniform(0.0, 10.0, LANES)}
    formula = {
        name: evaluation_cost(field, clock, 2000 if arguments.quick else 100_000, repeats)
        for name, clock in times.items()
    }
    particles = LANES * (4 if arguments.quick else 128)
    cases = [
        ("rk4, 400 equal steps", {"scheme": rk4, "steps": 400}, "one clock for all"),
        ("dop853, 150 equal steps", {"scheme": dop853, "steps": 150}, "one clock for all"),
        ("dop853, adaptive at 1e-9", {"scheme": dop853, "rtol": 1e-9}, "own clocks"),
    ]
    rows = []
    for name, options, clock in cases:
        whole = step_cost(field, particles, repeats, options)
        rows.append([name, clock, formula[clock], whole - formula[clock], whole])
    note = (
        "Nanoseconds of one thread per evaluation of the double gyre. The formula itself runs in "
        "full-width vector instructions. The rest is what a loop written for one field and one "
        "scheme does not have: stages, weights and positions pass through the first-level cache "
        "instead of registers, since the stepping is compiled once for all fields and schemes; "
        "compensated sums, domain and acceptance are checked after every pair; and with steps of "
        "its own a lane needs its own clock, so that terms of time alone cannot be shared."
    )
    table = {
        "title": "Time per evaluation, ns",
        "columns": ["run", "clocks", "formula", "everything else", "whole"],
        "rows": rows,
    }
    write_report(
        "stepper_profile", "Where does a step of the CPU engine spend its time?", arguments, began,
        tables=[table], notes=[note],
    )  # fmt: skip


@njit(error_model="numpy")
def _evaluate(address, table, samples, clock, place, rate, count):
    for _ in range(count):
        call_block(address, table, samples, clock, place, clock, place, rate)


def evaluation_cost(field, clock, count, repeats):
    """Return ns per lane of the block evaluator alone."""
    evaluator = block_evaluator(field)
    place = np.random.default_rng(1).uniform(0.0, 1.0, (2, LANES))
    rate, samples = np.zeros((evaluator.layout.rows, LANES)), np.zeros(1)
    arguments = (evaluator.address, field.table, samples, clock, place, rate)
    _evaluate(*arguments, 1)
    return median_ns(lambda: _evaluate(*arguments, count), repeats) / (count * LANES)


def step_cost(field, particles, repeats, options):
    """Return ns per evaluation of whole trajectories."""
    x = np.random.default_rng(0).uniform([0.0, 0.0], [2.0, 1.0], (particles, 2))
    options = {"estimate_error": False, "threads": 1, **options}
    path = mf.trajectories(field, x, 0.0, END, **options)
    evaluations = 2 * int(path.steps.sum()) * len(options["scheme"].b)
    return median_ns(lambda: mf.trajectories(field, x, 0.0, END, **options), repeats) / evaluations


def median_ns(work, repeats):
    """Return the median processor time of some repetitions, in ns."""
    spent = []
    for _ in range(repeats):
        began = time.process_time_ns()
        work()
        spent.append(time.process_time_ns() - began)
    return statistics.median(spent)


if __name__ == "__main__":
    main()
