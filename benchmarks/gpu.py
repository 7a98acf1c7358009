"""How fast are trajectories on one NVIDIA GPU, against its peak, its host and its peers?

Double gyre (A = 0.1, epsilon = 0.25, omega = 2 pi/10), random particles on [0, 2] x [0, 1], from
t = 0 to 20. Run from the repository with ``python benchmarks/gpu.py``; ``--quick`` for small
sizes. Needs ``meanfluid[cuda13]``; with ``--count`` Nsight Compute counts operations. The error
is that of the displacement against Verner's scheme of order 7 at a tolerance of 1e-14 on the CPU.
"""

import argparse
import importlib.metadata
import os
import shutil
import statistics
import subprocess
import sys
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave memory to the others

import numpy as np
from common import parsed_arguments, write_report

import meanfluid as mf
from meanfluid.backends.devices import cupy_library
from meanfluid.backends.evaluation import layout_of
from meanfluid.trajectories import launch_cuda
from meanfluid.trajectories.problem import Settings, assembled
from meanfluid.trajectories.tableaux import dop853, rk4, vern7

END = 20.0
FIELD = mf.fields.double_gyre()
DOUBLE_LANES = 64  # fused multiply-adds a cycle and multiprocessor: A100, H100, H200
COUNTERS = {name: f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum"
            for name in ("dfma", "dmul", "dadd")}  # fmt: skip
PACKAGES = ("numba-cuda", "cupy-cuda13x", "cupy-cuda12x", "torch", "torchdiffeq", "diffrax")


def problem_of(scheme, *, steps=None, rtol=1e-11, estimate_error=False):
    layout = layout_of(FIELD, (), carried=True, deformed=False)
    settings = Settings(
        rtol, 0.0, scheme, steps, 100_000, out_of_domain="raise", knots=True,
        estimate_error=estimate_error,
    )  # fmt: skip
    return layout, assembled(FIELD, layout, settings, 0)


def random_particles(count, seed=0):
    cupy = cupy_library()
    return cupy.random.default_rng(seed).random((count, 2)) * cupy.array([2.0, 1.0])


def ours(x, **options):
    """Return the displacement of particles on the GPU, and how many pairs of steps they took."""
    cupy = cupy_library()
    layout, problem = problem_of(**options)
    output = launch_cuda.run(
        FIELD, (), layout, problem, x, cupy.zeros(len(x)), cupy.full((1, 1), END)
    )
    cupy.cuda.Device().synchronize()
    return output.travelled[:, 0], int(output.steps.sum())


def timed(work, repeats):
    """Return the median time of several runs after a first one, and the last result."""
    work()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), result


def peak_rate():
    """Fused double-precision operations a second, at the highest clock that the card reports."""
    attributes = cupy_library().cuda.Device().attributes
    return DOUBLE_LANES * attributes["MultiProcessorCount"] * attributes["ClockRate"] * 1e3


def fixed_steps(count, repeats, counted):
    x = random_particles(count)
    seconds, (_, pairs) = timed(lambda: ours(x, scheme=rk4, steps=400), repeats)
    rate = 2 * pairs / seconds
    row = {"particles": count, "steps": 400, "seconds": seconds, "particle_steps_per_s": rate}
    if counted:
        row |= {"counted_per_step": counted}
        instructions = sum(counted.values())
        operations = instructions + counted["dfma"]
        row["share_of_peak_instructions"] = rate * instructions / peak_rate()
        row["share_of_peak_operations"] = rate * operations / (2 * peak_rate())
    return row


def operations_per_step():
    """Count double-precision instructions of a step with Nsight Compute, by kind."""
    ncu = shutil.which("ncu")
    if ncu is None:
        print("operations are not counted: there is no ncu")
        return None
    command = [
        ncu, "--csv", "--clock-control", "none", "--kernel-name", "regex:integrate_all",
        "--metrics", ",".join(COUNTERS.values()), sys.executable, __file__, "--counted",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counted = {}
    for name, metric in COUNTERS.items():
        values = [line.split('","')[-1] for line in done.stdout.splitlines() if metric in line]
        if not values:
            print("operations are not counted:", done.stdout[-300:], done.stderr[-300:])
            return None
        counted[name] = float(values[-1].strip('"\n').replace(",", "")) / (2**17 * 400)
    return counted


def averages(count, repeats, options, reference):
    """Time of average velocities, and their error where the answer is known."""
    known, exact = reference
    x = random_particles(count)
    x[: len(known)] = known
    seconds, (moved, pairs) = timed(lambda: ours(x, **options), repeats)
    error = np.linalg.norm(moved[: len(known)].get() - exact, axis=1) / END
    return {
        "particles": count, "seconds": seconds, "pairs_per_particle": pairs / count,
        "median_error": float(np.median(error)), "error_95": float(np.quantile(error, 0.95)),
    }  # fmt: skip


def on_the_host(count, options, reference, threads):
    known, exact = reference
    x = random_particles(count).get()
    x[: len(known)] = known.get()
    options = {"threads": threads, "on_failure": "mark"} | options
    mf.flow_map(FIELD, x[:64], 0.0, END, **options)
    begun = time.perf_counter()
    moved = mf.trajectories(FIELD, x, 0.0, END, **options).displacement
    seconds = time.perf_counter() - begun
    error = np.linalg.norm(moved[: len(known)] - exact, axis=1) / END
    return {"particles": count, "threads": threads, "seconds": seconds,
            "median_error": float(np.median(error))}  # fmt: skip


def torchdiffeq_row(count, reference, rtol):
    import torch
    from torchdiffeq import odeint

    known, exact = reference
    x = random_particles(count)
    x[: len(known)] = known
    start = torch.from_dlpack(x)
    times = torch.tensor([0.0, END], dtype=torch.float64, device="cuda")
    p = FIELD.parameters

    def velocity(t, z):
        return torch.stack(FIELD.body(torch_functions(), p, t, z[:, 0], z[:, 1]), dim=-1)

    def work():
        end = odeint(velocity, start, times, rtol=rtol, atol=rtol, method="dopri8")[-1]
        torch.cuda.synchronize()
        return end

    seconds, end = timed(work, 1)
    error = np.linalg.norm((end - start)[: len(known)].cpu().numpy() - exact, axis=1) / END
    return {"particles": count, "rtol": rtol, "seconds": seconds,
            "median_error": float(np.median(error))}  # fmt: skip


def torch_functions():
    import math
    from types import SimpleNamespace

    import torch

    return SimpleNamespace(
        pi=math.pi, cos=torch.cos, sin=lambda v: torch.sin(v) if torch.is_tensor(v) else math.sin(v)
    )


def diffrax_row(count, reference, rtol):
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    known, exact = reference
    x = random_particles(count)
    x[: len(known)] = known
    start, p = jnp.asarray(x.get()), FIELD.parameters

    def velocity(t, z, _):
        return jnp.stack(FIELD.body(jax_functions(jnp), p, t, z[0], z[1]))

    def one(z):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(velocity), diffrax.Dopri8(), 0.0, END, None, z,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol), max_steps=10_000,
        ).ys[0]  # fmt: skip

    batch = jax.jit(jax.vmap(one))
    seconds, end = timed(lambda: batch(start).block_until_ready(), 1)
    error = np.linalg.norm(np.asarray((end - start)[: len(known)]) - exact, axis=1) / END
    return {"particles": count, "rtol": rtol, "seconds": seconds,
            "median_error": float(np.median(error))}  # fmt: skip


def jax_functions(jnp):
    from types import SimpleNamespace

    return SimpleNamespace(pi=jnp.pi, cos=jnp.cos, sin=jnp.sin)


def peers(count, reference):
    rows = {}
    for name, row in (("torchdiffeq dopri8", torchdiffeq_row), ("diffrax Dopri8", diffrax_row)):
        try:
            rows[name] = row(count, reference, 1e-9)
        except ImportError as error:
            rows[name] = {"not_run": str(error)}
        print(name, rows[name], flush=True)
    return rows


def card():
    cupy = cupy_library()
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "name": properties["name"].decode(), "driver": cupy.cuda.runtime.driverGetVersion(),
        "multiprocessors": properties["multiProcessorCount"],
        "peak_double_precision_tflops": 2e-12 * peak_rate(), "versions": found,
    }  # fmt: skip


def reference_of(count):
    x = random_particles(count, seed=1)
    path = mf.trajectories(FIELD, x.get(), 0.0, END, scheme=vern7, rtol=1e-14, estimate_error=False)
    return x, path.displacement


def main():
    switches = {"count": "count operations with Nsight Compute (compiles once more)"}
    arguments, began = parsed_arguments(__doc__, **switches), time.perf_counter()
    quick, repeats = arguments.quick, arguments.repeats
    many = 10**5 if quick else 10**8
    reference = reference_of(500 if quick else 4000)
    counted = operations_per_step() if arguments.count else None
    fixed = fixed_steps(2**16 if quick else 2**22, repeats, counted)
    print(card(), fixed, sep="\n", flush=True)
    settings = {
        "adaptive, rtol 1e-11, with error estimate": {"rtol": 1e-11, "estimate_error": True},
        "adaptive, rtol 1e-11": {"rtol": 1e-11},
        "adaptive, rtol 1e-9": {"rtol": 1e-9},
        "80 equal steps": {"steps": 80},
    }
    rows = {}
    for name, options in settings.items():
        rows[name] = averages(many, repeats, {"scheme": dop853} | options, reference)
        print(name, rows[name], flush=True)
    few = many // 100
    host = {
        name: on_the_host(
            few, {"rtol": 1e-11, "estimate_error": False, "steps": None} | settings[name],
            reference, arguments.threads,
        )
        for name in ("adaptive, rtol 1e-11", "80 equal steps")
    }  # fmt: skip
    print("host", host, flush=True)
    best = min(rows.values(), key=lambda row: row["seconds"] if row["median_error"] < 1e-10
               else np.inf)  # fmt: skip
    targets = [
        {"target": "seconds for 1e8 averages with a median error below 1e-10",
         "measured": best["seconds"] * 1e8 / many, "at_most": 2.0},
    ]  # fmt: skip
    if counted:
        targets.append(
            {"target": "RK4, share of the peak of double-precision instructions",
             "measured": fixed["share_of_peak_instructions"], "at_least": 0.5}
        )  # fmt: skip
    write_report(
        "gpu", __doc__.partition("\n")[0], arguments, began, card=card(), fixed=fixed,
        averages=rows, host=host, peers=peers(few, reference), tables=tables(rows, host, many),
        targets=targets,
    )  # fmt: skip


def tables(rows, host, many):
    lines = [[name, many, r["seconds"], r["median_error"], r["error_95"]] for name, r in
             rows.items()]  # fmt: skip
    lines += [[f"CPU, {r['threads']} threads: {name}", r["particles"], r["seconds"],
               r["median_error"], ""] for name, r in host.items()]  # fmt: skip
    columns = ["dop853", "particles", "seconds", "median error of the mean", "95 %"]
    return [{"title": "Average velocities over T = 20", "columns": columns, "rows": lines}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--counted", action="store_true")
    known, _ = parser.parse_known_args()
    if known.counted:  # under ncu, by `operations_per_step`
        ours(random_particles(2**17), scheme=rk4, steps=400)
    else:
        main()
