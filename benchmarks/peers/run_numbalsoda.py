"""numbalsoda: DOP853 of every particle in a parallel loop, as its documentation shows."""

from math import cos, pi, sin

import numba
import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from numba import cfunc, njit, prange
from numbalsoda import dop853 as solve
from numbalsoda import lsoda_sig

given, _ = task()
numba.set_num_threads(given["threads"])


@cfunc(lsoda_sig)
def gyre(t, u, du, p):
    lean = PERTURBATION * sin(FREQUENCY * t)
    fold = lean * u[0] * u[0] + (1 - 2 * lean) * u[0]
    slope = 2 * lean * u[0] + (1 - 2 * lean)
    du[0] = -pi * AMPLITUDE * sin(pi * fold) * cos(pi * u[1])
    du[1] = pi * AMPLITUDE * cos(pi * fold) * sin(pi * u[1]) * slope


@njit(parallel=True)
def loop(address, position, times, rtol):
    final = np.empty_like(position)
    for i in prange(len(position)):
        path, _ = solve(address, position[i], times, rtol=rtol, atol=rtol)
        final[i] = path[-1]
    return final


def dop853(position, rtol):
    return loop(gyre.address, position, np.array([given["start"], given["end"]]), rtol)


serve({"dop853": dop853}, ["numbalsoda", "numba", "numpy"])
