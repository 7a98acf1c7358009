"""Maps of the torus and fields on it from xarray, and what is made of them back on the grid."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from meanfluid.means import boxes, cf
from meanfluid.means.geometric.torus import TorusMap

_P = ParamSpec("_P")
_R = TypeVar("_R")


def maps_of(data: Any) -> tuple[tuple[TorusMap, ...], boxes.Box]:
    """Return the maps that a Dataset of displacements holds, and its grid.

    Raises
    ------
    TypeError, ValueError
        If it is no Dataset of vectors (members, 2, nx, ny) on a periodic grid.
    """
    _, values, box = boxes.grid_of(data, "displacement")
    return tuple(TorusMap(one, plane_of(box)) for one in values), box


def map_of(data: Any, wanted: str) -> tuple[TorusMap, boxes.Box]:
    """Return the one map that a Dataset of a displacement holds, and its grid; see `maps_of`."""
    if not cf.is_dataset(data):
        raise TypeError(
            f"{wanted} must be a Dataset of displacement_x and displacement_y, where anything is "
            f"from xarray; got {type(data).__name__}"
        )
    _, values, box = boxes.grid_of(data, "displacement", members=False)
    return TorusMap(values, plane_of(box)), box


def plane_of(box: boxes.Box) -> tuple[float, float]:
    """Return the periods of a grid in the plane; refuse others."""
    if len(box.dims) != 2:
        raise ValueError(f"maps of the torus have two components, got those along {box.dims}")
    return box.lengths[0], box.lengths[1]


def told_of(data: Any, name: str, words: str) -> dict[str, Any]:
    """Return attributes of what is made of a field: unit and `cell_methods` of it, other words."""
    ends = [key for key in map(str, data.data_vars) if key == name or key.startswith(f"{name}_")]
    return {"long_name": words, **boxes.told_alike(data, ends)}


def dataset_of(box: boxes.Box, data: Mapping[str, Any], **about: Any) -> Any:
    """Return variables on a grid as a Dataset that tells about itself."""
    told = cf.with_provenance({"Conventions": cf.CONVENTIONS}, **about)
    return box.template.assign(dict(data)).assign_attrs(told)


def arrays_only(takes: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function of arrays or records refuse what is from xarray, and say what it takes."""

    def door(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for given in (*args, *kwargs.values()):
                if cf.is_xarray(given):
                    raise TypeError(
                        f"{function.__name__} takes {takes}, got {type(given).__name__}; of "
                        "variables on x and y, pass data.transpose('x', 'y').to_numpy()"
                    )
            return function(*args, **kwargs)

        return called

    return door
