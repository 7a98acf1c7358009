"""What does a training step by MeanFlow's identity cost, beside one of plain flow matching?

The same network, batch and optimiser. A quarter of MeanFlow's rows have a window, and only these
need the derivative along the flow; flow matching has empty windows only. A step is the loss, its
gradient and Adam; drawing the batch is left out.

    python benchmarks/training_step.py [--quick] [--repeats N] [--threads N] [--cpu] [--eager]
"""

import statistics
import time
from functools import partial
from typing import NamedTuple

import torch
from common import PACKAGES, alternated, parsed_arguments, write_report

from meanfluid.imaging.unet import UNet
from meanfluid.learning import MLP, AverageVelocity, Features, UniformTriangle
from meanfluid.learning.generation import NoisePath
from meanfluid.learning.losses import material_loss, supervised_loss
from meanfluid.learning.ranks import Ranks
from meanfluid.learning.steps import Manner, Stepper
from meanfluid.reporting.provenance import versions
from meanfluid.reporting.tables import markdown_table

DIAGONAL = 0.75  # share of rows with an empty window
TIME_AIM, MEMORY_AIM = 1.4, 1.1
BATCHES = 4  # drawn before; of a power of two rows, so that as many in each have a window
LEAST = 1.0  # seconds of one timing
COLUMNS = [
    "network", "mode", "flow matching, ms", "MeanFlow, ms", "time ratio",
    "flow matching, MB", "MeanFlow, MB", "memory ratio", "first calls, s",
]  # fmt: skip


class Case(NamedTuple):
    """A network, the shape of its rows, and how many there are in a batch."""

    title: str
    shape: tuple[int, ...]
    rows: int
    widths: tuple[int, ...]  # of the levels of a U-Net, or of all layers


def main():
    began = time.perf_counter()
    arguments = parsed_arguments(
        __doc__, cpu="leave the GPU alone", eager="without torch.compile, which takes minutes"
    )
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.cpu else "cpu")
    modes = (False,) if arguments.eager or arguments.quick else (False, True)
    entries = [
        entry
        for case in cases(device.type, arguments.quick)
        for entry in measure(case, modes, device, arguments)
    ]
    rows = [row(entry) for entry in entries]
    print(markdown_table(COLUMNS, [[str(cell) for cell in one] for one in rows]))
    write_report(
        "training_step", "What does a step by the identity cost, beside flow matching?",
        arguments, began, versions=versions((*PACKAGES, "torch")),
        tables=[{"title": "", "columns": COLUMNS, "rows": rows}],
        targets=[target for entry in entries for target in targets(entry)],
        notes=notes(device), entries=entries,
    )  # fmt: skip


def cases(device, quick):
    """Return the networks; in a quick run they are small and see few rows."""
    large = 8 if device == "cuda" else 1
    listed = [
        Case("MLP, points of the plane", (2,), 1024 * large, (128,)),
        Case("U-Net, 8 × 8", (1, 8, 8), 128 * large, (32, 64)),
        Case("U-Net, 32 × 32", (3, 32, 32), 32 * large, (32, 64, 128)),
    ]
    return [case._replace(rows=8, widths=(8, 8)) for case in listed] if quick else listed


def network(case):
    """Return the network of a case, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    if len(case.shape) == 1:
        return MLP(Features([(-3.0, 3.0)] * 2), width=case.widths[0], generator=generator)
    return UNet(case.shape, widths=case.widths, generator=generator)


def measure(case, modes, device, arguments):
    """Time both losses in all modes in turn; return one entry per mode."""
    torch.compiler.reset()  # else it would prepare for batches of any size after the first case
    generator = torch.Generator(device).manual_seed(1)
    data = torch.randn(4 * case.rows, *case.shape, generator=generator, device=device)
    path = NoisePath(data, UniformTriangle(diagonal=DIAGONAL))
    batches = [path(case.rows, generator) for _ in range(BATCHES)]
    contestants = {
        (name, compiled): Steps(case, name, compiled, batches, device)
        for compiled in modes
        for name in ("flow matching", "MeanFlow")
    }
    timed = alternated(contestants, arguments.repeats, 0.0 if arguments.quick else LEAST)
    entries = []
    for compiled in modes:
        both = [(name, compiled) for name in ("flow matching", "MeanFlow")]
        plain, ours = (
            statistics.median(s / BATCHES for s in timed[key]["seconds"]) for key in both
        )
        plain_bytes, our_bytes = (contestants[key].memory() for key in both)
        entries.append(
            {
                "network": case.title,
                "rows": case.rows,
                "mode": "compiled" if compiled else "eager",
                "flow_matching_seconds": plain,
                "meanflow_seconds": ours,
                "time_ratio": ours / plain,
                "flow_matching_bytes": plain_bytes,
                "meanflow_bytes": our_bytes,
                "memory_ratio": our_bytes / plain_bytes,
                "first_calls_seconds": sum(timed[key]["first_call"] for key in both),
            }
        )
    return entries


class Steps:
    """Steps of one loss with a network of its own; called, it takes one with every batch."""

    def __init__(self, case, name, compiled, batches, device):
        self.model = AverageVelocity(None, network(case), tangent="free").to(device)
        self.device = device
        loss = partial(material_loss, moving=case.rows - round(DIAGONAL * case.rows))
        if name == "flow matching":
            loss = supervised_loss
            batches = [
                {"x": b["x"], "t": b["t"], "s": b["t"], "mean": b["observable"]} for b in batches
            ]
        self.batches = batches
        adam = torch.optim.Adam(self.model.parameters(), lr=1e-5)
        self.stepper = Stepper(self.model, loss, adam, Manner(compile=compiled), Ranks())

    def __call__(self):
        for batch in self.batches:
            values = self.stepper.step(batch, progress=0.0, number=1)
        return values.tolist()  # waits for the device

    def memory(self):
        """Bytes of one step: the peak on a GPU, on a CPU what is kept for the backward pass."""
        if self.device.type == "cuda":
            self.model.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self()
            return torch.cuda.max_memory_allocated() - before + self._held()
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.stepper.evaluate(self.stepper.loss, self.model, self.batches[0])
        fixed = [*self.model.parameters(), *self.model.buffers(), *self.batches[0].values()]
        for tensor in fixed:
            kept.pop(tensor.untyped_storage().data_ptr(), None)
        del value
        return sum(kept.values())

    def _held(self):
        """Bytes of weights and of what Adam keeps: held during a step, by flow matching too."""
        return 3 * sum(p.numel() * p.element_size() for p in self.model.parameters())


def row(entry):
    """Return one row of the table."""
    times = [1e3 * entry[f"{name}_seconds"] for name in ("flow_matching", "meanflow")]
    sizes = [entry[f"{name}_bytes"] / 1e6 for name in ("flow_matching", "meanflow")]
    return [
        f"{entry['network']}, {entry['rows']} rows", entry["mode"],
        *map(rounded, (*times, entry["time_ratio"], *sizes, entry["memory_ratio"])),
        rounded(entry["first_calls_seconds"]),
    ]  # fmt: skip


def rounded(value):
    return float(f"{value:.3g}")


def targets(entry):
    """Return what was aimed at, for one network in one mode."""
    where = f"{entry['network']}, {entry['mode']}"
    return [
        {
            "target": f"{what} of a MeanFlow step over flow matching, {where}",
            "measured": entry[f"{key}_ratio"],
            "at_most": aim,
        }
        for what, key, aim in (("time", "time", TIME_AIM), ("memory", "memory", MEMORY_AIM))
    ]


def notes(device):
    """Return what the numbers mean."""
    counted = (
        "Memory is the peak that torch allocates in a step, weights and Adam's moments included."
        if device.type == "cuda"
        else "Memory is what autograd keeps for the backward pass, weights and batch left out. "
        "Not counted is what the derivative needs while it is computed, without gradients: two "
        "activations at a time for each of a quarter of the rows."
    )
    name = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    return [
        f"On {name}, float32. MeanFlow is `material_loss` with values of noise minus data, the "
        f"gradient stopped at the target; {1 - DIAGONAL:.0%} of its rows have a window. Flow "
        "matching is the plain square error of u(x, t, t). Times are medians of alternated "
        f"repeats of {BATCHES} steps. {counted}"
    ]


if __name__ == "__main__":
    main()
