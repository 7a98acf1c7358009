r"""Average velocity: displacement over duration, or the weighted mean of velocity on the way.

Let :math:`X_{t \to s}(x)` be the position at time s of the particle that is at x at time t. Its
average velocity over the window,

.. math:: u(x, t, s) = \frac{1}{s - t} \int_t^s v(X_{t \to \tau}(x), \tau) \, d\tau
          = \frac{X_{t \to s}(x) - x}{s - t},

is one number for one trajectory; `label` says which position of the trajectory indexes it.
"""

from typing import Any

from numpy.typing import ArrayLike

from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.means.by_label import Label, checked_label, labelled
from meanfluid.means.legs import VELOCITY
from meanfluid.means.windows import Window, checked_window
from meanfluid.trajectories.checks import refuse_options_of_trajectories
from meanfluid.trajectories.doors import Found, Quantity, on_labels
from meanfluid.trajectories.flow_map import in_batches


@on_labels(Quantity("average_velocity", "average velocity", "velocity"))
def average_velocity(
    field: VelocityField,
    position: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    *,
    label: Label | ArrayLike = "final",
    window: Window | None = None,
    return_error: bool = False,
    **options: Any,
) -> Found:
    r"""Velocity averaged over a window along each trajectory.

    The mean is displacement over duration, :math:`(X(end) - X(start)) / (end - start)`. With
    ``label="final"`` it is MeanFlow's :math:`u(z_t, r, t)`, r = start, t = end; an empty window
    gives the velocity itself.

    Parameters
    ----------
    field : VelocityField
    position : (n, dimension), length
        Where each trajectory is at the labelled time, or its mean position.
    start, end : float or (n,), time
        The window; it may run backwards, which does not change the mean.
    label : "initial", "final", "mean", or float or (n,), time
        What `position` is: where the particle is at `start`, at `end`, its mean position over the
        window, or where it is at a time between them.
    window : Window, optional
        Weight in time, by default the plain mean; see `meanfluid.windows`.
    return_error : bool
        Whether to return the estimated global error, (n,), too.
    **options
        Of `trajectories`.

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
    Geng, Deng, Bai, Kolter & He (2025), Mean flows for one-step generative modeling,
    arXiv:2505.13447; the labels "final" and "mean" are strategies 1 and 2 of Kafiabad & Vanneste
    (2023), J. Fluid Mech. 960, A36.
    """
    return averaged(field, position, start, end, label, window, options, carry_error=return_error)


def averaged(
    field: VelocityField, position: Any, start: Any, end: Any, label: Any, window: Window | None,
    options: dict[str, Any], *, carry_error: bool,
) -> Found:  # fmt: skip
    """Velocity averaged along trajectories; see `average_velocity`, which is its door."""
    refuse_options_of_trajectories(options)
    times, word = {"start": start, "end": end}, checked_label(label)
    if not isinstance(label, str):
        times["label"], word = label, None
    window = checked_window(window)

    def of_batch(
        field: VelocityField, x: Any, options: dict[str, Any], **times: Any
    ) -> tuple[Array, Array, Any]:
        some = {"label": word, **times, "window": window, "options": options}
        met = labelled(field, {}, x, carry_error=carry_error, **some)
        return met.values[VELOCITY], met.errors[VELOCITY], met.status

    return Found(*in_batches(of_batch, field, position, times, options))
