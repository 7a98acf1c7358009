"""Where does heyoka's time go, and ours, on the double gyre? Order, steps, and cost of each.

Processor time of one thread. heyoka chooses the order of its Taylor series by the tolerance and
the step by the series, for every particle of a batch on its own; a step computes the derivatives
up to the order one after the other. Ours takes steps of one scheme, whose stages are evaluations
of the field.

    python benchmarks/heyoka_profile.py [--quick] [--repeats N]
"""

import time

import heyoka
import numpy as np
from common import errors, oracle, parsed_arguments, uniform, write_report
from peers.exchange import AMPLITUDE, FREQUENCY, PERTURBATION
from peers.heyoka_gyre import system
from stepper_profile import median_ns

import meanfluid as mf
from meanfluid.trajectories.tableaux import dop853

START, END = 0.0, 20.0
TOLERANCES = (1e-6, 1e-9, 1e-12)
CHECKED = 1024
COLUMNS = [
    "integrator", "tolerance", "order", "parts of a step", "steps per particle", "ns per step",
    "ns per part", "µs per particle", "median error",
]  # fmt: skip


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    arguments.threads = 1
    field = mf.fields.double_gyre()
    position = uniform(field, 256 if arguments.quick else 16384)
    truth = oracle(field, position[:CHECKED], START, END)
    profiles = [
        profile(tolerance, field, position, truth, arguments.repeats)
        for profile in (of_heyoka, of_ours)
        for tolerance in TOLERANCES
    ]
    table = {"title": "What a step costs", "columns": COLUMNS, "rows": [row(p) for p in profiles]}
    write_report(
        "heyoka_profile", "Where does heyoka's time go, and ours?", arguments, began,
        particles=len(position), window=[START, END], profiles=profiles, tables=[table],
        notes=[note(profiles)],
    )  # fmt: skip


def of_heyoka(tolerance, _, position, truth, repeats):
    """Return the profile of the batch integrator, of batches as wide as the machine's vectors."""
    width = heyoka.recommended_simd_size(float)
    gyre = system(AMPLITUDE, PERTURBATION, FREQUENCY)
    integrator = heyoka.taylor_adaptive_batch(gyre, np.zeros((2, width)), tol=tolerance)
    batches = np.ascontiguousarray(position.reshape(-1, width, 2).swapaxes(1, 2))
    final = np.empty_like(batches)

    def run(end, steps=None):
        ends = [end] * width
        for there, result in zip(batches, final, strict=True):
            integrator.set_time(START)
            integrator.state[:] = there
            integrator.propagate_until(ends)
            result[:] = integrator.state
            if steps is not None:
                steps.append([outcome[3] for outcome in integrator.propagate_res])

    calls = median_ns(lambda: run(START), repeats) / len(position)
    whole = median_ns(lambda: run(END), repeats) / len(position)
    steps = []
    run(END, steps)
    order, there = integrator.order, final.swapaxes(1, 2).reshape(-1, 2)
    return profiled("heyoka", tolerance, order, order, steps, whole - calls, there, truth) | {
        "batch": width,
        "longest_of_batch": float(np.max(steps, axis=1).mean()),
        "us_of_calls": calls / 1e3,
    }


def of_ours(tolerance, field, position, truth, repeats):
    """Return the profile of the default scheme."""

    def run():
        return mf.trajectories(
            field, position, START, END, rtol=tolerance, estimate_error=False, threads=1
        )

    path = run()
    spent = median_ns(run, repeats) / len(position)
    # A step of the library is a pair of steps of the scheme.
    steps = 2 * path.steps.sum(axis=1)
    final = position + path.displacement
    return profiled("meanfluid, dop853", tolerance, 8, len(dop853.b), steps, spent, final, truth)


def profiled(name, tolerance, order, parts, steps, spent, final, truth):
    """Return one object.

    `parts` is how many derivatives or stages a step has, `spent` the ns per particle; the seconds
    that come back are those of one particle.
    """
    per_particle = float(np.mean(steps))
    return {
        "integrator": name, "tolerance": tolerance, "order": order, "parts": parts,
        "steps": per_particle, "ns_per_step": spent / per_particle,
        "ns_per_part": spent / per_particle / parts, "seconds": spent * 1e-9,
        **errors(final[: len(truth)], truth[: len(final)]),
    }  # fmt: skip


def row(p):
    return [
        p["integrator"], f"{p['tolerance']:.0e}", p["order"], p["parts"], p["steps"],
        p["ns_per_step"], p["ns_per_part"], 1e6 * p["seconds"], f"{p['median_error']:.1e}",
    ]  # fmt: skip


def note(profiles):
    """Return the paragraph on how both grow from the first tolerance to the last."""
    series, stages = profiles[: len(TOLERANCES)], profiles[len(TOLERANCES) :]
    waiting = series[-1]["longest_of_batch"] / series[-1]["steps"]
    return (
        f"Double gyre, t from {START:g} to {END:g}, one thread; the time of a particle is steps × "
        "parts of a step × time of a part. A part is a derivative in the Taylor series of both "
        "coordinates for heyoka, and an evaluation of the field for us, with all that surrounds "
        "it. The calls from Python, one per batch, are left out: "
        f"{series[-1]['us_of_calls']:.2g} µs per particle. From {TOLERANCES[0]:.0e} to "
        f"{TOLERANCES[-1]:.0e} heyoka raises its order from {series[0]['order']} to "
        f"{series[-1]['order']}: {growth(series)}. Our order stays at 8: "
        f"{growth(stages)}. heyoka's batches are {series[0]['batch']} wide; every particle has "
        f"steps of its own, and at {TOLERANCES[-1]:.0e} the slowest of a batch takes "
        f"{waiting:.2f} times the mean number of them. A tolerance bounds something else in each: "
        "compare at equal errors."
    )


def growth(listed):
    """Return by which factors steps, cost and time of some profiles grow, in words."""
    steps, step, part, whole = (
        listed[-1][what] / listed[0][what]
        for what in ("steps", "ns_per_step", "ns_per_part", "seconds")
    )
    return (
        f"{steps:.2f} times as many steps, a step {step:.2f} times as long, a part {part:.2f} "
        f"times, all together {whole:.2f} times"
    )


if __name__ == "__main__":
    main()
