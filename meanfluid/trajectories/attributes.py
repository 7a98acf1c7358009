"""What attributes say of a mean, by the CF conventions: how it was taken, its error, its origin.

Nothing is invented: a standard name is kept only where a mean leaves the quantity what it was.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

CONVENTIONS = "CF-1.11"


def is_xarray(data: Any) -> bool:
    """Whether something is a DataArray or Dataset; xarray is not imported to find out."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(data, xarray.DataArray | xarray.Dataset)


def is_dataset(data: Any) -> bool:
    """Whether something is a Dataset."""
    return is_xarray(data) and isinstance(data, sys.modules["xarray"].Dataset)


def with_cell_method(
    attributes: Mapping[Any, Any], name: str, method: str, comment: str = ""
) -> dict[Any, Any]:
    """Return attributes with one more entry at the end of `cell_methods`: the last one applied.

    Examples
    --------
    >>> with_cell_method({"units": "m", "cell_methods": "x: mean"}, "time", "mean", "of 3 days")
    {'units': 'm', 'cell_methods': 'x: mean time: mean (comment: of 3 days)'}
    """
    entry = f"{name}: {method}" + (f" (comment: {comment})" if comment else "")
    before = str(attributes.get("cell_methods", "")).strip()
    return {**attributes, "cell_methods": f"{before} {entry}".strip()}


def with_provenance(attributes: Mapping[Any, Any], **more: Any) -> dict[Any, Any]:
    """Return attributes with the version of this library and more, each with its prefix."""
    own = {f"meanfluid_{key}": value for key, value in more.items()}
    return {**attributes, **own, "meanfluid_version": version("meanfluid")}


def error_attributes(attributes: Mapping[Any, Any], name: str, meaning: str) -> dict[str, Any]:
    """Return attributes of a variable that holds an estimated error of the variable `name`."""
    found: dict[str, Any] = {"long_name": f"{meaning} of {attributes.get('long_name', name)}"}
    if "units" in attributes:
        found["units"] = attributes["units"]
    if "standard_name" in attributes and meaning == "standard error":
        found["standard_name"] = f"{attributes['standard_name']} standard_error"
    return found


def between(lower: Any, upper: Any) -> Any:
    """Return the middle of two numbers or dates."""
    return lower + (upper - lower) / 2
