r"""Means labelled by mean position, without the detour over another label: strategy 2.

On the mean position x so far, let :math:`x + \xi` be where that fluid is now, and F its mean so
far. With weight G and :math:`N = \int G`, that point moves with :math:`w = (G/N)\,\xi`, and

.. math::
    \partial_\tau \xi + w \cdot \nabla \xi + w &= v(x + \xi, \tau) , \\
    \partial_\tau F + w \cdot \nabla F &= (G/N)\, (f(x + \xi, \tau) - F) .

At the start of a window G / N is singular and its product with what vanishes is not: for G ~ s^p
the rates are v / (p + 2) and (p + 1) / (p + 2) df/dt there. An exponential mean has
G / N = rate, no singular start, and its mean velocity is :math:`rate\,\xi`.

References
----------
Kafiabad & Vanneste (2023), Computing Lagrangian means, J. Fluid Mech. 960, A36, for a top hat.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.means import periodic
from meanfluid.means.lagrangian_pde.datasets import observed_rows
from meanfluid.means.lagrangian_pde.flows import Flow, split
from meanfluid.means.lagrangian_pde.kernels import RationalFilter, WindowKernel
from meanfluid.means.lagrangian_pde.results import GriddedMean, marked
from meanfluid.means.lagrangian_pde.spectral import Spectral
from meanfluid.means.lagrangian_pde.transport import runge_kutta
from meanfluid.trajectories.control import Status


class RunningMeanLabel:
    """Means labelled by mean position, stepped beside a flow.

    Parameters
    ----------
    transport : Spectral
    kernel : WindowKernel, or RationalFilter of order one
        A window must start at `time`.
    sizes : mapping of str to int or None
        The observables: how many components each has, None for a number.
    time : float, time
    observed : (components, *shape), or Dataset
        The observables at `time`; a Dataset as in `RunningMean`.

    Raises
    ------
    TypeError, ValueError
        If the transport is no Fourier series, the filter has a higher order, or the weight is zero
        next to its start, or negative.
    """

    def __init__(
        self, transport: Any, kernel: WindowKernel | RationalFilter,
        sizes: Mapping[str, int | None], time: float, observed: Any,
    ) -> None:  # fmt: skip
        if not isinstance(transport, Spectral):
            raise TypeError(
                "equations on mean positions need Spectral, since their velocity depends on the "
                f"solution; got {transport!r}. Use remapped(mean_on_grid(..., label='final'))"
            )
        if isinstance(kernel, RationalFilter) and kernel.gain.size > 1:
            raise ValueError(
                f"there are no such equations for the filter {kernel.name} of order "
                f"{kernel.gain.size}; use remapped(mean_on_grid(..., label='final'))"
            )
        if isinstance(kernel, WindowKernel) and not kernel.positive():
            raise ValueError(
                f"the weight {kernel.name} is negative somewhere, and its mean positions so far "
                "may run away; use remapped(mean_on_grid(..., label='final'))"
            )
        if isinstance(kernel, WindowKernel) and kernel.start != time:
            raise ValueError(f"the window must start at {time}, got {kernel.start}")
        self.transport, self.kernel, self.sizes = transport, kernel, dict(sizes)
        observed = observed_rows(observed, sizes, transport.grid, times=False)
        self.time = self.begun = float(time)
        self.mass = 0.0
        grid = transport.grid
        zero = np.zeros_like(observed, dtype=float, shape=(grid.dimension, *grid.shape))
        self.fields = np.concatenate([zero, observed])  # displacement to now, then the means
        self._power = kernel.exponent() if isinstance(kernel, WindowKernel) else None
        self._nodes = devices.beside(zero, grid.mesh)

    def step(self, flow: Flow, step: float) -> None:
        """Go on by one step of Runge-Kutta of order four.

        Parameters
        ----------
        flow : callable ``(time, position (n, d)) -> velocity (d, n), observables (components, n)``
            Asked at the beginning, in the middle and at the end of the step, off the nodes; for
            values on a grid see `interpolated`.
        step : float, time

        Raises
        ------
        ValueError
            If the step changes its sign, or is too long to be stable.
        """
        if step == 0 or (self.time - self.begun) * step < 0:
            raise ValueError(f"step must not be zero or change its sign, got {step}")
        times = self.time, self.time + 0.5 * step, self.time + step
        relaxations, mass = self._relaxations(times)
        singular = self.time == self.begun and relaxations[0] is None
        if not singular:
            drift = relaxations[0] * self.fields[: self.transport.grid.dimension]
            self.transport.checked_step(drift, step)

        def rate(hat: Any, k: int) -> Any:
            if singular and k == 0:
                return self.transport.forward(self._first_rate(flow, times))
            return self._rate(flow, times[k], relaxations[k], hat)

        hat = runge_kutta(rate, self.transport.forward(self.fields), step)
        self.fields = self.transport.backward(hat)
        self.time, self.mass = times[2], mass

    def advance(self, flow: Flow, until: float, steps: int) -> None:
        """Go on to a time by equal steps."""
        if not steps >= 1:
            raise ValueError(f"steps must be at least 1, got {steps!r}")
        begin = self.time
        for _ in range(steps):
            self.step(flow, (until - begin) / steps)
        self.time = float(until)

    def mean(self) -> GriddedMean:
        """Return the means so far.

        A node has none, `Status.NOT_INVERTIBLE`, where positions now fold over as a function of
        mean positions: there these do not say which fluid is meant.
        """
        grid, d = self.transport.grid, self.transport.grid.dimension
        finite = np.isfinite(self.fields).all(axis=0)
        status = np.zeros_like(finite, dtype=np.int8)
        if bool(finite.all()):
            status[self._determinant() <= 0] = Status.NOT_INVERTIBLE
        else:
            status[...] = Status.NOT_FINITE
        named = {**split(self.sizes, self.fields[d:]), "to_end": self.fields[:d]}
        values = marked(named, status)
        tail = devices.to_host(self.transport.space_error(self.fields))
        return GriddedMean(
            grid=grid,
            label="mean",
            start=self.begun,
            end=self.time,
            window=self.kernel.name,
            values={name: values[name] for name in self.sizes},
            to_mean=np.zeros_like(self.fields[:d]),
            to_end=values["to_end"],
            time_error=None,
            space_error={**split(self.sizes, tail[d:]), "to_end": tail[:d]},
            status=status,
            provenance={"transport": self.transport.name, "nodes": grid.shape,
                        "equations": "on mean positions"},
        )  # fmt: skip

    def _relaxations(self, times: tuple[float, float, float]) -> tuple[list[Any], float]:
        """G / N, with the sign of the step, at three times, None at a singular start; and N."""
        kernel, sign = self.kernel, 1.0 if times[2] > times[0] else -1.0
        if isinstance(kernel, RationalFilter):
            return [sign * float(-kernel.matrix[0, 0])] * 3, 1.0
        middle = self.mass + kernel.mass(*times[:2])
        masses = self.mass, middle, middle + kernel.mass(*times[1:])
        quotients = [
            sign * kernel.at(time) / mass if mass > 0 else None
            for time, mass in zip(times, masses, strict=True)
        ]
        if None in quotients[self.time == self.begun :]:
            raise ValueError(
                f"the integral of the weight {kernel.name} must stay positive; it is {masses} at "
                f"{times}. Use remapped(mean_on_grid(..., label='final'))"
            )
        return quotients, masses[2]

    def _rate(self, flow: Flow, time: float, relaxation: float, hat: Any) -> Any:
        d = self.transport.grid.dimension
        fields = self.transport.backward(hat)
        drift = relaxation * fields[:d]
        velocity, observed = self._there(flow, time, fields[:d])
        rate = np.concatenate([velocity - drift, relaxation * (observed - fields[d:])])
        return self.transport.forward(rate) - self.transport.advection(drift, hat)

    def _there(self, flow: Flow, time: float, displacement: Any) -> tuple[Any, Any]:
        place = (self._nodes + displacement).reshape(len(displacement), -1).T
        velocity, observed = flow(time, place)
        shape = self.transport.grid.shape
        return velocity.reshape(-1, *shape), observed.reshape(-1, *shape)

    def _first_rate(self, flow: Flow, times: tuple[float, float, float]) -> Any:
        """Return the rates where G / N is singular.

        The derivative in time is of second order in the step. What is wrong at the start fades
        with 1 / N, so that the mean over a whole window stays of order four.
        """
        p = float(self._power or 0.0)
        still = np.zeros_like(self.fields[: self.transport.grid.dimension])
        (velocity, early), (_, middle), (_, late) = (
            self._there(flow, time, still) for time in times
        )
        slope = (4.0 * middle - 3.0 * early - late) / (times[2] - times[0])
        return np.concatenate([velocity / (p + 2.0), (p + 1.0) / (p + 2.0) * slope])

    def _determinant(self) -> Any:
        """Of the gradient of positions now by mean positions, (*shape)."""
        d, grid = self.transport.grid.dimension, self.transport.grid
        gradient = periodic.gradient(self.fields[:d], grid.length)
        gradient = np.moveaxis(gradient, (0, 1), (-2, -1))
        return np.linalg.det(gradient + devices.beside(gradient, np.eye(d)))
