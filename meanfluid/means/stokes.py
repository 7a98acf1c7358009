r"""Stokes drift: how much faster a particle goes than the fluid does, on the mean, at its place.

.. math:: u^S(x) = u^L(x) - \bar u(x) ,

the Lagrangian mean velocity of the trajectory whose mean position is x, less the Eulerian mean of
velocity at x, both over the same window.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means.along import at_places
from meanfluid.means.average_velocity import averaged
from meanfluid.means.by_label import Label
from meanfluid.means.windows import Window
from meanfluid.trajectories.doors import Found, Quantity, on_labels


@on_labels(
    Quantity("stokes_drift", "Stokes drift", "velocity"),
    comment="along trajectories, less that at fixed places",
)
def stokes_drift(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    window: Window | None = None,
    label: Label | ArrayLike = "mean",
    return_error: bool = False,
    **options: Any,
) -> Found:
    """Lagrangian less Eulerian mean velocity at given places.

    It is exact, at any amplitude. Of a wave it depends on the window unless that is a period of
    the particles, which their drift makes longer (or shorter) than that of the wave.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        Mean positions of the trajectories, and where the Eulerian mean is taken.
    start, end : float or (n,), time
    window : Window, optional
        Weight in time, by default the plain mean; see `meanfluid.windows`.
    label : "mean", "initial", "final", or float or (n,), time
        What `position` is for the trajectories. Other labels than "mean" leave a difference of
        first order in the amplitude between places, which does not vanish with the mean.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `meanfluid.trajectories`.

    Returns
    -------
    (n, dimension), length / time
        And the error, if asked for.
        xarray in gives xarray out, with error and status: see `trajectories.doors.on_labels`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, type or range.
    TrajectoryError
        If a trajectory fails, or a mean position has none, unless ``on_failure="mark"``.

    References
    ----------
    Stokes (1847), On the theory of oscillatory waves, Trans. Camb. Phil. Soc. 8, 441-455;
    Andrews & McIntyre (1978), An exact theory of nonlinear waves on a Lagrangian-mean flow,
    J. Fluid Mech. 89, 609-646.
    """
    along = averaged(field, position, start, end, label, window, options, carry_error=True)
    there = at_places(field, "velocity", position, start, end, window, options)
    status = np.where(along.status == 0, there.status, along.status)
    return Found(along.value - there.value, along.error + there.error, status)
