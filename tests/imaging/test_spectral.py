"""The spectral filter beside a network: per shell, real, equivariant, and exact for Gaussians."""

import math

import pytest
import torch

from meanfluid.imaging import Filtered, UNet
from meanfluid.imaging.metrics import shell_spectrum
from meanfluid.imaging.networks import ResidualMLP
from meanfluid.imaging.spectral import filtered, shells
from meanfluid.learning import AverageVelocity, check_jvp, generative_loss, sample
from tests.learning.closed_forms import Wrapped

SIZES = pytest.mark.parametrize("size", [8, 9])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def drawn(size=8, classes=0):
    """A filtered network whose weights are all away from zero."""
    network = UNet(
        (1, size, size), widths=(8, 16), periodic=True, classes=classes, generator=seeded(),
        dtype=torch.float64,
    )  # fmt: skip
    model, generator = Filtered(network, width=6, generator=seeded(1)), seeded(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return model


def gains_of(model, t, s):
    """The filter alone, by what it does beside a network that gives nothing."""
    number = int(model.shells.max()) + 1
    noise = normal(len(t), 1, *[len(model.shells)] * 2, seed=7)
    made = model(noise, t, s) - model.network(noise, t, s)
    ratio = torch.fft.rfft2(made)[:, 0] / torch.fft.rfft2(noise)[:, 0]
    return [[row[model.shells == k] for k in range(number)] for row in ratio]


@SIZES
def test_a_wave_is_multiplied_by_the_gain_of_its_shell_whatever_its_direction(size):
    gain, grid = torch.arange(20.0).double().square() + 1, torch.arange(size).double()
    gains = gain[shells(size)][None, None]
    for k, m in [(0, 0), (1, 0), (0, 1), (2, 1), (-2, 1), (3, -2), (3, 3)]:
        phase = 2 * math.pi * (k * grid[:, None] + m * grid) / size + 0.3
        wave = torch.cos(phase)[None, None]
        expected = gain[round(math.hypot(k, m))] * wave
        torch.testing.assert_close(filtered(wave, gains), expected, rtol=1e-12, atol=1e-11)


@SIZES
def test_the_output_is_the_whole_filtered_image_and_not_the_real_part_of_it(size):
    """Gains that are even in k keep images real: the full transform has no imaginary part."""
    k = torch.fft.fftfreq(size, 1 / size)
    full = torch.hypot(k[:, None], k).round().long()
    gain, x = normal(20), normal(3, 2, size, size)
    expected = torch.fft.ifft2(torch.fft.fft2(x) * gain[full])
    assert expected.imag.abs().max() < 1e-14
    found = filtered(x, gain[shells(size)][None, None])
    torch.testing.assert_close(found, expected.real)
    assert torch.equal(shells(size), full[:, : size // 2 + 1])


def test_the_gains_of_a_network_are_one_real_number_per_shell_and_window():
    model = drawn()
    t, s = torch.tensor([[0.9, 0.9, 0.4], [0.1, 0.5, 0.4]], dtype=torch.float64)
    shape = gains_of(model, t, s)
    values = torch.stack([torch.stack([modes.real.mean() for modes in row]) for row in shape])
    for row, mean in zip(shape, values, strict=True):
        for modes, gain in zip(row, mean, strict=True):
            torch.testing.assert_close(modes, gain.to(modes).expand_as(modes), rtol=1e-8, atol=1e-9)
    assert values.std(0).min() > 1e-3 and values.std(1).min() > 1e-3


@pytest.mark.parametrize("shift", [(2, 0), (4, -2)])
def test_it_commutes_with_periodic_shifts(shift):
    """By whole cells of the U-Net; the filter commutes with all."""
    model, x = drawn(), normal(2, 1, 8, 8)
    t, s = torch.tensor([[0.9, 0.6], [0.1, 0.6]], dtype=torch.float64)
    there = model(x.roll(shift, (-2, -1)), t, s)
    torch.testing.assert_close(there, model(x, t, s).roll(shift, (-2, -1)))
    gains, odd = normal(8)[shells(8)][None, None], (3, 1)
    moved = filtered(x.roll(odd, (-2, -1)), gains)
    torch.testing.assert_close(moved, filtered(x, gains).roll(odd, (-2, -1)))


def test_it_starts_as_the_network_and_the_filter_learns():
    network = UNet((1, 8, 8), widths=(8, 16), periodic=True, generator=seeded())
    model = Filtered(network, width=6, generator=seeded(1))
    x, t, s = normal(4, 1, 8, 8).float(), torch.full((4,), 0.9), torch.full((4,), 0.2)
    torch.testing.assert_close(model(x, t, s), network(x, t, s))
    learner = AverageVelocity(None, model, tangent="free")
    generative_loss(learner, x, t=t, s=s, observable=-x).loss.backward()
    assert model.gains.bias.grad.abs().min() > 0  # every shell
    assert model.gains.weight.grad.abs().max() > 0


def test_forward_mode_is_the_difference_quotient():
    model, x, dx = drawn(), normal(3, 1, 8, 8), normal(3, 1, 8, 8, seed=1)
    t, s = torch.tensor([[0.9, 0.6, 0.3], [0.1, 0.6, 0.8]], dtype=torch.float64)
    found = torch.func.jvp(model, (x, t, s), (dx, torch.ones_like(t), -0.5 * torch.ones_like(s)))[1]
    h = 1e-4

    def at(k):
        return model(x + k * h * dx, t + k * h, s - 0.5 * k * h).detach()

    expected = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    assert (found - expected).norm() < 1e-8 * expected.norm()
    check = check_jvp(drawn(classes=2), x=x, condition=torch.tensor([0, 1, 2]), generator=seeded())
    assert check.safe and not check.findings


def test_one_step_with_the_gains_of_a_gaussian_random_field_has_its_spectrum():
    """Every mode is a Gaussian of variance S = (1 - t)^2 sigma_k^2 + t^2, as on a line."""
    size, n = 16, 400
    shell = shells(size)
    deviation = 3.0 / (1.0 + torch.arange(int(shell.max()) + 1, dtype=torch.float64)) ** 1.5

    def average(x, t, s):
        def spread(time):
            return (((1 - time) * deviation[shell, None]) ** 2 + time**2).permute(2, 0, 1)

        gains = ((spread(s) / spread(t)).sqrt() - 1) / (s - t)[:, None, None]
        return filtered(x, gains[:, None])

    model = AverageVelocity(None, Wrapped(average), tangent="free")
    noise = normal(n, 1, size, size)
    z = sample(model, noise)
    torch.testing.assert_close(z, filtered(noise, deviation[shell][None, None]))
    torch.testing.assert_close(sample(model, noise, 4), z)
    # White noise puts the share of a shell's modes into it; its estimate has this many squares.
    modes = torch.bincount(shells_of_all(size).reshape(-1))
    found = torch.tensor(shell_spectrum(z[:, 0]).density.mean(0))
    of_noise = torch.tensor(shell_spectrum(noise[:, 0]).density.mean(0))
    k = torch.tensor(shell_spectrum(z[:, 0]).wavenumber).round().long()
    torch.testing.assert_close(found / of_noise, deviation[k] ** 2)
    expected = deviation[k] ** 2 * modes[k] / (2 * size**2)
    assert ((found / expected - 1).abs() < 4 * torch.sqrt(2 / (n * modes[k]))).all()


def shells_of_all(size):
    k = torch.fft.fftfreq(size, 1 / size)
    return torch.hypot(k[:, None], k).round().long()


def test_images_that_are_not_square_or_of_another_size_are_refused():
    network = ResidualMLP((1, 4, 8), width=8, generator=seeded())
    with pytest.raises(ValueError, match="must be square, got 4 x 8"):
        Filtered(network, generator=seeded())
    half = torch.full((2,), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match="of 8 x 8 points like the filter, got 16 x 16"):
        drawn()(normal(2, 1, 16, 16), half, half)
    with pytest.raises(ValueError, match="one time per image"):
        drawn()(normal(2, 1, 8, 8), half[:1], half)
