"""What is averaged, over which window, along which path."""

from meanfluid.means.along import eulerian_mean as eulerian_mean
from meanfluid.means.along import lagrangian_mean as lagrangian_mean
from meanfluid.means.coherence import ftle as ftle
from meanfluid.means.coherence import lavd as lavd
