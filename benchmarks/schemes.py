"""Which scheme should be the default? Evaluations and time to a measured error, on several fields.

Each scheme runs with tolerances and with equal steps; the error is measured against Taylor
integration by heyoka.

    python benchmarks/schemes.py [--quick] [--threads N] [--repeats N]
"""

import time
from typing import NamedTuple

from common import alternated, errors, median, oracle, parsed_arguments, uniform, write_report
from tqdm import tqdm

import meanfluid as mf

CHECKED = 1_000
SCHEMES = (mf.rk4, mf.tsit5, mf.vern7, mf.dop853)
TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14)
MOST_EVALUATIONS = 16_000  # per particle, of a run with equal steps


class Case(NamedTuple):
    """One field, one window from time 0, and about how many evaluations a loose run takes."""

    title: str
    field: mf.VelocityField
    end: float
    evaluations: int
    particles: int


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(__doc__)
    listed = [
        measure(case, arguments)
        for case in tqdm(cases(arguments.quick), unit="field", disable=None)
    ]
    write_report(
        "schemes", "Which scheme should be the default?", arguments, began,
        targets_of_error=[1e-6, 1e-9, 1e-12], cases=listed,
    )  # fmt: skip


def cases(quick):
    """Return the fields; a quick run has few particles of one."""
    spectrum = mf.fields.von_karman_pao(1.0, k_energy=1.5, k_eta=15.0, dimension=2)
    modes = mf.fields.kinematic_simulation(spectrum, modes=64, seed=0)
    listed = [
        Case("double gyre", mf.fields.double_gyre(), 20.0, 200, 8_192),
        Case("Bickley jet", mf.fields.bickley_jet(), 20.0, 400, 4_096),
        Case("ABC flow", mf.fields.abc_flow(), 10.0, 200, 8_192),
        Case("Lamb-Oseen pair", mf.fields.lamb_oseen_pair(), 10.0, 200, 4_096),
        Case("kinematic simulation, 64 modes", modes, 3.0, 400, 512),
    ]
    return [listed[0]._replace(particles=256)] if quick else listed


def measure(case, arguments):
    """Run every scheme with every setting; all of one field in turn."""
    position = uniform(case.field, case.particles)
    start = 1.0 if case.field.name == "lamb_oseen_pair" else 0.0  # it begins as two points
    truth = oracle(case.field, position[:CHECKED], start, start + case.end)
    settings = [(scheme, option) for scheme in SCHEMES for option in options(scheme, case)]

    def run(scheme, option):
        return mf.trajectories(
            case.field, position, start, start + case.end, scheme=scheme,
            estimate_error=False, threads=arguments.threads, **option,
        )  # fmt: skip

    named = {
        (scheme.name, *next(iter(option.items()))): bind(run, scheme, option)
        for scheme, option in settings
    }
    entries = {}
    for (scheme, kind, setting), entry in alternated(named, arguments.repeats).items():
        path, seconds = entry["value"], median(entry)
        method = scheme if kind == "rtol" else f"{scheme}, equal steps"
        row = {"scheme": scheme, "kind": kind, "method": method, "points": []}
        entries.setdefault(method, row)["points"].append(
            {
                "setting": setting,
                "seconds": float(f"{seconds:.4g}"),
                "evaluations": evaluations(path, getattr(mf, scheme)),
                **errors(path.position[:CHECKED], truth),
            }
        )
    return {
        "case": case.title,
        "window": case.end,
        "particles": case.particles,
        "checked": min(CHECKED, case.particles),
        "entries": list(entries.values()),
    }


def options(scheme, case):
    """Return the settings of one scheme: tolerances if it estimates its error, and equal steps."""
    steps = [max(4, case.evaluations * 2**k // (2 * scheme.stages)) for k in range(8)]
    steps = [count for count in steps if count * scheme.stages <= MOST_EVALUATIONS]
    adaptive = [{"rtol": rtol} for rtol in TOLERANCES] if len(scheme.errors) else []
    return adaptive + [{"steps": count} for count in steps]


def bind(run, scheme, option):
    return lambda: run(scheme, option)


def evaluations(path, scheme):
    """Return the mean number of evaluations of the velocity per particle, in the steps."""
    return float(path.steps.sum(axis=1).mean()) * 2 * scheme.stages  # steps come in pairs


if __name__ == "__main__":
    main()
