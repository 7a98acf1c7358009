"""Distributions of the samplers of anchors, and pools of exact averages."""

import pytest
import torch

from meanfluid.fields import VelocityField, double_gyre
from meanfluid.learning import (
    Anchors,
    Box,
    Disc,
    UniformTriangle,
    UniformWindow,
    exact_pool,
)

N = 40_000  # standard errors of means below are about 1/200 of the spread


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("direction, sign", [("backward", -1), ("forward", 1), ("both", 0)])
def test_pairs_are_uniform_on_the_triangle(direction, sign):
    t, s = UniformTriangle(1.0, 3.0, direction)(N, seeded())
    assert torch.minimum(t, s).min() >= 1 and torch.maximum(t, s).max() <= 3
    length = (s - t).abs()
    assert length.mean() == pytest.approx(2 / 3, abs=0.01)  # density 2 (1 - l / 2) / 2 on [0, 2]
    assert torch.maximum(t, s).mean() == pytest.approx(1 + 4 / 3, abs=0.01)
    share = ((s > t).double() - (s < t).double()).mean()
    assert share == pytest.approx(sign, abs=0.02)


@pytest.mark.parametrize("direction, sign", [("backward", -1), ("forward", 1), ("both", 0)])
@pytest.mark.parametrize("overhang", [False, True])
def test_for_every_free_end_durations_are_uniform_in_the_room_there_is(direction, sign, overhang):
    """So that anchors are seen all the way from the free end."""
    t, s = UniformWindow(2.0, 6.0, 1.5, direction, overhang=overhang)(N, seeded())
    assert s.min() >= 2 and s.max() <= 6
    assert s.mean() == pytest.approx(4.0, abs=0.03)
    room = torch.where(s > t, s - 2, 6 - s).clamp_max(1.5) if not overhang else 1.5
    share = (s - t).abs() / room
    assert share.min() >= 0 and share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(1 / 12, rel=0.02)
    assert torch.corrcoef(torch.stack([share, s]))[0, 1].abs() < 0.02
    outside = ((t < 2) | (t > 6)).double().mean()
    assert (outside > 0.15) if overhang else (outside == 0)
    assert ((s > t).double() - (s < t).double()).mean() == pytest.approx(sign, abs=0.02)


def test_an_even_batch_has_the_distribution_of_an_independent_one_and_less_noise():
    place = Box((0.0, 0.0), (1.0, 1.0)), UniformTriangle()
    spread = {}
    for kind in (True, False):
        sampler, generator = Anchors(*place, even=kind, dtype=torch.float64), seeded()
        batches = [sampler(512, generator) for _ in range(200)]
        means = torch.stack(
            [(b["x"][:, 0] * b["x"][:, 1] * (b["t"] - b["s"])).mean() for b in batches]
        )
        assert means.mean() == pytest.approx(1 / 12, abs=4 * float(means.std()) / 200**0.5)
        spread[kind] = means.std()
    assert spread[True] < 0.2 * spread[False]


def test_the_diagonal_takes_the_fraction_asked_for():
    t, s = UniformTriangle(diagonal=0.25)(N, seeded())
    assert (t == s).double().mean() == pytest.approx(0.25, abs=0.01)


def test_positions_are_uniform_in_box_and_disc():
    box = Box((-1.0, 2.0), (3.0, 2.5))(N, seeded())
    assert box.mean(0).tolist() == pytest.approx([1.0, 2.25], abs=0.02)
    assert box.var(0).tolist() == pytest.approx([16 / 12, 0.25 / 12], rel=0.03)
    disc = Disc((1.0, -1.0), 2.0)(N, seeded()) - torch.tensor([1.0, -1.0])
    assert disc.norm(dim=1).max() <= 2
    assert disc.square().sum(1).mean() == pytest.approx(2.0, abs=0.02)  # R^2 / 2
    assert disc.mean(0).abs().max() < 0.02


def test_draws_follow_the_seed():
    sampler = Anchors(Box.of(double_gyre()), UniformTriangle())
    one, same, other = (sampler(5, seeded(k)) for k in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in "xts")
    assert not torch.equal(one["x"], other["x"])
    assert one["x"].dtype == torch.float32


def test_an_exact_pool_holds_the_averages_of_its_anchors():
    calls = {}

    def integrate(field, position, start, end, *, label, rtol):
        calls.update(label=label, rtol=rtol)
        return position + (end - start)[:, None]

    pool = exact_pool(
        double_gyre(), Box((0.0, 0.0), (2.0, 1.0)), UniformTriangle(), 100, seeded(),
        exact=integrate, rtol=1e-6, dtype=torch.float64,
    )  # fmt: skip
    torch.testing.assert_close(pool.mean, pool.x + (pool.s - pool.t)[:, None])
    assert calls == {"label": "initial", "rtol": 1e-6}
    batches = [pool(30, seeded(k)) for k in range(20)]
    for batch in batches:
        torch.testing.assert_close(batch["mean"], batch["x"] + (batch["s"] - batch["t"])[:, None])
    assert len({float(batch["t"][0]) for batch in batches}) == 3  # runs of 30 in 100
    with pytest.raises(ValueError, match="a batch of 101 is more than the 100 rows"):
        pool(101, seeded())


def test_a_pool_with_a_failed_trajectory_is_refused():
    def integrate(field, position, start, end, *, label):
        return torch.where(torch.arange(10) == 3, torch.nan, torch.ones(10))[:, None].expand(10, 2)

    with pytest.raises(ValueError, match="1 of 10 averages are not finite, first at position"):
        exact_pool(double_gyre(), Disc(), UniformTriangle(), 10, seeded(), exact=integrate)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: UniformTriangle(1.0, 0.0), "start < end, got 1.0 and 0.0"),
        (lambda: UniformTriangle(direction="up"), "got 'up'"),
        (lambda: UniformTriangle(diagonal=1.5), "between 0 and 1, got 1.5"),
        (lambda: UniformWindow(0.0, 1.0, 2.0), "fit between start and end, 1.0, got 2.0"),
        (lambda: UniformWindow(0.0, 1.0, 0.0, overhang=True), "positive .* got 0.0"),
        (lambda: Box((0.0,), (0.0,)), "lower < upper"),
        (lambda: Box((0.0, 1.0), (2.0,)), "lower < upper"),
        (lambda: Disc(radius=0.0), "positive, got 0.0"),
        (lambda: Box.of(VelocityField(body=lambda *_: (0.0,), dimension=1)), "has no domain"),
        (lambda: exact_pool(None, Disc(), UniformTriangle(), 0, seeded()), "at least 1, got 0"),
    ],
)
def test_samplers_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
