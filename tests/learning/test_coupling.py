"""Noise that is handed out within a batch so that lines are short."""

import itertools

import pytest
import torch

from meanfluid.learning import NoisePath, UniformTriangle
from meanfluid.learning.generation import matched


def test_the_optimal_coupling_is_the_shortest_of_all_permutations():
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    length = [
        (noise[list(order)] - data).square().sum()
        for order in itertools.permutations(range(len(data)))
    ]
    found = (noise[matched(data, noise)] - data).square().sum()
    assert found == pytest.approx(float(min(length)), rel=1e-12)


def test_the_optimal_coupling_keeps_ends_and_classes_and_shortens_lines():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(120, 2, generator=generator, dtype=torch.float64)
    classes = torch.arange(120) % 3
    lengths = {}
    for coupling in ("independent", "optimal"):
        path = NoisePath(data, UniformTriangle(), condition=classes, coupling=coupling)
        batch = path(120, torch.Generator().manual_seed(1))
        t = batch["t"][:, None]
        noise = batch["x"] + (1 - t) * batch["observable"]
        ends = batch["x"] - t * batch["observable"]
        which = (ends[:, None] - data).norm(dim=2).argmin(dim=1)
        torch.testing.assert_close(ends, data[which])
        assert torch.equal(classes[which], batch["condition"])
        lengths[coupling] = batch["observable"].square().sum(), noise
    longer, shorter = lengths["independent"], lengths["optimal"]
    assert shorter[0] < 0.9 * longer[0]
    by_first = [noise[noise[:, 0].argsort()] for _, noise in (longer, shorter)]
    torch.testing.assert_close(*by_first)  # the same noise, handed out otherwise


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"coupling": "best"}, "coupling must be"),
        ({"coupling": "optimal", "condition": torch.zeros(4, 2)}, "class numbers"),
    ],
)
def test_couplings_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        NoisePath(torch.zeros(4, 2), UniformTriangle(), **wrong)
