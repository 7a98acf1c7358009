"""heyoka's Taylor integrator in batches as wide as the machine's vectors, on all threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import heyoka
import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from heyoka_gyre import system

given, _ = task()
WIDTH = heyoka.recommended_simd_size(float)


@cache
def integrators(rtol):
    gyre = system(AMPLITUDE, PERTURBATION, FREQUENCY)
    one = heyoka.taylor_adaptive_batch(gyre, np.zeros((2, WIDTH)), tol=rtol)
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
