"""Generalised Lagrangian mean: means at mean positions, at any amplitude and to second order.

`ensemble_mean` follows the particles of an ensemble, `orbit_mean` those of a progressive wave;
`grid_mean` and `closed_form_mean` start from known displacements.
"""

from meanfluid.means.glm.algebra import pull_back_mean as pull_back_mean
from meanfluid.means.glm.closed_forms import closed_form_mean as closed_form_mean
from meanfluid.means.glm.grids import GridMean as GridMean
from meanfluid.means.glm.grids import grid_mean as grid_mean
from meanfluid.means.glm.kelvin import Kelvin as Kelvin
from meanfluid.means.glm.kelvin import circulation as circulation
from meanfluid.means.glm.kelvin import kelvin as kelvin
from meanfluid.means.glm.particles import ensemble_mean as ensemble_mean
from meanfluid.means.glm.periods import LagrangianPeriod as LagrangianPeriod
from meanfluid.means.glm.periods import lagrangian_period as lagrangian_period
from meanfluid.means.glm.progressive import orbit_mean as orbit_mean
from meanfluid.means.glm.records import GeneralisedLagrangianMean as GeneralisedLagrangianMean
from meanfluid.means.glm.second_order import density_second_order as density_second_order
from meanfluid.means.glm.second_order import divergence_second_order as divergence_second_order
from meanfluid.means.glm.second_order import (
    pseudomomentum_second_order as pseudomomentum_second_order,
)
from meanfluid.means.glm.second_order import (
    stokes_correction_second_order as stokes_correction_second_order,
)
from meanfluid.means.glm.small_waves import SmallAmplitudeMean as SmallAmplitudeMean
from meanfluid.means.glm.small_waves import small_amplitude_mean as small_amplitude_mean
