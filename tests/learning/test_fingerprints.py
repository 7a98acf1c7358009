"""Settings are told apart by their content, alike in every process, or refused."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from meanfluid.backends.tensors import torch_velocity
from meanfluid.errors import CheckpointError
from meanfluid.fields import double_gyre
from meanfluid.learning import (
    MLP,
    Anchors,
    AverageVelocity,
    Box,
    Cosine,
    Disc,
    Features,
    Pool,
    UniformTriangle,
    fit,
    material_loss,
)
from meanfluid.learning.fingerprints import describe, fingerprint
from tests.learning.closed_forms import Wrapped

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
UNIFORM = Anchors(Box((0.0, 0.0), (2.0, 1.0)), UniformTriangle())


def scaled(factor):
    return lambda x, t: factor * x


def reading(value):
    names = {"RATE": value}
    exec("def velocity(x, t):\n    return RATE * x", names)
    return names["velocity"]


def with_default(factor):
    def velocity(x, t, factor=factor):
        return factor * x

    return velocity


def network(box=((0.0, 2.0), (0.0, 1.0)), **options):
    generator = torch.Generator().manual_seed(0)
    return MLP(Features(box, **options), width=8, depth=1, generator=generator)


@dataclass(frozen=True, slots=True)
class Slotted:
    value: float

    def __call__(self):
        return self.value


class Seeded(torch.Generator):
    """Has attributes, but not what matters."""


def pool(value):
    return Pool(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3), torch.full((3, 2), value))


@pytest.mark.parametrize(
    "one, other",
    [
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: torch.sin(x), lambda x: torch.cos(x)),
        (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
        (scaled(1.0), scaled(2.0)),
        (scaled(torch.zeros(2)), scaled(torch.ones(2))),
        (with_default(1.0), with_default(2.0)),
        (reading(1.0), reading(2.0)),
        (partial(material_loss, power=0.5), partial(material_loss, power=1.0)),
        (partial(material_loss, observable=scaled(1.0)), partial(material_loss, observable=len)),
        (partial(Slotted(1.0)), partial(Slotted(2.0))),
        (Slotted(1.0).value.hex, Slotted(2.0).value.hex),
        (torch.sin, torch.cos),
        (Cosine(), Cosine(floor=0.1)),
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(3), torch.zeros(3, 1)),
        (np.zeros(3), np.ones(3)),
        (pool(0.0), pool(1.0)),
        (UNIFORM, Anchors(Disc(), UniformTriangle())),
        (nn.Linear(2, 3), nn.Linear(2, 4)),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (nn.Sequential(nn.SiLU()), nn.Sequential(nn.GELU())),
        (Wrapped(scaled(1.0)), Wrapped(scaled(2.0))),
        (network(), network([(0.0, 2.0), (0.0, 3.0)])),
        (network(), network(windows=(-1.0, 0.0))),
        (network(), network(rotation=1.0)),
        (network(rotation=1.0), network(rotation=2.0)),
        (double_gyre(), double_gyre(amplitude=0.9)),
        (torch_velocity(double_gyre()), torch_velocity(double_gyre(amplitude=0.9))),
        (
            AverageVelocity(double_gyre(), network()),
            AverageVelocity(double_gyre(amplitude=0.9), network()),
        ),
        (
            AverageVelocity(double_gyre(), network()),
            AverageVelocity(double_gyre(), network(), scale=2.0),
        ),
    ],
)
def test_other_content_is_another_setting(one, other):
    assert describe(one) != describe(other)
    assert "0x" not in describe(one)


def test_what_is_made_again_is_the_same_setting():
    def settings():
        model = AverageVelocity(double_gyre(), network())
        return model, scaled(1.0), pool(0.0), partial(material_loss, power=0.5), UNIFORM, {1, 2}

    assert describe(settings()) == describe(settings())


def test_training_and_using_a_model_do_not_make_it_another():
    model = AverageVelocity(double_gyre(), network())
    before = describe(model)
    model(torch.zeros(3, 2), t=0.0, s=1.0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert describe(model) == before


def test_compiling_a_function_or_a_module_does_not_make_it_another():
    for thing in (scaled(2.0), network()):
        assert describe(torch.compile(thing, backend="eager")) == describe(thing)


def test_things_that_contain_themselves_are_described():
    def velocity(x, t):
        return velocity

    ring = [velocity]
    ring.append(ring)
    assert "itself" in describe(ring)


def test_what_cannot_be_described_is_refused_only_if_a_checkpoint_is_wanted(tmp_path):
    hidden = torch.Generator()

    def sampler(n, generator):
        return UNIFORM(n, generator) if hidden else None

    def train(**options):
        model, generator = AverageVelocity(double_gyre(), network()), torch.Generator()
        fit(model, material_loss, sampler, steps=1, generator=generator, **options)

    train()
    with pytest.raises(
        ValueError, match=r"tell its sampler .* content of Generator .* checkpoint="
    ):
        train(checkpoint=tmp_path / "run.ckpt")
    for thing in (object(), Seeded(), hidden.manual_seed):
        with pytest.raises(ValueError, match="tell its loss"):
            fingerprint({"steps": 1, "loss": thing})


def velocity_one(x, t):
    return torch.ones_like(x)


@pytest.mark.parametrize(
    "velocity, box, what",
    [
        (double_gyre(amplitude=0.9), (0.0, 2.0), "amplitude=0.9"),
        (double_gyre(), (0.0, 3.0), "centres="),
        (lambda x, t: x, (0.0, 2.0), "lambda"),
        (velocity_one, (0.0, 2.0), "velocity_one"),
    ],
)
def test_the_checkpoint_of_another_velocity_or_scaling_is_refused(tmp_path, velocity, box, what):
    def train(velocity, box):
        model = AverageVelocity(velocity, network([box, (0.0, 1.0)]))
        generator = torch.Generator().manual_seed(0)
        path = tmp_path / "run.ckpt"
        fit(model, material_loss, UNIFORM, steps=2, generator=generator, checkpoint=path)

    train(double_gyre(), (0.0, 2.0))
    train(double_gyre(), (0.0, 2.0))  # its own is taken
    with pytest.raises(CheckpointError, match=f"another run: model was .*{what}.*; delete it"):
        train(velocity, box)


def test_the_checkpoint_of_one_lambda_is_refused_for_another(tmp_path):
    def train(velocity):
        model = AverageVelocity(velocity, network())
        generator, path = torch.Generator().manual_seed(0), tmp_path / "run.ckpt"
        fit(model, material_loss, UNIFORM, steps=2, generator=generator, checkpoint=path)

    train(lambda x, t: 2 * x)
    with pytest.raises(CheckpointError, match="another run: model was"):
        train(lambda x, t: 3 * x)


def test_the_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    def train():
        model, generator = AverageVelocity(double_gyre(), network()), torch.Generator()
        path = tmp_path / "run.ckpt"
        fit(model, material_loss, UNIFORM, steps=1, generator=generator, checkpoint=path)

    train()
    monkeypatch.setattr("meanfluid.learning.run.version", lambda name: "99.0")
    with pytest.raises(CheckpointError, match=r"versions was .*Python .*, is .*meanfluid 99\.0"):
        train()
