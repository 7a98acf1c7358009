"""Draw handwritten digits in one step, and compare with fifty steps of flow matching.

Two models of the same network get the same seconds of training on the digits of scikit-learn. One
learns the average velocity between noise and data by the MeanFlow identity, and draws an image
with one evaluation. The other learns the velocity, by flow matching, and integrates it.

    python examples/images/digits_one_step.py [--training SECONDS | --steps NUMBER]
        [--guidance STRENGTH] [--coupling independent | optimal] [--momentum DECAY]
        [--width UNITS] [--output DIRECTORY] [--device cpu | cuda] [--compile] [--seed NUMBER]

Writes a report with figures, and all scores as NetCDF. Under 10 minutes on 2 cores.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray

from meanfluid.files import replacing, standing_in_for
from meanfluid.imaging import ImageComparison, ResidualMLP, digits, train_classifier
from meanfluid.learning import (
    AverageVelocity,
    Cosine,
    Guidance,
    NoisePath,
    UniformTriangle,
    fit,
    generative_loss,
    sample,
    steps_within,
)
from meanfluid.reporting.figures import save
from meanfluid.reporting.image_figures import plot_images, plot_scores_by_steps
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table, percent

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--training", type=float, default=200.0, help="seconds for each model")
parser.add_argument("--steps", type=int, help="training steps for each model, whatever the time")
parser.add_argument("--guidance", type=float, default=1.0, help="strength; 1 is none")
parser.add_argument("--coupling", default="optimal", choices=["independent", "optimal"])
parser.add_argument("--width", type=int, default=256, help="of the network")
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--rate", type=float, default=4e-3, help="of learning, at first")
parser.add_argument("--momentum", type=float, default=0.9, help="Adam's first decay")
parser.add_argument("--output", type=Path, default=Path("results/digits_one_step"))
parser.add_argument("--device", default="cpu", help="where the models are trained")
parser.add_argument("--compile", action="store_true", help="losses; takes a minute or more")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
if arguments.device.startswith("cuda") and not torch.cuda.is_available():
    parser.error(f"--device {arguments.device}: torch sees no GPU here; leave it out")
began = time.perf_counter()
output, device = arguments.output, torch.device(arguments.device)
output.mkdir(parents=True, exist_ok=True)

# ---------------------------------------------------------------- Data and judge
train, test = digits(seed=arguments.seed)
classes = len(train.classes)
judge = train_classifier(train, generator=torch.Generator().manual_seed(arguments.seed))
judged = float((judge.predict(test.images) == test.labels).double().mean())
print(f"The classifier that judges finds {percent(judged)} of the test digits.")
in_order = train.labels.argsort(stable=True)  # by class, so that batches hold about equal numbers
data, labels = (a[in_order].to(device) for a in (train.images, train.labels))

# ---------------------------------------------------------------- Learning
guidance = None
if arguments.guidance != 1:
    guidance = Guidance(arguments.guidance, null=classes)
learned = {"MeanFlow": 0.5, "flow matching": 1.0}  # the share of empty windows is the difference
models, training_steps = {}, {}
for name, diagonal in learned.items():
    generator = torch.Generator().manual_seed(arguments.seed)
    network = ResidualMLP(
        tuple(data.shape[1:]), classes=classes, width=arguments.width, generator=generator
    )
    model = AverageVelocity(None, network, tangent="free").to(device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=arguments.rate, betas=(arguments.momentum, 0.99)
    )
    sampler = NoisePath(
        data, UniformTriangle(diagonal=diagonal), condition=labels, null=classes, drop=0.1,
        coupling=arguments.coupling,
    )  # fmt: skip
    settings = {
        "generator": torch.Generator(device).manual_seed(arguments.seed),
        "batch": arguments.batch,
        "optimiser": optimiser,
        "clip": 1.0,
        "compile": arguments.compile,
    }
    moving = arguments.batch - int(diagonal * arguments.batch)
    loss = partial(generative_loss, guidance=guidance, moving=moving)
    steps = arguments.steps or steps_within(arguments.training, model, loss, sampler, **settings)
    print(f"{name}: {steps} steps")
    schedule = Cosine(warmup=min(200, steps // 10), power=1.0)
    run = fit(model, loss, sampler, steps=steps, schedule=schedule, ema=0.999, **settings)
    (models[name],) = run.averages
    training_steps[name] = run.step, run.seconds
    print(f"{name}: {arguments.batch * run.step / run.seconds:.0f} images a second in training")

# ---------------------------------------------------------------- Scores by number of steps
PARTS = 4  # sets of as many images as there are test images, over which scores are averaged
trials = [("MeanFlow", "jumps", k) for k in (1, 2, 4, 8)]
trials += [("flow matching", "euler", k) for k in (1, 2, 4, 8, 16, 50)]
count = PARTS * len(test.images)
asked = torch.arange(count) % classes
draw = torch.Generator(device).manual_seed(arguments.seed + 1)
noise = torch.randn(count, *data.shape[1:], generator=draw, device=device)
compared = ImageComparison(
    train=train, test=test, classifier=judge, generator=np.random.default_rng(arguments.seed)
)
images, scores = {}, []
for name, scheme, steps in trials:
    carry = partial(sample, models[name], steps=steps, scheme=scheme, condition=asked.to(device))
    carry(noise)
    took = []
    for _ in range(3):
        since = time.perf_counter()
        drawn = carry(noise).cpu()
        took.append(time.perf_counter() - since)
    images[name, steps] = drawn
    parts = [compared(*part) for part in zip(drawn.chunk(PARTS), asked.chunk(PARTS), strict=True)]
    mean = xarray.concat(parts, "part", combine_attrs="override").mean("part", keep_attrs=True)
    mean["seconds"] = float(np.median(took)) / count
    mean["seconds"].attrs["long_name"] = "time to draw one image, in a batch"
    scores.append(
        mean.assign_coords(model=name, steps=steps).assign(
            training_steps=training_steps[name][0], training_seconds=training_steps[name][1]
        )
    )
    here = mean.sel(images="generated")
    print(
        f"{name:>14}, {steps:2d} steps: fd_cnn {float(here.fd_cnn):6.2f}, "
        f"of their class {percent(float(here.accuracy))}"
    )
table = xarray.concat(scores, "trial", combine_attrs="override")
floor = table.sel(images="test").isel(trial=0)
one, fifty = (table.sel(images="generated").isel(trial=k) for k in (0, len(trials) - 1))

# ---------------------------------------------------------------- Figures
shown = {
    "real, test": test.images[test.labels.argsort(stable=True)[:: len(test.images) // 20][:20]]
}
first = torch.arange(20) // 2 + classes * (torch.arange(20) % 2)  # two of each class, in order
for name, steps in [("MeanFlow", 1), ("MeanFlow", 2), ("MeanFlow", 4), ("flow matching", 1),
                    ("flow matching", 4), ("flow matching", 50)]:  # fmt: skip
    shown[f"{name}, {steps} step{'s' * (steps > 1)}"] = images[name, steps][first]
save(plot_images(shown), output / "images.png")
save(plot_scores_by_steps(table, "fd_cnn"), output / "scores.png")

# ---------------------------------------------------------------- Report
names = ["fd_cnn", "fd_pca", "sliced_w2", "energy_p_value", "accuracy", "precision", "recall",
         "coverage", "nearest_training_image"]  # fmt: skip


def row(title, scores, seconds):
    """Return one line of the table."""
    return [title, *(f"{float(scores[name]):.3g}" for name in names), seconds]


rows = [row("real, test (noise floor)", floor, "")]
for k, (name, _, steps) in enumerate(trials):
    here = table.sel(images="generated").isel(trial=k)
    rows.append(row(f"{name}, {steps}", here, f"{1e6 * float(here.seconds):.0f}"))
worst = [float(one[name].min()) for name in ("class_accuracy", "class_recall", "class_coverage")]
ratio = float(fifty.seconds) / float(one.seconds)
made_on = [[k, v] for k, v in made_with().items()]
speeds = [[n, str(k), f"{t:.0f}", f"{arguments.batch * k / t:.0f}"]
          for n, (k, t) in training_steps.items()]  # fmt: skip
place = f"{device.type}{', compiled' if arguments.compile else ''}"
text = f"""# Digits in one step

{len(train.images)} training and {len(test.images)} test images of 8 x 8 pixels. One network of
{sum(p.numel() for p in network.parameters())} parameters, trained twice ({place}; batch
{arguments.batch}, {arguments.coupling} coupling, guidance {arguments.guidance:g}, seed
{arguments.seed}):

{markdown_table(["model", "steps", "seconds", "images a second"], speeds)}

![drawn digits](images.png)

{markdown_table(["images, steps", *names, "µs per image"], rows)}

All scores compare with the training images, {PARTS} sets of {len(test.images)} images each; the
first row is what the test images score. The classifier finds {percent(judged)} of the test digits.
In one step the least of the classes has accuracy {worst[0]:.3f}, recall {worst[1]:.3f} and coverage
{worst[2]:.3f}. Fifty steps of flow matching take {ratio:.0f} times as long as one step.

`nearest_training_image` is the median distance to the nearest training image; values below that of
the test images say that a model has begun to repeat them, and a Frechet distance below the floor
says no more than that.

![score by number of steps](scores.png)

{markdown_table(["", ""], made_on)}
"""
with replacing(output / "report.md") as file:
    file.write(text.encode())
with standing_in_for(output / "scores.nc") as part:
    table.to_netcdf(part)
print(f"one step: fd_cnn {float(one.fd_cnn):.2f}, floor {float(floor.fd_cnn):.2f}, "
      f"fifty steps of flow matching {float(fifty.fd_cnn):.2f}")  # fmt: skip
print(f"{output / 'report.md'}, {time.perf_counter() - began:.0f} s")
