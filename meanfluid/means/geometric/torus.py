"""Maps of the flat torus onto itself, as periodic displacements on a uniform grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means import periodic
from meanfluid.means.inversion import inverted
from meanfluid.trajectories.attributes import is_xarray
from meanfluid.trajectories.flow_map import flow_map

Lengths = tuple[float, float]

_SHARE = 2e-14  # of a period within which an inverse is found; rounding leaves about 1e-15


@dataclass(frozen=True, eq=False)
class TorusMap:
    """A map x + d(x) of the torus that can be deformed into the identity.

    Between the points of the grid, d is its trigonometric interpolant: spectrally accurate for
    smooth maps. Positions are unwrapped, so that a uniform translation by a period is a map of its
    own.

    Parameters
    ----------
    displacement : (2, nx, ny), length
        At the points ``(i lengths[0] / nx, j lengths[1] / ny)``. NumPy or CuPy.
    lengths : (float, float), length
        Periods along x and y.

    Raises
    ------
    ValueError
        If the displacement has another shape or is not finite, or a period is not positive.

    Examples
    --------
    >>> x, _ = periodic.mesh((16, 16), (2 * np.pi, 2 * np.pi))
    >>> wave = TorusMap([0.1 * np.sin(x), 0 * x], (2 * np.pi, 2 * np.pi))
    >>> wave([[0.5, 0.25]]).round(4)
    array([[0.5479, 0.25  ]])
    >>> round(wave.area_error, 12)  # 1 + 0.1 cos x is not 1
    0.1
    """

    displacement: Any
    lengths: Lengths

    def __post_init__(self) -> None:
        values, lengths = checked_vector(self.displacement, self.lengths, "a displacement")
        object.__setattr__(self, "displacement", values)
        object.__setattr__(self, "lengths", lengths)

    @classmethod
    def identity(cls, shape: tuple[int, int], lengths: Lengths) -> "TorusMap":
        """Return the map that moves nothing, on a grid of `shape`."""
        return cls(np.zeros((2, *shape)), lengths)

    @classmethod
    def from_flow(
        cls,
        field: VelocityField,
        shape: tuple[int, int],
        start: float,
        end: float,
        **options: Any,
    ) -> "TorusMap":
        """Sample the flow map of a field that is periodic in both coordinates.

        Parameters
        ----------
        field : VelocityField
            Of two dimensions; periods are those of its domain.
        shape : (int, int)
            Points of the grid along x and y.
        start, end : float, time
        **options
            Of `meanfluid.flow_map`; `atol` is 1e-15 of the longer period unless it is given.

        Raises
        ------
        ValueError
            If the field is not periodic in two coordinates, or an argument is out of range.
        TrajectoryError
            If a trajectory fails.
        """
        axes = field.domain or ()
        if field.dimension != 2 or any(axis.boundary != "periodic" for axis in axes) or not axes:
            raise ValueError(
                f"{field.name} must have two periodic axes to flow on a torus, got "
                f"{axes or 'no domain'}; declare domain=(Axis(lower, upper, 'periodic'), ...)"
            )
        lengths = axes[0].upper - axes[0].lower, axes[1].upper - axes[1].lower
        points = periodic.mesh(shape, lengths)
        if options.get("device") == "cuda":
            points = devices.as_cupy(points)
        # A particle at rest at `start` in an unsteady flow has no displacement to be relative to.
        options.setdefault("atol", 1e-15 * max(lengths))
        end_of = flow_map(field, points.reshape(2, -1).T, start, end, **options)
        return cls(end_of.T.reshape(points.shape) - points, lengths)

    @property
    def shape(self) -> tuple[int, int]:
        """Points of the grid along x and y."""
        return self.displacement.shape[1], self.displacement.shape[2]

    @property
    def points(self) -> Any:
        """Positions of the grid, (2, nx, ny), length."""
        return periodic.mesh(self.shape, self.lengths, like=self.displacement)

    @property
    def gradient(self) -> Any:
        """Derivative of component i by x_j at the points of the grid, (2, 2, nx, ny)."""
        slope = periodic.gradient(self.displacement, self.lengths)
        slope[0, 0] += 1.0
        slope[1, 1] += 1.0
        return slope

    @property
    def determinant(self) -> Any:
        """Factor by which areas grow, (nx, ny)."""
        slope = self.gradient
        return slope[0, 0] * slope[1, 1] - slope[0, 1] * slope[1, 0]

    @property
    def area_error(self) -> float:
        """Largest distance of the determinant from 1 on the grid."""
        return float(np.abs(self.determinant - 1.0).max())

    def __call__(self, position: ArrayLike) -> Any:
        """Where positions (n, 2) go, unwrapped."""
        x = self._checked(position)
        return x + self._series.at(x.T).T

    def gradient_at(self, position: ArrayLike) -> Any:
        """Gradient of the map at positions (n, 2): (n, 2, 2)."""
        x = self._checked(position)
        slope = self._series.gradient(x.T)
        return np.moveaxis(slope, -1, 0) + devices.beside(slope, np.eye(2))

    def after(self, first: "TorusMap") -> "TorusMap":
        """Return the map that moves by `first`, then by this one, on the grid of `first`.

        Raises
        ------
        ValueError
            If the two tori differ.
        """
        if checked_map(first).lengths != self.lengths:
            raise ValueError(
                f"maps of one torus can be composed, got periods {self.lengths} and {first.lengths}"
            )
        here = first.displacement
        there = self._series.at(first.points + here)
        return TorusMap(here + there, self.lengths)

    def inverse(self) -> "TorusMap":
        """Return the inverse map, by Newton steps at the points of the grid.

        Newton steps run on the host; the result lives where the map does.

        Raises
        ------
        ValueError
            If the map is not one to one.
        """
        series = periodic.Interpolant(devices.to_host(self.displacement), self.lengths)
        target = devices.to_host(self.points).reshape(2, -1)

        def function(position: Any, which: Any) -> tuple[Any, Any]:
            value, slope = series.value_and_gradient(position.T)
            return position + value.T, np.moveaxis(slope, -1, 0) + np.eye(2)

        guess = target - devices.to_host(self.displacement).reshape(2, -1)
        x = inverted(function, target.T, guess.T, _SHARE * max(self.lengths) * _size(self))
        folded = float(self.determinant.min())
        if not x.found.all() or folded <= 0.0:
            raise ValueError(
                f"the map must be one to one to be inverted, got a smallest determinant of "
                f"{folded:.3g} and {np.count_nonzero(~x.found)} of {len(x.found)} points without "
                "an inverse; shorten the window, or refine the grid"
            )
        displacement = (x.position.T - target).reshape(self.displacement.shape)
        return TorusMap(devices.beside(self.displacement, displacement), self.lengths)

    @property
    def _series(self) -> periodic.Interpolant:
        return periodic.Interpolant(self.displacement, self.lengths)

    def _checked(self, position: ArrayLike) -> Any:
        if is_xarray(position):
            raise TypeError(
                f"position must be an array (n, 2), got {type(position).__name__}; of a Dataset "
                "pass np.stack([data['x'].to_numpy(), data['y'].to_numpy()], axis=-1)"
            )
        x = periodic.as_float(position)
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(
                f"position must have shape (n, 2), got {x.shape}; for one point pass [[x, y]]"
            )
        return devices.beside(self.displacement, x)


def _size(one: TorusMap) -> float:
    """Largest displacement in periods, at least 1: rounding of positions grows with it."""
    return max(1.0, float(np.abs(one.displacement).max()) / max(one.lengths))


def checked_vector(field: Any, lengths: Any, name: str = "a vector field") -> tuple[Any, Lengths]:
    """Return a finite float64 field (2, nx, ny) and its periods.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or a period is not positive.
    """
    if is_xarray(field):
        raise TypeError(
            f"{name} must be an array (2, nx, ny), got {type(field).__name__}; of a Dataset pass "
            "np.stack([data[name].transpose('x', 'y').to_numpy() for name in names])"
        )
    field, found = periodic.checked_vector(field, lengths, name, dimension=2)
    return field, (found[0], found[1])


def checked_map(one: Any) -> TorusMap:
    """Return one map.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(one, TorusMap):
        raise TypeError(
            f"expected a TorusMap, got {type(one).__name__}; make one of a displacement "
            "(2, nx, ny), TorusMap(displacement, lengths)"
        )
    return one


def checked_maps(maps: Sequence[TorusMap]) -> tuple[TorusMap, ...]:
    """Return the members of an ensemble, all on one grid of one torus."""
    members = tuple(maps)
    if not members or not all(isinstance(one, TorusMap) for one in members):
        raise TypeError(
            "expected a sequence of one or more TorusMap, or one Dataset of all displacements, got "
            f"{type(members[0]).__name__ if members else 'none'}"
        )
    tori = sorted({(one.lengths, one.shape) for one in members})
    if len(tori) > 1:
        raise ValueError(f"all maps must share periods and grid, got {tori}")
    return members


def checked_weights(weights: ArrayLike | None, count: int) -> Any:
    """Return weights (count,) that sum to 1; equal ones by default."""
    if weights is None:
        return np.full(count, 1.0 / count)
    w = np.asarray(devices.to_host(weights), dtype=float)
    if w.shape != (count,) or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(
            f"weights must be {count} numbers, one per member, none negative and not all zero, "
            f"got {weights!r}"
        )
    return w / w.sum()


def average(values: Sequence[Any], weights: Any) -> Any:
    """Weighted mean of arrays of one shape."""
    return sum(w * value for w, value in zip(weights.tolist(), values, strict=True))
