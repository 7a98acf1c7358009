"""Learn the average velocity of a vortex flow by the MeanFlow identity; hold it against the exact.

Two learners get the same network. One is trained by the identity alone and never sees a
trajectory; the control arm is fitted to exact averages. Both are compared with exact time
integrals that neither has seen, and with the Eulerian mean, which is another thing.

    python examples/vortex_meanflow.py [--field lamb_oseen_pair | double_gyre] [--budget SECONDS]
        [--training SECONDS | --steps NUMBER] [--rate NUMBER] [--arms identity supervised]
        [--output DIRECTORY] [--device cpu | cuda] [--seed NUMBER]

Writes a report with figures, and the comparison as NetCDF. Under 3 minutes on 2 cores.
"""

import argparse
import math
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray

import meanfluid as mf
from meanfluid.files import replacing, standing_in_for
from meanfluid.learning import (
    MLP,
    SOAP,
    Anchors,
    AverageVelocity,
    Box,
    Disc,
    Features,
    Ramp,
    Scheduled,
    UniformWindow,
    exact_pool,
    fit,
    material_loss,
    steps_within,
    supervised_loss,
)
from meanfluid.reporting.figures import (
    grid,
    plot_error_by_window,
    plot_learned,
    plot_trajectories,
    save,
)
from meanfluid.reporting.provenance import made_with, stamp
from meanfluid.reporting.tables import markdown_table, percent

# ---------------------------------------------------------------- Parameters
parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument(
    "--field", default="lamb_oseen_pair", choices=["lamb_oseen_pair", "double_gyre"]
)
parser.add_argument("--budget", type=float, default=155.0, help="seconds for the whole run")
parser.add_argument("--training", type=float, help="seconds for each learner, whatever the budget")
parser.add_argument("--steps", type=int, help="steps for each learner, whatever the time")
parser.add_argument("--rate", type=float, help="of learning, at first; less for long training")
parser.add_argument(
    "--arms", nargs="+", default=["identity", "supervised"], choices=["identity", "supervised"]
)
parser.add_argument("--output", type=Path, default=Path("results/vortex_meanflow"))
parser.add_argument("--device", default="cpu", help="where the learners are trained")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
if arguments.device.startswith("cuda") and not torch.cuda.is_available():
    parser.error(f"--device {arguments.device}: torch sees no GPU here; leave it out")
if arguments.budget < 60 and arguments.training is arguments.steps is None:
    parser.error("--budget must be at least 60 seconds: integration and figures take about 30")
began = time.perf_counter()
output, device = arguments.output, torch.device(arguments.device)
output.mkdir(parents=True, exist_ok=True)
generator = torch.Generator().manual_seed(arguments.seed)

# ---------------------------------------------------------------- Field
# Anchors are drawn where trajectories stay: in the box of the gyres, whose walls are streamlines,
# and in a disc about the pair, a little wider than the one in which errors are measured.
if arguments.field == "lamb_oseen_pair":
    field = mf.fields.lamb_oseen_pair(circulation=math.pi, viscosity=math.pi / 2000, separation=1.0)
    windows, final = UniformWindow(8.0, 12.0, longest=1.0, overhang=True), 10.5
    learned_in, compared_in = Disc(radius=1.375), Disc(radius=1.25)
    extent = (-1.25, 1.25, -1.25, 1.25)
    features = Features(
        [extent[:2], extent[2:]], time_range=(8.0, 13.0), windows=(-1.0, 0.0), rotation=1.0
    )
    followed = [[-0.38, -0.04], [0.0, 0.12], [0.1, 0.95], [0.64, 0.1]]
    core_rate = math.pi / (8 * math.pi * (math.pi / 2000) * final)  # circulation / (8 pi nu t)
    core_turns = core_rate * windows.longest / (2 * math.pi)
    regime = f"At t = {final:g} a vortex core turns {core_turns:.2f} times in the longest window."
else:
    field = mf.fields.double_gyre()
    windows, final = UniformWindow(0.0, 10.0, longest=5.0, overhang=True), 10.0
    learned_in = compared_in = Box.of(field)
    extent = (0.0, 2.0, 0.0, 1.0)
    features = Features(
        [extent[:2], extent[2:]], time_period=10.0, windows=(-5.0, 0.0), half_waves=2
    )
    followed = [[0.5, 0.5], [1.0, 0.25], [1.3, 0.8], [0.9, 0.6]]
    regime = "The longest window is half a period of the sway."
print(f"{field.name}, windows up to {windows.longest:g}. {regime}")

# ---------------------------------------------------------------- Exact and Eulerian means
sample = Anchors(compared_in, windows, dtype=torch.float64)(8192, generator)
x, t, s = (sample[name].numpy() for name in "xts")
exact, exact_error = mf.average_velocity(field, x, s, t, label="final", return_error=True)
eulerian = mf.eulerian_mean(field, "velocity", x, s, t)
square, miss = (exact**2).sum(axis=1), ((eulerian - exact) ** 2).sum(axis=1)
size = np.sqrt(square.mean())
eulerian_error = np.sqrt(miss.mean()) / size
print(f"The Eulerian mean is off by {percent(eulerian_error)} in relative L2.")

# ---------------------------------------------------------------- Learning
# Both arms get the same network, weights, batch and seconds of training; integrating the pool of
# exact averages is not counted, and takes a second or two.
left = arguments.budget - (time.perf_counter() - began) - 30.0
seconds = left / len(arguments.arms) if arguments.training is None else arguments.training
batch = 512 if seconds <= 180 else 1024
fewest = 1500 if arguments.training is None else 1  # enough for one percent, however slow that is
pool_size = 262_144 if seconds < 90 else 524_288
pool = exact_pool(
    field, learned_in, windows, pool_size, torch.Generator(device).manual_seed(arguments.seed),
    rtol=1e-8, atol=1e-10,
)  # fmt: skip
# The identity's gradient passes through its derivative, by three quarters at first and in the end
# wholly; short windows count more, from which errors of long ones come.
identity = Scheduled(partial(material_loss, window_power=1.5), grad_through_jvp=Ramp(0.75, 1.0))
long = arguments.steps is None and seconds > 120
rate = arguments.rate or (0.005 if long else 0.012)  # large steps reach far, and end coarse
arms = {
    "identity": (identity, Anchors(learned_in, windows)),
    "supervised": (supervised_loss, pool),
}
models, trained = {}, {}
for name in arguments.arms:
    loss, sampler = arms[name]
    network = MLP(features, generator=torch.Generator().manual_seed(arguments.seed))
    models[name] = AverageVelocity(field, network, scale=windows.longest).to(device)
    settings = {
        "generator": torch.Generator(device).manual_seed(arguments.seed + 1),
        "batch": batch,
        "optimiser": SOAP(models[name].parameters(), lr=rate),
    }
    steps = arguments.steps
    if steps is None:
        steps = steps_within(seconds, models[name], loss, sampler, **settings)
        steps = max(steps, fewest)
    print(f"{name}: {steps} steps of {batch}", file=sys.stderr)
    trained[name] = fit(
        models[name], loss, sampler, steps=steps, log=output / f"training_{name}.csv",
        resume=False, **settings,
    )  # fmt: skip
    torch.save(models[name].state_dict(), output / f"weights_{name}.pt")

# ---------------------------------------------------------------- Comparison
comparisons = {
    name: mf.compare(
        model, field, start=windows.start, end=windows.end, longest=windows.longest,
        overhang=windows.overhang, positions=compared_in, samples=8192, seed=arguments.seed + 2,
    )
    for name, model in models.items()
}  # fmt: skip
first = comparisons[arguments.arms[0]]
place = np.digitize(t - s, first.window_upper.values[:-1])
eulerian_by_window = np.sqrt(
    [miss[place == k].mean() / square[place == k].mean() for k in range(5)]
)

particles = 200_000
start_x, start_t = (np.resize(a, (particles, *a.shape[1:])) for a in (x, t))
free_end = np.resize(s, particles)
inputs = [torch.tensor(a, dtype=torch.float32, device=device) for a in (start_x, start_t, free_end)]
clock = time.perf_counter()
with torch.no_grad():
    models[arguments.arms[0]](inputs[0], t=inputs[1], s=inputs[2]).cpu()
jump_seconds = time.perf_counter() - clock
clock = time.perf_counter()
mf.average_velocity(field, start_x, start_t, free_end, label="initial")
exact_seconds = time.perf_counter() - clock
clock = time.perf_counter()
mf.average_velocity(
    field, start_x, start_t, free_end, label="initial", rtol=1e-4, atol=1e-6, estimate_error=False
)
rough_seconds = time.perf_counter() - clock

rows = [
    ["exact integral", f"{np.sqrt((exact_error**2).mean()) / size:.0e} (estimate)", "", "", ""],
    ["Eulerian mean", percent(eulerian_error), f"{np.sqrt(miss.max()) / size:.2g}", "", ""],
]
for name, data in comparisons.items():
    rows.append(
        [
            f"learned, {name}",
            percent(data.total_relative_error.item()),
            f"{data.total_max_error.item() / size:.2g}",
            f"{percent(data.path_relative_error.item())} <= {percent(data.path_bound.item())}",
            f"{trained[name].seconds:.0f} s, {trained[name].step}",
        ]
    )
table = markdown_table(
    [
        "average velocity",
        "relative L2 error",
        "largest error / rms",
        "certificate",
        "training, steps",
    ],
    rows,
)
timings = markdown_table(
    [f"{particles} averages", "seconds"],
    [
        ["exact, rtol 1e-11, with error estimate", f"{exact_seconds:.2f}"],
        ["exact, rtol 1e-4, without", f"{rough_seconds:.2f}"],
        ["learned, one jump", f"{jump_seconds:.2f}"],
    ],
)
print(f"\n{table}\n\n{timings}")

# ---------------------------------------------------------------- Figures
moments = np.linspace(final - windows.longest, final, 120)
paths = mf.trajectories(field, followed, moments[0], moments[-1], times=moments[1:]).position
paths = np.concatenate([np.array(followed)[:, None], paths], axis=1)
columns, lines, points = grid(extent, 161)
inside = np.hypot(*points.T) <= 1.25 if arguments.field == "lamb_oseen_pair" else None
shown = {
    "exact": mf.average_velocity(field, points, final - windows.longest, final, label="final"),
    "Eulerian mean": mf.eulerian_mean(field, "velocity", points, final - windows.longest, final),
}
for name, model in models.items():
    with torch.no_grad():
        u = model(
            torch.tensor(points, dtype=torch.float32, device=device),
            t=final, s=final - windows.longest,
        )  # fmt: skip
    shown[f"learned, {name}"] = u.double().cpu().numpy()
save(plot_trajectories(field, moments[0], paths, extent=extent), output / "trajectories.png")
save(
    plot_learned(shown, "exact", extent=extent, shape=(len(lines), len(columns)), mask=inside),
    output / "learned.png",
)
save(
    plot_error_by_window(comparisons, baseline={"Eulerian mean": eulerian_by_window}),
    output / "error_by_window.png",
)

# ---------------------------------------------------------------- Report
where = {
    "command": "examples/vortex_meanflow.py " + " ".join(sys.argv[1:]),
    "seed": str(arguments.seed),
    "exact": "dop853, rtol 1e-11, atol 0",
    "network": f"{len(network.layers) - 1} hidden layers of {network.layers[0].out_features}, "
    f"{sum(p.numel() for p in network.parameters())} weights, float32",
    "training": f"SOAP, rate {rate} for all; batch {batch}; of the identity: windows by power 1.5, "
    "gradient through the derivative rising from 0.75 to 1",
    "pool of exact averages": f"{pool_size}, rtol 1e-8, supervised arm only",
    "device": str(device),
    "threads": str(torch.get_num_threads()),
    **made_with(),
}
names = list(comparisons)
combined = xarray.concat(list(comparisons.values()), dim=xarray.Variable("arm", names))
combined["training_steps"] = ("arm", [trained[name].step for name in names])
combined["eulerian_relative_error"] = ("window", eulerian_by_window)
combined.attrs |= {"Conventions": "CF-1.11", "history": f"{stamp()}: {where['command']}"}
combined.attrs |= {f"provenance_{name.replace(' ', '_')}": value for name, value in where.items()}
with standing_in_for(output / "comparison.nc") as part:
    combined.to_netcdf(part)
by_window = markdown_table(
    ["length of window", *names, *(f"{name}: residual" for name in names), "Eulerian mean"],
    [
        [
            f"{data.window_lower.values[k]:g} to {data.window_upper.values[k]:g}",
            *(percent(comparisons[name].relative_error.values[k]) for name in names),
            *(percent(comparisons[name].residual.values[k]) for name in names),
            percent(eulerian_by_window[k]),
        ]
        for k in range(5)
    ],
)
by_jumps = markdown_table(
    ["jumps", *names],
    [
        [str(k), *(percent(comparisons[name].relative_endpoint_error.values[i]) for name in names)]
        for i, k in enumerate(first.jumps.values)
    ],
)
provenance = markdown_table(["", ""], [[name, value] for name, value in where.items()])
settings = ", ".join(f"{name} = {value}" for name, value in field.parameters._asdict().items())
report = f"""# Average velocity of {field.name}, learned and exact

{field.name}: {settings}. Windows [s, t] of up to {windows.longest:g}, anchored at their end
(label final), s between {windows.start:g} and {windows.end:g}. {regime} The Eulerian mean is off by
{percent(eulerian_error)} in relative L2.

{table}

*Certificate*: on {first.attrs["paths"]} exact trajectories, the root mean square error, and the
root mean square of the identity's residual along them, both over the root mean square average
velocity. The second bounds the first, up to its quadrature in time. The residual needs no exact
average; the identity arm has never seen one.

![trajectories](trajectories.png)

![exact, learned, difference](learned.png)

Both figures: window from {final - windows.longest:g} to {final:g}.

## Error by length of window

{by_window}

![error by window](error_by_window.png)

## End points, in one jump and in several

{by_jumps}

## Time

{timings}

## Provenance

{provenance}
"""
with replacing(output / "report.md") as file:
    file.write(report.encode())
print(f"\nreport: {output / 'report.md'}; {time.perf_counter() - began:.0f} s in all")
