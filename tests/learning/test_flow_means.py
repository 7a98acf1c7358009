"""Lagrangian mean, Eulerian mean and Stokes drift of one learner, against closed forms and `mf`."""

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import meanfluid as mf
from meanfluid import learning
from tests.learning.closed_forms import DRIFT, A, AffineAverage, B, affine_velocity, anchors


class BothMeans(nn.Module):
    """What the network must be for the affine flow: (mean - v) / (s - t), both means."""

    def forward(self, x, t, s):
        a, b, c = A.to(x), B.to(x), DRIFT.to(x)
        middle = (t + s)[:, None] / 2  # v is linear in time at a fixed place
        eulerian = (x - c * middle) @ a.T + b + c
        lagrangian = AffineAverage()(x, t, s)
        v = affine_velocity(x, t)
        return torch.cat([lagrangian - v, eulerian - v], dim=1) / (s - t)[:, None]


def test_of_exact_means_the_loss_is_zero_and_a_linear_flow_has_no_drift():
    """The mean of a linear velocity is the velocity at the mean position, so that must be right."""
    model = learning.FlowMeans(affine_velocity, BothMeans())
    x, t, s = anchors(64)
    loss = learning.flow_means_loss(model, x, t=t, s=s)
    assert float(loss.residual) < 1e-12

    place, drift = model.stokes_drift(x, t=t, s=s)
    assert drift.abs().max() < 1e-13
    moved_first = model.eulerian(x, t=t, s=s) - model.lagrangian(x, t=t, s=s)
    assert moved_first.abs().max() > 0.1  # at another place there is a difference
    assert (place - x).abs().max() > 0.1


@pytest.mark.slow
def test_one_training_run_learns_both_means_and_their_difference():
    """On a wave, whose drift is of second order in the amplitude, 0.015 of 0.3."""
    wave = mf.fields.plane_wave()  # of length pi in x, and period 4 pi / 3
    generator = torch.Generator().manual_seed(0)
    features = learning.Features(
        [(0.0, np.pi), (0.0, 1.0)], periodic=[True, False], time_period=4 * np.pi / 3,
        windows=(-1.5, 1.5), harmonics=2,
    )  # fmt: skip
    network = learning.MLP(features, outputs=4, width=32, depth=3, generator=generator)
    model = learning.FlowMeans(wave, network)
    windows = learning.UniformWindow(0.0, 4.2, longest=1.5, direction="both", overhang=True)
    sampler = learning.Anchors(learning.Box((0.0, 0.0), (np.pi, 1.0)), windows)
    learning.fit(
        model, learning.flow_means_loss, sampler, steps=3000, generator=generator, progress=False,
    )  # fmt: skip

    rng = np.random.default_rng(1)
    x = rng.uniform((0, 0), (np.pi, 1), (256, 2))
    t, h = rng.uniform(0, 4, 256), rng.uniform(1, 1.5, 256)
    h *= rng.choice([-1, 1], 256)  # windows of both signs
    at = [torch.as_tensor(a, dtype=torch.float32) for a in (x, t, t + h)]
    options = {"t": at[1], "s": at[2]}
    start, end = np.minimum(t, t + h), np.maximum(t, t + h)
    with torch.no_grad():
        lagrangian, eulerian = model.lagrangian(at[0], **options), model.eulerian(at[0], **options)
        place, drift = model.stokes_drift(at[0], **options)
    displacement = mf.flow_map(wave, x, t, t + h) - x
    assert relative(lagrangian, displacement / h[:, None]) < 0.01
    assert relative(eulerian, mf.eulerian_mean(wave, "velocity", x, start, end)) < 0.01
    expected = mf.stokes_drift(wave, place.double().numpy(), start, end, label="mean")
    assert relative(drift, expected) < 0.1


def small(seed=0):
    features = learning.Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    network = learning.MLP(features, outputs=4, width=12, depth=2, generator=generator)
    return learning.FlowMeans(affine_velocity, network)


def test_the_rows_of_the_loss_are_sums_over_both_means_so_that_weights_can_be_learned():
    model, (x, t, s) = small(), anchors(64)
    value = learning.flow_means_loss(model, x, t=t, s=s, power=0.0, window_power=0.0)
    torch.testing.assert_close(value.rows.mean(), value.loss)
    torch.testing.assert_close((value.rows.mean() / 2).sqrt(), value.residual)

    weights = learning.LearnedWeights(learning.flow_means_loss, offset=1e-9)
    same = weights(model, x, t=t, s=s)  # before anything is learned
    torch.testing.assert_close(same.loss, value.loss + 1e-9)
    plain, found = (torch.autograd.grad(v.loss, list(model.parameters())) for v in (value, same))
    torch.testing.assert_close(found, plain)
    assert all(g.abs().max() > 1e-6 for g in plain)

    optimiser = torch.optim.SGD([*model.parameters(), *weights.parameters()], lr=1e-2)
    box = learning.Box((-2.0, -2.0), (2.0, 2.0))
    sampler = learning.Anchors(box, learning.UniformTriangle(), dtype=torch.float64)
    learning.fit(
        model, weights, sampler, steps=1, batch=16, optimiser=optimiser,
        generator=torch.Generator().manual_seed(1), progress=False,
    )  # fmt: skip
    assert (weights.coefficients != 0).all()


def test_in_several_processes_it_is_refused():
    distributed.init_process_group(
        "gloo", store=distributed.HashStore(), rank=0, world_size=1
    )  # fmt: skip
    try:
        model, (x, t, s) = DistributedDataParallel(small()), anchors(4)
        with pytest.raises(ValueError, match="FlowMeans is trained in one process"):
            learning.flow_means_loss(model, x, t=t, s=s)
    finally:
        distributed.destroy_process_group()


def test_a_network_of_an_odd_number_of_outputs_is_refused():
    features = learning.Features([(0.0, 1.0)])
    network = learning.MLP(features, outputs=3, generator=torch.Generator().manual_seed(0))
    model = learning.FlowMeans(lambda x, t: torch.sin(x), network)
    with pytest.raises(ValueError, match="twice as many outputs"):
        model.lagrangian(torch.zeros(2, 1), t=0.0, s=1.0)


def relative(learned, exact):
    return np.linalg.norm(learned.double().numpy() - exact) / np.linalg.norm(exact)
