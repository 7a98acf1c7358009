"""NumbaCS: its predefined double gyre, all threads; flow maps of scattered points, FTLE and LAVD.

For FTLE and LAVD the points are those of a grid, x fastest; values come back in their order.
"""

import numba
import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from numbacs.diagnostics import C_eig_aux_2D, ftle_from_eig, ftle_grid_2D, lavd_grid_2D
from numbacs.flows import get_predefined_flow
from numbacs.integration import flowmap, flowmap_aux_grid_2D, flowmap_grid_2D, flowmap_n_grid_2D

given, _ = task()
numba.set_num_threads(given["threads"])
address, parameters, _ = get_predefined_flow("double_gyre")
parameters[1:5] = AMPLITUDE, PERTURBATION, 0.0, FREQUENCY
start, span = given["start"], given["end"] - given["start"]


def dop853(position, rtol):
    return flowmap(address, start, span, position, parameters, rtol=rtol, atol=rtol)


def axes(position):
    columns = int(np.argmax(position[:, 1] > position[0, 1]))
    return position[:columns, 0].copy(), position[::columns, 1].copy()


def ftle_from_auxiliary(h):
    """FTLE from differences between four trajectories around every point, at a distance h."""

    def ftle(position, rtol):
        x, y = axes(position)
        options = {"h": h, "eig_main": False}
        there = flowmap_aux_grid_2D(
            address, start, span, x, y, parameters, rtol=rtol, atol=rtol, **options
        )
        largest = C_eig_aux_2D(there, x[1] - x[0], y[1] - y[0], **options)[0][:, :, 1]
        return ftle_from_eig(largest, span).T.ravel()

    return ftle


def ftle_from_grid(position, rtol):
    """FTLE from differences between neighbours in the grid."""
    x, y = axes(position)
    there = flowmap_grid_2D(address, start, span, x, y, parameters, rtol=rtol, atol=rtol)
    return ftle_grid_2D(there, span, x[1] - x[0], y[1] - y[0]).T.ravel()


@numba.njit
def vorticity(points):
    """Of the formula, at points (n, 3) of time, x and y: a callable as NumbaCS takes it."""
    found = np.empty(len(points))
    for i, (t, x, y) in enumerate(points):
        lean = PERTURBATION * np.sin(FREQUENCY * t)
        fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
        across = np.cos(np.pi * fold) * 2 * lean - np.pi * np.sin(np.pi * fold) * (slope**2 + 1)
        found[i] = np.pi * AMPLITUDE * np.sin(np.pi * y) * across
    return found


def lavd(times, where):
    """LAVD from positions at equally spaced times; vorticity is averaged over nodes or cells."""

    def run(position, rtol):
        x, y = axes(position)
        path, at = flowmap_n_grid_2D(
            address, start, span, x, y, parameters, n=times, rtol=rtol, atol=rtol
        )
        if where == "cells":
            x, y = 0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1])
        grid = np.meshgrid(x, y, indexing="ij")
        return lavd_grid_2D(path, at, span, vorticity, *(g.ravel() for g in grid)).T.ravel()

    return run


methods = {
    f"lavd, {times} times, mean over {where}": lavd(times, where)
    for times in (61, 301, 1501)
    for where in ("nodes", "cells")
}
methods |= {f"ftle, h = {h:.0e}": ftle_from_auxiliary(h) for h in (1e-5, 1e-6)}
methods |= {"dop853": dop853, "ftle, differences in the grid": ftle_from_grid}
serve(methods, ["numbacs", "numbalsoda", "numba", "numpy"])
