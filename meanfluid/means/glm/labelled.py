"""What generalised Lagrangian means are called on labels and grids from xarray.

Labels are what `trajectories.doors` makes of positions, grids are those of `means.boxes`. A Dataset
holds all that is one number or vector at each mean position; what belongs to a member stays in the
record that arrays give.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from meanfluid.fields.velocity_field import VelocityField
from meanfluid.means import boxes, cf
from meanfluid.means.glm.ensembles import ensemble_of
from meanfluid.trajectories.doors import Arguments, Found, Quantity

_AT_MEAN = "at mean positions"
AT_DISPLACED = "at displaced positions"
_STEEP = "largest norm of the gradient of displacement"
QUANTITIES = {  # by the attribute of the records that holds them
    "position": Quantity("mean_position", "mean position", "length"),
    "initial_position": Quantity(
        "initial_position", "position at the start, shared by the members", "length", mean=False
    ),
    "mean_velocity": Quantity("mean_velocity", "Lagrangian mean velocity", "velocity"),
    "eulerian_velocity": Quantity(
        "eulerian_velocity", "Eulerian mean velocity", "velocity", taken=_AT_MEAN
    ),
    "stokes_drift": Quantity("stokes_drift", "Stokes drift", "velocity"),
    "pseudomomentum": Quantity("pseudomomentum", "pseudomomentum per mass", "velocity"),
    "momentum": Quantity("momentum", "Lagrangian-mean momentum per mass", "velocity"),
    "divergence": Quantity("divergence", "divergence of the Lagrangian mean velocity", "rate"),
    "density": Quantity("density", "density of mean volume", "1"),
    "steepness": Quantity("steepness", _STEEP, "1", mean=False, comment="over the members"),
}
_OF_OBSERVABLES = {  # suffix, words, errors, and whether they are met at displaced positions
    "means": ("lagrangian_mean", "Lagrangian mean", "mean_errors", True),
    "eulerian_means": ("eulerian_mean", "Eulerian mean", "eulerian_errors", False),
    "stokes_corrections": ("stokes_correction", "Stokes correction", "stokes_errors", True),
}


def quantities_of(record: type) -> Callable[[Arguments], dict[Any, Quantity]]:
    """Return what a door tells of the record that it returns, given its arguments."""
    held = record.__annotations__

    def quantities(arguments: Arguments) -> dict[Any, Quantity]:
        found: dict[Any, Quantity] = {key: part for key, part in QUANTITIES.items() if key in held}
        for kind, (suffix, words, _, displaced) in _OF_OBSERVABLES.items():
            for key in (arguments["observables"] or {}) if kind in held else ():
                found[kind, key] = Quantity(
                    f"{key}_{suffix}", f"{words} of {key}", taken=None if displaced else _AT_MEAN
                )
        return found

    return quantities


def found_in(record: Any, provenance: dict[str, Any], end: Any = None) -> Found:
    """Return the values and errors of a record by the keys of `quantities_of`, and itself."""
    value: dict[Any, Any] = {key: getattr(record, key, None) for key in QUANTITIES}
    error: dict[Any, Any] = {**getattr(record, "errors", {})}
    for kind, (_, _, doubt, _) in _OF_OBSERVABLES.items():
        value |= {(kind, key): part for key, part in getattr(record, kind, {}).items()}
        error |= {(kind, key): part for key, part in getattr(record, doubt, {}).items()}
    return Found(value, error, getattr(record, "status", None), record, end, provenance)


def on_box(
    values: Mapping[str, Any], box: boxes.Box, unit: str | None, how: str, rotation: Any = None
) -> Any:
    """Return what records hold, by the keys of `QUANTITIES`, as a Dataset on a periodic grid.

    Parameters
    ----------
    values : mapping of str to (*grid), (dimension, *grid) or None
    box : Box
    unit : str or None
        Of velocity.
    how : str
        How means are taken, for `cell_methods`.
    rotation : float or (3,), optional
    """
    data: dict[str, Any] = {}
    for key, value in values.items():
        if value is None:
            continue
        part = QUANTITIES[key]
        own = {"velocity": unit, "1": "1"}.get(part.unit or "")
        told = {"long_name": part.long_name} | ({} if own is None else {"units": own})
        data |= box.variables(part.name, value, box.as_mean(told, how))
    about = {} if rotation is None else {"rotation": np.asarray(rotation, dtype=float).tolist()}
    told = cf.with_provenance({"Conventions": cf.CONVENTIONS}, **about)
    return box.template.assign(data).assign_attrs(told)


def first_of(arguments: Arguments) -> VelocityField:
    """Return the first member of an ensemble, whose axes name the coordinates."""
    return ensemble_of(arguments["ensemble"], arguments["phases"], arguments["period"]).fields[0]
