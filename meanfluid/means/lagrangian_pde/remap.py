r"""From the mean labelled by present position to the mean labelled by mean position.

If the fluid at y has the mean position :math:`y + z(y)` and the mean f*(y), then
:math:`f^L(y + z(y)) = f^*(y)`. At each node x of the grid :math:`y + z(y) = x` is solved by
Newton's method, with z between the nodes from its Fourier series or a spline.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.means.inversion import inverted
from meanfluid.means.lagrangian_pde.flows import split
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.means.lagrangian_pde.interpolants import FourierSeries, GridSpline
from meanfluid.means.lagrangian_pde.results import GriddedMean, marked, raise_if_lost
from meanfluid.trajectories.control import Status

_TOLERANCE = 1e-13  # of the longest side of the box


def remapped(
    mean: GriddedMean,
    *,
    interpolation: str | None = None,
    tolerance: float | None = None,
    on_failure: str = "raise",
) -> GriddedMean:
    """Return means labelled by mean position from means with another label, on the same nodes.

    Parameters
    ----------
    mean : GriddedMean
        With any label but "mean". Arrays on a GPU are worked on by the host.
    interpolation : "series" or "spline", optional
        Fourier series, exact for what the grid resolves, at a cost of points times modes; or
        splines of degree 5, with an error of order 6 in the spacing. Default: series on boxes that
        are periodic on all axes, else splines.
    tolerance : float, length, optional
        Distance at which a node counts as met; default 1e-13 of the longest side.
    on_failure : "raise" or "mark"
        Whether a node that is no mean position raises, or is NaN with a status: NOT_INVERTIBLE if
        mean positions fold there or Newton's method fails, OUT_OF_DOMAIN if the fluid whose mean
        position it is has itself no mean.

    Returns
    -------
    GriddedMean
        With label "mean". Errors in time are those of the values at the fluid's place; the part
        from the error of mean positions is added to first order.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    TrajectoryError
        If nodes are lost, unless ``on_failure="mark"``.
    """
    if mean.label == "mean":
        raise ValueError("this mean is labelled by mean position already")
    grid = mean.grid
    kinds = {"series": FourierSeries, "spline": GridSpline}
    kind = interpolation or ("series" if all(grid.periodic) else "spline")
    if kind not in kinds:
        raise ValueError(f'interpolation must be "series" or "spline", got {interpolation!r}')
    if kind == "series" and not all(grid.periodic):
        raise ValueError('interpolation="series" needs periodic axes; use "spline"')
    known = devices.to_host(mean.status) == Status.OK
    names = list(mean.values)
    rows, sizes = _rows(mean.values, names, grid)
    shift = devices.to_host(mean.to_mean)
    both = _filled(np.concatenate([rows, shift]), known)
    d, tolerance = grid.dimension, tolerance or _TOLERANCE * float(grid.length.max())
    place, offset, found = _preimages(grid, kinds[kind](grid, both[-d:]), both[-d:], tolerance)
    interpolant = kinds[kind](grid, both)
    carried = interpolant.at(place)
    status = np.where(found, 0, int(Status.NOT_INVERTIBLE)).astype(np.int8)
    lost = _lost(grid, known, place)
    status[lost] = Status.OUT_OF_DOMAIN
    status = status.reshape(grid.shape)
    raise_if_lost(status, grid, on_failure)
    values = marked(split(sizes, carried[:-d].reshape(-1, *grid.shape)), status)
    home = offset.T.reshape(d, *grid.shape)
    where = marked({"to_end": home}, status)["to_end"]
    errors = _errors(mean, names, kinds[kind], both, place, status)
    return replace(
        mean,
        label="mean",
        values={name: devices.beside(mean.to_mean, value) for name, value in values.items()},
        to_mean=np.zeros_like(mean.to_mean),
        to_end=devices.beside(mean.to_mean, where) if mean.label == "final" else None,
        time_error=errors,
        status=devices.beside(mean.to_mean, status),
        provenance={**mean.provenance, "remapped": f"from label {mean.label} by {kind}"},
    )


def _preimages(grid: Grid, shift: Any, known: Any, tolerance: float) -> tuple[Any, Any, Any]:
    """Positions whose mean positions are the nodes, less the nodes, and which were found."""
    d, target = grid.dimension, grid.positions
    lower, upper = grid.lower, grid.lower + grid.length
    bounded = ~np.array(grid.periodic)

    def mean_position(x: Any, which: Any) -> tuple[Any, Any]:
        gradient = np.moveaxis(shift.gradient(x), 0, 1) + np.eye(d)
        value = x + shift.at(x).T
        beyond = ((x < lower - tolerance) | (x > upper + tolerance)) & bounded
        value[beyond.any(axis=1)] = np.nan  # so that Newton's step is halved
        return value, gradient

    guess = target - known.reshape(d, -1).T
    guess = np.where(bounded, np.clip(guess, lower, upper), guess)
    inverse = inverted(mean_position, target, guess, tolerance)
    upright = np.linalg.det(np.nan_to_num(inverse.gradient)) > 0
    found = inverse.found & upright
    place = np.where(found[:, None], inverse.position, target)
    return place, place - target, found


def _rows(values: dict[str, Any], names: list[str], grid: Grid) -> tuple[Any, dict[str, Any]]:
    """Stack named values, and say how many components each has."""
    sizes, rows = {}, [np.empty((0, *grid.shape))]
    for name in names:
        value = devices.to_host(values[name])
        sizes[name] = None if value.ndim == grid.dimension else len(value)
        rows.append(value.reshape(-1, *grid.shape))
    return np.concatenate(rows), sizes


def _filled(fields: Any, known: Any) -> Any:
    """Fill unknown nodes with the value of the nearest known one."""
    if known.all():
        return fields
    if not known.any():
        raise ValueError("there is no node with a mean to remap from")
    from scipy.ndimage import distance_transform_edt

    _, nearest = distance_transform_edt(~known, return_indices=True)
    return fields[(slice(None), *nearest)]


def _lost(grid: Grid, known: Any, place: Any) -> Any:
    """Whether a place lies in a cell that touches an unknown node."""
    if known.all():
        return np.zeros(len(place), dtype=bool)
    return GridSpline(grid, (~known)[None].astype(float), 1).at(place)[0] > 0


def _errors(
    mean: GriddedMean, names: list[str], kind: Any, both: Any, place: Any, status: Any
) -> dict[str, Any] | None:
    """Carry errors in time over: those of values, and of where the fluid is."""
    if mean.time_error is None:
        return None
    grid, d = mean.grid, mean.grid.dimension
    rows, sizes = _rows(mean.time_error, [*names, "to_mean"], grid)
    rows = np.where(np.isfinite(rows), rows, np.inf)
    if not np.isfinite(rows).all():
        return {name: np.full_like(value, np.inf) for name, value in mean.time_error.items()}
    there = GridSpline(grid, rows, 1).at(place)
    gradient = np.moveaxis(kind(grid, both).gradient(place), 1, 0)  # (n, rows + d, d)
    moved = np.abs(gradient[:, :-d] @ np.linalg.pinv(gradient[:, -d:] + np.eye(d)))
    total = there[:-d] + np.einsum("nkd,dn->kn", moved, there[-d:])
    sizes.pop("to_mean")
    return marked(split(sizes, total.reshape(-1, *grid.shape)), status)
