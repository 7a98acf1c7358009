"""What grids of displacements must be: shapes, periods, zero mean."""

from typing import Any

import numpy as np

from meanfluid.means.periodic import checked_lengths


def checked_members(name: str, values: Any, lengths: Any) -> tuple[float, ...]:
    """Return the periods of the grid on which a vector field of several members lives.

    Raises
    ------
    TypeError, ValueError
        If it is not (members, dimension, *grid) of finite real numbers.
    """
    if getattr(values, "dtype", np.dtype(object)).kind not in "iuf":
        raise TypeError(f"{name} must be an array of real numbers, got {type(values).__name__}")
    if values.ndim < 3 or values.shape[1] != values.ndim - 2:
        raise ValueError(
            f"{name} must have shape (members, dimension, *grid), one axis of the grid for each "
            f"component, got {values.shape}"
        )
    if 0 in values.shape or not bool(np.isfinite(values).all()):
        raise ValueError(f"{name} must hold finite numbers, and some, got shape {values.shape}")
    return checked_lengths(lengths, values.ndim - 2)


def require_shape(name: str, values: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape, or that is not finite."""
    found = getattr(values, "shape", None)
    if found != shape:
        raise ValueError(f"{name} must be an array of shape {shape}, got {found or values!r}")
    if not bool(np.isfinite(values).all()):
        raise ValueError(f"{name} must be finite")


def require_zero_mean(displacement: Any) -> None:
    """Refuse displacements whose mean over the members is not zero to rounding.

    Raises
    ------
    ValueError
    """
    mean = float(abs(displacement.mean(axis=0)).max())
    largest = float(abs(displacement).max())
    if not mean <= 1e-9 * largest:
        raise ValueError(
            f"displacement must have zero mean over its members, got a mean of up to {mean:.2g} "
            f"beside displacements of up to {largest:.2g}; its origin is then not the mean position"
        )
