"""A doctor for networks: does forward mode work in every layer, and is it right there.

The identity needs products of the Jacobian with a vector. Some layers refuse them (batch
normalisation in training mode, grid sampling, fused attention on some devices); custom layers may
return wrong ones. Not checked here: under `torch.compile` a few that work otherwise are refused
(`nn.LayerNorm` and `nn.GroupNorm` in torch 2.13).
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

TOLERANCE = 1e-6  # relative, of a central difference in float64; its own error is near 1e-9
STEP = 1e-5


class JvpCheck(NamedTuple):
    """What `check_jvp` found.

    Attributes
    ----------
    safe : bool
    error : float
        Relative difference between forward mode and a central difference in float64.
    findings : tuple of str
        One sentence per unsafe layer: where it is, its type, and what happened.
    """

    safe: bool
    error: float
    findings: tuple[str, ...]


def check_jvp(
    network: nn.Module,
    *,
    dimension: int,
    generator: Generator,
    samples: int = 8,
) -> JvpCheck:
    """Compare forward-mode derivatives of a network with finite differences, layer by layer.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t, s)``; checked in its present mode, on a float64 copy.
    dimension : int
        Columns of x.
    generator : torch.Generator
        On the CPU; draws inputs and directions.

    Returns
    -------
    JvpCheck

    Examples
    --------
    >>> from meanfluid.learning import MLP, Features
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = MLP(Features([(0.0, 1.0)]), generator=generator)
    >>> check_jvp(network, dimension=1, generator=generator).safe
    True
    """
    network = copy.deepcopy(network).cpu().double()
    x = torch.randn(samples, dimension, generator=generator, dtype=torch.float64)
    t, s = torch.rand(2, samples, generator=generator, dtype=torch.float64)
    inputs: tuple[Tensor, ...] = (x, t, s)
    findings: list[str] = []
    with torch.no_grad():
        if not torch.equal(network(*inputs), network(*inputs)):
            findings.append(
                f"the network is random in its present mode ({_random_layers(network)}): the "
                "derivative and the value would see different draws; call eval() first"
            )
            network.eval()
        error = _disagreement(network, inputs, generator)
        if isinstance(error, str) or error > TOLERANCE:
            findings += _blame(network, inputs, generator)
            if not findings:
                findings.append(f"the network as a whole: {_say(error)}")
    return JvpCheck(
        not findings, error if isinstance(error, float) else float("nan"), tuple(findings)
    )


def _disagreement(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], generator: Generator
) -> float | str:
    """Relative error of the forward-mode derivative, or what it raised."""
    along = tuple(_like(a, generator) for a in inputs)
    try:
        forward = torch.func.jvp(function, inputs, along)[1]
    except Exception as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    ahead, behind = (
        function(*(a + sign * STEP * b for a, b in zip(inputs, along, strict=True)))
        for sign in (1, -1)
    )
    difference = (ahead - behind) / (2 * STEP)
    return float((forward - difference).norm() / difference.norm().clamp_min(1e-300))


def _blame(network: nn.Module, inputs: tuple[Tensor, ...], generator: Generator) -> list[str]:
    """Check each layer alone, at the inputs that it sees inside the network."""
    seen = _inputs_of_leaves(network, inputs)
    findings = []
    for name, (layer, arguments) in seen.items():
        error = _disagreement(layer, arguments, generator)
        if isinstance(error, str) or error > TOLERANCE:
            findings.append(f"layer {name} ({type(layer).__name__}): {_say(error)}")
    return findings


def _inputs_of_leaves(
    network: nn.Module, inputs: tuple[Tensor, ...]
) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    seen: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}
    handles = []
    for name, layer in network.named_modules():
        if any(True for _ in layer.children()):
            continue

        def note(layer: nn.Module, arguments: Any, name: str = name) -> None:
            if all(isinstance(a, Tensor) and a.is_floating_point() for a in arguments):
                seen[name] = layer, arguments

        handles.append(layer.register_forward_pre_hook(note))
    try:
        network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _random_layers(network: nn.Module) -> str:
    kinds = {type(m).__name__ for m in network.modules() if "Dropout" in type(m).__name__}
    return ", ".join(sorted(kinds)) or "no layer known for it"


def _say(error: float | str) -> str:
    if isinstance(error, str):
        return f"forward mode is refused: {error}"
    return f"forward mode differs from a finite difference by {error:.1e} of its size"


def _like(value: Tensor, generator: Generator) -> Tensor:
    return torch.randn(value.shape, generator=generator, dtype=value.dtype)
