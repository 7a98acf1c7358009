"""What can end a trajectory, in codes that kernels write and in sentences that people read."""

from enum import IntEnum
from typing import Any

import numpy as np

from meanfluid.backends import devices
from meanfluid.errors import TrajectoryError


class Status(IntEnum):
    """How a trajectory ended; `OK` comes with finite numbers."""

    OK = 0
    OUT_OF_DOMAIN = 1
    NOT_FINITE = 2
    MAX_STEPS = 3
    STEP_UNDERFLOW = 4
    NOT_INVERTIBLE = 5  # of a map of positions, not of a trajectory


_SENTENCES = {
    Status.OUT_OF_DOMAIN: "left the domain of the field; move the particles, shorten the window, "
    'choose out_of_domain="clamp" or "reflect", or declare the axis open or periodic',
    Status.NOT_FINITE: "met a velocity or observable that is not finite; is there a singularity on "
    "the way?",
    Status.MAX_STEPS: "needed more steps than max_steps; raise max_steps, loosen rtol, or shorten "
    "the window",
    Status.STEP_UNDERFLOW: "needed a step below the resolution of the window; loosen rtol and "
    "atol, or look for a discontinuity of the field",
    Status.NOT_INVERTIBLE: "has no trajectory, or not one alone, whose mean position it is (as "
    "after whole turns of a solid rotation); change the window, or label by a position on the "
    'trajectory: label="initial" or "final"',
}


def raise_on_failure(
    status: Any,
    position: Any,
    on_failure: str = "raise",
    out_of_domain: str = "raise",
) -> None:
    """Raise a `TrajectoryError` that counts the failures and names the first, if there are any.

    Leaving the domain counts if `out_of_domain` is "raise", any other failure if `on_failure` is.
    """
    status = devices.to_host(status)
    left = status == Status.OUT_OF_DOMAIN
    counted = (status != Status.OK) & ~left if on_failure == "raise" else np.zeros_like(left)
    if out_of_domain == "raise":
        counted |= left
    failed = np.flatnonzero(counted)
    if failed.size == 0:
        return
    first = failed[0]
    counts = ", ".join(
        f"{np.count_nonzero(status == code)} x {Status(code).name}"
        for code in np.unique(status[failed])
    )
    raise TrajectoryError(
        f"{failed.size} of {status.size} trajectories failed ({counts}); the first, particle "
        f"{first} at {position[first].tolist()}, {_SENTENCES[Status(status[first])]}. "
        'on_failure="mark" gives NaN and a status instead of raising'
    )
