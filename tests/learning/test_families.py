"""Losses that step along the trajectory: limits, orders, frozen targets, teachers, images."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from meanfluid.learning import MLP, AverageVelocity, Features, material_loss, semigroup_loss
from meanfluid.learning.families import back_trace_loss, bootstrap_loss, collocation, picard_loss
from meanfluid.learning.identity import free_end_derivative
from meanfluid.learning.losses import by_window, endpoint_loss, supervised_loss
from tests.learning.closed_forms import (
    AffineAverage,
    GrowingImages,
    Wrapped,
    affine_velocity,
    anchors,
)

X, T, S = anchors(48)
BATCH = {"x": X, "t": T, "s": S}
WINDOW = (S - T)[:, None]
V = affine_velocity(X, T)
MEAN = AffineAverage()(X, T, S)
EXACT = AverageVelocity(affine_velocity, AffineAverage(), tangent="free")
EMPTY = torch.arange(48) % 3 == 0
PARTLY = BATCH | {"s": torch.where(EMPTY, T, S)}


def learner(seed=5, tangent="exact", velocity=affine_velocity):
    generator = torch.Generator().manual_seed(seed)
    features = Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    network = MLP(features, width=12, depth=2, generator=generator)
    return AverageVelocity(velocity, network, tangent=tangent)


def gradient(model, loss):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])


def relative_square(difference, reference):
    return difference.square().sum(-1).mean() / reference.square().sum(-1).mean()


EXACT_LOSSES = {
    "picard": partial(picard_loss, nodes=14),
    "picard of itself": partial(picard_loss, nodes=14, velocity="self"),
    "endpoint of itself": partial(endpoint_loss, velocity="self"),
    "semigroup by a teacher": partial(semigroup_loss, teacher=EXACT),
    "bootstrap": partial(bootstrap_loss, steps=40),
    "bootstrap of itself": partial(bootstrap_loss, steps=40, velocity="self"),
    "bootstrap over all": partial(bootstrap_loss, steps=160, share=1.0),
}


@pytest.mark.parametrize("name", EXACT_LOSSES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_exact_average_has_no_residual(name, sign):
    rows = (S - T) * sign > 0
    assert rows.sum() > 15
    value = EXACT_LOSSES[name](EXACT, X[rows], t=T[rows], s=S[rows])
    assert value.residual < (1e-9 if "bootstrap" in name else 1e-13)
    assert EXACT_LOSSES[name](learner(), **BATCH).residual > 0.02


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_residual_of_the_exact_average_under_back_traces_is_of_first_order(sign):
    rows = (S - T) * sign > 0
    first, second, third = (
        float(back_trace_loss(EXACT, X[rows], t=T[rows], s=S[rows], alpha=alpha).residual)
        for alpha in (1e-2, 1e-3, 1e-4)
    )
    assert first < 0.02
    assert first / second == pytest.approx(10, rel=0.02)
    assert second / third == pytest.approx(10, rel=0.002)


@pytest.mark.parametrize("tangent", ["exact", "free"])
def test_back_traces_tend_to_the_material_loss(tangent):
    model = learner(tangent=tangent)
    material = material_loss(model, **BATCH, grad_through_jvp=0.0)
    wanted = gradient(model, material.loss)
    away = []
    for alpha in (1e-2, 1e-3, 1e-4):
        value = back_trace_loss(model, **BATCH, alpha=alpha)
        away.append([
            float((gradient(model, value.loss) - wanted).norm() / wanted.norm()),
            float((value.residual - material.residual).abs()),
        ])  # fmt: skip
    for coarse, fine in pairwise(away):
        assert [a / b for a, b in zip(coarse, fine, strict=True)] == pytest.approx(
            [10, 10], rel=0.1
        )
    limit = back_trace_loss(model, **BATCH, alpha=0)
    assert limit[:2] == material[:2]


def test_a_back_trace_over_the_whole_window_is_flow_matching_of_trajectories():
    model = learner()
    value = back_trace_loss(model, **BATCH, alpha=1.0, power=0.0, window_power=0.0)
    expected = relative_square(model(**BATCH) - V, V)
    torch.testing.assert_close(value.loss, expected)
    torch.testing.assert_close(gradient(model, value.loss), gradient(model, expected))


def frozen_back_trace(model, alpha=0.3):
    later = T + alpha * (S - T)
    after = model(X + alpha * WINDOW * V, t=later, s=S).detach()
    return (alpha * V + (1 - alpha) * after), V, alpha


def frozen_bootstrap(model, share=0.25):
    """The exact step in place of 20 Runge-Kutta steps."""
    later = T + share * (S - T)
    first = AffineAverage()(X, T, later)
    after = model(X + share * WINDOW * first, t=later, s=S).detach()
    return (share * first + (1 - share) * after), first, share


@pytest.mark.parametrize(
    "loss, frozen",
    [
        (partial(back_trace_loss, alpha=0.3, window_power=0.0), frozen_back_trace),
        (partial(bootstrap_loss, share=0.25, steps=20), frozen_bootstrap),
    ],
    ids=["back trace", "bootstrap"],
)
def test_the_gradient_is_that_of_a_target_frozen_by_hand_over_the_share(loss, frozen):
    model = learner()
    target, first, share = frozen(model)
    square = relative_square(model(**BATCH) - target, first)
    value = loss(model, **BATCH, power=0.0)
    torch.testing.assert_close(value.loss, square / share**2, rtol=1e-8, atol=0)
    torch.testing.assert_close(
        gradient(model, value.loss), gradient(model, square / share), rtol=1e-7, atol=1e-10
    )


@pytest.mark.parametrize("teacher", [None, EXACT])
def test_the_gradient_of_picard_is_that_of_targets_frozen_by_hand(teacher):
    model, known = learner(), teacher or learner()
    places, integrals = (torch.from_numpy(a) for a in collocation(3))
    with torch.no_grad():
        values = [V]
        for c in places:
            time = T + c * (S - T)
            there = X + c * WINDOW * known(X, t=T, s=time)
            values.append(affine_velocity(there, time))
        targets = [sum(a * v for a, v in zip(row, values, strict=True)) for row in integrals]
    square = sum(
        (model(X, t=T, s=T + c * (S - T)) - target).square().sum()
        for c, target in zip(places, targets, strict=True)
    ) / sum(target.square().sum() for target in targets)
    value = picard_loss(model, **BATCH, nodes=3, teacher=teacher, power=0.0)
    torch.testing.assert_close(value.loss, square)
    torch.testing.assert_close(gradient(model, value.loss), gradient(model, square))
    assert value.rows.shape == (48,)
    torch.testing.assert_close(value.rows.mean(), square)


def test_collocation_integrates_polynomials_exactly():
    for nodes in (1, 2, 5, 9):
        places, integrals = collocation(nodes)
        assert places[-1] == 1 and len(places) == nodes
        grid = torch.cat([torch.zeros(1).double(), torch.from_numpy(places)])
        for power in range(nodes + 1):
            found = torch.from_numpy(integrals) @ grid**power
            torch.testing.assert_close(found, grid[1:] ** power / (power + 1), rtol=0, atol=1e-14)
    assert collocation(1)[1].tolist() == [[0.5, 0.5]]  # the trapezium


def test_the_error_of_picard_falls_exponentially_with_its_nodes():
    residuals = [float(picard_loss(EXACT, **BATCH, nodes=k).residual) for k in (2, 4, 6, 8)]
    assert residuals[-1] < 1e-9
    assert all(fine < coarse / 100 for coarse, fine in pairwise(residuals))


def test_the_error_of_the_bootstrap_step_is_of_fourth_order():
    residuals = [
        float(bootstrap_loss(EXACT, **BATCH, steps=k, share=1.0).residual) for k in (2, 4, 8)
    ]
    assert residuals[0] < 1e-3
    for coarse, fine in pairwise(residuals):
        assert coarse / fine == pytest.approx(16, rel=0.1)


def test_shares_of_the_bootstrap_may_differ_from_row_to_row():
    model = learner()
    shares = torch.linspace(0.1, 1.0, 48).double()
    first = AffineAverage()(X, T, T + shares * (S - T)).square().sum(1)
    error = bootstrap_loss(model, **BATCH, share=shares, steps=20).rows.detach() * first.mean()
    for k in (0, 20, 47):
        row = {name: value[[k]] for name, value in BATCH.items()}
        alone = bootstrap_loss(model, **row, share=float(shares[k]), steps=20).rows.detach()
        assert float(error[k] / first[k]) == pytest.approx(float(alone), rel=1e-6)


def test_an_exact_teacher_makes_targets_exact():
    model = learner()
    error = (model(**BATCH) - MEAN).square().sum(1)
    by_two = semigroup_loss(model, **BATCH, teacher=EXACT, split=0.3)
    torch.testing.assert_close(by_two.residual, supervised_loss(model, **BATCH, mean=MEAN).residual)
    share = 0.2
    steps = bootstrap_loss(model, **BATCH, teacher=EXACT, share=share, steps=20)
    first = AffineAverage()(X, T, T + share * (S - T)).square().sum(1).mean()
    torch.testing.assert_close(steps.rows, error / share**2 / first, rtol=1e-6, atol=1e-12)
    alpha = 0.01
    traced = back_trace_loss(model, **BATCH, teacher=EXACT, alpha=alpha)
    expected = error / alpha**2 / V.square().sum(1).mean()
    torch.testing.assert_close(traced.rows, expected, rtol=0.1, atol=0.02)
    assert endpoint_loss(EXACT, **BATCH, velocity="self", teacher=EXACT).residual < 1e-13
    assert (
        endpoint_loss(EXACT, **BATCH, velocity="self", teacher=learner(tangent="free")).residual
        > 0.1
    )


def test_half_of_the_gradient_through_the_free_end_derivative_is_half_of_both():
    model = learner()
    u, slope = free_end_derivative(model, **BATCH)
    arrival = affine_velocity(X + WINDOW * u.detach(), S)
    whole = gradient(model, relative_square(u + WINDOW * slope - arrival, arrival))

    def by_share(share):
        value = endpoint_loss(model, **BATCH, power=0.0, grad_through_jvp=share)
        return gradient(model, value.loss)

    torch.testing.assert_close(by_share(1.0), whole)
    torch.testing.assert_close(by_share(0.5), (by_share(0.0) + whole) / 2)


NOISY = V + torch.randn(48, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
WITHOUT_VELOCITY = {
    "material": partial(material_loss, along="self", power=0.0),
    "back trace": partial(back_trace_loss, alpha=0.1, along="self", power=0.0),
    "endpoint": partial(endpoint_loss, velocity="self", power=0.0),
    "semigroup": partial(semigroup_loss, power=0.0),
    "picard": partial(picard_loss, velocity="self", power=0.0),
    "bootstrap": partial(bootstrap_loss, velocity="self", power=0.0),
}


@pytest.mark.parametrize(
    "name, teacher",
    [(name, None) for name in WITHOUT_VELOCITY]
    + [(name, EXACT) for name in WITHOUT_VELOCITY if name != "material"],
)
def test_empty_windows_are_regression_on_values_where_no_velocity_is_known(name, teacher):
    model = learner(tangent="free", velocity=None)
    options = {"observable": NOISY} | ({} if teacher is None else {"teacher": teacher})
    loss = WITHOUT_VELOCITY[name]
    rows = loss(model, **PARTLY, **options).rows
    wanted = (model(X, t=T, s=T) - NOISY).square().sum(1)
    ratio = rows[EMPTY] / wanted[EMPTY]
    torch.testing.assert_close(ratio, ratio[:1].expand(16))
    some = {key: value[EMPTY] for key, value in (PARTLY | {"observable": NOISY}).items()}
    value = loss(model, **some, **({} if teacher is None else {"teacher": teacher}))
    expected = relative_square(model(X, t=T, s=T)[EMPTY] - NOISY[EMPTY], NOISY[EMPTY])
    torch.testing.assert_close(value.loss, expected)
    torch.testing.assert_close(gradient(model, value.loss), gradient(model, expected))


@pytest.mark.parametrize("loss", [endpoint_loss, picard_loss, bootstrap_loss])
def test_a_velocity_that_is_not_known_is_asked_for(loss):
    with pytest.raises(ValueError, match=r'the model has none; pass velocity="self"'):
        loss(learner(tangent="free", velocity=None), **BATCH)
    with pytest.raises(ValueError, match=r"velocity must be a function, .* got 'me'"):
        loss(EXACT, **BATCH, velocity="me")
    given = loss(learner(tangent="free", velocity=None), **BATCH, velocity=affine_velocity)
    assert given[:2] == loss(learner(tangent="free"), **BATCH)[:2]


def test_the_tangent_along_itself_is_the_value_on_the_empty_window():
    model = learner(tangent="free", velocity=None)
    own = model(X, t=T, s=T).detach()
    one = material_loss(model, **BATCH, observable=NOISY, along="self")
    other = material_loss(model, **BATCH, observable=NOISY, along=own)
    noisy = material_loss(model, **BATCH, observable=NOISY)
    assert one[:2] == other[:2] and one.residual != noisy.residual
    traced = back_trace_loss(model, **BATCH, observable=NOISY, along="self", alpha=0.2)
    by_hand = back_trace_loss(model, **BATCH, observable=NOISY, along=own, alpha=0.2)
    assert traced[:2] == by_hand[:2]


def test_differences_in_place_of_forward_mode_err_by_the_square_of_their_share():
    model = learner()
    wanted = material_loss(model, **BATCH).residual
    away = [
        float((material_loss(model, **BATCH, difference=share).residual - wanted).abs())
        for share in (0.08, 0.04, 0.02)
    ]
    assert away[0] < 1e-3
    assert away[0] / away[1] == pytest.approx(4, rel=0.05)
    assert away[1] / away[2] == pytest.approx(4, rel=0.02)
    single = {name: value.float() for name, value in BATCH.items()}
    close = material_loss(model.float(), **single, difference=0.01).residual
    assert close == pytest.approx(float(wanted), rel=1e-4)


IMAGES = torch.randn(12, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
CLASSES = torch.arange(12) % 3
GROWING = AverageVelocity(None, GrowingImages(), tangent="free")
WRONG_GROWTH = AverageVelocity(
    None, Wrapped(lambda *inputs: 1.3 * GrowingImages()(*inputs)), tangent="free"
)
CLOCK = {"t": T[:12], "s": S[:12]}
GROWTH = GrowingImages()(IMAGES, CLOCK["t"], CLOCK["t"], CLASSES)
OF_IMAGES = WITHOUT_VELOCITY | {
    "supervised": lambda model, x, **batch: supervised_loss(
        model,
        x,
        mean=GrowingImages()(x, *CLOCK.values(), CLASSES),
        **{name: value for name, value in batch.items() if name != "observable"},
    ),
    "back trace": partial(back_trace_loss, alpha=1e-7, along="self"),
    "picard": partial(picard_loss, velocity="self", nodes=16),
    "bootstrap": partial(bootstrap_loss, velocity="self", steps=60),
    "differences": partial(material_loss, along="self", difference=1e-4),
}


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("empty", [False, True])
def test_images_of_classes_go_through_every_loss(name, empty):
    clock = CLOCK | ({"s": CLOCK["t"]} if empty and name != "supervised" else {})
    batch = {"observable": GROWTH, "condition": CLASSES} | clock
    value = OF_IMAGES[name](GROWING, IMAGES, **batch)
    assert value.residual < {"back trace": 1e-5, "differences": 1e-6}.get(name, 1e-9)
    assert OF_IMAGES[name](WRONG_GROWTH, IMAGES, **batch).residual > 0.02
    if empty or name in ("material", "back trace", "differences"):
        others = batch | {"condition": CLASSES.flip(0)}
        assert OF_IMAGES[name](GROWING, IMAGES, **others).residual > 0.05
    assert value.rows.shape == (12,)


@pytest.mark.parametrize("name", WITHOUT_VELOCITY)
def test_values_in_low_precision_give_losses_in_single(name):
    model = learner(tangent="free", velocity=None).float()
    model.network = Wrapped(model.network.forward)  # through torch.func.jvp
    batch = {key: value.float() for key, value in (PARTLY | {"observable": NOISY}).items()}
    wanted = WITHOUT_VELOCITY[name](model, **batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(batch["x"], t=batch["t"], s=batch["s"]).dtype == torch.bfloat16
        value = WITHOUT_VELOCITY[name](model, **batch)
    assert value.loss.dtype == value.residual.dtype == value.rows.dtype == torch.float32
    assert value.residual == pytest.approx(float(wanted.residual), rel=0.05)
    assert value.residual != wanted.residual


def test_residuals_are_told_by_the_length_of_the_window():
    rows = torch.tensor([1.0, 4.0, 16.0, 64.0, 100.0, 9.0])
    t = torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    s = torch.tensor([0.1, 0.4, 0.0, 1.0, 1.5, 0.5])
    found = by_window(rows, t=t, s=s, edges=[0.0, 0.3, 0.7, 0.8, 1.0])
    torch.testing.assert_close(
        found, torch.tensor([2.5**0.5, 12.5**0.5, torch.nan, 8.0]), equal_nan=True
    )
    whole = material_loss(learner(), **BATCH)
    everything = by_window(whole.rows, t=T, s=S, edges=[0.0, 1.0])
    torch.testing.assert_close(everything[0], whole.residual)
    assert not everything.requires_grad
    with pytest.raises(ValueError, match=r"two increasing lengths, got \[1.0, 0.0\]"):
        by_window(rows, t=t, s=s, edges=[1.0, 0.0])


@pytest.mark.parametrize(
    "loss, message",
    [
        (partial(back_trace_loss, alpha=1.5), "between 0 and 1, got 1.5"),
        (partial(back_trace_loss, alpha=0.5, along=V.float()), "along must be torch.float64"),
        (partial(bootstrap_loss, share=0.0), "more than 0 and at most 1, got 0.0"),
        (partial(bootstrap_loss, steps=0), "steps must be at least 1, got 0"),
        (partial(picard_loss, nodes=0), "nodes must be at least 1, got 0"),
        (partial(endpoint_loss, observable=V.float()), "observable must be torch.float64"),
    ],
)
def test_settings_that_make_no_sense_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        loss(EXACT, **BATCH)
