"""What the equations of means return: one record, and its form in xarray."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.errors import TrajectoryError
from meanfluid.means.lagrangian_pde.datasets import dataset_of, labels_on
from meanfluid.means.lagrangian_pde.grids import Grid
from meanfluid.trajectories.control import Status

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False, kw_only=True)
class GriddedMean:
    """Lagrangian means on a grid.

    Attributes
    ----------
    grid : Grid
        Its nodes are the positions that index the mean, at the time that `label` says.
    label : "initial", "final", "mean", or float, time
        Whether the fluid is at a node at `start`, at `end`, on average, or at a time between.
    start, end : float, time
        The window. A filter without a start was begun at `start` as if observables had had their
        values of then for ever.
    window : str
        The weight.
    values : dict of (*shape), or (size, *shape) of a tuple
        NaN where `status` is not OK.
    to_mean : (dimension, *shape), length
        From the node to the mean position of the fluid. Zero if `label` is "mean".
    to_end : (dimension, *shape), length, or None
        From the node to where the fluid is at `end`; None if it was not computed.
    time_error : dict like `values`, or None
        Estimated error from steps in time, with "to_mean" too: the difference from half as many
        steps, over 15. Infinite where half as many are not stable. None if not asked for.
    space_error : dict of float, or of (size,) of a tuple; or None
        Estimate of the largest error from the grid: in Fourier series the sum of the amplitudes
        in the outermost fifth of what is resolved, else the largest difference from the same on
        every other node, which the error is below if half the spacing at least halves it. NaN if
        the grid has no such half.
    status : (*shape) int8
        See `meanfluid.Status`.
    provenance : dict
    """

    grid: Grid
    label: str | float
    start: float
    end: float
    window: str
    values: dict[str, Any]
    to_mean: Any
    to_end: Any
    time_error: dict[str, Any] | None
    space_error: dict[str, Any] | None
    status: Any
    provenance: dict[str, Any]

    @property
    def mean_position(self) -> Any:
        """Mean positions of the fluid, (dimension, *shape), length; unwrapped."""
        return devices.beside(self.to_mean, self.grid.mesh) + self.to_mean

    def to_dataset(self) -> "xarray.Dataset":
        """Return values, displacements, errors and status with CF attributes, on the host.

        Vectors are variables ``<name>_x`` and so on, `time` is the middle of the window with its
        bounds, ``<name>_error`` is the error from steps in time (of a vector its Euclidean norm),
        and ``<name>_space_error`` the largest from the grid.
        """
        return dataset_of(self, labels_on(self.grid))  # type: ignore[no-any-return]


def marked(values: Mapping[str, Any], status: Any) -> dict[str, Any]:
    """Return values with NaN where the status is not OK."""
    good = status == int(Status.OK)  # CuPy compares with plain numbers only
    if bool(good.all()):
        return dict(values)
    return {name: np.where(good, value, np.nan) for name, value in values.items()}


def raise_if_lost(status: Any, grid: Grid, on_failure: str) -> None:
    """Raise if there are nodes without a mean, and failures are to raise.

    Raises
    ------
    ValueError
        If `on_failure` is something else than "raise" or "mark".
    TrajectoryError
    """
    if on_failure not in ("raise", "mark"):
        raise ValueError(f'on_failure must be "raise" or "mark", got {on_failure!r}')
    lost = np.flatnonzero(devices.to_host(status).ravel() != Status.OK)
    if on_failure == "mark" or not lost.size:
        return
    code = Status(int(devices.to_host(status).ravel()[lost[0]]))
    raise TrajectoryError(
        f"{lost.size} of {np.prod(grid.shape)} nodes have no mean ({code.name}), the first at "
        f"{grid.positions[lost[0]].tolist()}: {_SENTENCES[code]}. "
        'on_failure="mark" gives NaN and a status instead of raising'
    )


_SENTENCES = {
    Status.OUT_OF_DOMAIN: "the fluid there came in through an open end, or no fluid of the box has "
    "its mean position there; shorten the window, or make the box larger",
    Status.NOT_FINITE: "it is not finite; is there a singularity, or are the steps too long?",
    Status.NOT_INVERTIBLE: "mean positions cross or fold there, so that they do not say which "
    "fluid is meant; shorten the window, or refine the grid",
}
