"""What samples on a uniform grid must be: equally spaced, finite, closed at walls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfluid.fields.samples import Array, SampleAxis

# What a boundary of the data is to a trajectory. Open data end there, and so does a trajectory.
AXIS_BOUNDARY: dict[str, Any] = {"periodic": "periodic", "wall": "wall", "open": "closed"}
_ROUNDING = 64  # units of rounding of the largest velocity that pass for zero on a wall

_UNIFORM = 1e-6  # of a spacing: how far a node may lie from its equally spaced place


@dataclass(frozen=True)
class Grid:
    """Axes of samples, and how raw values come onto them.

    Parameters
    ----------
    axes : tuple of SampleAxis
        Time first if there is one.
    kinds : tuple of "open", "periodic" or "wall"
        One per axis; time is open.
    descending : tuple of bool
        Whether the raw values run from the last node to the first.
    unsteady : bool
        Whether the first axis is time.
    """

    axes: tuple[SampleAxis, ...]
    kinds: tuple[str, ...]
    descending: tuple[bool, ...]
    unsteady: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes along each axis."""
        return tuple(axis.nodes for axis in self.axes)

    @property
    def level(self) -> "Grid":
        """The grid of one time level."""
        return Grid(self.axes[1:], self.kinds[1:], self.descending[1:], unsteady=False)

    def oriented(self, values: NDArray[Any], what: str = "") -> Array:
        """Return values (..., component) along ascending axes, checked, as float64.

        `what` says in messages what these values are.
        """
        values = _real(values, [axis.name for axis in self.axes], what)
        largest = max(values.max(initial=0.0), -values.min(initial=0.0))
        rounding = _ROUNDING * float(np.finfo(values.dtype).eps * largest)
        values = values.astype(float)
        for k, (axis, kind) in enumerate(zip(self.axes, self.kinds, strict=True)):
            if self.descending[k]:
                values = np.flip(values, k)
            if axis.periodic:
                _refuse_repeated_end(np.moveaxis(values, k, 0), axis.name, what)
            if kind == "wall":
                normal = np.moveaxis(values, k, 0)[..., k - self.unsteady]
                _close_wall(normal, axis.name, rounding, what)
        return values


def grid_of(
    places: Sequence[NDArray[Any]],
    names: Sequence[str],
    boundary: Any,
    *,
    unsteady: bool,
    degree: int,
    time_degree: int,
) -> Grid:
    """Check the places of samples along each axis, time first, and the boundaries."""
    boundaries = _listed_boundaries(boundary, names)
    kinds = ["open", *boundaries] if unsteady else boundaries
    labels = ["time", *names] if unsteady else list(names)
    degrees = [time_degree] * unsteady + [degree] * len(names)
    descending = tuple(len(place) > 1 and bool(place[0] > place[-1]) for place in places)
    axes = tuple(
        _axis(label, place[::-1] if turned else place, p, periodic=kind == "periodic")
        for label, place, turned, kind, p in zip(
            labels, places, descending, kinds, degrees, strict=True
        )
    )
    return Grid(axes, tuple(kinds), descending, unsteady)


def _real(values: NDArray[Any], labels: Sequence[str], what: str) -> NDArray[Any]:
    """Refuse samples that are not finite real numbers; make integers float."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"velocity must hold real numbers, got dtype {values.dtype}{what}")
    lost = ~np.isfinite(values).all(axis=-1)
    if lost.any():
        first = np.unravel_index(np.argmax(lost), lost.shape)
        where = ", ".join(f"{name} {index}" for name, index in zip(labels, first, strict=True))
        raise ValueError(
            f"velocity is missing or not finite at {np.count_nonzero(lost)} of {lost.size} "
            f"points{what}, first at index {where}; a spline needs all of them: cut out a box "
            "without gaps, or fill them in a way that suits the data (on land: zero velocity)"
        )
    return values.astype(float) if values.dtype.kind in "iu" else values


def _listed_boundaries(boundary: Any, names: Sequence[str]) -> list[str]:
    listed = [boundary] * len(names) if isinstance(boundary, str) else list(boundary)
    if len(listed) != len(names) or not set(listed) <= set(AXIS_BOUNDARY):
        raise ValueError(
            'boundary must be "open", "periodic" or "wall", or one of them for each of '
            f"{', '.join(names)}, got {boundary!r}"
        )
    return listed


def _axis(label: str, place: NDArray[Any], degree: int, *, periodic: bool) -> SampleAxis:
    """Check that places ascend in equal steps, and return their axis."""
    nodes = len(place)
    if nodes < 2:
        raise ValueError(f"{label} needs at least two points, got {nodes}")
    rounding = np.finfo(place.dtype).eps if place.dtype.kind == "f" else 0.0
    place = place.astype(float)
    if not np.isfinite(place).all():
        raise ValueError(f"{label} must be finite, got {place[~np.isfinite(place)][0]}")
    lower, upper = float(place[0]), float(place[-1])
    spacing = (upper - lower) / (nodes - 1)
    deviation = np.abs(place - np.linspace(lower, upper, nodes))
    allowed = _UNIFORM * spacing + 4 * rounding * np.abs(place).max()
    if not (spacing > 0 and deviation.max() <= allowed):
        raise ValueError(
            f"{label} must be equally spaced, but point {np.argmax(deviation)} lies "
            f"{deviation.max():.3g} from its place (spacing {spacing:.3g}, allowed {allowed:.1g}); "
            "interpolate the data to a uniform grid first"
        )
    if periodic:
        upper = lower + nodes * spacing
    return SampleAxis(label, lower, upper, nodes, degree, periodic=periodic)


def _refuse_repeated_end(values: NDArray[Any], label: str, what: str) -> None:
    """Refuse a last plane that is the first again.

    A field that is symmetric about the middle between two nodes may have equal ends, too; it is
    told from a repeated plane by its differences across the seam, which are smooth as it stands.
    """
    first, last = values[0], values[-1]
    equal = np.allclose(first, last, rtol=0, atol=1e-12 * np.abs(values).max(initial=0.0))
    if equal and np.ptp(values, axis=0).any() and not _smoother(values, values[:-1]):
        raise ValueError(
            f"{label} is periodic, but its last plane repeats the first{what}; leave it out: the "
            "point after the last one is the first by itself"
        )


def _smoother(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether fourth differences across the seam of `one` are well below those of `other`."""

    def roughness(values: NDArray[Any]) -> float:
        seam = np.take(values, np.arange(-4, 4), axis=0, mode="wrap")
        return float(np.mean(np.diff(seam, 4, axis=0) ** 2))

    return roughness(one) < roughness(other) / 4


def _close_wall(normal: NDArray[Any], label: str, rounding: float, what: str) -> None:
    """Check that the normal velocity is zero at both ends, and round it to zero."""
    for end, index in ((0, "lower"), (-1, "upper")):
        largest = np.abs(normal[end]).max()
        if largest > rounding:
            raise ValueError(
                f"{label} ends at walls, but the velocity across the {index} one reaches "
                f'{largest:.3g}{what}; choose boundary="open" there, or, if that is noise, set the '
                f"component along {label} to zero on the wall"
            )
        normal[end] = 0.0
