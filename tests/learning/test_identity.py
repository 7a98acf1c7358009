"""The identity against closed forms, and against every way of getting it wrong."""

import pytest
import torch

from meanfluid.learning import AverageVelocity, at_rest, material_derivative, material_residual
from meanfluid.learning.identity import free_end_derivative
from tests.learning.closed_forms import (
    LINE,
    PLANE,
    AffineAverage,
    Wrapped,
    affine_velocity,
    anchors,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
X, T, S = anchors(64)
EXACT = AverageVelocity(affine_velocity, AffineAverage(), tangent="free")
V = affine_velocity(X, T)


def test_closed_forms_have_the_values_of_the_reference():
    """Theory J1, 1-D and 2-D; B2 in the frame that moves with the flow."""
    at = torch.tensor([0.9], dtype=torch.float64)
    z, w = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[0.3, 0.4]]).double()
    assert LINE.velocity(z, at).item() == pytest.approx(-1.89230769230769231)
    assert LINE.average(z, at, 0 * at + 0.2).item() == pytest.approx(-1.92801984833669055)
    assert PLANE.velocity(w, at)[0].tolist() == pytest.approx(
        [-0.8411226700824824, 0.9534315779392575]
    )
    assert PLANE.average(w, at, 0 * at + 0.2)[0].tolist() == pytest.approx(
        [-1.166559511837848, 0.6793429420162184]
    )
    x, t, s = torch.tensor([[1.0, 0.5]]).double(), 0 * at, 0 * at + 1.5
    moving = AffineAverage()(x, t, s) - torch.tensor([[0.4, -0.25]])
    assert moving[0].tolist() == pytest.approx([0.117272152394498, -1.02898750631566], abs=1e-7)


@pytest.mark.parametrize("path", [PLANE, None])
def test_residual_of_an_exact_average_is_zero_for_windows_of_either_sign(path):
    velocity = path.velocity if path else affine_velocity
    network = Wrapped(path.average) if path else AffineAverage()
    model = AverageVelocity(velocity, network, tangent="free")
    assert (S > T).any() and (S < T).any()
    v = velocity(X, T)
    residual = material_residual(model, X, t=T, s=S, observable=v, advection=v)
    assert residual.abs().max() < 1e-12


def test_eulerian_mean_obeys_the_identity_carried_along_nothing():
    """The time mean of f = A (x - c t) + b + c at fixed x is f at the middle of the window."""
    eulerian = Wrapped(lambda x, t, s: affine_velocity(x, (t + s) / 2))
    model = AverageVelocity(affine_velocity, eulerian, tangent="free")
    still = material_residual(model, X, t=T, s=S, observable=V, advection=at_rest(X, T))
    moved = material_residual(model, X, t=T, s=S, observable=V, advection=V)
    assert still.abs().max() < 1e-14
    assert moved.abs().max() > 0.1


def test_the_residual_is_that_of_the_condition():
    """Rows move with velocities of their own, which are their averages."""

    def network(x, t, s, condition):
        return condition * (1 + 0 * x)

    model = AverageVelocity(None, Wrapped(network), tangent="free")
    given = {"t": T, "s": S, "observable": V, "advection": V}
    assert material_residual(model, X, condition=V, **given).abs().max() < 1e-14
    assert material_residual(model, X, condition=2 * V, **given).abs().max() > 0.1


def transposed(model):
    """(grad u)^T v + d_t u, the vector-Jacobian product."""
    x, t = X.clone().requires_grad_(), T.clone().requires_grad_()
    product = torch.autograd.grad((model(x, t=t, s=S) * V).sum(), x)[0]
    return product + partial_time(model)


def elementwise(model):
    """v_i d_i u_i + d_t u."""
    jacobian = torch.func.vmap(
        torch.func.jacfwd(lambda x, t, s: model(x[None], t=t[None], s=s[None])[0])
    )(X, T, S)
    return torch.diagonal(jacobian, dim1=1, dim2=2) * V + partial_time(model)


def partial_time(model):
    return material_derivative(model, X, t=T, s=S, advection=torch.zeros_like(X))[1]


def along(advection):
    return lambda model: material_derivative(model, X, t=T, s=S, advection=advection)[1]


MUTANTS = {
    "sign flipped": lambda m: -along(V)(m),
    "no advection": partial_time,
    "no time derivative": lambda m: along(V)(m) - partial_time(m),
    "transposed Jacobian": transposed,
    "elementwise product": elementwise,
    "u as tangent": lambda m: along(m(X, t=T, s=S))(m),
    "velocity at the free end": lambda m: along(affine_velocity(X, S))(m),
    "derivative in the free end": lambda m: free_end_derivative(m, X, t=T, s=S)[1],
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_identities_leave_a_residual(mutant):
    u, right = material_derivative(EXACT, X, t=T, s=S, advection=V)
    window = (S - T)[:, None]
    assert (u - V - window * right).abs().max() < 1e-12
    wrong = u - V - window * MUTANTS[mutant](EXACT)
    assert wrong.abs().max() > 0.05


def test_free_end_identity_holds_where_the_particle_arrives():
    """u + (s - t) du/ds = v(x + (s - t) u, s)."""
    u, slope = free_end_derivative(EXACT, X, t=T, s=S)
    window = (S - T)[:, None]
    assert (u + window * slope - affine_velocity(X + window * u, S)).abs().max() < 1e-12


@pytest.mark.parametrize(
    "advection, message",
    [
        (V.float(), r"advection must be torch.float64 .* got torch.float32"),
        (V[:, :1], r"of shape \(64, 2\), got torch.float64 of shape \(64, 1\)"),
    ],
)
def test_a_tangent_that_does_not_match_the_positions_is_refused(advection, message):
    with pytest.raises(ValueError, match=message):
        material_derivative(EXACT, X, t=T, s=S, advection=advection)


@pytest.mark.parametrize("difference", [None, 0.01])
@pytest.mark.parametrize("differentiable", [True, False])
def test_the_derivative_keeps_its_precision_where_the_rest_is_in_low(difference, differentiable):
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    model = AverageVelocity(
        None,
        Wrapped(lambda x, t, s: torch.tanh(layer(torch.cat([x, t[:, None], s[:, None]], 1)))),
        tangent="free",
    )
    x, t, s, v = (a.float() for a in (X, T, S, V))
    options = {"differentiable": differentiable, "difference": difference}
    _, exact = material_derivative(model, x, t=t, s=s, advection=v, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x, t=t, s=s).dtype == torch.bfloat16
        _, derivative = material_derivative(model, x, t=t, s=s, advection=v, **options)
        _, slope = free_end_derivative(model, x, t=t, s=s)
    assert derivative.dtype == slope.dtype == torch.float32
    assert torch.equal(derivative, exact)
    assert torch.equal(slope, free_end_derivative(model, x, t=t, s=s)[1])
