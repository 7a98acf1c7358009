"""Losses for average velocities against the exact ones: arms, flows and seeds in equal time.

    python validation/losses_against_truth.py truth                      # exact averages, minutes
    python validation/losses_against_truth.py run --flow double_gyre --arm material --seconds 60
    python validation/losses_against_truth.py all --jobs 16 --seconds 60 --within 580
    python validation/losses_against_truth.py report

Time is that of the process, one thread per run. `all` runs the plan of the study, skips what is
there, and can be stopped and repeated; `report` writes ``losses_against_truth.md``, its figures and
``results/losses_against_truth.json`` beside this file. Not a unit test: the plan takes some hours
of one core for each seed and minute, and the result depends on the machine, which is named in it.
"""

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # before anything computes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from study.runs import Job, run, run_all  # noqa: E402

from meanfluid.reporting.provenance import hardware  # noqa: E402

FOLDER = Path("results/losses_against_truth")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--truth", type=Path, default=FOLDER / "truth", help="exact averages")
    shared.add_argument(
        "--results", type=Path, nargs="+", default=[FOLDER / "runs"],
        help="folders of finished runs; new ones go into the first",
    )  # fmt: skip

    truth = commands.add_parser("truth", parents=[shared], help="integrate exact averages")
    truth.add_argument("--flows", nargs="+", help="all by default")
    truth.add_argument("--pool", type=int, help="exact averages for supervision, per flow")
    truth.add_argument("--samples", type=int, default=4096, help="windows to measure errors in")

    one = commands.add_parser("run", parents=[shared], help="train and score one arm")
    one.add_argument("--flow", required=True)
    one.add_argument("--arm", required=True)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--seconds", type=float, default=60.0)

    many = commands.add_parser("all", parents=[shared], help="the plan, or a part of it")
    many.add_argument("--jobs", type=int, default=int(hardware()["cores"]))
    many.add_argument("--seconds", type=float, default=60.0, help="of each run")
    many.add_argument("--within", type=float, help="begin nothing that would end after this")
    many.add_argument("--flows", nargs="+", help="of the plan; all by default")
    many.add_argument("--arms", nargs="+", help="of the plan; all by default")
    many.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    many.add_argument("--list", action="store_true", help="only say what is left to run")

    report = commands.add_parser("report", parents=[shared], help="tables, figures, findings")
    report.add_argument("--seconds", type=float, help="of the main tables; what most runs have")
    report.add_argument(
        "--again", action="store_true", help="from results/losses_against_truth.json, not from runs"
    )
    report.add_argument("--output", type=Path, default=HERE, help="folder to write into")
    return parser.parse_args(arguments)


def make_truth(options: argparse.Namespace) -> None:
    from study import truth
    from study.flows import FLOWS, flow

    for name in options.flows or FLOWS:
        path = options.truth / f"{name}.npz"
        header = truth.make(flow(name), path, pool=options.pool, samples=options.samples)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; {header['pool']} exact averages in "
              f"{header['pool_cpu_seconds']:.2f} s, error {header['exact_error']:.0e}, "
              f"{header['left']:.1%} of trajectories outside", flush=True)  # fmt: skip


def left_to_run(options: argparse.Namespace) -> list[Job]:
    """Jobs of the plan that have no file yet, a seed at a time."""
    from study.arms import ARMS, plan
    from study.flows import FLOWS

    for known, named in ((FLOWS, options.flows), (ARMS, options.arms)):
        unknown = sorted(set(named or ()) - set(known))
        if unknown:
            raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    wanted = [
        Job(flow, arm, seed, options.seconds)
        for seed in options.seeds
        for flow, arm in plan()
        if (not options.flows or flow in options.flows)
        and (not options.arms or arm in options.arms)
    ]
    return [job for job in wanted if not any((f / job.file).exists() for f in options.results)]


def run_plan(options: argparse.Namespace) -> int:
    jobs = left_to_run(options)
    if options.list:
        print("\n".join(job.file for job in jobs))
        return 0
    folders = ["--truth", str(options.truth), "--results", str(options.results[0])]
    finished, failed = run_all(
        jobs, Path(__file__).resolve(), folders, options.jobs, options.within
    )
    print(f"{finished} runs finished, {len(failed)} failed, {len(jobs) - finished} left")
    print("\n".join(failed), file=sys.stderr)
    return int(bool(failed))


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    if options.command == "truth":
        make_truth(options)
    elif options.command == "run":
        job = Job(options.flow, options.arm, options.seed, options.seconds)
        print(run(job, options.truth, options.results[0]))
    elif options.command == "all":
        return run_plan(options)
    else:
        from study.report import rewrite, write

        if options.again:
            print(rewrite(options.output, options.seconds))
        else:
            print(write(options.results, options.truth, options.output, options.seconds))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; finished runs are kept, and `all` goes on with the others")
