"""LAVD of the double gyre for `ftle.py`: the contestants, and a reference that sees the kinks.

The modulus of the deviation has a kink wherever vorticity equals its mean, which no Taylor series
and no quadrature sees coming. The reference integrates the deviation itself, which is smooth, by
heyoka, stops the integral at every zero of the deviation, and adds up the moduli of the pieces.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from common import kept, median
from peers.exchange import AMPLITUDE, FREQUENCY, PERTURBATION

import meanfluid as mf
from meanfluid.backends.reference import heyoka_functions

TOLERANCE = 1e-16
EDGE_NODES = 40  # of Gauss and Legendre, for the mean vorticity


class Entry(NamedTuple):
    """A tool with one method; `settings` are its tolerances."""

    tool: str
    method: str
    settings: tuple[float, ...]


ENTRIES = (
    Entry("meanfluid", "lavd", (1e-3, 1e-4, 1e-6, 1e-8, 1e-10)),
    Entry("numbacs", "lavd, 61 times, mean over nodes", (1e-6,)),
    Entry("numbacs", "lavd, 61 times, mean over cells", (1e-6,)),
    Entry("numbacs", "lavd, 301 times, mean over nodes", (1e-8,)),
    Entry("numbacs", "lavd, 301 times, mean over cells", (1e-8,)),
    Entry("numbacs", "lavd, 1501 times, mean over cells", (1e-8,)),
)


def runners(peer, field, grid, window, arguments):
    """Map (tool, method, tolerance) to functions that give the LAVD of every point of the grid."""
    runs = {}
    for entry in ENTRIES[:2] if arguments.quick else ENTRIES:
        for rtol in entry.settings[: 2 if arguments.quick else None]:
            key = entry.tool, entry.method, rtol
            if entry.tool == "meanfluid":
                runs[key] = partial(
                    mf.lavd, field, grid, *window, rtol=rtol, threads=arguments.threads,
                    estimate_error=False,
                )  # fmt: skip
            elif peer is not None:
                runs[key] = partial(answer, peer, entry.method, rtol, len(grid))
    return runs


def answer(peer, method, rtol, count):
    return peer.run(method, rtol, count)[1]


def cases(measured, checked, exact):
    """Return one object per run: its time, and its distances to the reference."""
    listed = []
    for (tool, method, rtol), entry in measured.items():
        error = np.abs(entry["value"][checked] - exact)
        listed.append(
            {
                "tool": tool, "method": method, "rtol": rtol, "seconds": median(entry),
                "first_call": entry["first_call"], "median_error": float(np.median(error)),
                "p99_error": float(np.percentile(error, 99)),
            }
        )  # fmt: skip
    return listed


def table(cases):
    """Return the table of the page."""
    rows = [
        [
            case["tool"].replace("numbacs", "NumbaCS") + case["method"].removeprefix("lavd"),
            f"{case['rtol']:.0e}", case["seconds"], f"{case['median_error']:.1e}",
            f"{case['p99_error']:.1e}",
        ]
        for case in cases
    ]  # fmt: skip
    columns = ["tool", "rtol", "seconds", "median error", "99th percentile"]
    return {"title": "Time and error of the LAVD", "columns": columns, "rows": rows}


def note(checked, exact):
    return (
        "LAVD is the integral over the same window of |vorticity − its mean over the domain|, not "
        "divided by the length of the window. `mf.lavd` integrates it along with the trajectory, "
        "with steps that follow the error, and has the mean from the circulation around the "
        "domain. NumbaCS (`flowmap_n_grid_2D`, `lavd_grid_2D`) keeps positions at equally spaced "
        "times and sums by Simpson's rule, of second order where the modulus has kinks; its mean "
        "is that over given points, every one with the same weight: *nodes* is the grid of the "
        "particles, edges included, as its documentation describes, *cells* the centres of its "
        "cells, the midpoint rule, whose error is what remains with many times. It does not "
        "divide by time either. It was given the vorticity "
        "as a formula. The kept positions take 16 bytes per point and time. Errors are absolute. "
        "The reference is heyoka's Taylor series of the trajectory "
        f"and of the signed deviation (tolerance {TOLERANCE:.0e}), cut at the zeros of the "
        f"deviation, and its mean from the formula's circulation; {checked} points at random, on "
        f"which LAVD lies between {exact.min():.2g} and {exact.max():.2g}, with median "
        f"{np.median(exact):.2g}."
    )


def oracle_lavd(field, position, start, end):
    """LAVD to about 13 digits, kept on disk for the next run."""
    return kept("lavd", reference_lavd, field, position, start, end)


def reference_lavd(field, position, start, end):
    """Return the integral of the modulus, (n,), from the integrals between zeros.

    Parameters
    ----------
    field : VelocityField
        The double gyre with the parameters of `peers.exchange`, for the mean is that formula's.
    position : (n, 2)
    start, end : float
    """
    import heyoka

    x, y, signed = heyoka.make_vars("x", "y", "signed")
    rates = field.body(heyoka_functions(heyoka), field.parameters, heyoka.time, x, y)
    deviation = heyoka.diff(rates[1], x) - heyoka.diff(rates[0], y) - mean_vorticity(heyoka)
    at_zeros = []

    def crossed(integrator, time, _):
        integrator.update_d_output(time)
        at_zeros.append(integrator.d_output[2])

    integrator = heyoka.taylor_adaptive(
        [(x, rates[0]), (y, rates[1]), (signed, deviation)], np.zeros(3), tol=TOLERANCE,
        high_accuracy=True, compact_mode=True, nt_events=[heyoka.nt_event(deviation, crossed)],
    )  # fmt: skip
    found = np.empty(len(position))
    for i, place in enumerate(position):
        at_zeros.clear()
        integrator.time, integrator.state[:] = start, [*place, 0.0]
        outcome = integrator.propagate_until(end)[0]
        if outcome != heyoka.taylor_outcome.time_limit:
            raise RuntimeError(f"the reference of particle {i} at {place} stopped: {outcome.name}")
        found[i] = np.abs(np.diff([0.0, *at_zeros, integrator.state[2]])).sum()
    return found


def mean_vorticity(heyoka):
    """Circulation around [0, 2] x [0, 1] over its area, as an expression of heyoka's time.

    The sides at x = 0 and 2 give 8 A a with a = e sin(w t); those at y = 0 and 1 are each
    -pi A times the integral of sin(pi f) from 0 to 2.
    """
    lean = PERTURBATION * heyoka.sin(FREQUENCY * heyoka.time)
    nodes, weights = np.polynomial.legendre.leggauss(EDGE_NODES)
    along = heyoka.sum(
        [
            float(w) * heyoka.sin(heyoka.pi * (lean * x * x + (1 - 2 * lean) * x))
            for x, w in zip((1 + nodes).tolist(), weights, strict=True)
        ]
    )
    return 0.5 * (8 * AMPLITUDE * lean - 2 * np.pi * AMPLITUDE * along)
