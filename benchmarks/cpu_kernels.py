"""Particle-steps per second of the CPU kernels, against scalar Numba and NumPy in the same run.

Every contestant integrates the same particles with the same scheme and equal steps, in turn, so
that a disturbance of the machine hits all of them; reported is the median over the repeats. The
error beside each time is measured against Taylor integration by heyoka.

Run with `make bench`: about ten minutes on two cores, which should have nothing else to do. The
results go to ``benchmarks/results/cpu_kernels.json`` and into the table of
``benchmarks/README.md``; with ``--quick`` (a minute) they are only shown.
"""

import argparse
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from tqdm import tqdm

import meanfluid as mf
from meanfluid.backends import libm
from meanfluid.backends.reference import reference_flow_map
from meanfluid.fields.elementary import numpy_functions
from meanfluid.trajectories.launch import default_threads

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "cpu_kernels.json"
README = HERE / "README.md"
BEGIN, END = "<!-- cpu_kernels: begin -->", "<!-- cpu_kernels: end -->"
OURS = "meanfluid"


class Case(NamedTuple):
    """One field, one scheme, one window from time 0; the error is measured on a few particles."""

    title: str
    field: mf.VelocityField
    scheme: mf.Tableau
    end: float
    steps: int
    particles: int
    checked: int = 256


def main():
    arguments = parsed_arguments()
    measured = []
    listed = cases(arguments.quick)
    with tqdm(total=len(listed) * (3 * arguments.repeats + 1), unit="run", disable=None) as bar:
        for case in listed:
            bar.set_description(f"{case.title}, {case.scheme.name}")
            measured.append(measure(case, arguments.threads, arguments.repeats, bar.update))
    report = {
        "question": "particle-steps per second of the CPU kernels",
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "reference": "heyoka, adaptive Taylor series, tolerance 1e-18",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("meanfluid", "numpy", "numba", "llvmlite", "heyoka")},
        "cases": measured,
    }
    table = as_table(report)
    print(table)
    if arguments.quick:
        print("\nA quick run says whether the benchmark works, not how fast the kernels are.")
        return
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    replace_table(table)


def cases(quick):
    """Return the cases; quick ones have a fraction of the particles."""
    gyre, abc = mf.fields.double_gyre(), mf.fields.abc_flow()
    spectrum = mf.fields.von_karman_pao(dimension=2)
    modes = mf.fields.kinematic_simulation(spectrum, modes=128, seed=0)
    few = 8 if quick else 1
    return [
        Case("double gyre", gyre, mf.rk4, 20.0, 400, 16384 // few),
        Case("double gyre", gyre, mf.dop853, 20.0, 150, 16384 // few),
        Case("ABC flow", abc, mf.rk4, 10.0, 400, 16384 // few),
        Case("ABC flow", abc, mf.dop853, 10.0, 100, 16384 // few),
        Case("kinematic simulation, 128 modes", modes, mf.rk4, 2.0, 200, 2048 // few),
        Case("kinematic simulation, 128 modes", modes, mf.dop853, 2.0, 100, 2048 // few),
    ]


def measure(case, threads, repeats, progress):
    """Time the contestants in turn, and measure the error of each on the first particles."""
    axes = case.field.domain
    lower, upper = np.array([a.lower for a in axes]), np.array([a.upper for a in axes])
    rng = np.random.default_rng(0)
    position = rng.uniform(lower, upper, (case.particles, case.field.dimension))
    truth = reference_flow_map(case.field, position[: case.checked], 0.0, case.end)
    contestants = {
        OURS: block_kernels(case, threads),
        "Numba, scalar, libm": scalar_loop(case, threads),
        "NumPy": array_loop(case, threads),
    }
    errors, seconds = {}, {name: [] for name in contestants}
    for name, run in contestants.items():  # compiles, too
        distance = np.linalg.norm(run(position)[: case.checked] - truth, axis=1)
        errors[name] = float(np.sqrt(np.mean(distance**2))), float(np.median(distance))
    progress()
    for _ in range(repeats):
        for name, run in contestants.items():
            began = time.perf_counter()
            run(position)
            seconds[name].append(time.perf_counter() - began)
            progress()
    ours = statistics.median(seconds[OURS])
    return {
        "case": case.title,
        "scheme": case.scheme.name,
        "window": case.end,
        "steps": case.steps,
        "particles": case.particles,
        "contestants": [
            {
                "name": name,
                "seconds": [round(s, 5) for s in seconds[name]],
                "particle_steps_per_second": case.particles * case.steps / statistics.median(s),
                "time_over_ours": statistics.median(s) / ours,
                "rms_error": errors[name][0],
                "median_error": errors[name][1],
            }
            for name, s in seconds.items()
        ],
    }


def block_kernels(case, threads):
    """Return what users call, without the error estimate that the others do not make either."""

    def run(position):
        return mf.flow_map(
            case.field, position, 0.0, case.end,
            scheme=case.scheme, steps=case.steps, estimate_error=False, threads=threads,
        )  # fmt: skip

    return run


def scalar_loop(case, threads):
    """Return a plain compiled loop: one particle after the other, libm, the same tableau."""
    rate = modal_rate(case.field) if case.field.modal else scalar_rate(case.field)
    weights, b, c = case.scheme.a, case.scheme.b, case.scheme.c
    p = case.field.table if case.field.modal else case.field.parameters
    p = p if case.field.modal else type(p)(*map(float, p))
    h, steps = case.end / case.steps, case.steps

    @njit(error_model="numpy", nogil=True)
    def loop(p, weights, b, c, position, final):
        dimension, stages = position.shape[1], len(b)
        x, place = np.zeros(dimension), np.zeros(dimension)
        stage = np.zeros((stages, dimension))
        for i in range(len(position)):
            for k in range(dimension):
                x[k] = position[i, k]
            for step in range(steps):
                for j in range(stages):
                    for k in range(dimension):
                        place[k] = 0.0
                    for earlier in range(j):
                        weight = weights[j, earlier]
                        if weight != 0.0:
                            for k in range(dimension):
                                place[k] += weight * stage[earlier, k]
                    for k in range(dimension):
                        place[k] = x[k] + h * place[k]
                    rate(p, (step + c[j]) * h, place, stage[j])
                for k in range(dimension):
                    gain = 0.0
                    for j in range(stages):
                        gain += b[j] * stage[j, k]
                    x[k] += h * gain
            for k in range(dimension):
                final[i, k] = x[k]

    return in_chunks(lambda x, final: loop(p, weights, b, c, x, final), threads, 1024)


def scalar_rate(field):
    """Return a compiled ``(p, t, position, rate)`` of an analytic field."""
    body = njit(field.body, error_model="numpy")
    if field.dimension == 2:

        @njit(error_model="numpy")
        def rate(p, t, x, out):
            out[0], out[1] = body(libm, p, t, x[0], x[1])

    else:

        @njit(error_model="numpy")
        def rate(p, t, x, out):
            out[0], out[1], out[2] = body(libm, p, t, x[0], x[1], x[2])

    return rate


def modal_rate(field):
    """Return the same for a sum of plane modes, `p` being their table."""
    body, record = njit(field.body, error_model="numpy"), type(field.parameters)

    @njit(error_model="numpy")
    def rate(table, t, x, out):
        u = v = 0.0
        for n in range(len(table)):
            row = table[n]
            p = record(row[0], row[1], row[2], row[3], row[4], row[5], row[6])
            du, dv = body(libm, p, t, x[0], x[1])
            u += du
            v += dv
        out[0], out[1] = u, v

    return rate


def array_loop(case, threads):
    """Return the loop over steps in NumPy, on arrays of particles that fit into the cache."""
    field, scheme, h = case.field, case.scheme, case.end / case.steps
    p = type(field.parameters)(*field.table.T[:, :, None]) if field.modal else field.parameters

    def rate(t, x):
        parts = field.body(numpy_functions, p, t, *x)
        return np.stack([part.sum(0) for part in parts] if field.modal else parts)

    def loop(position, final):
        x = position.T.copy()
        for step in range(case.steps):
            stage = []
            for row, node in zip(scheme.a, scheme.c, strict=True):
                place = x.copy()
                for weight, earlier in zip(row, stage, strict=False):
                    if weight:
                        place += h * weight * earlier
                stage.append(rate((step + node) * h, place))
            for weight, velocity in zip(scheme.b, stage, strict=True):
                if weight:
                    x += h * weight * velocity
        final[:] = x.T

    return in_chunks(loop, threads, max(64, 16384 // len(field.table)))


def in_chunks(loop, threads, size):
    """Return ``position -> final`` that shares chunks of particles out over threads."""

    def run(position):
        final = np.empty_like(position)
        chunks = [slice(k, k + size) for k in range(0, len(position), size)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda chunk: loop(position[chunk], final[chunk]), chunks))
        return final

    return run


def as_table(report):
    """Return the results as Markdown, with what is needed to read them above the table."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [
        f"Measured {report['date']}: {report['cpu']}, {report['threads']} threads on "
        f"{report['cores']} cores; medians of {report['repeats']} alternated repeats; {versions}.",
        "",
        "| field | scheme, steps | kernel | M particle-steps/s | time / ours "
        "| rms error | median error |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for case in report["cases"]:
        for row in case["contestants"]:
            lines.append(
                f"| {case['case']}, t = {case['window']:g} | {case['scheme']}, {case['steps']} "
                f"| {row['name']} | {row['particle_steps_per_second'] / 1e6:.3g} "
                f"| {row['time_over_ours']:.2f} "
                f"| {row['rms_error']:.1e} | {row['median_error']:.1e} |"
            )
    return "\n".join(lines)


def replace_table(table):
    """Put the table between its marks in the README."""
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def cpu_model():
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=default_threads(), help="default: all")
    parser.add_argument("--repeats", type=int, default=None, help="default: 7, quick: 1")
    parser.add_argument("--quick", action="store_true", help="a minute; writes nothing")
    arguments = parser.parse_args()
    if arguments.repeats is None:
        arguments.repeats = 1 if arguments.quick else 7
    if arguments.threads < 1 or arguments.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    return arguments


if __name__ == "__main__":
    main()
