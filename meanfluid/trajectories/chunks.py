"""Labels that dask holds in chunks: every chunk is one call of a door, when it is computed.

xarray maps the door over the chunks, so that it runs wherever the user's dask does.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from meanfluid.trajectories.attributes import is_xarray
from meanfluid.trajectories.datasets import axis_names, require_on_labels, template_of
from meanfluid.trajectories.doors import TIMES
from meanfluid.trajectories.flow_map import marking

_CARRIER = "_meanfluid_chunks"
_GIVEN = "_meanfluid_{}"


def lazy(door: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Return what a door gives for a Dataset of labels, one chunk at a time, when it is computed.

    Parameters
    ----------
    door : callable
        Takes a Dataset as `position`, and returns one.
    arguments : mapping
        Of the door; `options` are gathered in one.

    Returns
    -------
    xarray.Dataset
        Its variables are dask's.

    Raises
    ------
    TypeError, ValueError
        If an argument is refused at one of the labels. What is wrong with others shows later.
    """
    dask_array = importlib.import_module("dask.array")

    data = arguments["position"]
    sizes, labels = template_of(data, axis_names(arguments["field"]))
    chunks = {dim: data.chunksizes.get(dim, (size,)) for dim, size in sizes.items()}
    carrier = dask_array.zeros(tuple(sizes.values()), chunks=tuple(chunks.values()))
    labels = labels.assign({_CARRIER: (tuple(sizes), carrier)})
    plain = {key: value for key, value in arguments.items() if key != "position"}
    for key in TIMES:
        value: Any = plain.get(key)
        if is_xarray(value) and value.dims:
            require_on_labels(value, tuple(sizes), labels)
            labels[_GIVEN.format(key)] = value.variable
            del plain[key]
        elif np.shape(value) == (carrier.size,):
            labels[_GIVEN.format(key)] = (tuple(sizes), np.reshape(value, carrier.shape))
            del plain[key]
    options, (_, policy) = marking(plain.get("options", {}))
    one = labels.isel(dict.fromkeys(sizes, slice(0, 1)))
    tried = _one_chunk(one, door, plain | {"options": options})
    tried.attrs["meanfluid_out_of_domain"] = policy
    result = labels.map_blocks(
        _one_chunk, args=(door, plain), template=_spread(tried, labels, chunks)
    )
    whole = [name for name, part in tried.variables.items() if not set(part.dims) & set(sizes)]
    return result.assign({name: tried[name].variable for name in whole})  # which need no chunk


def _one_chunk(block: Any, door: Callable[..., Any], plain: Mapping[str, Any]) -> Any:
    given = {
        str(name).removeprefix(_GIVEN.format("")): variable
        for name, variable in block.data_vars.items()
        if name != _CARRIER
    }
    position = block[_CARRIER]  # whose dimensions are in the order of the labels
    arguments = {**plain, **given}
    options = arguments.pop("options", {})
    return door(position=position.compute(), **arguments, **options)


def _spread(tried: Any, labels: Any, chunks: Mapping[str, Any]) -> Any:
    """Return a template on all labels of the dataset that one of them gave."""
    dask_array = importlib.import_module("dask.array")

    result = labels.drop_vars(list(labels.data_vars))
    for name, variable in tried.variables.items():
        if name in result.variables:
            continue
        shape = [labels.sizes.get(dim, variable.sizes[dim]) for dim in variable.dims]
        if any(dim in labels.sizes for dim in variable.dims):
            parts = tuple(chunks.get(d, (n,)) for d, n in zip(variable.dims, shape, strict=True))
            values: Any = dask_array.zeros(shape, dtype=variable.dtype, chunks=parts)
        else:
            values = np.asarray(variable)
        given = (variable.dims, values, variable.attrs, variable.encoding)
        place = result.assign_coords if name in tried.coords else result.assign
        result = place({name: given})
    result.attrs = tried.attrs
    return result
