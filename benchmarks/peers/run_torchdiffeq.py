"""torchdiffeq in float64 on the CPU: all particles as one system, with all threads."""

import torch
from exchange import AMPLITUDE, FREQUENCY, PERTURBATION, serve, task
from torchdiffeq import odeint

given, _ = task()
torch.set_num_threads(given["threads"])
torch.set_default_dtype(torch.float64)
times = torch.tensor([given["start"], given["end"]])


def gyre(t, state):
    x, y = state
    lean = PERTURBATION * torch.sin(FREQUENCY * t)
    fold, slope = lean * x * x + (1 - 2 * lean) * x, 2 * lean * x + (1 - 2 * lean)
    across, up, scale = torch.pi * fold, torch.pi * y, torch.pi * AMPLITUDE
    return torch.stack(
        [
            -scale * torch.sin(across) * torch.cos(up),
            scale * torch.cos(across) * torch.sin(up) * slope,
        ]
    )


def method(name):
    def run(position, rtol):
        with torch.no_grad():
            start = torch.from_numpy(position).T.contiguous()
            return odeint(gyre, start, times, rtol=rtol, atol=rtol, method=name)[-1].T.numpy()

    return run


serve({"dopri5": method("dopri5"), "dopri8": method("dopri8")}, ["torchdiffeq", "torch", "numpy"])
