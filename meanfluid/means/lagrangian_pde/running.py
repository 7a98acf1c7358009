r"""Means labelled by the present position, stepped along beside a flow.

With weight G and :math:`N = \int G`, the sum :math:`g = \int G f d\tau` along the path that ends at
x obeys

.. math:: (\partial_\tau + v \cdot \nabla) g = G f ,

and the mean is g / N: strategy 1 of Kafiabad & Vanneste. The mean position is x + z / N, with
:math:`(\partial_\tau + v \cdot \nabla) z = -N v`, which is periodic where positions are not. A
filter :math:`y' = A y + b f` has A g + b f on the right, and N stands for what it makes of 1. Steps
back in time change the sign of the right-hand sides, but not of N v.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means.lagrangian_pde.datasets import observed_rows, velocity_rows
from meanfluid.means.lagrangian_pde.flows import Flow, split
from meanfluid.means.lagrangian_pde.kernels import RationalFilter, WindowKernel
from meanfluid.means.lagrangian_pde.results import GriddedMean, marked
from meanfluid.means.lagrangian_pde.transport import Transport
from meanfluid.trajectories.control import Status

Kernel = WindowKernel | RationalFilter

_FOREIGN = 1e-3  # share of fluid from beyond an open end above which a node has no mean


@dataclass(frozen=True, eq=False)
class MeanState:
    """All that a running mean needs to go on.

    Attributes
    ----------
    time : float
    begun : float, time
    mass : (order,)
        What the weight makes of 1 so far.
    fields : (order, observables + dimension, *shape)
        Sums of the observables, then of the displacement to the mean position.
    outside : (*shape)
        Share of fluid that came in through an open end, 0 to 1.
    """

    time: float
    begun: float
    mass: Array
    fields: Any
    outside: Any


class RunningMean:
    """Means along the paths that end at the nodes now, stepped beside a flow or a solver.

    Parameters
    ----------
    transport : Transport
    kernel : WindowKernel or RationalFilter
        A window counts from `time` on; its `end` is not looked at.
    sizes : mapping of str to int or None
        The observables: how many components each has, None for a number.
    time : float, time
    observed : (components, *shape), or Dataset
        The observables at `time`. A filter starts as if they had been so for ever; a window only
        takes the library and device of its arrays from them. A Dataset holds them by name on the
        nodes, vectors as ``<name>_x`` and so on; coordinates are called x, y, z, lon, lat, depth
        or the like, or have the attribute `axis`. Its values are loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from meanfluid import Axis
    >>> from meanfluid.means.lagrangian_pde import Grid, Spectral
    >>> grid = Grid((Axis(0.0, 2 * np.pi, "periodic"),), 32)
    >>> x = grid.mesh
    >>> means = RunningMean(Spectral(grid), WindowKernel(0.0, 1.0), {"f": None}, 0.0, np.cos(x))
    >>> for n in range(20):  # a uniform velocity of 1: the mean of cos(x + s) over -1 < s < 0
    ...     means.step(np.ones((3, 1, 32)), np.stack([np.cos(x)] * 3), 0.05)
    >>> bool(np.abs(means.mean().values["f"] - (np.sin(x) - np.sin(x - 1))[0]).max() < 1e-6)
    True
    """

    def __init__(
        self, transport: Transport, kernel: Kernel, sizes: Mapping[str, int | None], time: float,
        observed: Any,
    ) -> None:  # fmt: skip
        self.transport, self.kernel, self.sizes = transport, kernel, dict(sizes)
        grid = transport.grid
        observed = observed_rows(observed, sizes, grid, times=False)
        rows = sum(1 if size is None else size for size in sizes.values())
        if np.shape(observed) != (rows, *grid.shape):
            raise ValueError(
                f"observed must have shape {(rows, *grid.shape)}, one row per component, got "
                f"{np.shape(observed)}"
            )
        causal = isinstance(kernel, RationalFilter)
        mass = kernel.steady if isinstance(kernel, RationalFilter) else np.zeros(1)
        shape = (len(mass), rows + grid.dimension, *grid.shape)
        fields = np.zeros_like(observed, dtype=float, shape=shape)
        if causal:
            for part, m in zip(fields, mass, strict=True):
                part[:rows] = m * observed
        outside = np.zeros_like(observed, dtype=float, shape=grid.shape)
        self.state = MeanState(float(time), float(time), mass, fields, outside)

    def step(self, velocity: Any, observed: Any, step: float) -> None:
        """Go on by one step.

        Parameters
        ----------
        velocity : (3, dimension, *shape) or (2, dimension, *shape), or Dataset
            At the beginning, in the middle and at the end of the step: order four in time. A
            solver that has no values in the middle makes a step of two of its own steps here.
            With beginning and end alone it is of order two. A Dataset holds u, v, w, or
            ``velocity_x`` and so on, on the nodes and one dimension of these times.
        observed : (3, components, *shape) or (2, components, *shape), or Dataset
        step : float, time
            Negative steps make means over what comes, for nodes as initial positions; all steps
            must have one sign.

        Raises
        ------
        ValueError
            If a shape does not fit, a value is not finite, or the step is too long to be stable.
        """
        state = self.state
        d, grid = self.transport.grid.dimension, self.transport.grid
        rows = state.fields.shape[1] - d
        velocity = _three(velocity_rows(velocity, grid), (d, *grid.shape), "velocity")
        observed = observed_rows(observed, self.sizes, grid, times=True)
        observed = _three(observed, (rows, *grid.shape), "observed")
        if step == 0 or (state.time - state.begun) * step < 0:
            raise ValueError(f"step must not be zero or change its sign, got {step}")
        sign = 1.0 if step > 0 else -1.0
        times = state.time, state.time + 0.5 * step, state.time + step
        masses, inputs, matrix = self._kernel(times)
        source = np.empty_like(state.fields, shape=(3, *state.fields.shape))
        for k in range(3):
            for j in range(len(state.mass)):
                source[k, j, :rows] = (sign * inputs[k][j]) * observed[k]
                source[k, j, rows:] = -masses[k][j] * velocity[k]
        fields, outside = self.transport.step(
            state.fields, state.outside, velocity, source, sign * matrix, step
        )
        self.state = replace(
            state, time=times[2], mass=masses[2], fields=fields, outside=outside
        )  # fmt: skip

    def advance(self, flow: Flow, until: float, steps: int) -> None:
        """Go on to a time by equal steps beside a flow given as a function.

        Parameters
        ----------
        flow : callable ``(time, position (n, d)) -> velocity (d, n), observables (components, n)``
        until : float, time
        steps : int
        """
        if not steps >= 1:
            raise ValueError(f"steps must be at least 1, got {steps!r}")
        begin = self.state.time
        grid = self.transport.grid

        def on_nodes(time: float) -> tuple[Any, Any]:
            velocity, observed = flow(time, grid.positions)
            return velocity.reshape(-1, *grid.shape), observed.reshape(-1, *grid.shape)

        at = on_nodes(begin)
        for k in range(steps):
            step = (until - begin) / steps
            middle = on_nodes(begin + (k + 0.5) * step)
            end = on_nodes(until if k == steps - 1 else begin + (k + 1) * step)
            velocity, observed = (np.stack(part) for part in zip(at, middle, end, strict=True))
            self.step(velocity, observed, step)
            at = end
        self.state = replace(self.state, time=float(until))

    def mean(self, label: str | float = "final") -> GriddedMean:
        """Return the means so far, labelled by the present position.

        Parameters
        ----------
        label : str or float
            What to call it: "initial" if steps were negative.

        Raises
        ------
        ValueError
            If a window has no length yet.
        """
        return combined([self], label, self.sizes)

    def _kernel(self, times: tuple[float, float, float]) -> tuple[Any, Any, Array]:
        """Masses and inputs at the three times of a step, and the matrix."""
        mass, kernel = self.state.mass, self.kernel
        if isinstance(kernel, RationalFilter):
            return [mass] * 3, [kernel.gain] * 3, kernel.matrix
        weights = [kernel.at(time) for time in times]
        # At the end by the rule of the fields, so that constants stay what they are.
        simpson = abs(times[2] - times[0]) / 6 * (weights[0] + 4 * weights[1] + weights[2])
        masses = mass, mass + kernel.mass(*times[:2]), mass + simpson
        return masses, [np.array([w]) for w in weights], np.zeros((1, 1))


def combined(
    parts: list[RunningMean], label: str | float, sizes: Mapping[str, int | None]
) -> GriddedMean:
    """Return the mean that running means make together: one before and one after the label."""
    transport, grid = parts[0].transport, parts[0].transport.grid
    total: Any = 0.0
    mass = 0.0
    tail: Any = 0.0
    outside: Any = 0.0
    for part in parts:
        kernel = part.kernel
        output = kernel.output if isinstance(kernel, RationalFilter) else np.ones(1)
        mass += float(output @ part.state.mass)
        on_device = devices.beside(part.state.fields, output)
        total = total + np.tensordot(on_device, part.state.fields, axes=1)
        edge = transport.space_error(part.state.fields)
        tail = tail + np.tensordot(devices.beside(edge, np.abs(output)), edge, axes=1)
        outside = outside + part.state.outside
    if not mass > 0:
        raise ValueError(
            f"the weight up to {parts[0].state.time} is {mass}, so that there is no mean; step on"
        )
    total, tail = total / mass, devices.to_host(tail) / mass
    rows = len(total) - grid.dimension
    bad = ~np.isfinite(total).all(axis=0)
    status = np.zeros_like(outside, dtype=np.int8)
    status[outside > _FOREIGN] = Status.OUT_OF_DOMAIN
    status[bad] = Status.NOT_FINITE
    named = {**split(sizes, total[:rows]), "to_mean": total[rows:]}
    values = marked(named, status)
    ends = [part.state.begun for part in parts]
    ends += [parts[0].state.time] if len(parts) == 1 else []
    start, end = (ends[1], ends[0]) if label == "initial" and len(parts) == 1 else ends
    return GriddedMean(
        grid=grid,
        label=label,
        start=start,
        end=end,
        window=parts[0].kernel.name,
        values={name: values[name] for name in sizes},
        to_mean=values["to_mean"],
        to_end=np.zeros_like(values["to_mean"]) if label == "final" else None,
        time_error=None,
        space_error={**split(sizes, tail[:rows]), "to_mean": tail[rows:]},
        status=status,
        provenance={"transport": transport.name, "nodes": grid.shape},
    )


def _three(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return values at the beginning, in the middle and at the end of a step."""
    if np.shape(values) not in ((3, *shape), (2, *shape)):
        raise ValueError(
            f"{name} must have shape {(3, *shape)}, at the beginning, in the middle and at the end "
            f"of the step, or {(2, *shape)}, got {np.shape(values)}"
        )
    if not bool(np.isfinite(values).all()):
        raise ValueError(f"{name} must be finite everywhere on the grid")
    if len(values) == 2:
        values = np.stack([values[0], 0.5 * (values[0] + values[1]), values[1]])
    return values
