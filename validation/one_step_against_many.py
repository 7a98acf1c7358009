"""One step against many: quality and time by number of steps, MeanFlow and flow matching.

Trains both on the digits for the same seconds, with several seeds, and puts three claims to the
test: that one step is comparable with many, that more steps are not always better, and that
training is dearer. Adam's first decay, 0.9 in published recipes, is varied for both.

    python validation/one_step_against_many.py [--seconds 120] [--seeds 0 1 2] [--jobs N]

Runs ``examples/images/digits_one_step.py`` for each setting in a process of its own, on one thread;
settings that are done are kept. Writes a report beside this file.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xarray
from tqdm import tqdm

from meanfluid.files import replacing
from meanfluid.reporting.figures import COLOURS, STYLE, save
from meanfluid.reporting.provenance import made_with
from meanfluid.reporting.tables import markdown_table

here = Path(__file__).resolve().parent
PUBLISHED = 0.9  # Adam's first decay

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--seconds", type=float, default=120.0, help="of training, for each model")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--momenta", type=float, nargs="+", default=[PUBLISHED, 0.5, 0.0])
parser.add_argument("--jobs", type=int, default=os.cpu_count())
parser.add_argument("--keep", type=Path, default=Path("results/one_step_against_many"))
parser.add_argument("--output", type=Path, default=here / "one_step_against_many.md")
arguments = parser.parse_args()

# ---------------------------------------------------------------- Runs
settings = [(momentum, seed) for momentum in arguments.momenta for seed in arguments.seeds]


def folder(momentum, seed):
    """Return where a run leaves its results."""
    return arguments.keep / f"momentum_{momentum:g}_seed_{seed}_{arguments.seconds:g}s"


def run(setting):
    """Train and score both models, unless that is done."""
    momentum, seed = setting
    if (folder(*setting) / "scores.nc").exists():
        return
    command = [sys.executable, str(here.parent / "examples" / "images" / "digits_one_step.py")]
    command += ["--training", str(arguments.seconds), "--momentum", str(momentum)]
    command += ["--seed", str(seed), "--output", str(folder(*setting))]
    environment = dict(os.environ, MPLBACKEND="Agg", OMP_NUM_THREADS="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


with ThreadPoolExecutor(arguments.jobs) as pool:
    for _ in tqdm(pool.map(run, settings), total=len(settings), unit="run"):
        pass

# ---------------------------------------------------------------- Results
tables = {}
for setting in settings:
    with xarray.open_dataset(folder(*setting) / "scores.nc") as table:
        tables[setting] = table.load()
first = next(iter(tables.values()))
trials = list(zip(first.model.values.tolist(), first.steps.values.tolist(), strict=True))


def over_seeds(name, momentum=PUBLISHED, images="generated"):
    """Return values (seeds, trials) of a score."""
    rows = [tables[momentum, seed][name].sel(images=images).values for seed in arguments.seeds]
    return np.array(rows)


def spread(values):
    """Return mean and deviation over seeds as text."""
    deviation = f" ± {values.std(ddof=1):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.3g}{deviation}"


names = ["fd_cnn", "fd_pca", "accuracy", "recall", "coverage", "nearest_training_image"]
floor = over_seeds("fd_cnn", images="test")[:, 0]
rows = [["real, held back", *(spread(over_seeds(name, images="test")[:, 0]) for name in names), ""]]
for k, (model, steps) in enumerate(trials):
    seconds = np.array([float(tables[PUBLISHED, seed].seconds[k]) for seed in arguments.seeds])
    scores = [spread(over_seeds(name)[:, k]) for name in names]
    rows.append([f"{model}, {steps}", *scores, f"{1e6 * np.median(seconds):.3g}"])
quality = markdown_table(["images, steps", *names, "µs per image"], rows)

distance = over_seeds("fd_cnn")
at = {trial: k for k, trial in enumerate(trials)}
one, fifty = distance[:, at["MeanFlow", 1]], distance[:, at["flow matching", 50]]
jumps = [k for k, (model, _) in enumerate(trials) if model == "MeanFlow"]
eulers = [k for k, (model, _) in enumerate(trials) if model == "flow matching"]


def step_seconds(trial):
    """Return seconds per training step, (seeds,)."""
    each = [tables[PUBLISHED, seed] for seed in arguments.seeds]
    k = at[trial]
    return np.array([float(e.training_seconds[k] / e.training_steps[k]) for e in each])


dearer = step_seconds(("MeanFlow", 1)) / step_seconds(("flow matching", 1))
drawing = np.array(
    [
        float(t.seconds[at["flow matching", 50]] / t.seconds[at["MeanFlow", 1]])
        for (momentum, _), t in tables.items()
        if momentum == PUBLISHED
    ]
)
best = distance[:, jumps].mean(axis=0)
most = [trials[k][1] for k in jumps]
worse = [most[k] for k in range(1, len(most)) if best[k] > best[:k].min()]
claims = [
    (
        "One step is comparable with many",
        f"fd_cnn of one step of MeanFlow is {spread(one)}, of fifty steps of flow matching "
        f"{spread(fifty)}, ratio {spread(one / fifty)}; of real images held back {spread(floor)}. "
        f"One step is below these in {(one < floor).sum()} of {len(one)} seeds.",
    ),
    (
        "More steps are not always better",
        f"MeanFlow with {', '.join(map(str, most))} steps: "
        f"{', '.join(f'{d:.3g}' for d in best)}; "
        + (f"worse than fewer steps at {worse}." if worse else "never worse than fewer steps.")
        + " Flow matching: "
        + ", ".join(
            f"{trials[k][1]}: {d:.3g}"
            for k, d in zip(eulers, distance[:, eulers].mean(axis=0), strict=True)
        )
        + ".",
    ),
    (
        "Training is dearer",
        f"A step by the identity, with half of the windows empty, takes {spread(dearer)} times as "
        f"long; both had {arguments.seconds:g} s. An image drawn by fifty steps takes "
        f"{np.median(drawing):.3g} times as long as one by one step (median over seeds).",
    ),
]

momenta = markdown_table(
    ["Adam's first decay", "MeanFlow, 1 step", "MeanFlow, 4 steps", "flow matching, 50 steps"],
    [
        [
            f"{momentum:g}",
            *(
                spread(over_seeds("fd_cnn", momentum)[:, at[trial]])
                for trial in [("MeanFlow", 1), ("MeanFlow", 4), ("flow matching", 50)]
            ),
        ]
        for momentum in arguments.momenta
    ],
)

# ---------------------------------------------------------------- Figure
import matplotlib.pyplot as plt  # noqa: E402

with plt.rc_context(STYLE):
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.9), layout="constrained")
    for (model, which), colour in zip(
        {"MeanFlow": jumps, "flow matching": eulers}.items(), COLOURS, strict=False
    ):
        steps = [trials[k][1] for k in which]
        each = distance[:, which]
        took = 1e6 * np.median(
            [tables[PUBLISHED, seed].seconds.values[which] for seed in arguments.seeds], axis=0
        )
        left.plot(steps, each.T, "-", lw=0.5, alpha=0.6, color=colour)
        left.plot(steps, each.mean(axis=0), "o-", ms=4, color=colour, label=model)
        right.plot(took, each.mean(axis=0), "o-", ms=4, color=colour, label=model)
    for panel in (left, right):
        panel.axhline(floor.mean(), color="0.45", ls="--", lw=1, label="real, held back")
        panel.set(xscale="log", yscale="log", ylabel="fd_cnn")
        panel.grid(True, which="major", color="0.9")
        panel.set_yticks([0.2, 0.3, 0.5, 1.0, 2.0], ["0.2", "0.3", "0.5", "1", "2"])
        panel.yaxis.set_minor_formatter("")
    counts = sorted({steps for _, steps in trials})
    left.set_xticks(counts, map(str, counts))
    left.set(xlabel="steps")
    right.set(xlabel="µs per image")
    left.legend(frameon=False)
picture = here / "figures" / "one_step_against_many.png"
picture.parent.mkdir(exist_ok=True)
save(figure, picture)

# ---------------------------------------------------------------- Report
made_on = [[k, v] for k, v in made_with().items()]
text = f"""# One step against many

Digits of scikit-learn, both models with the same network and {arguments.seconds:g} s of training on
one thread, {arguments.jobs} processes at a time; seeds {arguments.seeds}, mean and deviation over
them, of times the median. Every seed has its own division of the data and its own classifier. Made
by `{Path(__file__).name}`.

{chr(10).join(f"**{claim}.** {finding}{chr(10)}" for claim, finding in claims)}
![quality by steps and by time](figures/{picture.name})

{quality}

**Does little momentum help here?** On flows the stopped gradient wants little momentum. fd_cnn:

{momenta}

{markdown_table(["", ""], made_on)}
"""
with replacing(arguments.output) as file:
    file.write(text.encode())
print(text)
