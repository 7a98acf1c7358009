"""The doctor of forward mode: each fault in a small network, and that the advice cures it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from meanfluid.learning import AverageVelocity, check_jvp, material_loss

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated", "ignore:.*enable_nested_tensor"
)
ROOT = Path(__file__).parents[2]
FALLBACK = r"material_loss\(\.\.\., difference=0\.01\) needs no forward mode$"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Around(nn.Module):
    """A layer, or a function, between two linear ones; the first sees x and what times return."""

    def __init__(self, layer=torch.tanh, times=lambda t, s: (t, s - t)):
        super().__init__()
        self.before, self.after = nn.Linear(4, 6), nn.Linear(6, 2)
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(std=0.5, generator=seeded(1))
        self.layer, self.times = layer, times

    def forward(self, x, t, s, condition=None):
        h = self.before(torch.cat([x, *(a[:, None].to(x.dtype) for a in self.times(t, s))], 1))
        if condition is not None:
            h = h + condition[:, None]
        return self.after(self.layer(h))


class Heads(nn.Module):
    """Torch's attention layer, of which the first output goes on."""

    def __init__(self, need_weights=False):
        super().__init__()
        self.heads = nn.MultiheadAttention(2, 1, batch_first=True)
        self.need_weights = need_weights

    def forward(self, h):
        tokens = h.reshape(len(h), 3, 2)
        out = self.heads(tokens, tokens, tokens, need_weights=self.need_weights)[0]
        return out.reshape(h.shape)


def attention(h):
    tokens = h.reshape(len(h), 1, 3, 2)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens).reshape(h.shape)


def plain_attention(h):
    tokens = h.reshape(len(h), 3, 2)
    return (torch.softmax(tokens @ tokens.mT / 2**0.5, -1) @ tokens).reshape(h.shape)


def math_attention(h):
    with sdpa_kernel(SDPBackend.MATH):
        return attention(h)


def sampled(h):
    grid = torch.stack([h[:, :3], h[:, 3:]], -1)[:, None].tanh()
    image = torch.linspace(0, 1, 16, dtype=h.dtype).reshape(1, 1, 4, 4).expand(len(h), 1, 4, 4)
    return functional.grid_sample(image, grid, align_corners=True).reshape(len(h), 3).repeat(1, 2)


class Wrong(nn.Module):
    """Forward mode of this layer returns half of the derivative."""

    def forward(self, x):
        return (x + x.detach()) / 2


class ConvNet(nn.Module):
    """Images (n, 1, 8, 8) of a class, through the layer given."""

    def __init__(self, layer):
        super().__init__()
        self.into, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
        self.classes, self.layer = nn.Embedding(3, 4), layer

    def forward(self, x, t, s, condition):
        times = (a[:, None, None, None].expand_as(x) for a in (t, s - t))
        h = self.into(torch.cat([x, *times], 1)) + self.classes(condition)[:, :, None, None]
        return self.out(self.layer(h))


def explicit_norm(h):
    centred = h - h.mean((1, 2, 3), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean((1, 2, 3), keepdim=True) + 1e-5)


def examined(network, **options):
    return check_jvp(network, **({"dimension": 2} | options), generator=seeded())


@pytest.mark.parametrize(
    "layer",
    [nn.SiLU(), nn.RMSNorm(6), nn.BatchNorm1d(6).eval(), plain_attention, math_attention],
    ids=["SiLU", "RMSNorm", "BatchNorm in eval", "plain attention", "attention by MATH"],
)
def test_the_doctor_passes_what_forward_mode_handles_without_a_warning(layer):
    check = examined(Around(layer))
    assert check.safe and check.error < 1e-7 and not check.warnings, check


@pytest.mark.parametrize(
    "layer, sentence",
    [
        (nn.BatchNorm1d(6), r"layer layer \(BatchNorm1d\): .* group or RMS .* or call eval\(\)"),
        (Wrong(), r"layer layer \(Wrong\): forward mode differs .* by 5.* written by hand"),
        (Heads(), r"layer layer.heads \(MultiheadAttention\): .*\. Fused .*SDPBackend.MATH"),
        (Heads().eval(), r"layer layer.heads \(MultiheadAttention\): .*SDPBackend.MATH"),
        (attention, r"the network as a whole: .*scaled_dot_product.*softmax.*SDPBackend.MATH"),
        (sampled, r"the network as a whole: .*grid_sampler.*gather.* outside of the network"),
    ],
    ids=["BatchNorm", "wrong", "heads", "heads in eval", "fused attention", "grid"],
)
def test_what_forward_mode_refuses_is_named_with_what_to_do_instead(layer, sentence):
    check = examined(Around(layer))
    assert not check.safe
    assert len(check.findings) == 1
    assert re.search(sentence, check.findings[0]), check.findings
    assert re.search(FALLBACK, check.findings[0])


def test_a_random_network_is_sent_to_eval():
    check = examined(Around(nn.Dropout(0.5)))
    assert len(check.findings) == 1 and not check.safe
    assert re.search(r"random in its present mode \(Dropout\).* call eval\(\)", check.findings[0])
    assert examined(Around(nn.Dropout(0.5)).eval()).safe


@pytest.mark.parametrize("layer", [attention, sampled])
def test_the_fallback_works_where_forward_mode_is_refused(layer):
    model = AverageVelocity(lambda x, t: torch.sin(x), Around(layer).double(), tangent="free")
    x = torch.randn(16, 2, generator=seeded(), dtype=torch.float64)
    t, s = torch.rand(2, 16, generator=seeded(1), dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="forward AD"):
        material_loss(model, x, t=t, s=s)
    value = material_loss(model, x, t=t, s=s, difference=0.01)
    value.loss.backward()
    assert value.residual > 0.01


@pytest.mark.parametrize("name, layer", [("layer", nn.LayerNorm(6)), ("group", nn.GroupNorm(2, 6))])
def test_norms_that_do_not_compile_are_warned_of(name, layer):
    check = examined(Around(layer))
    assert check.safe and len(check.warnings) == 1
    assert re.search(
        f"torch.compile forward mode refuses {name}_norm.* nn.RMSNorm", *check.warnings
    )


@pytest.mark.slow
def test_the_warning_about_norms_is_true():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.learning.compiled_run"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    found = done.stdout.split()
    assert found == ["rms", "equal", "layer", "refused", "group", "refused"], done.stderr


def test_attention_that_works_only_here_is_warned_of():
    check = examined(Around(Heads(need_weights=True)))
    assert check.safe and len(check.warnings) == 1
    assert re.search(r"works here, but .*SDPBackend.MATH", *check.warnings)
    assert not examined(Around(Heads(need_weights=False))).safe


@pytest.mark.parametrize("root", [lambda h: h.abs().sqrt(), lambda h: torch.log(h.abs())])
def test_singular_features_of_the_window_are_found_on_empty_windows(root):
    check = examined(Around(times=lambda t, s: (t, root(s - t))))
    assert len(check.findings) == 1 and check.error < 1e-6
    assert re.search(r"empty windows, s = t: .*derivative\..* by torch.where", *check.findings)
    guarded = examined(
        Around(times=lambda t, s: (t, torch.where(s == t, 0, root(torch.where(s == t, 1, s - t)))))
    )
    assert guarded.safe


@pytest.mark.parametrize("steps", [lambda t: (1000 * t).long(), lambda t: (8 * t).round()])
def test_times_that_enter_in_steps_are_found(steps):
    check = examined(Around(times=lambda t, s: (steps(t), s)))
    assert len(check.findings) == 1
    assert re.search(r"^t enters in steps: .*smooth features", *check.findings)


def test_times_that_vary_too_fast_are_warned_of():
    fast = examined(Around(times=lambda t, s: (torch.sin(1000 * t), s - t)))
    assert fast.safe and len(fast.warnings) == 1
    assert re.search(r"derivative in t is [0-9]{2,} times .* by 1000", *fast.warnings)
    assert not examined(Around(times=lambda t, s: (torch.sin(3 * t), s - t))).warnings


def test_a_slow_interval_of_times_is_measured_as_such():
    """The same network over times 1000 times shorter varies 1000 times less."""
    network = Around(times=lambda t, s: (torch.sin(1000 * t), s - t))
    assert not examined(network, times=(0.0, 1e-3)).warnings


def test_images_and_classes_are_examined():
    x, condition = torch.randn(4, 1, 8, 8, generator=seeded()), torch.tensor([0, 1, 2, 1])
    options = {"dimension": None, "x": x, "condition": condition}
    good = examined(ConvNet(explicit_norm), **options)
    assert good.safe and good.error < 1e-7 and not good.warnings
    bad = examined(ConvNet(nn.BatchNorm2d(4)), **options)
    assert len(bad.findings) == 1 and "layer layer (BatchNorm2d)" in bad.findings[0]


def test_weights_that_are_zero_hide_nothing():
    network = Around(Wrong())
    nn.init.zeros_(network.after.weight), nn.init.zeros_(network.after.bias)
    before = {name: p.clone() for name, p in network.named_parameters()}
    assert "layer layer (Wrong)" in examined(network).findings[0]
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())


def test_networks_that_work_in_float32_inside_are_examined_in_it():
    linear = nn.Linear(6, 6)

    def single(h):
        return functional.linear(h.float(), linear.weight, linear.bias).tanh()

    check = examined(Around(single))
    assert check.safe and 1e-9 < check.error < 1e-2


def test_a_call_that_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match=r"either dimension, .* or an example x"):
        check_jvp(Around(), generator=seeded())
    with pytest.raises(ValueError, match=r"with x of shape \(8, 3\): .* pass an example x="):
        examined(Around(), dimension=3)
    with pytest.raises(ValueError, match=r"first < last, got \(1.0, 0.0\)"):
        examined(Around(), times=(1.0, 0.0))
    nowhere = examined(Around(lambda h: h / 0))
    assert nowhere.findings == ("the network is not finite at some t and s",)
