"""The public door: Lagrangian means on a grid by solving equations, of formulas and functions."""

import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.lagrangian_pde.datasets import dataset_of, grid_of
from meanfluid.means.lagrangian_pde.flows import Observables, Observed, named
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.lagrangian_pde.kernels import RationalFilter, WindowKernel, window_of
from meanfluid.means.lagrangian_pde.mean_label import RunningMeanLabel
from meanfluid.means.lagrangian_pde.results import GriddedMean, raise_if_lost
from meanfluid.means.lagrangian_pde.running import RunningMean, combined
from meanfluid.means.lagrangian_pde.semi_lagrangian import SemiLagrangian
from meanfluid.means.lagrangian_pde.spectral import Spectral
from meanfluid.means.lagrangian_pde.transport import Transport
from meanfluid.trajectories.attributes import is_xarray

Progress = Callable[[int, int], None]

_PORTION = 16  # steps between two reports of progress
_ORDER = 4  # of all schemes in time


def mean_on_grid(
    velocity: Any,
    observables: Observables,
    transport: Any,
    start: float,
    end: float,
    *,
    steps: int,
    label: str | float = "final",
    window: Any = None,
    estimate_error: bool = True,
    on_failure: str = "raise",
    progress: Progress | None = None,
) -> Any:
    """Lagrangian means at all nodes of a grid, without particles.

    Parameters
    ----------
    velocity : VelocityField, or callable ``v(time, position (n, d)) -> (n, d)``
    observables : mapping of str to callable or "velocity", or sequence of callables
        With a `VelocityField` each is ``g(m, p, t, x, y[, z])`` and may ask by name for `velocity`;
        else ``g(time, position (n, d)) -> (n,) or (n, size)``. "velocity" is the velocity itself.
    transport : Grid, Spectral or SemiLagrangian, or Dataset
        Of a grid that is periodic along all axes: `Spectral`, else `SemiLagrangian`. A Dataset (or
        DataArray) holds the nodes, with a `VelocityField`: coordinates named like those of the
        field, at equal steps, each on its own dimension. Axes are periodic where the field is, and
        walls where it has one at both ends, else open.
    start, end : float, time
        ``end < start`` runs backwards. With a Dataset they may be dates, if the field has some.
    steps : int
        Equal steps over the window.
    label : "final", "initial", "mean", or float, time
        Which position of the fluid indexes the mean: that at `end`, at `start`, the mean one, or
        that at a time between. "mean" solves the equations on mean positions, with `Spectral`;
        the other way there is `remapped`.
    window : None, callable ``G(time)``, record with ``weight(time, start, end)``, or RationalFilter
        The weight; None for all times alike. Means are normalised. A filter forgets and needs no
        start: it begins at `start` as if observables had had their values of then for ever. With
        label "initial" it runs back from `end`, and with a time it is two-sided, half of each.
    estimate_error : bool
        Whether to run half as many steps, and a coarser grid if need be, too.
    on_failure : "raise" or "mark"
        Whether a node without a mean raises or is NaN with a status.
    progress : callable ``(done, total)``, optional
        Counts steps of the main run.

    Returns
    -------
    GriddedMean
        Of a Dataset of nodes, a Dataset on its coordinates, with errors, status, units and
        `cell_methods`: see `GriddedMean.to_dataset`. All of it is computed at once.

    Raises
    ------
    TypeError, ValueError
        If an argument makes no sense, or steps are too long to be stable.
    TrajectoryError
        If a node has no mean, unless ``on_failure="mark"``.

    References
    ----------
    Kafiabad & Vanneste (2023), Computing Lagrangian means, J. Fluid Mech. 960, A36. Baker,
    Kafiabad, Maitland-Davies & Vanneste (2025), Lagrangian filtering for wave-mean flow
    decomposition, J. Fluid Mech. Minz, Baker, Kafiabad & Vanneste (2024), arXiv:2406.18243.
    """
    if is_xarray(transport):
        if not isinstance(velocity, VelocityField):
            raise TypeError(
                "a Dataset of nodes needs a VelocityField, whose domain says which axes are "
                "periodic; with a function of your own pass a Grid"
            )
        grid, labels = grid_of(transport, velocity)
        start, end = (labels.times(time) for time in (start, end))
        mean = mean_on_grid(
            velocity, observables, grid, start, end, steps=steps, window=window,
            label=label if isinstance(label, str) else labels.times(label),
            estimate_error=estimate_error, on_failure=on_failure, progress=progress,
        )  # fmt: skip
        own = named(observables)
        return dataset_of(mean, labels, [name for name in own if isinstance(own[name], str)])
    carrier = _transport(transport)
    start, end = _times(velocity, start, end)
    _check_label(label, start, end)
    if not (isinstance(steps, int | np.integer) and steps >= 2):
        raise ValueError(f"steps must be an integer, at least 2, got {steps!r}")
    kernel = window if isinstance(window, RationalFilter) else window_of(window, start, end)
    flow = Observed(velocity, observables, carrier.grid, start)
    solve = _Problem(flow, kernel, start, end, label)
    mean = solve(carrier, int(steps), progress)
    if estimate_error:
        mean = _with_errors(mean, solve, carrier, int(steps))
    raise_if_lost(mean.status, carrier.grid, on_failure)
    told = {"velocity": flow.name, **flow.parameters(), "steps": int(steps)}
    used = {package: version(package) for package in ("meanfluid", "numpy", "scipy")}
    return replace(mean, start=start, end=end, provenance={**told, **mean.provenance, **used})


class _Problem:
    """Everything but the resolution."""

    def __init__(
        self, flow: Observed, kernel: WindowKernel | RationalFilter, start: float, end: float,
        label: str | float,
    ) -> None:  # fmt: skip
        self.flow, self.kernel, self.start, self.end, self.label = flow, kernel, start, end, label

    def __call__(self, transport: Transport, steps: int, progress: Progress | None) -> GriddedMean:
        """Solve with a number of steps."""
        report = _Report(steps, progress)
        if self.label == "mean":
            means = RunningMeanLabel(
                transport, self.kernel, self.flow.sizes, self.start, self._observed(transport)
            )
            report.advance(means, self.flow, self.end, steps)
            return means.mean()
        named: dict[Any, float] = {"final": self.end, "initial": self.start}
        at = named[self.label] if isinstance(self.label, str) else float(self.label)
        share = (at - self.start) / (self.end - self.start)
        before = min(max(round(steps * share), int(share > 0)), steps - int(share < 1))
        parts = []
        for begin, count in ((self.start, before), (self.end, steps - before)):
            if count:
                observed = self._observed(transport, begin)
                part = RunningMean(transport, self.kernel, self.flow.sizes, begin, observed)
                report.advance(part, self.flow, at, count)
                parts.append(part)
        return combined(parts, self.label, self.flow.sizes)

    def _observed(self, transport: Transport, time: float | None = None) -> Any:
        grid = transport.grid
        _, rows = self.flow(self.start if time is None else time, grid.positions)
        return rows.reshape(-1, *grid.shape)


class _Report:
    """Steps in portions, and progress after each."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress, self.done = total, progress, 0

    def advance(self, means: Any, flow: Observed, until: float, steps: int) -> None:
        """Let means go on to a time."""
        if self.progress is None:
            means.advance(flow, until, steps)
            return
        begin = means.time if isinstance(means, RunningMeanLabel) else means.state.time
        for first in range(0, steps, _PORTION):
            last = min(first + _PORTION, steps)
            to = until if last == steps else begin + (until - begin) * last / steps
            means.advance(flow, to, last - first)
            self.done += last - first
            self.progress(self.done, self.total)


def _with_errors(mean: GriddedMean, solve: _Problem, carrier: Transport, steps: int) -> GriddedMean:
    """Add errors in time, and those from the grid where a coarser one tells them."""
    half = max(1, steps // 2)
    shift = "to_end" if mean.label == "mean" else "to_mean"
    own = {**mean.values, shift: getattr(mean, shift)}
    try:
        coarse = solve(carrier, max(half, 2), None)
        factor = (steps / max(half, 2)) ** _ORDER - 1
        rough = {**coarse.values, shift: getattr(coarse, shift)}
        time_error = {name: np.abs(own[name] - rough[name]) / factor for name in own}
    except ValueError:  # half as many steps are not stable
        time_error = {name: np.full_like(value, np.inf) for name, value in own.items()}
    if isinstance(carrier, Spectral):
        return replace(mean, time_error=time_error)
    wide = carrier.coarser()
    if wide is None:
        return replace(mean, time_error=time_error)
    few = solve(wide, steps, None)
    rough = {**few.values, shift: getattr(few, shift)}
    every = (Ellipsis, *[slice(None, None, 2)] * carrier.grid.dimension)
    space_error = {
        name: _largest(own[name][every] - rough[name], carrier.grid.dimension) for name in own
    }
    return replace(mean, time_error=time_error, space_error=space_error)


def _largest(difference: Any, dimension: int) -> Any:
    """Return the largest modulus over the grid, of nodes that have a mean."""
    axes = tuple(range(-dimension, 0))
    size = np.where(np.isnan(difference), -1.0, np.abs(difference)).max(axis=axes)
    return np.where(size < 0, np.nan, size)


def _transport(transport: Any) -> Transport:
    if isinstance(transport, Grid):
        return Spectral(transport) if all(transport.periodic) else SemiLagrangian(transport)
    if not (hasattr(transport, "step") and isinstance(getattr(transport, "grid", None), Grid)):
        raise TypeError(
            f"transport must be a Grid, Spectral(grid) or SemiLagrangian(grid), got {transport!r}"
        )
    return transport  # type: ignore[no-any-return]


def _times(velocity: Any, start: Any, end: Any) -> tuple[float, float]:
    for name, time in (("start", start), ("end", end)):
        if np.ndim(time) or not math.isfinite(time):
            raise ValueError(f"{name} must be one finite number, got {time!r}")
        if isinstance(velocity, VelocityField):
            low, high = velocity.time_range
            if not low <= time <= high:
                raise ValueError(
                    f"{name} must lie where {velocity.name} holds, between {low} and {high}, "
                    f"got {time!r}"
                )
    if start == end:
        raise ValueError(
            f"the window must have some length, got start == end == {start}; the mean over an "
            "empty one is the observable itself"
        )
    return float(start), float(end)


def _check_label(label: Any, start: float, end: float) -> None:
    if isinstance(label, str):
        if label not in ("initial", "final", "mean"):
            raise ValueError(
                f'label must be "initial", "final", "mean" or a time in the window, got {label!r}'
            )
    elif not min(start, end) <= label <= max(start, end):
        raise ValueError(f"label must lie between start {start} and end {end}, got {label!r}")
