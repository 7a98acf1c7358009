r"""Means of flow maps as geometry has them, on the flat torus and on manifolds in closed form.

An ensemble of flow maps has more than one mean: `mean_map` finds five, by names that say what each
is. `pull_back` and its relatives see fields through a map, `mean_velocity` is the velocity of a
mean map. Maps are `TorusMap`, displacements on a periodic grid in two dimensions; or Datasets of
such displacements, whose means are Datasets.

`group_exponential_mean`, `unimodular_mean`, `rotation_mean` and `sphere_mean` are the same means
where maps are linear, or rotations, or act on a sphere.
"""

from meanfluid.means.geometric.calculus import advection as advection
from meanfluid.means.geometric.calculus import curl as curl
from meanfluid.means.geometric.calculus import divergence as divergence
from meanfluid.means.geometric.calculus import gradient as gradient
from meanfluid.means.geometric.calculus import leray as leray
from meanfluid.means.geometric.calculus import mesh as mesh
from meanfluid.means.geometric.calculus import pulled_back as pulled_back
from meanfluid.means.geometric.euler import euler_exp as euler_exp
from meanfluid.means.geometric.euler import euler_log as euler_log
from meanfluid.means.geometric.exponential import Logarithm as Logarithm
from meanfluid.means.geometric.exponential import exp as exp
from meanfluid.means.geometric.exponential import log as log
from meanfluid.means.geometric.manifolds import group_exponential_mean as group_exponential_mean
from meanfluid.means.geometric.manifolds import rotation_mean as rotation_mean
from meanfluid.means.geometric.manifolds import sphere_mean as sphere_mean
from meanfluid.means.geometric.manifolds import unimodular_mean as unimodular_mean
from meanfluid.means.geometric.mean_maps import MeanMap as MeanMap
from meanfluid.means.geometric.mean_maps import deviations as deviations
from meanfluid.means.geometric.mean_maps import mean_map as mean_map
from meanfluid.means.geometric.pull_back import pull_back as pull_back
from meanfluid.means.geometric.pull_back import pull_back_mean as pull_back_mean
from meanfluid.means.geometric.pull_back import push_forward as push_forward
from meanfluid.means.geometric.torus import TorusMap as TorusMap
from meanfluid.means.geometric.velocities import corrected_scalar as corrected_scalar
from meanfluid.means.geometric.velocities import corrected_velocity as corrected_velocity
from meanfluid.means.geometric.velocities import mean_velocity as mean_velocity
from meanfluid.means.geometric.velocities import second_order_shift as second_order_shift
