"""Which average answers a question: one table, as a function, so that it is at hand when coding."""

from typing import NamedTuple

from meanfluid.reporting.tables import markdown_table


class Choice(NamedTuple):
    """One question and the mean that answers it.

    Attributes
    ----------
    question : str
    mean : str
        What is averaged, along what.
    label : str
        Which position of a trajectory indexes the mean, or where it is taken.
    window : str
    call : str
        Public name that computes it, after ``meanfluid.``.
    """

    question: str
    mean: str
    label: str
    window: str
    call: str


class Guide(tuple[Choice, ...]):
    """Choices; printed, a Markdown table."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = [[*choice[:4], f"`{choice.call}`"] for choice in self]
        header = ["question", "mean", "label", "window", "call"]
        return markdown_table(header, rows, words=True)

    def _repr_markdown_(self) -> str:
        return str(self)


_CHOICES = Guide(
    [
        Choice(
            "Where do particles released here end up?",
            "velocity along the trajectory",
            "initial",
            "from release to arrival",
            "average_velocity",
        ),
        Choice(
            "Where did what is here now come from? One step from noise to data?",
            "velocity along the trajectory: MeanFlow's u(z_t, r, t)",
            "final",
            "from r to t",
            "average_velocity",
        ),
        Choice(
            "What does a moored instrument report?",
            "velocity, or anything, at a fixed place",
            "none",
            "as long as the record",
            "eulerian_mean",
        ),
        Choice(
            "Which velocity carries the mean positions of particles in waves?",
            "velocity along the trajectory: that of the generalised Lagrangian mean",
            "mean",
            "whole periods, or smooth and long",
            "average_velocity",
        ),
        Choice(
            "How much faster do drifters drift than the moored instrument says?",
            "Lagrangian minus Eulerian mean velocity at one place",
            "mean",
            "the same for both",
            "stokes_drift",
        ),
        Choice(
            "Which part of a signal is slow for the fluid, although waves are swept past by it?",
            "low-pass filter along the trajectory",
            "mean, or final",
            "Gaussian, Butterworth or exponential, longer than the waves",
            "lagrangian_mean",
        ),
        Choice(
            "The same at every point of a grid, beside a running simulation?",
            "filter along the trajectory, by an equation on the grid",
            "final or mean",
            "exponential, or any that is known ahead",
            "lagrangian_pde",
        ),
        Choice(
            "Where is a tracer, on average over waves?",
            "the tracer that particles keep, moved",
            "mean",
            "enters by the mean position alone",
            "transport.tracer_mean",
        ),
        Choice(
            "Which flow moves that mean, as a field to integrate?",
            "velocity of the generalised Lagrangian mean, on a grid",
            "mean",
            "moving, of fixed length",
            "transport.mean_flow",
        ),
        Choice(
            "What do waves do to the momentum, and what does Kelvin's theorem say of the mean?",
            "pseudomomentum and Lagrangian-mean momentum over an ensemble or phase",
            "mean over the ensemble",
            "none: at one time",
            "glm",
        ),
        Choice(
            "Which mean flow keeps volume, whatever the coordinates?",
            "mean of flow maps on the group of volume-preserving maps",
            "mean map",
            "none: over the ensemble",
            "geometric",
        ),
        Choice(
            "What is the mean over realisations, phases or a circle of latitude?",
            "anything at a fixed place; Reynolds' axioms hold",
            "none",
            "none, or one period",
            "ensemble_mean",
        ),
        Choice(
            "What stress do filtered scales exert?",
            "Germano's central moments of a spatial filter",
            "none",
            "none: a width in space",
            "filters",
        ),
        Choice(
            "Which axioms does my own average obey?",
            "whatever is passed in",
            "none",
            "any",
            "reynolds_axioms",
        ),
        Choice(
            "How fast do particles disperse?",
            "variance of average velocities over particles",
            "initial",
            "longer than the memory of velocity",
            "dispersion",
        ),
        Choice(
            "Where is fluid stretched, or turned with a vortex?",
            "stretching, or vorticity deviation, along the trajectory",
            "initial",
            "as long as the structures live",
            "ftle",
        ),
    ]
)


def which_average(topic: str = "") -> Guide:
    """Table of questions and the means that answer them.

    Parameters
    ----------
    topic : str, optional
        Only the rows in which these words all occur, in any column, in any case.

    Returns
    -------
    Guide
        A tuple of `Choice`; printed, it is a Markdown table.

    Raises
    ------
    ValueError
        If no row has those words.

    Examples
    --------
    >>> [choice.call for choice in which_average("moored")]
    ['eulerian_mean', 'stokes_drift']
    """
    words = topic.lower().split()
    found = Guide(c for c in _CHOICES if all(word in " ".join(c).lower() for word in words))
    if not found:
        raise ValueError(
            f"no question has all of the words {words}; which_average() lists every one"
        )
    return found
