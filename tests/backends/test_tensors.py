"""Fields as torch functions: derivatives in every mode, dtype, shapes, modes, refusals."""

import math
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from meanfluid.backends import tensors
from meanfluid.backends.tensors import tensor_functions, torch_velocity
from meanfluid.fields import VelocityField, abc_flow, double_gyre, rotation
from meanfluid.fields.elementary import FUNCTIONS, numpy_functions
from tests.catalogue import CASES

# torch itself, on its first forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

EXPREL_POINTS = (
    0.0, 1e-300, -1e-12, 1e-8, 1e-3, -0.3, 0.5, -0.999, 0.999, -1.0, 1.0, -1.001, 1.001, 2.0, -5.0,
    30.0, -80.0,
)  # fmt: skip
exprel = tensor_functions.exprel


def points_of(name: str, n: int = 9) -> tuple[VelocityField, torch.Tensor, torch.Tensor]:
    case = CASES[name]
    times = np.random.default_rng(2).uniform(*sorted((case.start, case.end)), n)
    return case.field, torch.tensor(times), torch.tensor(case.position(n, seed=7))


def exact_exprel_derivative(order: int, x: float) -> mpmath.mpf:
    """The integral of s^n exp(s x) over [0, 1], a confluent hypergeometric function."""
    with mpmath.workdps(40):
        return mpmath.hyp1f1(order + 1, order + 2, mpmath.mpf(x)) / (order + 1)


# Derivatives of the quotient lose up to 4 and 42 ulps where it takes over from the series at
# x = -1, from which the bounds.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("order, ulps", [(0, 2), (1, 10), (2, 100)])
def test_exprel_and_its_derivatives_are_accurate_everywhere(order, ulps, dtype):
    function = exprel
    for _ in range(order):
        function = grad(function)
    x = torch.tensor(EXPREL_POINTS, dtype=dtype)
    found = vmap(function)(x)
    exact = [exact_exprel_derivative(order, x_i) for x_i in x.tolist()]
    error = [float(abs(f / e - 1)) for f, e in zip(found.tolist(), exact, strict=True)]
    assert found.dtype == dtype
    assert max(error) <= ulps * torch.finfo(dtype).eps, dict(zip(EXPREL_POINTS, error, strict=True))


def test_exprel_at_zero_has_its_derivatives_by_double_backward_and_by_jvp():
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(exprel(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, create_graph=True)
    one = torch.ones((), dtype=torch.float64)

    def forward(z: torch.Tensor) -> torch.Tensor:
        return jvp(exprel, (z,), (one,))[1]

    value, derivative = jvp(forward, (x.detach(),), (one,))
    eps = torch.finfo(torch.float64).eps
    found = [exprel(x).item(), first.item(), second.item(), value.item(), derivative.item()]
    assert found == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2, 1 / 3], rel=eps)


def test_exprel_of_nan_and_of_large_arguments_is_what_it_should_be():
    found = exprel(torch.tensor([math.nan, -math.inf, -1e300], dtype=torch.float64))
    assert found[0].isnan()
    assert found[1:].tolist() == [0.0, 1e-300]


@pytest.mark.parametrize("order, ulps", [(0, 4), (1, 10)])
def test_the_derivative_of_exprel_is_accurate_everywhere_and_differentiable(order, ulps):
    function = tensor_functions.exprel_derivative
    for _ in range(order):
        function = grad(function)
    x = torch.tensor((*EXPREL_POINTS, -1.499, 1.499, -1.501, 1.501), dtype=torch.float64)
    found = vmap(function)(x).tolist()
    exact = [exact_exprel_derivative(order + 1, x_i) for x_i in x.tolist()]
    error = [float(abs(f / e - 1)) for f, e in zip(found, exact, strict=True)]
    assert max(error) <= ulps * torch.finfo(torch.float64).eps, error


def test_a_choice_takes_one_side_whole_and_carries_nan():
    choose = tensor_functions.where_greater
    x, y = torch.tensor([2.0, 1.0, 1.0, math.nan]), torch.tensor([1.0, 2.0, 1.0, 0.0])
    found = choose(x, y, 3.0, torch.tensor([math.inf, 4.0, 5.0, 6.0]))
    np.testing.assert_array_equal(found.numpy(), [3.0, 4.0, 5.0, math.nan])
    assert choose(2.0, 1.0, 3.0, 4.0) == 3.0 and choose(1.0, 1.0, 3.0, 4.0) == 4.0
    assert math.isnan(choose(1.0, math.nan, 3.0, 4.0))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_numbers_and_tensors_together(name):
    function = getattr(tensor_functions, name)
    pairs = ("atan2", "maximum", "minimum")
    values: tuple[float, ...] = (1.25, 0.5) if name in (*pairs, "acosh") else (0.5, 1.25)
    values = values if name in pairs else values[:1]
    if name == "where_greater":
        values = (1.25, 0.5, 0.75, 0.25)
    expected = float(getattr(numpy_functions, name)(*values))
    of_numbers = function(*values)
    assert isinstance(of_numbers, float)
    assert of_numbers == pytest.approx(expected, rel=4e-16)
    for mixed in range(len(values)):
        arguments: list[Any] = list(values)
        arguments[mixed] = torch.tensor([values[mixed]], dtype=torch.float32)
        result = function(*arguments)
        assert result.dtype == torch.float32
        assert result.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_carry_nan_from_either_side(name):
    function = getattr(tensor_functions, name)
    one = torch.ones(())
    results = [function(one, math.nan), function(math.nan, one)]
    results += [function(1.0, math.nan), function(math.nan, 1.0)]
    assert all(math.isnan(result) for result in results), results


@pytest.mark.parametrize("name", CASES)
def test_float32_comes_back_as_float32(name):
    field, t, x = points_of(name)
    expected = torch_velocity(field)(x, t)
    v = torch_velocity(field)(x.float(), t.float())
    precise = torch_velocity(field, dtype=torch.float64)(x.float(), t)
    assert v.dtype == precise.dtype == torch.float32
    scale = expected.abs().max()
    assert (v - expected).abs().max() <= 2e-4 * scale
    assert (precise - expected).abs().max() <= 2e-5 * scale  # the rounding of x alone


@pytest.mark.parametrize("name", CASES)
def test_jvp_equals_central_differences_along_random_directions(name):
    """Fourth-order differences of the NumPy velocity in space and time."""
    field, t, x = points_of(name)
    rng = np.random.default_rng(11)
    dx, dt = torch.tensor(rng.standard_normal(x.shape)), torch.tensor(rng.standard_normal(t.shape))
    _, found = jvp(torch_velocity(field), (x, t), (dx, dt))
    h = 2e-4

    def moved(step: float) -> np.ndarray:
        return field.velocity((t + step * dt).numpy(), (x + step * dx).numpy())

    expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-7 * abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_forward_and_reverse_mode_and_vmap_agree(name):
    field, t, x = points_of(name)
    v = torch_velocity(field)
    forward, reverse = vmap(jacfwd(v))(x, t), vmap(jacrev(v))(x, t)
    single = torch.stack([v(x_i, t_i) for x_i, t_i in zip(x, t, strict=True)])
    scale, steepness = v(x, t).abs().max(), forward.abs().max()
    assert (forward - reverse).abs().max() <= 1e-13 * steepness
    assert (vmap(v)(x, t) - v(x, t)).abs().max() <= 1e-14 * scale
    assert (single - v(x, t)).abs().max() <= 1e-14 * scale


def test_second_derivatives_pass_a_gradient_check_in_both_modes():
    v = torch_velocity(double_gyre())
    x = torch.tensor([[0.7, 0.4], [1.3, 0.8]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(v, (x, t), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(v, (x, t), check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["gaussian_vortex", "lamb_oseen"])
def test_a_vortex_centre_is_exact_with_its_gradient(name):
    """There the vortex turns like a solid: v = 0 and the gradient is antisymmetric."""
    field = CASES[name].field
    centre, time = torch.zeros(2, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    v = torch_velocity(field)
    gradient = jacrev(v)(centre, time)
    assert v(centre, time).abs().max() == 0
    assert gradient[0, 0] == gradient[1, 1] == 0
    assert gradient[1, 0] == -gradient[0, 1] > 0


def mean_by_rk4(v: Any, x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Average velocity of the trajectory through x at time t, between t and s."""
    steps = 100
    h, moved = (s - t) / steps, x
    for k in range(steps):
        now = t + k * h
        k1 = v(moved, now)
        k2 = v(moved + h / 2 * k1, now + h / 2)
        k3 = v(moved + h / 2 * k2, now + h / 2)
        k4 = v(moved + h * k3, now + h)
        moved = moved + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return (moved - x) / (s - t)


@pytest.mark.parametrize("end", [-1.0, 3.0])
@pytest.mark.parametrize("field", [double_gyre(), abc_flow()], ids=lambda field: field.name)
def test_average_velocity_satisfies_the_material_identity_on_both_sides(field, end):
    """u = v + (s - t) (d/dt + v . grad) u; the error of the scheme is of order h^4 = 1.6e-7."""
    v = torch_velocity(field)
    x = torch.tensor([0.7, 0.4, 0.2][: field.dimension], dtype=torch.float64)
    t, s = torch.tensor(1.0, dtype=torch.float64), torch.tensor(end, dtype=torch.float64)
    tangent = (v(x, t), torch.ones_like(t), torch.zeros_like(s))
    u, du = jvp(lambda *anchor: mean_by_rk4(v, *anchor), (x, t, s), tangent)
    np.testing.assert_allclose(u, v(x, t) + (s - t) * du, rtol=0, atol=1e-7)
    assert (u - v(x, t) + (s - t) * du).abs().max() > 1e-3  # the other sign is wrong


class Waves(NamedTuple):
    wavenumber: np.ndarray
    speed: np.ndarray


def wave_field(modes: int, calls: list[int]) -> VelocityField:
    def wave(m, p, t, x, y):
        calls.append(1)
        return m.cos(p.wavenumber * (y - p.speed * t)), 0

    rng = np.random.default_rng(0)
    return VelocityField(body=wave, parameters=Waves(*rng.uniform(1, 3, (2, modes))), dimension=2)


def test_modes_are_summed_by_one_call_of_the_body():
    calls: list[int] = []
    field = wave_field(1000, calls)
    x = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch_velocity(field)(x, 0.4)
    assert len(calls) == 1
    np.testing.assert_allclose(found, field.velocity(0.4, x.numpy()), rtol=0, atol=1e-11)


def test_a_large_table_of_modes_is_summed_in_chunks(monkeypatch):
    calls: list[int] = []
    v = torch_velocity(wave_field(100, calls))
    x = torch.rand(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = v(x, 0.4)
    monkeypatch.setattr(tensors, "_LARGEST_TEMPORARY", 4 * 30)
    calls.clear()
    np.testing.assert_allclose(v(x, 0.4), whole, rtol=0, atol=1e-12)
    assert len(calls) == 4  # 30 + 30 + 30 + 10 modes


def test_positions_of_any_leading_shape_and_times_that_broadcast_are_taken():
    v = torch_velocity(double_gyre())
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(5, 3, 2, dtype=torch.float64, generator=generator)
    t = torch.rand(3, dtype=torch.float64, generator=generator)
    found = v(x, t)
    flat = v(x.reshape(15, 2), t.repeat(5))
    assert found.shape == x.shape
    assert torch.equal(found.reshape(15, 2), flat)
    assert torch.equal(v(x, 0.25), v(x, torch.full((5, 3), 0.25)))
    assert v(x[:0], 0.25).shape == (0, 3, 2)


@pytest.mark.parametrize(
    "x, t, message",
    [
        (torch.zeros(3, 3), 0.0, r"shape \(\.\.\., 2\), got \(3, 3\)"),
        (torch.tensor(1.0), 0.0, r"shape \(\.\.\., 2\), got \(\)"),
        (torch.zeros(3, 2), torch.zeros(4), r"broadcast to \(3,\).*got shape \(4,\)"),
        (torch.zeros(2), torch.zeros(3), r"broadcast to \(\).*got shape \(3,\)"),
        (torch.zeros(3, 2, dtype=torch.int64), 0.0, r"floating-point tensor, got torch\.int64"),
        ([[0.0, 1.0]], 0.0, r"floating-point tensor, got <class 'list'>"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(x, t, message):
    with pytest.raises(ValueError, match=message):
        torch_velocity(rotation())(x, t)


@pytest.mark.parametrize("name", ["double_gyre", "kinematic_simulation_2d"])
def test_torch_compile_takes_the_velocity_and_its_jvp_as_one_graph(name):
    field, t, x = points_of(name)
    v = torch_velocity(field)

    def acceleration(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return jvp(v, (x, t), (v(x, t), torch.ones_like(t)))[1]

    for function in (v, acceleration):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, t), function(x, t), rtol=1e-13, atol=1e-13)
