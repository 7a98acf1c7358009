"""Learning average velocities: u(x, t, s), anchor (x, t), free end s of either sign.

The parts: a network, a model around it, a loss that names an equation, a sampler, a loop.
"""

from meanfluid.learning.anchors import Anchors as Anchors
from meanfluid.learning.anchors import Box as Box
from meanfluid.learning.anchors import Disc as Disc
from meanfluid.learning.average_velocity import AverageVelocity as AverageVelocity
from meanfluid.learning.families import back_trace_loss as back_trace_loss
from meanfluid.learning.families import bootstrap_loss as bootstrap_loss
from meanfluid.learning.families import picard_loss as picard_loss
from meanfluid.learning.features import Features as Features
from meanfluid.learning.flow_means import Drift as Drift
from meanfluid.learning.flow_means import FlowMeans as FlowMeans
from meanfluid.learning.flow_means import flow_means_loss as flow_means_loss
from meanfluid.learning.forward_mode import JvpCheck as JvpCheck
from meanfluid.learning.forward_mode import check_jvp as check_jvp
from meanfluid.learning.generation import Guidance as Guidance
from meanfluid.learning.generation import NoisePath as NoisePath
from meanfluid.learning.generation import generative_loss as generative_loss
from meanfluid.learning.identity import material_derivative as material_derivative
from meanfluid.learning.identity import material_residual as material_residual
from meanfluid.learning.losses import LossValue as LossValue
from meanfluid.learning.losses import at_rest as at_rest
from meanfluid.learning.losses import by_window as by_window
from meanfluid.learning.losses import endpoint_loss as endpoint_loss
from meanfluid.learning.losses import material_loss as material_loss
from meanfluid.learning.losses import semigroup_loss as semigroup_loss
from meanfluid.learning.losses import supervised_loss as supervised_loss
from meanfluid.learning.mixtures import LearnedWeights as LearnedWeights
from meanfluid.learning.mixtures import Mixture as Mixture
from meanfluid.learning.mixtures import Part as Part
from meanfluid.learning.networks import MLP as MLP
from meanfluid.learning.pool import Pool as Pool
from meanfluid.learning.pool import exact_pool as exact_pool
from meanfluid.learning.sampling import SamplePath as SamplePath
from meanfluid.learning.sampling import sample as sample
from meanfluid.learning.sampling import sample_path as sample_path
from meanfluid.learning.schedules import Ramp as Ramp
from meanfluid.learning.schedules import Scheduled as Scheduled
from meanfluid.learning.schedules import Sigmoid as Sigmoid
from meanfluid.learning.soap import SOAP as SOAP
from meanfluid.learning.steps import Cosine as Cosine
from meanfluid.learning.steps import steps_within as steps_within
from meanfluid.learning.times import Curriculum as Curriculum
from meanfluid.learning.times import Density as Density
from meanfluid.learning.times import LogitNormal as LogitNormal
from meanfluid.learning.times import Queried as Queried
from meanfluid.learning.times import UniformTriangle as UniformTriangle
from meanfluid.learning.times import UniformWindow as UniformWindow
from meanfluid.learning.training import Training as Training
from meanfluid.learning.training import fit as fit
