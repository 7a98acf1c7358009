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
from meanfluid.means import eulerian_mean as eulerian_mean
from meanfluid.means import ftle as ftle
from meanfluid.means import lagrangian_mean as lagrangian_mean
from meanfluid.means import lavd as lavd
from meanfluid.reporting.compare import compare as compare
from meanfluid.trajectories import Status as Status
from meanfluid.trajectories import Tableau as Tableau
from meanfluid.trajectories import Trajectories as Trajectories
from meanfluid.trajectories import average_velocity as average_velocity
from meanfluid.trajectories import dop853 as dop853
from meanfluid.trajectories import flow_map as flow_map
from meanfluid.trajectories import rk4 as rk4
from meanfluid.trajectories import trajectories as trajectories
from meanfluid.trajectories import tsit5 as tsit5
from meanfluid.trajectories import vern7 as vern7

if TYPE_CHECKING:
    from meanfluid import learning as learning

__version__ = version("meanfluid")


def __getattr__(name: str) -> Any:
    if name == "learning":
        return importlib.import_module("meanfluid.learning")
    raise AttributeError(f"module 'meanfluid' has no attribute {name!r}")
