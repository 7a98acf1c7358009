"""Learning average velocities: u(x, t, s), anchor (x, t), free end s of either sign.

The parts: a network, a model around it, a loss that names an equation, a sampler, a loop.
"""

from meanfluid.learning.average_velocity import AverageVelocity as AverageVelocity
from meanfluid.learning.features import Features as Features
from meanfluid.learning.forward_mode import check_jvp as check_jvp
from meanfluid.learning.identity import material_derivative as material_derivative
from meanfluid.learning.identity import material_residual as material_residual
from meanfluid.learning.losses import LossValue as LossValue
from meanfluid.learning.losses import at_rest as at_rest
from meanfluid.learning.losses import endpoint_loss as endpoint_loss
from meanfluid.learning.losses import material_loss as material_loss
from meanfluid.learning.losses import semigroup_loss as semigroup_loss
from meanfluid.learning.losses import supervised_loss as supervised_loss
from meanfluid.learning.networks import MLP as MLP
from meanfluid.learning.pool import Pool as Pool
from meanfluid.learning.pool import exact_pool as exact_pool
from meanfluid.learning.sampling import Anchors as Anchors
from meanfluid.learning.sampling import Box as Box
from meanfluid.learning.sampling import Disc as Disc
from meanfluid.learning.sampling import UniformTriangle as UniformTriangle
from meanfluid.learning.sampling import UniformWindow as UniformWindow
from meanfluid.learning.sampling import sample as sample
from meanfluid.learning.soap import SOAP as SOAP
from meanfluid.learning.steps import Cosine as Cosine
from meanfluid.learning.steps import steps_within as steps_within
from meanfluid.learning.training import Training as Training
from meanfluid.learning.training import fit as fit
