"""Lagrangian means on grids by partial differential equations, without particles."""

from meanfluid.means.lagrangian_pde.flows import interpolated as interpolated
from meanfluid.means.lagrangian_pde.grids import Grid as Grid
from meanfluid.means.lagrangian_pde.interpolants import FourierSeries as FourierSeries
from meanfluid.means.lagrangian_pde.interpolants import GridSpline as GridSpline
from meanfluid.means.lagrangian_pde.kernels import RationalFilter as RationalFilter
from meanfluid.means.lagrangian_pde.kernels import WindowKernel as WindowKernel
from meanfluid.means.lagrangian_pde.kernels import butterworth as butterworth
from meanfluid.means.lagrangian_pde.kernels import exponential as exponential
from meanfluid.means.lagrangian_pde.mean_label import RunningMeanLabel as RunningMeanLabel
from meanfluid.means.lagrangian_pde.on_grid import mean_on_grid as mean_on_grid
from meanfluid.means.lagrangian_pde.remap import remapped as remapped
from meanfluid.means.lagrangian_pde.results import GriddedMean as GriddedMean
from meanfluid.means.lagrangian_pde.running import MeanState as MeanState
from meanfluid.means.lagrangian_pde.running import RunningMean as RunningMean
from meanfluid.means.lagrangian_pde.semi_lagrangian import SemiLagrangian as SemiLagrangian
from meanfluid.means.lagrangian_pde.spectral import Spectral as Spectral
from meanfluid.means.lagrangian_pde.transport import Transport as Transport
