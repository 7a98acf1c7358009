"""A model inside DistributedDataParallel against itself alone; as a script, prints differences.

The script leaves without ending the process group. Its destructor may wait for a thread that waits
for the interpreter's lock, which the destructor holds (torch 2.13, gloo).
"""

import json
import os
import sys

import torch

from meanfluid.learning import MLP, AverageVelocity, Features, material_loss
from tests.learning.closed_forms import affine_velocity, anchors


def main() -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    x, t, s = anchors(48)
    generator = torch.Generator().manual_seed(5)
    features = Features([(-2.0, 2.0)] * 2, dtype=torch.float64)
    network = MLP(features, width=12, depth=2, generator=generator)
    model = AverageVelocity(affine_velocity, network)

    alone = material_loss(model, x=x, t=t, s=s)
    expected = torch.autograd.grad(alone.loss, list(model.parameters()))
    parallel = material_loss(torch.nn.parallel.DistributedDataParallel(model), x=x, t=t, s=s)
    parallel.loss.backward()

    away = max(
        float((p.grad - g).abs().max()) for p, g in zip(model.parameters(), expected, strict=True)
    )
    found = {
        "loss": float(alone.loss),
        "loss_away": float((parallel.loss - alone.loss).abs()),
        "residual_away": float(abs(parallel.residual - alone.residual)),
        "gradient": max(float(g.abs().max()) for g in expected),
        "gradient_away": away,
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
