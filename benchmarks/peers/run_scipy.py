"""SciPy: DOP853 for all particles as one system, and for each particle alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from scipy.integrate import solve_ivp

given, _ = task()


def gyre(t, state):
    x, y = state.reshape(2, -1)
    lean = PERTURBATION * np.sin(FREQUENCY * t)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
    across, up, scale = np.pi * fold, np.pi * y, np.pi * AMPLITUDE
    return np.concatenate(
        [-scale * np.sin(across) * np.cos(up), scale * np.cos(across) * np.sin(up) * slope]
    )


def solved(position, rtol):
    path = solve_ivp(
        gyre, (given["start"], given["end"]), position.T.ravel(), method="DOP853",
        rtol=max(rtol, 3e-14), atol=rtol,
    )  # fmt: skip
    return path.y[:, -1].reshape(2, -1).T


def batched(position, rtol):
    """One system per thread."""
    shares = np.array_split(position, given["threads"])
    with ThreadPoolExecutor(given["threads"]) as pool:
        return np.concatenate(list(pool.map(lambda share: solved(share, rtol), shares)))


def alone(position, rtol):
    return np.concatenate([solved(one[None], rtol) for one in position])


serve({"DOP853, one system": batched, "DOP853, per particle": alone}, ["scipy", "numpy"])
