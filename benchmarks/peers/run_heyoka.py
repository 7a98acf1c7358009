"""heyoka's Taylor integrator in batches as wide as the machine's vectors, on all threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import heyoka
import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task

given, _ = task()
WIDTH = heyoka.recommended_simd_size(float)


def system():
    x, y = heyoka.make_vars("x", "y")
    lean = PERTURBATION * heyoka.sin(FREQUENCY * heyoka.time)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
    across, up = heyoka.pi * fold, heyoka.pi * y
    scale = np.pi * AMPLITUDE
    return [
        (x, -scale * heyoka.sin(across) * heyoka.cos(up)),
        (y, scale * heyoka.cos(across) * heyoka.sin(up) * slope),
    ]


@cache
def integrators(rtol):
    one = heyoka.taylor_adaptive_batch(system(), np.zeros((2, WIDTH)), tol=rtol)
    return [one, *(one.__copy__() for _ in range(given["threads"] - 1))]


def batch(position, rtol):
    padding = -len(position) % WIDTH
    padded = np.concatenate([position, np.repeat(position[-1:], padding, axis=0)])
    blocks = np.ascontiguousarray(padded.reshape(-1, WIDTH, 2).transpose(0, 2, 1))
    ends = [given["end"]] * WIDTH

    def advance(integrator, share):
        state = integrator.state
        for block in share:
            integrator.set_time(given["start"])
            state[:] = block
            integrator.propagate_until(ends)
            block[:] = state

    team = integrators(rtol)
    with ThreadPoolExecutor(len(team)) as pool:
        list(pool.map(advance, team, np.array_split(blocks, len(team))))
    return blocks.transpose(0, 2, 1).reshape(-1, 2)[: len(position)]


serve({"batch": batch}, ["heyoka", "numpy"])
