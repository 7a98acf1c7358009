r"""The one operator behind all equations of means: fields carried by a velocity, with a source.

A transport advances, on its grid and over one step,

.. math:: (\partial_\tau + v \cdot \nabla) g = A g + s ,

for a stack of fields g and a small constant matrix A, with v and s known at the beginning, in the
middle and at the end of the step. There are two: `Spectral` on periodic boxes, `SemiLagrangian` on
any box.
"""

from collections.abc import Callable
from typing import Any, Protocol

from meanfluid.fields.velocity_field import Array
from meanfluid.means.lagrangian_pde.grids import Grid


def runge_kutta(rate: Callable[[Any, int], Any], state: Any, step: float) -> Any:
    """Advance a state by one step of Runge-Kutta of order four.

    Parameters
    ----------
    rate : callable ``(state, k) -> array``
        At the beginning, in the middle and at the end of the step for k = 0, 1, 2; called in this
        order, twice in the middle.
    state : array
    step : float, time
    """
    first = rate(state, 0)
    second = rate(state + 0.5 * step * first, 1)
    third = rate(state + 0.5 * step * second, 1)
    fourth = rate(state + step * third, 2)
    return state + step / 6.0 * (first + 2.0 * (second + third) + fourth)


class Transport(Protocol):
    """What carries fields; see the module."""

    @property
    def grid(self) -> Grid:
        """Where the fields are known."""

    @property
    def name(self) -> str:
        """What to write into a report."""

    def step(
        self, state: Any, outside: Any, velocity: Any, source: Any, matrix: Array, step: float
    ) -> tuple[Any, Any]:
        """Advance fields by one step.

        Parameters
        ----------
        state : (order, k, *shape)
        outside : (*shape)
            Share of fluid that came in through an open end, whose past is not known: 0 to 1.
        velocity : (3, dimension, *shape)
            At the beginning, in the middle and at the end.
        source : (3, order, k, *shape)
        matrix : (order, order), 1 / time
        step : float, time
            Negative runs backwards.

        Returns
        -------
        state, outside
        """

    def space_error(self, state: Any) -> Any:
        """Estimate the error from the outermost resolved scales, (order, k); NaN if unknown."""

    def interpolant(self, fields: Any) -> Any:
        """Return fields (k, *shape) between the nodes, with `at` and `gradient`."""

    def coarser(self) -> "Transport | None":
        """Return the same on every other node if the error in space is to be found that way."""
