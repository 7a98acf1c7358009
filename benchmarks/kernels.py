"""How fast are the CPU kernels? Particle-steps per second, against C++, scalar Numba and NumPy.

Every contestant integrates the same particles with the same scheme and equal steps, in turn, so
that a disturbance of the machine hits all of them. The error beside each time is measured against
Taylor integration by heyoka.

    python benchmarks/kernels.py [--quick] [--threads N] [--repeats N]
"""

import time
from typing import NamedTuple

import cpp_kernels
from common import (
    alternated,
    errors,
    median,
    oracle,
    parsed_arguments,
    uniform,
    vector_bits,
    write_report,
)
from contestants import array_loop, scalar_loop
from tqdm import tqdm

import meanfluid as mf

OURS, SCALAR, ARRAYS = "meanfluid", "Numba, scalar, libm", "NumPy"
CPP, CPP_TOGETHER = "C++", "C++, one clock for all"
CHECKED = 512


class Case(NamedTuple):
    """One field, one scheme, one window from time 0."""

    title: str
    field: mf.VelocityField
    scheme: mf.Tableau
    end: float
    steps: int
    particles: int


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    libraries = compiled(arguments.quick)
    listed = [
        measure(case, arguments, [one for one in libraries if one.accurate])
        for case in tqdm(cases(arguments.quick), unit="case", disable=None)
    ]
    write_report(
        "kernels", "How fast are the CPU kernels?", arguments, began,
        compiler=cpp_kernels.compiler_version() if libraries else None,
        variants=[
            {
                "name": one.variant.name,
                "flags": " ".join(cpp_kernels.COMMON + one.variant.flags),
                "compile_seconds": round(one.compile_seconds, 2),
                "ulp": {name: float(f"{value:.3g}") for name, value in one.ulp.items()},
                "accurate": one.accurate,
            }
            for one in libraries
        ],
        cases=listed,
    )  # fmt: skip


def cases(quick):
    """Return the cases; quick ones are few, with a fraction of particles and steps."""
    gyre, jet, abc = mf.fields.double_gyre(), mf.fields.bickley_jet(), mf.fields.abc_flow()
    spectrum = mf.fields.von_karman_pao(dimension=2)
    modes = mf.fields.kinematic_simulation(spectrum, modes=128, seed=0)
    listed = [
        Case("double gyre", gyre, mf.rk4, 20.0, 400, 16384),
        Case("double gyre", gyre, mf.dop853, 20.0, 150, 16384),
        Case("Bickley jet", jet, mf.rk4, 10.0, 400, 16384),
        Case("Bickley jet", jet, mf.dop853, 10.0, 100, 16384),
        Case("ABC flow", abc, mf.rk4, 10.0, 400, 16384),
        Case("ABC flow", abc, mf.dop853, 10.0, 100, 16384),
        Case("kinematic simulation, 128 modes", modes, mf.rk4, 2.0, 200, 2048),
        Case("kinematic simulation, 128 modes", modes, mf.dop853, 2.0, 100, 2048),
    ]
    if quick:
        return [case._replace(particles=512, steps=case.steps // 10) for case in listed[::7]]
    return listed


def compiled(quick):
    """Compile the variants of C++; none without a compiler."""
    if cpp_kernels.compiler() is None:
        print("no g++ on the path: C++ takes no part")
        return []
    listed = cpp_kernels.variants(vector_bits())
    return [cpp_kernels.library(variant) for variant in (listed[:1] if quick else listed)]


def measure(case, arguments, libraries):
    """Time the contestants in turn; of the C++ variants, the fastest in a trial takes part."""
    position = uniform(case.field, case.particles)
    truth = oracle(case.field, position[:CHECKED], 0.0, case.end)
    threads = arguments.threads
    entrants = {
        OURS: block_kernels(case, threads),
        SCALAR: scalar_loop(case.field, case.scheme, case.steps, case.end, threads),
        ARRAYS: array_loop(case.field, case.scheme, case.steps, case.end, threads),
    }
    trials, flags = {}, {}
    for name, together in ((CPP, False), (CPP_TOGETHER, True)) if libraries else ():
        every = {
            one.variant.name: cpp_kernels.contestant(
                one, case.field, case.scheme, case.steps, case.end, threads, together=together
            )
            for one in libraries
        }
        tried = alternated({key: bind(run, position) for key, run in every.items()}, 3)
        trials[name] = {key: median(entry) for key, entry in tried.items()}
        flags[name] = min(trials[name], key=trials[name].get)
        entrants[name] = every[flags[name]]
    runs = {name: bind(run, position) for name, run in entrants.items()}
    measured = alternated(runs, arguments.repeats, least=0.1)
    ours = median(measured[OURS])
    rows = []
    for name, entry in measured.items():
        seconds = median(entry)
        rows.append(
            {
                "name": name,
                "variant": flags.get(name),
                "seconds": [float(f"{s:.4g}") for s in entry["seconds"]],
                "first_call": round(entry["first_call"], 3),
                "particle_steps_per_second": case.particles * case.steps / seconds,
                "time_over_ours": seconds / ours,
                **errors(entry["value"][:CHECKED], truth),
            }
        )
    return {
        "case": case.title,
        "scheme": case.scheme.name,
        "window": case.end,
        "steps": case.steps,
        "particles": case.particles,
        "trials": trials,
        "contestants": rows,
    }


def bind(run, position):
    return lambda: run(position)


def block_kernels(case, threads):
    """Return what users call, without the error estimate that the others do not make either."""

    def run(position):
        return mf.flow_map(
            case.field, position, 0.0, case.end,
            scheme=case.scheme, steps=case.steps, estimate_error=False, threads=threads,
        )  # fmt: skip

    return run


if __name__ == "__main__":
    main()
