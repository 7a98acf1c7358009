"""diffrax in float64 on the CPU: vmapped over particles, and one step for the whole batch."""

import os
from functools import cache

from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task

given, _ = task()
os.environ["XLA_FLAGS"] = (
    f"--xla_cpu_multi_thread_eigen={'true' if given['threads'] > 1 else 'false'} "
    f"intra_op_parallelism_threads={given['threads']}"
)
import diffrax  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_enable_x64", True)


def gyre(t, state, _):
    x, y = state[..., 0], state[..., 1]
    lean = PERTURBATION * jnp.sin(FREQUENCY * t)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
    across, up, scale = jnp.pi * fold, jnp.pi * y, jnp.pi * AMPLITUDE
    return jnp.stack(
        [-scale * jnp.sin(across) * jnp.cos(up), scale * jnp.cos(across) * jnp.sin(up) * slope],
        axis=-1,
    )


@cache
def compiled(solver, vmapped):
    def solve(position, rtol):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(gyre), solver(), given["start"], given["end"], None, position,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            saveat=diffrax.SaveAt(t1=True), max_steps=100_000,
        ).ys[0]  # fmt: skip

    return jax.jit(jax.vmap(solve, in_axes=(0, None)) if vmapped else solve)


def method(solver, *, vmapped):
    return lambda position, rtol: np.asarray(compiled(solver, vmapped)(position, rtol))


serve(
    {
        "Tsit5, vmapped": method(diffrax.Tsit5, vmapped=True),
        "Dopri8, vmapped": method(diffrax.Dopri8, vmapped=True),
        "Dopri8, one step for all": method(diffrax.Dopri8, vmapped=False),
    },
    ["diffrax", "jax", "numpy"],
)
