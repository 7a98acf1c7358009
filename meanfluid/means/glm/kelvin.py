r"""Kelvin's theorem for the mean: circulation of Lagrangian-mean momentum around mean loops.

If the same labels make a loop :math:`C^\alpha` of every member and a loop :math:`\bar C` of mean
positions,

.. math:: \oint_{\bar C} (\bar u^L - p) \cdot d\bar x
          = \Bigl\langle \oint_{C^\alpha} u^\alpha \cdot dx \Bigr\rangle ,

and in an ideal barotropic fluid both stay the same while the loops move.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.fields.velocity_field import Array
from meanfluid.means import boxes, cf
from meanfluid.means.glm.algebra import checked_rotation, half_turned
from meanfluid.means.glm.records import GeneralisedLagrangianMean
from meanfluid.means.members import along
from meanfluid.means.periodic import derivative
from meanfluid.trajectories.results import vector_norm

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Kelvin:
    """Circulations around one loop, length^2 / time, with estimated errors.

    Attributes
    ----------
    of_mean : float
        Of Lagrangian-mean momentum around the loop of mean positions.
    mean_of : float
        Mean over the members of the circulation of velocity around their loops.
    of_mean_error, mean_of_error : float
    """

    of_mean: float
    mean_of: float
    of_mean_error: float
    mean_of_error: float

    def to_dataset(self) -> "xarray.Dataset":
        """Return both circulations with their errors and CF attributes; no label is left."""
        import xarray

        words = {
            "of_mean": "circulation of Lagrangian-mean momentum around the mean loop",
            "mean_of": "mean circulation of velocity around the loops",
        }
        data: dict[str, Any] = {}
        for name, said in words.items():
            told = {"long_name": said, "ancillary_variables": f"{name}_error"}
            data[name] = (), getattr(self, name), cf.with_cell_method(told, "realization", "mean")
            error = cf.error_attributes(told, name, "estimated error")
            data[f"{name}_error"] = (), getattr(self, f"{name}_error"), error
        return xarray.Dataset(data, attrs=cf.with_provenance({"Conventions": cf.CONVENTIONS}))


def circulation(
    vector: Any,
    position: Any = None,
    *,
    winding: ArrayLike | None = None,
    dim: str | None = None,
    return_error: bool = False,
) -> Any:
    """Circulation of a vector around closed loops, by a rule of spectral accuracy.

    Parameters
    ----------
    vector : (..., n, dimension)
        At the points of each loop. Or a Dataset with variables ``<name>_x`` and so on; of several
        vectors the one called ``vector`` is meant: select the variables.
    position : (..., n, dimension), length
        An even number of points at equal steps of a parameter in which the loop is smooth and
        periodic. The first is not repeated. Or a Dataset that holds x and so on; by default the
        coordinates of the vector, where it is one. Of a mean with ``label="initial"`` those are
        not where the vector is: its `mean_position_x` and so on are, renamed.
    winding : (dimension,), optional, length
        By how much the loop is displaced after one turn, if it closes around a period of the
        domain.
    dim : str, optional
        Of a Dataset: the dimension along the loop, if there are several.
    return_error : bool
        Whether to return the difference to the rule on every other point, too.

    Returns
    -------
    (...)
        And the error, if asked for. Of a Dataset, a Dataset of `circulation` and its error on the
        dimensions that are left: points of the loop label nothing any more.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit, the number of points is odd, or an array is not finite.
    """
    if cf.is_xarray(vector) or cf.is_xarray(position):
        if position is None and vector.attrs.get("meanfluid_label") == "initial":
            raise ValueError(
                "the coordinates are initial positions, and the vector is at mean positions: pass "
                'position=mean[["mean_position_x", "mean_position_y"]].drop_vars(["x", "y"])'
                '.rename(mean_position_x="x", mean_position_y="y")'
            )
        return _of_datasets(vector, vector if position is None else position, winding, dim)
    if position is None or dim is not None:
        raise TypeError("arrays need position=, (..., points, dimension), and no dim=")
    v = devices.as_cupy(vector) if devices.is_on_gpu(vector) else np.asarray(vector, dtype=float)
    x = devices.beside(v, position)
    if v.shape != x.shape or x.ndim < 2:
        raise ValueError(
            f"vector and position must have one shape (..., points, dimension), got {v.shape} and "
            f"{x.shape}"
        )
    if x.shape[-2] % 2 or x.shape[-2] < 4:
        raise ValueError(
            "a loop needs an even number of at least 4 points (every other one tells the error), "
            f"got {x.shape[-2]}"
        )
    if not bool(np.isfinite(x).all() and np.isfinite(v).all()):
        raise ValueError("vector and position must be finite at all points of a loop")
    turn = np.zeros(x.shape[-1]) if winding is None else np.asarray(winding, dtype=float)
    if turn.shape != x.shape[-1:] or not np.isfinite(turn).all():
        raise ValueError(f"winding must hold {x.shape[-1]} finite numbers, got {winding!r}")
    turn = devices.beside(v, turn)
    value = _around(v, x, turn)
    if not return_error:
        return value
    rounding = np.finfo(float).eps * abs(v * x).sum(axis=(-2, -1))
    return value, abs(value - _around(v[..., ::2, :], x[..., ::2, :], turn)) + rounding


def _of_datasets(vector: Any, position: Any, winding: Any, dim: str | None) -> Any:
    """Return circulations and their errors on the dimensions that loops leave."""
    if not cf.is_dataset(position):
        raise TypeError(f"position must be a Dataset too, got {type(position).__name__}")
    stem, ends = boxes.vector_in(vector, position.variables, "vector")
    import xarray

    parts = [vector[f"{stem}_{end}"] for end in ends] + [position[end] for end in ends]
    loop, parts = along(parts, dim, "loops")
    rest = [str(d) for d in parts[0].dims if d != loop]
    both = [part.transpose(*rest, loop).to_numpy() for part in parts]
    value, error = circulation(
        np.stack(both[: len(ends)], axis=-1), np.stack(both[len(ends) :], axis=-1),
        winding=winding, return_error=True,
    )  # fmt: skip
    units = [boxes.units_of(vector, stem, ends), position[ends[0]].attrs.get("units")]
    told = {"long_name": f"circulation of {stem}", "ancillary_variables": "circulation_error"}
    told |= {} if None in units else {"units": f"{units[0]} {units[1]}"}
    doubt = cf.error_attributes(told, "circulation", "estimated error")
    kept = {key: c.variable for key, c in parts[0].coords.items() if loop not in c.dims}
    return xarray.Dataset(
        {"circulation": (rest, value, told), "circulation_error": (rest, error, doubt)},
        kept, cf.with_provenance({"Conventions": cf.CONVENTIONS}),
    )  # fmt: skip


def _around(vector: Any, position: Any, turn: Any) -> Any:
    count = position.shape[-2]
    part = np.arange(count, like=position)[:, None] / count
    tangent = derivative(position - part * turn, -2, 1.0) + turn
    return (vector * tangent).sum(axis=(-2, -1)) / count


def kelvin(
    result: GeneralisedLagrangianMean, *, winding: ArrayLike | None = None, rotation: Any = None
) -> Kelvin:
    """Both sides of Kelvin's theorem around one loop.

    Parameters
    ----------
    result : GeneralisedLagrangianMean
        Which arrays of positions give: the Dataset of labels from xarray does not hold the members.
        Of points along a closed loop, at equal steps of a parameter; with ``label="initial"`` a
        material loop is followed in time.
    winding : (dimension,), optional, length
        As in `circulation`.
    rotation : float or (3,), optional, 1 / time
        Twice the angular velocity of the frame, with which `result` was made: circulations are
        then absolute, those of u + f x x / 2.

    Returns
    -------
    Kelvin
        Which has `to_dataset`.

    Raises
    ------
    TypeError, ValueError
        If it is no such record, a point of the loop failed, or the number of points is odd.
    """
    if not isinstance(result, GeneralisedLagrangianMean):
        raise TypeError(
            "kelvin needs the record of a generalised Lagrangian mean, with its members, got "
            f"{type(result).__name__}; pass positions as an array (n, dimension) to make one"
        )
    mean = np.array(devices.to_host(result.position))
    momentum = np.array(devices.to_host(result.momentum))
    velocity = np.array(devices.to_host(result.displaced_velocity))
    place = mean + devices.to_host(result.displacement)
    f = checked_rotation(rotation, mean.shape[-1])
    if f is not None:
        momentum, velocity = momentum + half_turned(f, mean), velocity + half_turned(f, place)
    of_mean, coarse = circulation(momentum, mean, winding=winding, return_error=True)
    each, each_error = circulation(velocity, place, winding=winding, return_error=True)
    length = _length(mean)
    of_momentum = devices.to_host(result.errors["momentum"])
    of_velocity = devices.to_host(result.errors["mean_velocity"])
    speed = float(vector_norm(velocity).mean())
    shift = devices.to_host(result.errors["displacement"])
    return Kelvin(
        float(of_mean),
        float(each.mean()),
        float(coarse) + float(of_momentum.mean()) * length,
        float(each_error.mean()) + float(of_velocity.mean()) * length
        + 2 * np.pi * speed * float(shift.max()),
    )  # fmt: skip


def _length(loop: Array) -> float:
    """Length of the closed polygon through the points."""
    return float(vector_norm(loop - np.roll(loop, 1, axis=0)).sum())
