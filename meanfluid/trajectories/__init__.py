"""How particles move: flow maps and averages along trajectories."""

from meanfluid.trajectories.control import Status as Status
from meanfluid.trajectories.flow_map import flow_map as flow_map
from meanfluid.trajectories.flow_map import trajectories as trajectories
from meanfluid.trajectories.results import Trajectories as Trajectories
from meanfluid.trajectories.tableaux import Tableau as Tableau
from meanfluid.trajectories.tableaux import dop853 as dop853
from meanfluid.trajectories.tableaux import rk4 as rk4
from meanfluid.trajectories.tableaux import tsit5 as tsit5
from meanfluid.trajectories.tableaux import vern7 as vern7
