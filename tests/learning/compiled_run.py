"""Which norms forward mode passes under torch.compile; as a script, prints one word for each.

Each in a process of its own, for a refusal leaves torch's forward mode unusable (torch 2.13).
"""

import multiprocessing

import torch
import torch._dynamo
from torch import nn

NORMS = {"rms": nn.RMSNorm(6), "layer": nn.LayerNorm(6), "group": nn.GroupNorm(2, 6)}


def derivative(name: str) -> str:
    """Say whether a norm's derivative is refused, equal to that without compiling, or wrong."""
    x = torch.linspace(-1, 2, 18).reshape(3, 6) ** 2

    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.func.jvp(NORMS[name], (x,), (torch.ones_like(x),))[1]

    direct = forward(x)
    try:
        compiled = torch.compile(forward, backend="aot_eager")(x)
    except Exception as error:
        return "refused" if "forward" in str(error) else f"{error}"
    return "equal" if torch.allclose(compiled, direct, atol=1e-6) else "wrong"


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for name in NORMS:
            print(name, pool.apply(derivative, (name,)), flush=True)
