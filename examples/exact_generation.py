"""Learn to generate from samples alone, and hold the learned average velocity against the exact.

Three distributions whose average velocity between data and noise is known: a correlated Gaussian,
three clusters in the plane, and two narrow peaks on a line. For each, two models of one network
get the same seconds of training on samples: one learns the average velocity by the MeanFlow
identity, the other the velocity, by flow matching.

    python examples/exact_generation.py [--training SECONDS | --steps NUMBER] [--along noisy | self]
        [--output DIRECTORY] [--device cpu | cuda] [--seed NUMBER]

Writes a report and a figure. Under 2 minutes on 2 cores.
"""

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch

import meanfluid as mf
from meanfluid.files import replacing
from meanfluid.imaging.metrics import energy_distance, noise_floor
from meanfluid.learning import (
    MLP,
    AverageVelocity,
    Features,
    NoisePath,
    UniformTriangle,
    fit,
    generative_loss,
    material_residual,
    sample,
    steps_within,
)
from meanfluid.reporting.figures import COLOURS, STYLE, grid, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table, percent

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--training", type=float, default=12.0, help="seconds for each model")
parser.add_argument("--steps", type=int, help="training steps for each model, whatever the time")
parser.add_argument(
    "--along", default="noisy", choices=["noisy", "self"],
    help="what carries the mean in training: noise less data, or the model's own velocity",
)  # fmt: skip
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--output", type=Path, default=Path("results/exact_generation"))
parser.add_argument("--device", default="cpu", help="where the models are trained")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
if arguments.device.startswith("cuda") and not torch.cuda.is_available():
    parser.error(f"--device {arguments.device}: torch sees no GPU here; leave it out")
began = time.perf_counter()
output, device = arguments.output, torch.device(arguments.device)
output.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(arguments.seed)
TRAINING_SAMPLES, POINTS, COMPARED, PERMUTATIONS = 200_000, 8192, 1500, 199
EDGES = np.linspace(0.0, 1.0, 6)  # of the classes of windows, by length
JUMPS, EULER = (1, 2, 4), (1, 4, 16, 64)


# ---------------------------------------------------------------- Distributions
class Mixture(NamedTuple):
    """Gaussians with weights, and the exact path from them to noise."""

    path: mf.VelocityField
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def draw(self, n):
        """Return n samples (n, d)."""
        k = rng.choice(len(self.weights), n, p=self.weights)
        around = rng.standard_normal((n, self.means.shape[1], 1))
        return self.means[k] + (np.linalg.cholesky(self.covariances)[k] @ around)[:, :, 0]

    def density(self, x):
        """Return the density (n,) at positions (n, d)."""
        away = x[:, None] - self.means
        square = np.einsum("nki,kij,nkj->nk", away, np.linalg.inv(self.covariances), away)
        volume = np.sqrt(np.linalg.det(2 * np.pi * self.covariances))
        return np.exp(-square / 2) @ (self.weights / volume)


def of_clusters(weights, means, deviations):
    """Return a mixture of isotropic Gaussians."""
    centres = np.reshape(means, (len(weights), -1))
    covariances = np.square(deviations)[:, None, None] * np.eye(centres.shape[1])
    path = mf.fields.mixture_path(weights, means, deviations)
    return Mixture(path, np.array(weights), centres, covariances)


MEAN, COVARIANCE = np.array([1.0, -0.5]), np.array([[1.0, 0.6], [0.6, 0.5]])
cases = {
    "Gaussian": Mixture(
        mf.fields.gaussian_path(MEAN, COVARIANCE), np.ones(1), MEAN[None], COVARIANCE[None]
    ),
    "three clusters": of_clusters(
        [0.5, 0.3, 0.2], [[-1.5, -1.0], [1.5, -0.5], [0.2, 1.6]], [0.45, 0.35, 0.3]
    ),
    "two peaks": of_clusters([0.5, 0.5], [-1.0, 1.0], [0.15, 0.15]),
}

# ---------------------------------------------------------------- Learning
# Only samples are shown to the models: no velocity, and no average of it.
along = {"self": "self", "noisy": None}[arguments.along]
loss = partial(generative_loss, along=along)
learned = {"MeanFlow": 0.25, "flow matching": 1.0}  # the share of empty windows is the difference
models, training = {}, {}
for case, distribution in cases.items():
    data = torch.tensor(distribution.draw(TRAINING_SAMPLES), dtype=torch.float32, device=device)
    for name, diagonal in learned.items():
        features = Features([(-3.0, 3.0)] * data.shape[1], windows=(-1.0, 0.0))
        network = MLP(
            features, width=64, depth=4,
            generator=torch.Generator().manual_seed(arguments.seed),
        )  # fmt: skip
        model = AverageVelocity(None, network, tangent="free").to(device)
        sampler = NoisePath(data, UniformTriangle(diagonal=diagonal))
        draws = torch.Generator(device).manual_seed(arguments.seed)
        settings = {"generator": draws, "batch": arguments.batch}
        steps = arguments.steps or steps_within(
            arguments.training, model, loss, sampler, **settings
        )
        print(f"{case}, {name}: {steps} steps", file=sys.stderr)
        run = fit(model, loss, sampler, steps=steps, ema=0.995, **settings)
        (models[case, name],) = run.averages
        training[case, name] = run


# ---------------------------------------------------------------- Errors against the exact
def tensors(*arrays):
    """Return arrays as the models take them."""
    return [torch.tensor(a, dtype=torch.float32, device=device) for a in arrays]


def rms(values):
    """Return the root mean square length of rows."""
    return float(np.sqrt((np.asarray(values) ** 2).sum(axis=-1).mean()))


times = UniformTriangle()
by_window, by_steps, samples, errors_by_window = [], [], {}, {}
for case, distribution in cases.items():
    field, draw = distribution.path, distribution.draw
    t, s = (a.numpy() for a in times(POINTS, torch.Generator().manual_seed(arguments.seed)))
    noise = rng.standard_normal((POINTS, field.dimension))
    z = (1 - t[:, None]) * draw(POINTS) + t[:, None] * noise  # points of the path
    exact = mf.average_velocity(field, z, s, t, label="final")
    velocity = field.velocity(t, z)
    model = models[case, "MeanFlow"]
    at, anchor, free, v = tensors(z, t, s, velocity)
    with torch.no_grad():
        u = model(at, t=anchor, s=free).double().cpu().numpy()
        rho = material_residual(model, at, t=anchor, s=free, observable=v, advection=v)
    rho = rho.double().cpu().numpy()
    stratum = np.digitize(t - s, EDGES[1:-1])
    rows = [stratum == k for k in range(len(EDGES) - 1)]
    relative = [
        [rms(miss[row]) / rms(exact[row]) for row in rows]
        for miss in (u - exact, rho, velocity - exact)
    ]
    errors_by_window[case] = relative
    by_window += [
        [f"{case}: {what}", *map(percent, errors)]
        for what, errors in zip(("error", "residual", "velocity in its place"), relative,
                                strict=True)
    ]  # fmt: skip

    real, other = draw(COMPARED), draw(2 * COMPARED)
    floor = noise_floor(
        lambda a, b: energy_distance(a, b).value, other, sizes=(COMPARED, COMPARED), generator=rng
    )
    by_steps.append([case, "real, others", "", f"{max(floor):.4f}", ""])
    end = mf.flow_map(field, noise, 1.0, 0.0)
    (start,) = tensors(noise)
    trials = [("MeanFlow", "jumps", k) for k in JUMPS]
    trials += [("flow matching", "euler", k) for k in EULER]
    for name, scheme, steps in trials:
        drawn = sample(models[case, name], start, steps, scheme=scheme).double().cpu().numpy()
        samples[case, name, steps] = drawn
        test = energy_distance(drawn[:COMPARED], real, permutations=PERMUTATIONS, generator=rng)
        away = rms(drawn - end) / rms(end - end.mean(axis=0))
        by_steps.append(
            [case, f"{name}, {steps}", percent(away), f"{test.value:.4f}", f"{test.p_value:.3f}"]
        )
header = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(EDGES)]
windows = markdown_table(["length of window", *header], by_window)
steps_table = markdown_table(
    ["distribution", "model, steps", "error of end points", "energy distance", "p"], by_steps
)
print(f"{windows}\n\n{steps_table}")

# ---------------------------------------------------------------- Figure
REACH = 3.2  # of the squares that are shown, about the mean of the data
CURVES = {
    "learned average": {"color": COLOURS[0], "marker": "o"},
    "its residual": {"color": COLOURS[0], "ls": "", "marker": "x"},
    "the velocity in its place": {"color": "0.45", "marker": "s"},
}
with plt.rc_context(STYLE):
    figure, axes = plt.subplots(2, 3, figsize=(7.2, 4.9), layout="constrained")
    for (case, distribution), panel in zip(cases.items(), axes[0], strict=True):
        if distribution.means.shape[1] == 1:
            line, bins = np.linspace(-2, 2, 801), np.linspace(-2, 2, 81)
            panel.fill_between(line, distribution.density(line[:, None]), color="0.8", label="data")
            shown = [("MeanFlow", 1), ("flow matching", EULER[-1])]
            for (name, steps), colour in zip(shown, COLOURS, strict=False):
                panel.hist(
                    samples[case, name, steps][:, 0], bins, density=True, histtype="step",
                    color=colour, label=f"{name}, {steps} step{'s' * (steps > 1)}",
                )  # fmt: skip
            panel.set(xlabel="x", ylabel="density", xlim=(-2, 2), box_aspect=1, title=case)
            panel.set_ylim(top=1.5 * panel.get_ylim()[1])
            panel.legend(frameon=False, loc="upper left", fontsize=6)
            continue
        left, bottom = distribution.weights @ distribution.means - REACH
        extent = left, left + 2 * REACH, bottom, bottom + 2 * REACH
        x, y, points = grid(extent, 201)
        density = distribution.density(points).reshape(len(y), len(x))
        levels = density.max() * np.array([0.01, 0.1, 0.3, 0.6, 0.9])
        panel.plot(*samples[case, "MeanFlow", 1][:2000].T, ".", ms=1.6, color=COLOURS[0], mew=0)
        panel.contour(x, y, density, levels=levels, colors="black", linewidths=0.6)
        panel.set(xlabel="x", ylabel="y", xlim=extent[:2], ylim=extent[2:])
        panel.set(box_aspect=1, title=f"{case}: samples in one step")
    for case, panel in zip(cases, axes[1], strict=True):
        for errors, (name, style) in zip(errors_by_window[case], CURVES.items(), strict=True):
            panel.plot((EDGES[:-1] + EDGES[1:]) / 2, errors, ms=4, label=name, **style)
        panel.set(xlabel="length of window", yscale="log", xlim=(0, 1), ylim=(5e-3, 20))
        panel.grid(True, which="major", color="0.9")
    axes[1, 0].set_ylabel("relative $L^2$ norm")
    axes[1, 0].legend(frameon=False, loc="upper left", fontsize=6)
save(figure, output / "generation.png")

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/exact_generation.py " + " ".join(sys.argv[1:]),
    "seed": str(arguments.seed),
    "exact": "dop853, rtol 1e-11, atol 0",
    "network": f"4 hidden layers of 64, {sum(p.numel() for p in network.parameters())} weights in "
    "one dimension, float32",
    "training": f"SOAP, its default rates; batch {arguments.batch}; {TRAINING_SAMPLES} samples; "
    f"tangent along {arguments.along}; averaged weights, decay 0.995",
    "seconds, steps": "; ".join(
        f"{case}, {name}: {run.seconds:.0f}, {run.step}" for (case, name), run in training.items()
    ),
    "device": str(device),
    "threads": str(torch.get_num_threads()),
    **made_with(),
}
provenance = markdown_table(["", ""], [[name, value] for name, value in where.items()])
report = f"""# Generation against the exact average velocity

Models that have seen samples only, {arguments.training:g} seconds of training each unless a number
of steps was asked for. Data at time 0, noise at time 1.

![samples and errors](generation.png)

Upper row: samples, on contours of the exact density at 1, 10, 30, 60 and 90 % of its maximum; on
the line densities. Lower row: errors by the length of the window.

## Average velocity by length of window

{windows}

*error*: of the learned average velocity at {POINTS} points of the path, relative to the root mean
square of the exact one. *residual*: of the identity with the exact velocity, likewise; the error is
its mean along a trajectory. *velocity in its place*: what the exact velocity would be off by if
it were taken for the average.

## By number of steps

{steps_table}

*error of end points*: root mean square distance from where the exact flow carries the same noise,
over the deviation of the data. *energy distance*: of {COMPARED} samples from as many of the data;
the first row is the largest of 20 values between sets of real samples. *p*: by {PERMUTATIONS}
permutations. Samples can be right where end points are not, never the other way round.

One step of the velocity takes all noise to one point, the mean of the data. Between the two peaks
the exact average velocity of the whole window is nearly discontinuous at z = 0, so that a
continuous model leaves samples between them.

## Provenance

{provenance}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
