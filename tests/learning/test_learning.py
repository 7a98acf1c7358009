"""Small models learn averages known in closed form, from the identity alone, in seconds."""

import pytest
import torch

from meanfluid.learning import (
    MLP,
    Anchors,
    AverageVelocity,
    Box,
    Features,
    UniformTriangle,
    fit,
    material_loss,
    sample,
)
from tests.learning.closed_forms import LINE, PLANE, AffineAverage, affine_velocity

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def trained(velocity, half_width, sampler, steps, tangent="exact"):
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    box = [(-half_width, half_width)] * (1 if velocity == LINE.velocity else 2)
    network = MLP(Features(box), width=32, depth=2, generator=generator)
    model = AverageVelocity(velocity, network, tangent=tangent)
    fit(model, material_loss, sampler, steps=steps, batch=256, generator=generator)
    return model, generator


@pytest.mark.parametrize("tangent, tolerance", [("exact", 0.002), ("free", 0.03)])
def test_the_average_of_an_affine_flow_is_learnt_for_windows_of_either_sign(tangent, tolerance):
    """Three times the error reached with three seeds; v in place of u is wrong by 0.12."""
    sampler = Anchors(Box((-1.0, -1.0), (1.0, 1.0)), UniformTriangle(direction="both"))
    model, generator = trained(affine_velocity, 1.0, sampler, 600, tangent)
    batch = sampler(4000, generator)
    truth = AffineAverage()(**batch)
    with torch.no_grad():
        error = (model(**batch) - truth).norm() / truth.norm()
    assert error < tolerance


@pytest.mark.parametrize("path", [LINE, PLANE], ids=["one dimension", "two dimensions"])
def test_one_jump_of_a_learnt_path_has_the_mean_and_covariance_of_gaussian_data(path):
    """From v alone. Errors of three seeds were below 0.02, half of it from sampling."""

    def along_the_path(n, generator):
        t, s = (time.float() for time in UniformTriangle()(n, generator))
        noise, data = torch.randn(2, n, len(path.mean), generator=generator)
        data = path.mean.float() + (data * path.spread.sqrt().float()) @ path.axes.float().T
        return {"x": (1 - t)[:, None] * data + t[:, None] * noise, "t": t, "s": s}

    model, generator = trained(path.velocity, 3.0, along_the_path, 2000)
    z = sample(model, torch.randn(20_000, len(path.mean), generator=generator))
    torch.testing.assert_close(z.mean(0), path.mean.float(), rtol=0, atol=0.05)
    covariance = torch.cov(z.T).reshape(path.covariance.shape)
    torch.testing.assert_close(covariance, path.covariance.float(), rtol=0, atol=0.05)
