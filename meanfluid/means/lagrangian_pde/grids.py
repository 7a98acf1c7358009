"""The uniform grid on which equations of means are solved: axes with their ends, and nodes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import Array, Axis, VelocityField

_FEWEST = 8  # nodes of an axis; fewer resolve nothing


@dataclass(frozen=True)
class Grid:
    """Equally spaced nodes in a box.

    Parameters
    ----------
    axes : tuple of Axis
        One to three. A periodic axis has nodes at its lower end and not at the upper, which is the
        same place; others have nodes at both ends.
    nodes : int or tuple of int
        Of each axis.

    Raises
    ------
    ValueError
        If an axis is unbounded or "closed", or there are fewer than 8 nodes.
    """

    axes: tuple[Axis, ...]
    nodes: int | tuple[int, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.axes, tuple) and 1 <= len(self.axes) <= 3):
            raise ValueError(f"axes must be a tuple of 1 to 3 Axis(lower, upper), got {self.axes}")
        if np.ndim(self.nodes) == 0:
            object.__setattr__(self, "nodes", (self.nodes,) * len(self.axes))
        if len(self.shape) != len(self.axes) or not all(
            isinstance(n, int) and n >= _FEWEST for n in self.shape
        ):
            raise ValueError(
                f"nodes must be one integer, or one for each of {len(self.axes)} axes, at least "
                f"{_FEWEST}; got {self.nodes!r}"
            )
        for axis in self.axes:
            if not np.isfinite(axis.upper - axis.lower):
                raise ValueError(f"a grid needs bounded axes, got {axis}")
            if axis.boundary == "closed":
                raise ValueError(
                    f'an axis of a grid must be "periodic", "wall" or "open", got {axis}; '
                    "a closed end through which nothing flows is a wall, another one is open"
                )

    @classmethod
    def of(cls, field: VelocityField, nodes: int | tuple[int, ...]) -> "Grid":
        """Return a grid over the domain of a field.

        Raises
        ------
        ValueError
            If the field names no bounded domain.
        """
        if field.domain is None:
            raise ValueError(f"{field.name} names no domain; write Grid((Axis(...), ...), nodes)")
        return cls(field.domain, nodes)

    @property
    def dimension(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes of each axis."""
        return self.nodes if isinstance(self.nodes, tuple) else (self.nodes,)

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Whether each axis is periodic."""
        return tuple(axis.boundary == "periodic" for axis in self.axes)

    @property
    def length(self) -> Array:
        """Upper less lower end, (dimension,)."""
        return np.array([axis.upper - axis.lower for axis in self.axes])

    @property
    def lower(self) -> Array:
        """Lower ends, (dimension,)."""
        return np.array([axis.lower for axis in self.axes])

    @property
    def spacing(self) -> Array:
        """Distance of neighbouring nodes, (dimension,)."""
        cells = [n if own else n - 1 for n, own in zip(self.shape, self.periodic, strict=True)]
        return self.length / cells

    @cached_property
    def coordinates(self) -> tuple[Array, ...]:
        """Nodes of each axis, (nodes,) each."""
        return tuple(
            axis.lower + step * np.arange(n)
            for axis, step, n in zip(self.axes, self.spacing, self.shape, strict=True)
        )

    @cached_property
    def positions(self) -> Array:
        """All nodes, (points, dimension), the last axis fastest."""
        mesh = np.meshgrid(*self.coordinates, indexing="ij")
        return np.stack([x.ravel() for x in mesh], axis=-1)

    @property
    def mesh(self) -> Array:
        """Coordinates of all nodes, (dimension, *shape)."""
        return self.positions.T.reshape(self.dimension, *self.shape)

    def halved(self) -> "Grid | None":
        """Return the grid of every other node, or None if that is none with the same ends."""
        cells = [n if own else n - 1 for n, own in zip(self.shape, self.periodic, strict=True)]
        if any(count % 2 or count // 2 < _FEWEST for count in cells):
            return None
        return Grid(
            self.axes,
            tuple(count // 2 + (not own) for count, own in zip(cells, self.periodic, strict=True)),
        )

    def beyond_open_ends(self, position: Any, slack: float = 1e-9) -> Any:
        """Whether positions (dimension, ...) lie beyond an end that is open."""
        out = np.zeros_like(position[0], dtype=bool)
        for x, axis in zip(position, self.axes, strict=True):
            if axis.boundary == "open":
                room = slack * (axis.upper - axis.lower)
                out = out | (x < axis.lower - room) | (x > axis.upper + room)
        return out
