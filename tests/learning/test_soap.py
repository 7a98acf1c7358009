"""The optimiser, on problems whose minimum is known."""

import pytest
import torch

from meanfluid.learning import SOAP


def descend(optimiser_of, steps, refresh=10):
    """Minimise |L (W - W*) R|^2 with L, R of condition 100; return |W - W*|."""
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        return torch.randn(n, n, generator=generator, dtype=torch.float64)

    q, _ = torch.linalg.qr(draw(8))
    stiff = q * torch.logspace(-1, 1, 8, dtype=torch.float64) @ q.T
    goal, weight = draw(8), torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.float64))
    optimiser = optimiser_of([weight])
    for k in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - k / steps)
        optimiser.zero_grad()
        (stiff @ (weight - goal) @ stiff).square().sum().backward()
        optimiser.step()
    return (weight - goal).norm().item()


def test_it_converges_where_adam_is_held_up_by_a_rotated_valley():
    soap = descend(lambda p: SOAP(p, betas=(0.5, 0.95)), 400)
    adam = descend(lambda p: torch.optim.Adam(p, betas=(0.5, 0.95)), 400)
    assert soap < 1e-3
    assert soap < 1e-2 * adam, (soap, adam)


def test_a_vector_gets_the_steps_of_adam():
    start = torch.linspace(-1, 1, 5, dtype=torch.float64)
    ends = []
    for kind in (lambda p: SOAP(p, lr=0.01, betas=(0.5, 0.95)), lambda p: torch.optim.Adam(
        p, lr=0.01, betas=(0.5, 0.95), eps=1e-10
    )):  # fmt: skip
        x = torch.nn.Parameter(start.clone())
        optimiser = kind([x])
        for _ in range(20):
            optimiser.zero_grad()
            (x**4).sum().backward()
            optimiser.step()
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-10, atol=0)


def test_equal_matrices_in_one_batch_step_as_they_would_alone():
    generator = torch.Generator().manual_seed(1)
    starts = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)

    def train(weights):
        parameters = [torch.nn.Parameter(w.clone()) for w in weights]
        optimiser = SOAP(parameters, lr=0.05, refresh=2)
        for _ in range(7):
            optimiser.zero_grad()
            sum((w.tanh() ** 2).sum() for w in parameters).backward()
            optimiser.step()
        return torch.stack([w.detach() for w in parameters])

    together = train(starts)
    alone = torch.cat([train(w[None]) for w in starts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"betas": (1.0, 0.9)}, r"betas must lie in \[0, 1\), got \(1.0, 0.9\)"),
        ({"refresh": 0}, "refresh must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SOAP([torch.nn.Parameter(torch.zeros(2, 2))], **options)
