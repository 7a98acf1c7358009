"""Draw turbulence-like vorticity in one step, and compare its spectrum with the data's.

The data are snapshots of kinematic simulations on a periodic square, each with directions and
phases of its own. A U-Net with an isotropic spectral filter beside it learns the average velocity
between noise and snapshots by the MeanFlow identity, and draws one with one evaluation.

    python examples/images/turbulence_one_step.py [--size 32 | 64] [--training SECONDS]
        [--steps NUMBER] [--batch NUMBER] [--widths CHANNELS ...] [--output DIRECTORY]
        [--device cpu | cuda] [--compile] [--seed NUMBER]

Writes a report with figures. Under 10 minutes on 2 cores at size 32; size 64 wants a GPU.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from meanfluid.files import replacing
from meanfluid.imaging import Filtered, UNet, turbulence_snapshots
from meanfluid.imaging.metrics import (
    energy_distance,
    increments,
    shell_spectrum,
    spectrum_difference,
    structure_function,
)
from meanfluid.learning import (
    AverageVelocity,
    Cosine,
    NoisePath,
    UniformTriangle,
    fit,
    generative_loss,
    sample,
    steps_within,
)
from meanfluid.reporting.figures import save
from meanfluid.reporting.image_figures import plot_images, plot_spectra
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table, percent

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--size", type=int, default=32, help="points along each side")
parser.add_argument("--snapshots", type=int, default=4096, help="for training")
parser.add_argument("--compared", type=int, default=4096, help="on either side of a comparison")
parser.add_argument("--training", type=float, default=400.0, help="seconds")
parser.add_argument("--steps", type=int, help="training steps, whatever the time")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--rate", type=float, default=2e-3, help="of learning, at first")
parser.add_argument("--widths", type=int, nargs="+", default=[8, 16], help="of the U-Net")
parser.add_argument("--output", type=Path, default=Path("results/turbulence_one_step"))
parser.add_argument("--device", default="cpu", help="where the model is trained")
parser.add_argument("--compile", action="store_true", help="the loss; takes a minute or more")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
if arguments.device.startswith("cuda") and not torch.cuda.is_available():
    parser.error(f"--device {arguments.device}: torch sees no GPU here; leave it out")
began = time.perf_counter()
output, device, size = arguments.output, torch.device(arguments.device), arguments.size
output.mkdir(parents=True, exist_ok=True)

# ---------------------------------------------------------------- Data
compared = arguments.compared
flows = turbulence_snapshots(arguments.snapshots + compared, size, seed=arguments.seed)
train, real = flows.images[compared:], flows.images[:compared]
inertial = 2.0, size / 6  # from the energetic scale to the dissipative one

# ---------------------------------------------------------------- Learning
generator = torch.Generator().manual_seed(arguments.seed)
network = Filtered(
    UNet((1, size, size), widths=tuple(arguments.widths), periodic=True, generator=generator),
    generator=generator,
)
model = AverageVelocity(None, network, tangent="free").to(device)
diagonal = 0.5
sampler = NoisePath(train.to(device), UniformTriangle(diagonal=diagonal))
loss = partial(generative_loss, moving=arguments.batch - int(diagonal * arguments.batch))
settings = {
    "generator": torch.Generator(device).manual_seed(arguments.seed),
    "batch": arguments.batch,
    "optimiser": torch.optim.Adam(model.parameters(), lr=arguments.rate, betas=(0.9, 0.99)),
    "clip": 1.0,
    "compile": arguments.compile,
}
steps = arguments.steps or steps_within(arguments.training, model, loss, sampler, **settings)
print(f"{steps} steps")
run = fit(model, loss, sampler, steps=steps, schedule=Cosine(power=1.0), ema=0.999, **settings)
(trained,) = run.averages

# ---------------------------------------------------------------- Drawing and comparing
draw = torch.Generator(device).manual_seed(arguments.seed + 1)
noise = torch.randn(real.shape, generator=draw, device=device)


def drawn(steps):
    """Return snapshots drawn in so many steps."""
    return torch.cat([sample(trained, z, steps).cpu() for z in noise.split(128)])


sample(trained, noise[:128])  # warm
since = time.perf_counter()
made = {1: drawn(1)}
seconds = time.perf_counter() - since
made |= {k: drawn(k) for k in (2, 4)}
held = train[:compared]  # other real snapshots: what chance alone does
k = shell_spectrum(real).wavenumber
counts = (k >= inertial[0]) & (k <= inertial[1])
separations = [1, 2, 4, size // 4]
rng = np.random.default_rng(arguments.seed)
rows, largest = [], {}
for name, snapshots in {"real, others": held, **made}.items():
    difference, error = spectrum_difference(real[:, 0], snapshots[:, 0])
    largest[name] = float(np.abs(difference.density[counts]).max())
    ratio = structure_function(snapshots[:, 0], 2, separations) / structure_function(
        real[:, 0], 2, separations
    )
    jumps = increments(snapshots[:, 0].numpy(), 1).ravel()
    flatness = float((jumps**4).mean() / (jumps**2).mean() ** 2)
    test = energy_distance(snapshots[:256], real[:256], permutations=199, generator=rng)
    rows.append(
        [
            name if isinstance(name, str) else f"{name} step{'s' * (name > 1)}",
            percent(largest[name]),
            percent(float(error[counts].max())),
            " ".join(f"{r:.3f}" for r in ratio),
            f"{flatness:.2f}",
            f"{test.p_value:.2f}",
        ]
    )
header = ["snapshots", "largest spectral difference", "standard error", "S2 over the data's",
          "flatness of increments", "p, energy distance"]  # fmt: skip
table = markdown_table(header, rows)
print(table)

# ---------------------------------------------------------------- Figures
shown = {"data": real[:8], "1 step": made[1][:8], "4 steps": made[4][:8]}
save(plot_images(shown, limits=(-3.0, 3.0), colours="RdBu_r"), output / "snapshots.png")
spectra = {"data": real, **{f"{n} step{'s' * (n > 1)}": m for n, m in made.items()}}
density = {name: shell_spectrum(m[:, 0]).density.mean(axis=0) for name, m in spectra.items()}
resolved = k <= size / 3
figure = plot_spectra(
    k[resolved], {name: e[resolved] for name, e in density.items()}, shaded=inertial, tolerance=0.05
)
save(figure, output / "spectra.png")

# ---------------------------------------------------------------- Report
made_on = [[key, value] for key, value in made_with().items()]
place = f"{device.type}{', compiled' if arguments.compile else ''}"
weights = sum(p.numel() for p in network.parameters())
text = f"""# Turbulence-like vorticity in one step

{len(train)} snapshots of {size} x {size} points, {weights} parameters, {run.step} steps of
{arguments.batch} in {run.seconds:.0f} s ({place}), {arguments.batch * run.step / run.seconds:.0f}
snapshots a second, seed {arguments.seed}. The inertial range is from wavenumber {inertial[0]:g} to
{inertial[1]:.3g}. One step draws a snapshot in {1e3 * seconds / compared:.2f} ms.

![snapshots](snapshots.png)

{table}

Spectra are means of {compared} snapshots; the largest difference is over the shells of the inertial
range. S2 is the second structure function at separations {", ".join(map(str, separations))}.

![spectra](spectra.png)

{markdown_table(["", ""], made_on)}
"""
with replacing(output / "report.md") as file:
    file.write(text.encode())
print(f"one step: spectrum within {percent(largest[1])} of the data in the inertial range")
print(f"{output / 'report.md'}, {time.perf_counter() - began:.0f} s")
