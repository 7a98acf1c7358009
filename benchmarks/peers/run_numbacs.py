"""NumbaCS: its predefined double gyre, all threads; flow maps of scattered points, and FTLE.

For FTLE the points are those of a grid, x fastest; the exponent comes back in their order.
"""

import numba
import numpy as np
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from numbacs.diagnostics import C_eig_aux_2D, ftle_from_eig, ftle_grid_2D
from numbacs.flows import get_predefined_flow
from numbacs.integration import flowmap, flowmap_aux_grid_2D, flowmap_grid_2D

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


methods = {f"ftle, h = {h:.0e}": ftle_from_auxiliary(h) for h in (1e-5, 1e-6)}
methods |= {"dop853": dop853, "ftle, differences in the grid": ftle_from_grid}
serve(methods, ["numbacs", "numbalsoda", "numba", "numpy"])
