"""Samplers of times against their distributions in closed form, and schedules."""

import math

import pytest
import torch
from scipy import stats

from meanfluid.learning.anchors import Anchors, Box
from meanfluid.learning.schedules import Ramp, Scheduled, Sigmoid, current
from meanfluid.learning.times import (
    Curriculum,
    Density,
    LogitNormal,
    Queried,
    Shortened,
    UniformTriangle,
    UniformWindow,
    uniform,
)

N = 20_000
SMALLEST = 1e-3  # p-value; the draws are fixed by their seeds


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def agrees(values, distribution):
    return bool(stats.kstest(values.numpy(), distribution).pvalue > SMALLEST)


def likely_late(t, s):
    return t * (1 + 0 * s)


@pytest.mark.parametrize("direction, sign", [("backward", -1), ("forward", 1), ("both", 0)])
def test_logit_normal_pairs_are_two_draws_in_order(direction, sign):
    """The later of two draws has the distribution function F^2, the earlier 1 - (1 - F)^2."""
    t, s = LogitNormal(-0.4, 1.2, 1.0, 3.0, direction)(N, seeded())

    def one(times):
        return stats.norm.cdf((_logit((times - 1) / 2) + 0.4) / 1.2)

    assert agrees(torch.maximum(t, s), lambda times: one(times) ** 2)
    assert agrees(torch.minimum(t, s), lambda times: 1 - (1 - one(times)) ** 2)
    assert ((s > t).double() - (s < t).double()).mean() == pytest.approx(sign, abs=0.02)
    if direction == "both":
        assert agrees(t, one) and agrees(s, one)


def _logit(share):
    return torch.logit(torch.as_tensor(share)).numpy()


def test_the_published_times_of_images_hardly_see_the_whole_interval():
    t, s = LogitNormal()(200_000, seeded())
    assert (t - s).mean() == pytest.approx(0.233, abs=0.002)
    assert (t - s > 0.9).double().mean() < 1e-4


DIRECTIONS = {
    # density t on the triangle s < t, on s > t, and on the square, from 0 to 1
    "backward": (lambda t: t**3, lambda s: 1.5 * s - s**3 / 2),
    "forward": (lambda t: 3 * t**2 - 2 * t**3, lambda s: s**3),
    "both": (lambda t: t**2, lambda s: s),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_density_is_drawn_from_its_integrals(direction):
    t, s = Density(likely_late, direction=direction)(N, seeded())
    of_t, of_s = DIRECTIONS[direction]
    assert agrees(t, of_t) and agrees(s, of_s)
    assert {"backward": t > s, "forward": t < s, "both": t != s}[direction].all()


def test_a_constant_density_is_the_uniform_triangle_but_for_the_cells_of_the_table():
    t, s = Density(lambda t, s: torch.ones_like(t), 2.0, 5.0, resolution=4)(N, seeded())
    assert t.max() <= 5 and s.min() >= 2 and (s < t).all()
    assert not agrees((t - 2) / 3, lambda t: t**2)  # the density of t in four steps
    t, s = Density(lambda t, s: torch.ones_like(t), 2.0, 5.0)(N, seeded())
    assert agrees((t - s) / 3, lambda h: 2 * h - h**2)
    assert agrees((t - 2) / 3, lambda t: t**2)


def test_a_density_that_vanishes_draws_nothing_there():
    def late_and_short(t, s):
        return ((t > 0.5) & (t - s < 0.25)).double()

    t, s = Density(late_and_short)(N, seeded())
    cell = 1 / 256
    assert t.min() > 0.5 - cell and (t - s).max() < 0.25 + 2 * cell
    assert agrees(t, lambda t: (t - 0.5) / 0.5)


@pytest.mark.parametrize(
    "sampler",
    [
        UniformTriangle(diagonal=0.3),
        LogitNormal(diagonal=0.3),
        UniformWindow(0.0, 1.0, 0.5, diagonal=0.3),
        Density(likely_late, diagonal=0.3),
        Shortened(UniformTriangle(diagonal=0.3), 0.1),
        Queried(UniformTriangle(diagonal=0.3), share=0.0),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_every_sampler_takes_its_share_of_empty_windows_and_follows_its_seed(sampler):
    t, s = sampler(N, seeded())
    assert (t == s).double().mean() == pytest.approx(0.3, abs=0.012)
    same, other = sampler(N, seeded()), sampler(N, seeded(1))
    assert torch.equal(t, same[0]) and torch.equal(s, same[1]) and not torch.equal(t, other[0])
    assert t.dtype == torch.float64


def test_a_share_of_rows_is_at_the_windows_that_are_asked_for():
    pairs = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.25))
    sampler = Queried(UniformTriangle(diagonal=0.25), pairs, share=0.3)
    t, s = sampler(N, seeded())
    here = torch.stack([(t == a) & (s == b) for a, b in pairs])
    assert here.double().mean(1).tolist() == pytest.approx([0.1] * 3, abs=0.008)
    others = ~here.any(0)
    assert agrees(t[others & (t != s)], lambda t: t**2)
    assert (t == s)[others].double().mean() == pytest.approx(0.25, abs=0.015)
    first = here.any(0)[: N // 2].double().mean()
    assert first == pytest.approx(0.3, abs=0.02)  # anywhere in the batch


def test_all_rows_may_be_asked_for():
    t, s = Queried(UniformTriangle(), share=1.0)(100, seeded())
    assert (t == 1).all() and (s == 0).all()


def test_even_batches_take_any_sampler_of_times():
    queried = Queried(Density(likely_late), share=0.25)
    batch = Anchors(Box((0.0,), (1.0,)), queried, dtype=torch.float64)(512, seeded())
    asked = (batch["t"] == 1) & (batch["s"] == 0)
    assert asked.sum() == pytest.approx(128, abs=1)
    free = batch["t"][~asked].sort().values ** 3
    expected = (torch.arange(len(free)) + 0.5) / len(free)
    assert (free - expected).abs().max() < 0.02  # 0.044 for independent draws


def test_windows_grow_along_a_curriculum_and_keep_their_free_end():
    base = UniformTriangle(0.0, 2.0, diagonal=0.2)
    curriculum = Curriculum(base, first=0.1, until=0.5)
    numbers = uniform(N, 3, seeded())
    t, s = base.place(numbers)
    for progress, share in [(0.0, 0.1), (0.25, 0.55), (0.5, 1.0), (0.9, 1.0)]:
        near, end = curriculum.at(progress).place(numbers)
        torch.testing.assert_close(near - end, share * (t - s))
        assert torch.equal(end, s)
        assert ((near == end) == (t == s)).all()
    assert curriculum.at(0.5) is base


def test_schedules_of_times_reach_through_what_is_around_them():
    anchors = Anchors(Box((0.0,), (1.0,)), Queried(Curriculum(UniformTriangle()), share=0.5))
    early, late = anchors.at(0.0)(4000, seeded()), anchors.at(0.6)(4000, seeded())
    for batch, mean in ((early, 0.1 / 3), (late, 1 / 3)):
        t, s = batch["t"], batch["s"]
        asked = (t == 1) & (s == 0)
        assert asked.double().mean() == pytest.approx(0.5, abs=0.001)
        assert (t - s)[~asked].mean() == pytest.approx(mean, rel=0.03)
    still = Anchors(Box((0.0,), (1.0,)), UniformTriangle())
    assert still.at(0.3) is still
    with pytest.raises(ValueError, match=r"Curriculum changes along a run .* .at\(progress\)"):
        Curriculum(UniformTriangle())(5, seeded())
    with pytest.raises(ValueError, match=r"Queried changes along a run .* .at\(progress\)"):
        Queried(Curriculum(UniformTriangle()))(5, seeded())


def test_the_sigmoid_of_alpha_flow_goes_from_one_to_zero_and_stays_there():
    alpha = Sigmoid()
    assert alpha(0.0) == 1.0 and alpha(0.99) == 0.0
    for progress in (0.4, 0.5, 0.63):
        assert alpha(progress) == pytest.approx(1 / (1 + math.exp(25 * (progress - 0.5))))
    edge = 0.5 + math.log(199) / 25  # where it is 0.005
    assert alpha(edge - 1e-6) == pytest.approx(0.005, rel=1e-3) and alpha(edge + 1e-6) == 0.0
    assert alpha(1 - edge - 1e-6) == 1.0
    assert Sigmoid(start=0.5)(0.75) == 0.5 and Sigmoid(3.0, 5.0)(0.5) == 4.0


def test_a_ramp_is_straight_between_its_ends():
    ramp = Ramp(2.0, 1.0, start=0.2, end=0.6)
    assert [ramp(p) for p in (0.0, 0.2, 0.3, 0.6, 1.0)] == pytest.approx([2, 2, 1.75, 1, 1])


def test_a_scheduled_loss_has_the_options_of_its_share_of_the_run():
    def loss(model, *, alpha, beta=1.0):
        return model, alpha, beta

    scheduled = Scheduled(loss, alpha=Ramp(1.0, 0.0))
    assert scheduled.at(0.25)("model") == ("model", 0.75, 1.0)
    inner = Scheduled(scheduled, beta=Ramp(0.0, 4.0))
    assert inner.at(0.5)("model") == ("model", 0.5, 2.0)
    assert current(loss, 0.5) is loss
    with pytest.raises(ValueError, match=r"Scheduled changes along a run .* \.at\(progress\)"):
        scheduled("model")


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: LogitNormal(deviation=0.0), "deviation must be positive, got 0.0"),
        (lambda: LogitNormal(start=1.0), "start < end, got 1.0 and 1.0"),
        (lambda: Density(lambda t, s: s - t), "finite and not negative, .* from -"),
        (lambda: Density(lambda t, s: 0 * t), "positive somewhere"),
        (lambda: Density(lambda t, s: t / 0), "must be finite"),
        (lambda: Density(lambda t, s: t[:5]), r"like t, got torch.Size\(\[5\]\)"),
        (lambda: Density(lambda t, s: 1.0), "like t, got float"),
        (lambda: Density(likely_late, resolution=0), "at least 1, got 0"),
        (lambda: Queried(UniformTriangle(), share=1.5), "between 0 and 1, got 1.5"),
        (lambda: Queried(UniformTriangle(), pairs=()), "at least one"),
        (lambda: Queried(lambda n, g: None), "place and columns"),
        (lambda: Curriculum(lambda n, g: None), "place and columns"),
        (lambda: Curriculum(UniformTriangle(), until=0.0), "got 0.1 and 0.0"),
        (lambda: Shortened(UniformTriangle(), 2.0), "between 0 and 1, got 2.0"),
        (lambda: Ramp(0.0, 1.0, start=0.5, end=0.5), "got 0.5 and 0.5"),
        (lambda: Sigmoid(clamp=0.5), "got 25.0 and 0.5"),
        (lambda: Scheduled(print, alpha=0.5), "alpha must be a function of progress, got 0.5"),
    ],
)
def test_times_and_schedules_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
