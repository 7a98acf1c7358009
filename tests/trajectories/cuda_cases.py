"""Cases on which the CUDA engine is held against the CPU's, and how it is called.

Run as a script it needs Numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1), and prints one line of
JSON: for every case the largest difference, relative to the largest value, and the codes; and the
orders that the CPU shows where the GPU's are measured.
"""

import json
import math
import sys
from typing import NamedTuple

import numpy as np
import own_fields

from meanfluid.backends.compiled import block_evaluator
from meanfluid.backends.devices import to_host
from meanfluid.fields import Axis, VelocityField, kinematic_simulation, sampled
from meanfluid.trajectories import launch
from meanfluid.trajectories.problem import Settings, assembled
from meanfluid.trajectories.records import Output
from meanfluid.trajectories.tableaux import dop853, rk4, tsit5, vern7

DEFAULTS = {
    "rtol": 1e-9, "atol": 0.0, "scheme": dop853, "steps": None, "max_steps": 10_000,
    "out_of_domain": "raise", "knots": True, "estimate_error": True,
}  # fmt: skip


class Pull(NamedTuple):
    rate: float = 1.0


def outwards(m, p, t, x, y):
    """Grows faster and faster with time, and has no real value beyond x = 3."""
    return p.rate * (1 + 0.1 * t) * x * m.sqrt(3.0 - x) / m.sqrt(3.0 - x), 0.3 * m.cos(t) + 0 * y


def far(m, p, t, x, y):
    """Angles beyond the range of the polynomials."""
    return p.rate * m.sin(1e13 * x) * m.cos(t), p.rate * m.cos(1e13 * y) * m.sin(t + 1)


def stirring(m, p, t, x, y, velocity, gradient):
    """Something of everything that an observable may ask for."""
    return velocity[0] * m.exp(-y), gradient[0][1] * m.cos(t), x * y


def open_field(body, domain=None):
    return VelocityField(body=body, parameters=Pull(), dimension=2, domain=domain)


def gridded(dtype="float64"):
    """A pulsating cellular flow on a coarse grid."""
    t, x, y = np.linspace(0, 4, 9), np.linspace(0, 6, 25), np.linspace(0, 6, 25)
    when, east, north = np.meshgrid(t, x, y, indexing="ij")
    swing = np.cos(when + 0.3)
    velocity = np.sin(east) * np.cos(north) * swing, -np.cos(east) * np.sin(north) * swing
    return sampled(velocity, (x, y), t, dtype=dtype)


def waves(seed=1):
    return kinematic_simulation(lambda k: k**-2.0, seed=seed, modes=5, wavenumbers=(1.0, 8.0))


def swirl():
    """Samples of a cubic in time, which splines hold exactly: no step feels a knot."""
    t, x = np.linspace(0, 4, 9), np.linspace(-2, 2, 9)
    when, east, north = np.meshgrid(t, x, x, indexing="ij")
    rate = 2.0 + when - 0.2 * when**3
    return sampled((-rate * north, rate * east), (x, x), t)


PLACE = np.random.default_rng(7).uniform(0.2, 0.9, (24, 2))
SCHEMES = {scheme.name: scheme for scheme in (rk4, tsit5, vern7, dop853)}
# Unsteady fields of every family and scheme, a window from 0 on, and a number of steps at which
# the leading term of the error rules. Parameters are data: a family has one kernel a scheme.
FAMILIES = {
    "a formula": {
        "rk4": (own_fields.whirl(1.0, 0.5, 1.0), 2.0, 128),
        "tsit5": (own_fields.whirl(3.0, 1.0, 0.5), 12.0, 512),
        "vern7": (own_fields.whirl(0.2, 0.5, 6.0), 6.0, 64),
        "dop853": (own_fields.whirl(3.0, 1.0, 0.5), 2.0, 8),
    },
    "modes": {
        "rk4": (waves(4), 1.0, 128),
        "tsit5": (waves(4), 1.0, 32),
        "vern7": (waves(27), 4.0, 32),
        "dop853": (waves(4), 1.0, 8),
    },
    "samples": {
        "rk4": (swirl(), 2.0, 128),
        "tsit5": (swirl(), 2.0, 128),
        "vern7": (swirl(), 4.0, 64),
        "dop853": (swirl(), 2.0, 8),
    },
}
EVERY = [(scheme, family) for scheme in SCHEMES for family in FAMILIES]


def prepared(field, observables=(), *, deformed=False, **options):
    """Return the evaluator of the CPU and the problem."""
    evaluator = block_evaluator(field, observables, deformed=deformed)
    settings = Settings(**(DEFAULTS | options))
    return evaluator, assembled(field, evaluator.layout, settings, evaluator.address)


def both(field, position, start, offsets, *, gpu=None, observables=(), **options):
    """Integrate on the CPU, and by `gpu`, which defaults to the CUDA engine; arrays of NumPy."""
    from meanfluid.trajectories import launch_cuda

    evaluator, problem = prepared(field, observables, **options)
    position, start = np.asarray(position, dtype=float), np.asarray(start, dtype=float)
    offsets = np.asarray(offsets, dtype=float)
    on_cpu = launch.run(problem, position, start, offsets)
    move = gpu or (lambda array: array)
    on_gpu = launch_cuda.run(
        field, observables, evaluator.layout, problem, move(position), move(start), move(offsets)
    )
    return on_cpu, Output(*(to_host(a) for a in on_gpu))


def equal_steps(scheme, family, steps):
    """Arguments and options of `both` for particles that start together."""
    field, window, _ = FAMILIES[family][scheme]
    options = {"scheme": SCHEMES[scheme], "steps": steps, "estimate_error": False}
    return (field, PLACE, np.zeros(len(PLACE)), np.array([[window]])), options


def on_cpu(field, position, start, offsets, **options):
    """Displacement at the end of the window, on the CPU."""
    return launch.run(prepared(field, **options)[1], position, start, offsets).travelled[:, 0]


def observed_order(scheme, family, integrate):
    """Return the order seen when steps are halved, by `integrate`, and the two errors."""
    first = FAMILIES[family][scheme][2]
    exact = on_cpu(*equal_steps(scheme, family, first)[0], rtol=1e-15)
    errors = []
    for steps in (first, 2 * first):
        arguments, options = equal_steps(scheme, family, steps)
        errors.append(own_fields.rms(integrate(*arguments, **options) - exact))
    return math.log2(errors[0] / errors[1]), errors


def cases():
    """Name, and the arguments of `both`: all fields but one are unsteady."""
    whirl, box = own_fields.whirl(), (Axis(-2.0, 2.0, "closed"), Axis(-9.0, 9.0))
    place = [[0.7, 0.4], [1.3, 0.8]]
    yield "adaptive, backward, two times", (whirl, place, [3.0, 2.5], [[-1.0, -2.0]]), {}
    yield "equal steps", (whirl, place, [0.0, 1.0], [[1.5], [-2.0]]), {"scheme": rk4, "steps": 20}
    yield (
        "gradient and observables",
        (whirl, place, [0.0, 0.0], [[1.0]]),
        {"scheme": tsit5, "deformed": True, "observables": (stirring,), "rtol": 1e-7},
    )
    yield "modes", (waves(), place, [0.0, 0.5], [[0.5]]), {"rtol": 1e-7}
    yield "samples", (gridded(), [[2.0, 2.0], [4.1, 1.7]], [0.5, 1.0], [[1.0]]), {"rtol": 1e-6}
    yield (
        "float32 samples",
        (gridded("float32"), [[2.0, 2.0], [4.1, 1.7]], [0.5, 1.0], [[1.0]]),
        {"rtol": 1e-6},
    )
    yield "beyond the polynomials", (open_field(far), place, [0.0, 0.0], [[2e-14]]), {"rtol": 1e-4}
    yield (
        "failures",
        (open_field(outwards, box), [[0.5, 0.0], [1.0, 0.0], [3.5, 0.0]], [0.0] * 3, [[1.0]]),
        {},
    )
    yield "not finite", (open_field(outwards), [[1.0, 0.0], [3.5, 0.0]], [0.0] * 2, [[4.0]]), {}
    yield "out of steps", (whirl, place, [0.0, 0.0], [[5.0]]), {"max_steps": 3}
    yield (
        "mirrored",
        (open_field(outwards, box), place, [0.0, 0.0], [[1.0]]),
        {"out_of_domain": "reflect", "rtol": 1e-6, "max_steps": 80},
    )
    yield "empty window", (whirl, place, [0.0, 0.0], [[0.0]]), {}
    for scheme, family in EVERY:
        (field, *_), options = equal_steps(scheme, family, 2)
        yield f"{scheme} on {family}", (field, place, [0.0, 0.5], [[0.5], [1.0]]), options


def compared(on_cpu, on_gpu):
    """Largest difference of each array, relative to its largest value; whether codes agree."""
    report = {}
    for name, ours, theirs in zip(Output._fields, on_gpu, on_cpu, strict=True):
        if name in ("status", "steps", "strayed"):
            report[name] = [np.asarray(ours).tolist(), np.asarray(theirs).tolist()]
        elif theirs.size:
            known = np.isfinite(theirs)
            scale = max(1e-300, np.abs(theirs[known]).max(initial=0.0))
            away = np.abs(ours - theirs)[known].max(initial=0.0) / scale
            same = bool((np.isfinite(ours) == known).all())
            report[name] = float(away) if same else math.inf
    return report


def quicken():
    """Make the simulator quick: its threads wait for each other in a busy loop."""
    from meanfluid.trajectories import launch_cuda

    launch_cuda._THREADS, launch_cuda._BLOCKS = 2, 1  # a thread may have more than one particle
    sys.setswitchinterval(1e-5)


if __name__ == "__main__":
    quicken()
    report = {
        "cases": {
            name: compared(*both(*arguments, **options)) for name, arguments, options in cases()
        },
        "orders": [[*pair, *observed_order(*pair, on_cpu)] for pair in EVERY],
    }
    json.dump(report, sys.stdout)
