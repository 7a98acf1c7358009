"""The calculus of `meanfluid.means.periodic` and `meanfluid.means.pull_back`, for arrays alone."""

from meanfluid.means import periodic
from meanfluid.means import pull_back as points
from meanfluid.means.geometric.datasets import arrays_only

_on_grid = arrays_only("arrays (..., nx, ny)")

advection = _on_grid(periodic.advection)
curl = _on_grid(periodic.curl)
divergence = _on_grid(periodic.divergence)
gradient = _on_grid(periodic.gradient)
leray = _on_grid(periodic.leray)
mesh = _on_grid(periodic.mesh)
pulled_back = arrays_only("arrays at points; geometric.pull_back and glm.pull_back_mean Datasets")(
    points.pulled_back
)
