"""Averages of fluid motion, exact and learned.

One function and its relatives: the average of a velocity, or of any observable, along the
trajectory through x at time t, over the window from t to s. `fields` says what flows,
`trajectories` integrates it, `learning` learns it, `compare` holds one against the other.

`meanfluid.learning` needs torch, and is loaded when it is first used.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from meanfluid import fields as fields
from meanfluid.errors import CheckpointError as CheckpointError
from meanfluid.errors import MissingExtraError as MissingExtraError
from meanfluid.errors import TrainingError as TrainingError
from meanfluid.errors import TrajectoryError as TrajectoryError
from meanfluid.fields import Axis as Axis
from meanfluid.fields import VelocityField as VelocityField
from meanfluid.means import Dispersion as Dispersion
from meanfluid.means import LagrangianMeans as LagrangianMeans
from meanfluid.means import ReynoldsAxioms as ReynoldsAxioms
from meanfluid.means import TripleDecomposition as TripleDecomposition
from meanfluid.means import average_velocity as average_velocity
from meanfluid.means import central_moment as central_moment
from meanfluid.means import dispersion as dispersion
from meanfluid.means import ensemble_mean as ensemble_mean
from meanfluid.means import eulerian_mean as eulerian_mean
from meanfluid.means import favre as favre
from meanfluid.means import ftle as ftle
from meanfluid.means import lagrangian_mean as lagrangian_mean
from meanfluid.means import lagrangian_means as lagrangian_means
from meanfluid.means import lavd as lavd
from meanfluid.means import mean_position as mean_position
from meanfluid.means import observed as observed
from meanfluid.means import phase_mean as phase_mean
from meanfluid.means import relabel as relabel
from meanfluid.means import reynolds_axioms as reynolds_axioms
from meanfluid.means import stokes_drift as stokes_drift
from meanfluid.means import taylor_variance as taylor_variance
from meanfluid.means import time_mean as time_mean
from meanfluid.means import triple_decomposition as triple_decomposition
from meanfluid.means import zonal_mean as zonal_mean
from meanfluid.reporting.compare import compare as compare
from meanfluid.reporting.guide import which_average as which_average
from meanfluid.trajectories import Status as Status
from meanfluid.trajectories import Tableau as Tableau
from meanfluid.trajectories import Trajectories as Trajectories
from meanfluid.trajectories import dop853 as dop853
from meanfluid.trajectories import flow_map as flow_map
from meanfluid.trajectories import rk4 as rk4
from meanfluid.trajectories import trajectories as trajectories
from meanfluid.trajectories import tsit5 as tsit5
from meanfluid.trajectories import vern7 as vern7

if TYPE_CHECKING:
    from meanfluid import imaging as imaging
    from meanfluid import learning as learning
    from meanfluid.means import filters as filters
    from meanfluid.means import geometric as geometric
    from meanfluid.means import glm as glm
    from meanfluid.means import lagrangian_pde as lagrangian_pde
    from meanfluid.means import transport as transport
    from meanfluid.means import windows as windows

__version__ = version("meanfluid")


# Loaded when they are first used.
_MODULES = {
    "imaging": "meanfluid.imaging",
    "learning": "meanfluid.learning",
    **{
        name: f"meanfluid.means.{name}"
        for name in ("filters", "geometric", "glm", "lagrangian_pde", "transport", "windows")
    },
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'meanfluid' has no attribute {name!r}")
