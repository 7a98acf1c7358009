"""Contestants of `kernels.py` that share the body of a field: scalar Numba, and NumPy.

A contestant is a function ``position -> final`` that takes equal steps of one scheme from time 0.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from meanfluid.backends import libm
from meanfluid.fields.elementary import numpy_functions


def scalar_loop(field, scheme, steps, end, threads):
    """Return a plain compiled loop: one particle after the other, libm, the same tableau."""
    rate = modal_rate(field) if field.modal else scalar_rate(field)
    weights, b, c = scheme.a, scheme.b, scheme.c
    p = field.table if field.modal else type(field.parameters)(*map(float, field.parameters))
    h = end / steps

    @njit(error_model="numpy", nogil=True)
    def loop(p, weights, b, c, position, final):
        dimension, stages = position.shape[1], len(b)
        x, place = np.zeros(dimension), np.zeros(dimension)
        stage = np.zeros((stages, dimension))
        for i in range(len(position)):
            for k in range(dimension):
                x[k] = position[i, k]
            for step in range(steps):
                for j in range(stages):
                    for k in range(dimension):
                        place[k] = 0.0
                    for earlier in range(j):
                        weight = weights[j, earlier]
                        if weight != 0.0:
                            for k in range(dimension):
                                place[k] += weight * stage[earlier, k]
                    for k in range(dimension):
                        place[k] = x[k] + h * place[k]
                    rate(p, (step + c[j]) * h, place, stage[j])
                for k in range(dimension):
                    gain = 0.0
                    for j in range(stages):
                        gain += b[j] * stage[j, k]
                    x[k] += h * gain
            for k in range(dimension):
                final[i, k] = x[k]

    return in_chunks(lambda x, final: loop(p, weights, b, c, x, final), threads, 1024)


def scalar_rate(field):
    """Return a compiled ``(p, t, position, rate)`` of an analytic field."""
    body = njit(field.body, error_model="numpy")
    if field.dimension == 2:

        @njit(error_model="numpy")
        def rate(p, t, x, out):
            out[0], out[1] = body(libm, p, t, x[0], x[1])

    else:

        @njit(error_model="numpy")
        def rate(p, t, x, out):
            out[0], out[1], out[2] = body(libm, p, t, x[0], x[1], x[2])

    return rate


def modal_rate(field):
    """Return the same for a sum of plane modes, `p` being their table."""
    body, record = njit(field.body, error_model="numpy"), type(field.parameters)

    @njit(error_model="numpy")
    def rate(table, t, x, out):
        u = v = 0.0
        for n in range(len(table)):
            row = table[n]
            p = record(row[0], row[1], row[2], row[3], row[4], row[5], row[6])
            du, dv = body(libm, p, t, x[0], x[1])
            u += du
            v += dv
        out[0], out[1] = u, v

    return rate


def array_loop(field, scheme, steps, end, threads):
    """Return the loop over steps in NumPy, on arrays of particles that fit into the cache."""
    h = end / steps
    p = type(field.parameters)(*field.table.T[:, :, None]) if field.modal else field.parameters

    def rate(t, x):
        parts = field.body(numpy_functions, p, t, *x)
        return np.stack([part.sum(0) for part in parts] if field.modal else parts)

    def loop(position, final):
        x = position.T.copy()
        for step in range(steps):
            stage = []
            for row, node in zip(scheme.a, scheme.c, strict=True):
                place = x.copy()
                for weight, earlier in zip(row, stage, strict=False):
                    if weight:
                        place += h * weight * earlier
                stage.append(rate((step + node) * h, place))
            for weight, velocity in zip(scheme.b, stage, strict=True):
                if weight:
                    x += h * weight * velocity
        final[:] = x.T

    return in_chunks(loop, threads, max(64, 16384 // len(field.table)))


def in_chunks(loop, threads, size):
    """Return ``position -> final`` that shares chunks of particles out over threads."""

    def run(position):
        final = np.empty_like(position)
        chunks = [slice(k, k + size) for k in range(0, len(position), size)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda chunk: loop(position[chunk], final[chunk]), chunks))
        return final

    return run
