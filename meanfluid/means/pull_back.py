r"""What a map does to a field at single points: pull-backs, by what kind of thing the field is.

============== ================================================ =========================
kind           :math:`\xi^* \tau`                               what is the same afterwards
============== ================================================ =========================
``"scalar"``   :math:`f \circ \xi`                              values
``"vector"``   :math:`(D\xi)^{-1} \, u \circ \xi`               how arrows join particles
``"one_form"`` :math:`(D\xi)^T \, \nu \circ \xi`                integrals along curves
``"density"``  :math:`\det(D\xi) \, \rho \circ \xi`             integrals over areas
============== ================================================ =========================

A velocity is a vector, a momentum (whose circulation counts) is a one-form.
"""

from typing import Any, Literal, get_args

import numpy as np

Kind = Literal["scalar", "vector", "one_form", "density"]


def checked_kind(kind: Any) -> None:
    """Refuse what is no kind of field.

    Raises
    ------
    ValueError
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, got {kind!r}")


def pulled_back(value: Any, gradient: Any, kind: Kind) -> Any:
    r"""Return pull-backs at single points, of any dimension, from values and gradients there.

    Parameters
    ----------
    value : (...,), or (..., d) for a vector or one-form
        The field at the displaced positions :math:`\xi(x)`. NumPy or CuPy.
    gradient : (..., d, d)
        Of the map, :math:`\partial \xi_i / \partial x_j` at x.
    kind : "scalar", "vector", "one_form" or "density"

    Returns
    -------
    Like `value`.

    Raises
    ------
    ValueError
        If the kind is unknown, the shapes do not fit, or a vector meets a gradient without inverse.
    """
    checked_kind(kind)
    if kind in ("vector", "one_form") and value.shape != gradient.shape[:-1]:
        raise ValueError(
            f"a {kind} needs value of shape {gradient.shape[:-1]} to go with the gradient, got "
            f"{value.shape}"
        )
    if kind == "scalar":
        return value
    if kind == "density":
        return np.linalg.det(gradient) * value
    if kind == "one_form":
        return np.einsum("...ji,...j->...i", gradient, value)
    with np.errstate(invalid="ignore"):  # points that are marked by NaN
        regular = np.linalg.det(gradient) != 0.0
    if not bool(regular.all()):
        raise ValueError("vectors need a map whose gradient has an inverse everywhere")
    return np.linalg.solve(gradient, value[..., None])[..., 0]
