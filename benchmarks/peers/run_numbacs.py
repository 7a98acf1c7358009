"""NumbaCS: its predefined double gyre, its flow map of scattered points, all threads."""

import numba
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from numbacs.flows import get_predefined_flow
from numbacs.integration import flowmap

given, _ = task()
numba.set_num_threads(given["threads"])
address, parameters, _ = get_predefined_flow("double_gyre")
parameters[1:5] = AMPLITUDE, PERTURBATION, 0.0, FREQUENCY


def dop853(position, rtol):
    span = given["end"] - given["start"]
    return flowmap(address, given["start"], span, position, parameters, rtol=rtol, atol=rtol)


serve({"dop853": dop853}, ["numbacs", "numbalsoda", "numba", "numpy"])
