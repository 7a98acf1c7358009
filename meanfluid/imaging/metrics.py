"""Metrics of generated samples, by name; none needs a download.

A metric takes two sets of samples, real ones first where the order matters, of any shape per
sample, and computes in float64. No value means anything by itself: `noise_floor` gives what
the metric says of two sets of real samples of the same sizes.
"""

from meanfluid.imaging.distances import TwoSample as TwoSample
from meanfluid.imaging.distances import energy_distance as energy_distance
from meanfluid.imaging.distances import median_distance as median_distance
from meanfluid.imaging.distances import mmd as mmd
from meanfluid.imaging.distances import noise_floor as noise_floor
from meanfluid.imaging.distances import per_class as per_class
from meanfluid.imaging.distances import sliced_wasserstein as sliced_wasserstein
from meanfluid.imaging.manifolds import DensityCoverage as DensityCoverage
from meanfluid.imaging.manifolds import PCAFeatures as PCAFeatures
from meanfluid.imaging.manifolds import PrecisionRecall as PrecisionRecall
from meanfluid.imaging.manifolds import density_coverage as density_coverage
from meanfluid.imaging.manifolds import frechet_distance as frechet_distance
from meanfluid.imaging.manifolds import pca_features as pca_features
from meanfluid.imaging.manifolds import precision_recall as precision_recall
from meanfluid.imaging.snapshots import ShellSpectrum as ShellSpectrum
from meanfluid.imaging.snapshots import increments as increments
from meanfluid.imaging.snapshots import rms_divergence as rms_divergence
from meanfluid.imaging.snapshots import shell_spectrum as shell_spectrum
from meanfluid.imaging.snapshots import spectrum_difference as spectrum_difference
from meanfluid.imaging.snapshots import structure_function as structure_function
