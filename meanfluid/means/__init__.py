"""What is averaged, over which window, along which path."""

from meanfluid.means.along import eulerian_mean as eulerian_mean
from meanfluid.means.along import lagrangian_mean as lagrangian_mean
from meanfluid.means.average_velocity import average_velocity as average_velocity
from meanfluid.means.axioms import ReynoldsAxioms as ReynoldsAxioms
from meanfluid.means.axioms import reynolds_axioms as reynolds_axioms
from meanfluid.means.coherence import ftle as ftle
from meanfluid.means.coherence import lavd as lavd
from meanfluid.means.dispersion import Dispersion as Dispersion
from meanfluid.means.dispersion import dispersion as dispersion
from meanfluid.means.dispersion import taylor_variance as taylor_variance
from meanfluid.means.eulerian import ensemble_mean as ensemble_mean
from meanfluid.means.eulerian import phase_mean as phase_mean
from meanfluid.means.eulerian import time_mean as time_mean
from meanfluid.means.eulerian import zonal_mean as zonal_mean
from meanfluid.means.labels import LagrangianMeans as LagrangianMeans
from meanfluid.means.labels import lagrangian_means as lagrangian_means
from meanfluid.means.labels import mean_position as mean_position
from meanfluid.means.labels import relabel as relabel
from meanfluid.means.moments import TripleDecomposition as TripleDecomposition
from meanfluid.means.moments import central_moment as central_moment
from meanfluid.means.moments import favre as favre
from meanfluid.means.moments import triple_decomposition as triple_decomposition
from meanfluid.means.observed import observed as observed
from meanfluid.means.stokes import stokes_drift as stokes_drift
