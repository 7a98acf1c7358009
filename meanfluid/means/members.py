"""Members of an ensemble at points, from xarray, and their mean back on the coordinates.

A vector is one variable for each component, ``<name>_x`` and so on, and a matrix one for each pair
of them, ``<name>_x_y``, as `trajectories` gives gradients. Members are along one dimension, which
the mean takes away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfluid.means import boxes, cf

_ENDS = ("x", "y", "z")  # of components, beside the names of coordinates


@dataclass(frozen=True, eq=False)
class Members:
    """Where members and points are.

    Attributes
    ----------
    dim : str
        The dimension of the members.
    rest : tuple of str
        Those of the points, in the order of the data.
    coordinates : dict
        That do not lie along the members.
    """

    dim: str
    rest: tuple[str, ...]
    coordinates: Mapping[Any, Any]

    def dataset(
        self, names: Sequence[str], mean: Any, told: Mapping[str, Any], how: str, **about: Any
    ) -> Any:
        """Return means (*rest, size) of variables as a Dataset."""
        import xarray

        data: dict[str, Any] = {}
        for k, name in enumerate(names):
            own = {**told, "long_name": f"mean of {name}"}
            own = cf.with_cell_method(own, self.dim, "mean", how)
            data[name] = self.rest, mean[..., k], own
        attributes = cf.with_provenance({"Conventions": cf.CONVENTIONS}, **about)
        return xarray.Dataset(data, dict(self.coordinates), attributes)


def taken_as(kind: str) -> str:
    """Say what fields are pulled back as, for `cell_methods`."""
    return f"pulled back as a {kind.replace('_', '-')}"


def require_no_dim(dim: str | None) -> None:
    """Refuse the name of a dimension beside arrays, which have none.

    Raises
    ------
    TypeError
    """
    if dim is not None:
        raise TypeError(f"dim= is of Datasets; arrays have their members first, got {dim!r}")


def ends_of(data: Any) -> tuple[str, ...]:
    """Return what components may be called: as coordinates and dimensions, or x, y, z."""
    found = [*_ENDS, *map(str, getattr(data, "dims", ())), *map(str, getattr(data, "coords", ()))]
    return tuple(dict.fromkeys(found))


def matrix_in(data: Any, wanted: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a matrix in a Dataset, and the ends of its rows and columns: x, y, z.

    Raises
    ------
    TypeError, ValueError
        If it is no Dataset, or holds no matrix, or several of other names.
    """
    if not cf.is_dataset(data):
        raise TypeError(
            f"{wanted} must be a Dataset of {wanted}_x_x, {wanted}_x_y and so on, where anything "
            f"is from xarray; got {type(data).__name__}"
        )
    names, ends = {str(name) for name in data.data_vars}, ends_of(data)
    found: dict[str, tuple[str, ...]] = {}
    for end in ends:
        for stem in (n.removesuffix(f"_{end}_{end}") for n in names if n.endswith(f"_{end}_{end}")):
            found[stem] = (*found.get(stem, ()), end)
    found = {
        stem: tuple(sorted(own, key=lambda end: boxes.axis_of(data, end)))
        for stem, own in found.items()
        if names >= {f"{stem}_{one}_{other}" for one in own for other in own}
    }
    if wanted not in found and len(found) != 1:
        raise ValueError(
            f"{wanted} must be variables {wanted}_x_x, {wanted}_x_y and so on, one for each pair "
            f"of components, got {sorted(names)}; rename them"
        )
    stem = wanted if wanted in found else next(iter(found))
    return stem, found[stem]


def names_of_matrix(stem: str, ends: Sequence[str]) -> list[str]:
    """Return the names of the entries of a matrix, row by row."""
    return [f"{stem}_{one}_{other}" for one in ends for other in ends]


def along(parts: Sequence[Any], dim: str | None, what: str) -> tuple[str, list[Any]]:
    """Return the dimension that a mean or an integral takes away, and variables that share all.

    Raises
    ------
    ValueError
        If they lie on different coordinates; or there are several dimensions and it is not said
        which one, or there is none of that name.
    """
    import xarray

    shared = list(xarray.broadcast(*xarray.align(*parts, join="exact")))
    dims = [str(d) for d in shared[0].dims]
    if dim is None and len(dims) != 1:
        raise ValueError(f"{what} have the dimensions {dims}; say along which one with dim=")
    if dim is not None and dim not in dims:
        raise ValueError(f"there is no dimension {dim!r}, only {dims}")
    return dims[0] if dim is None else dim, shared


def members_of(parts: Sequence[Any], dim: str | None) -> tuple[Members, Any]:
    """Return where members are, and the values of variables, (members, *rest, variables).

    Raises
    ------
    ValueError
        As `along`.
    """
    found, shared = along(parts, dim, "members")
    rest = [str(d) for d in shared[0].dims if d != found]
    values = [part.transpose(found, *rest).to_numpy().astype(float) for part in shared]
    kept = {key: c.variable for key, c in shared[0].coords.items() if found not in c.dims}
    return Members(found, tuple(rest), kept), np.stack(values, axis=-1)


def matrices_of(data: Any, wanted: str, dim: str | None) -> tuple[list[str], Members, Any]:
    """Return the names of the entries of matrices, where they are, and (members, *rest, d, d)."""
    stem, ends = matrix_in(data, wanted)
    names = names_of_matrix(stem, ends)
    members, values = members_of([data[name] for name in names], dim)
    return names, members, values.reshape(*values.shape[:-1], len(ends), len(ends))
