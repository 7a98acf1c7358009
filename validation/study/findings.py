"""What the runs say, in sentences whose words a comparison of numbers decides.

A finding that needs arms which were not run is left out.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from study.arms import BASE, EXACT, IDENTITY, MAIN_ARMS, SHORT
from study.flows import MAIN
from study.records import DIVERGED, Results
from study.scores import JUMPS

CLOSE = 1.15  # quotients below this count as no difference
IDENTITIES = [arm.name for arm in MAIN_ARMS if arm.told == IDENTITY]
SUPERVISED = [arm.name for arm in MAIN_ARMS if arm.told == EXACT]


class Claim(NamedTuple):
    """Something that was believed before, what is measured here, and whether it holds."""

    believed: str
    measured: str
    holds: str


def title(arm: str) -> str:
    return BASE[arm].title if arm in BASE else arm


def between(values: Iterable[float]) -> str:
    """Smallest and largest of some numbers."""
    kept = [v for v in values if not math.isnan(v)]
    if not kept:
        return "nan"
    low, high = f"{min(kept):.2g}", f"{max(kept):.2g}"
    return low if low == high else f"{low} to {high}"


def count(values: Iterable[bool]) -> str:
    listed = list(values)
    return f"{sum(listed)} of {len(listed)}"


def middle(values: Iterable[float]) -> float:
    kept = [v for v in values if not math.isnan(v)]
    return float(np.median(kept)) if kept else math.nan


def verdict(values: Iterable[bool]) -> str:
    listed = list(values)
    if all(listed):
        return "holds"
    return "does not hold" if not any(listed) else f"holds on {count(listed)}"


def best(results: Results, flow: str, arms: Sequence[str], seconds: float | None = None) -> str:
    """The arm with the smallest error."""
    run = [arm for arm in arms if results.has(flow, arm, seconds)]
    return min(run, key=lambda arm: results(flow, arm, "error", seconds=seconds))


def against_supervision(
    results: Results, identities: Sequence[str], supervised: Sequence[str], seconds: float
) -> str:
    """How the best of the arms told the identity compares with the best supervised one."""
    told, lost = [], []
    for f in MAIN:
        if any(results.has(f, a, seconds) for a in identities) and any(
            results.has(f, a, seconds) for a in supervised
        ):
            ours, theirs = (best(results, f, arms, seconds) for arms in (identities, supervised))
            error = results(f, theirs, "error", seconds=seconds)
            if error > DIVERGED:
                lost.append(f)
                continue
            told.append((f, ours, results(f, ours, "error", seconds=seconds) / error))
    if not told:
        return ""
    names = "; ".join(f"{f}: {title(arm)}, {quotient:.2g}" for f, arm, quotient in told)
    return (
        f"at most 1 on {count(q <= 1 for *_, q in told)} flows, at most {CLOSE:g} on "
        f"{count(q <= CLOSE for *_, q in told)} ({names}"
        + (f"; supervision diverged on {', '.join(lost)})" if lost else ")")
    )


def about_longest(results: Results) -> list[str]:
    """How the identity compares with supervision where the training was longest."""
    seconds = max(run["seconds"] for run in results.runs)
    found = []
    supervised = [arm for arm in SUPERVISED if any(results.has(f, arm, seconds) for f in MAIN)]
    for arm in supervised:
        alike = [a for a in IDENTITIES if BASE[a].optimiser == BASE[arm].optimiser]
        if told := against_supervision(results, alike, [arm], seconds):
            found.append(
                f"After {seconds:g} s, with {BASE[arm].optimiser.label} for both, the error of the "
                f"best arm told the identity alone, over that of supervision, is {told}."
            )
    told = against_supervision(results, IDENTITIES, supervised, seconds)
    if told and len(supervised) > 1:
        found.append(
            f"After {seconds:g} s the error of the best of all such arms over that of the best "
            f"supervision is {told}."
        )
    return found


def about_errors(results: Results) -> list[str]:
    """Which arm is how good, in the same time."""
    found = []
    if told := against_supervision(results, IDENTITIES, SUPERVISED, results.seconds):
        found.append(
            "The error of the best arm that is told the identity alone, over that of the best "
            f"supervision, is {told}."
        )
    found += _against_default(results)
    median, largest = results.spread()
    if not math.isnan(median):
        found.append(
            f"Between seeds of one arm on one flow the largest error is {median:.2f} times the "
            f"smallest in the median, {largest:.2g} times at most: smaller differences between "
            "arms mean nothing."
        )
    lost = sorted({(r["flow"], r["arm"]) for r in results.runs if not r["finite"]})
    if lost:
        found.append("Not finite at the end: " + ", ".join(f"{a} on {f}" for f, a in lost) + ".")
    return found


def _against_default(results: Results) -> list[str]:
    found = []
    for arm in (a for a in [*IDENTITIES, "bootstrap"] if a != "material"):
        quotients = results.ratios(arm, "material", "error")
        if quotients:
            found.append(
                f"{title(arm)}: {between(quotients.values())} times the error of the library's "
                f"default (material, half gradient), median {middle(quotients.values()):.2g}; "
                f"smaller on {count(q < 1 for q in quotients.values())} flows."
            )
    return found


def about_certificates(results: Results) -> list[str]:
    """The residual as a bound, as an estimate, and as a way to rank."""
    runs = [r for r in results.runs if r["finite"]]
    if not runs:
        return []
    pairs = [(r["scores"]["path_error"], r["scores"]["path_bound"]) for r in runs]
    closure = [r["scores"]["path_closure"] / r["scores"]["path_error"] for r in runs]
    found = [
        f"The bound holds in {count(e <= b for e, b in pairs)} runs. It is "
        f"{between(b / e for e, b in pairs)} times the error, median "
        f"{middle(b / e for e, b in pairs):.2g}.",
        "The error is the mean of the residual along the trajectory: what is left between the two "
        f"is {middle(closure):.1e} of the error in the median, {max(closure):.1e} at most "
        "(quadrature in time, and float32).",
    ]
    tops = [(r["scores"]["max_error"], r["scores"]["max_residual"]) for r in runs]
    found.append(
        f"The largest error among the samples is below the largest residual among them in "
        f"{count(e <= r for e, r in tops)} runs; the bound is the supremum, which samples miss."
    )
    ranks = {f: rank_correlation(results, f, "residual", "error") for f in results.flows()}
    ranks = {f: r for f, r in ranks.items() if not math.isnan(r)}
    if ranks:
        found.append(
            f"Rank correlation of residual and error over the arms of one flow: "
            f"{between(ranks.values())}, median {middle(ranks.values()):.2g}."
        )
    return found


def about_chaos(results: Results) -> list[str]:
    """Error against stretching, and what a smooth network can represent."""
    found = []
    arms = results.arms(BASE)
    pairs = [(f, a) for f in results.flows() for a in arms if results.settled(f, a)]
    slopes = [results(f, a, "slope_beside_duration") for f, a in pairs if f != "affine"]
    if slopes:
        found.append(
            "ln(error) grows with the stretching of the window, ln(sigma) = FTLE |h|, beside the "
            f"logarithm of its duration: slope {between(slopes)} over arms and flows (the affine "
            f"flow, where stretching is a function of the duration, left out), median "
            f"{middle(slopes):.2g}; 1 would be the growth of the gradient of the flow map, 0 none."
        )
    key = "slope_beside_duration"
    apart = [
        results(f, "endpoint", key) - results(f, "material_stop", key)
        for f in results.flows("endpoint", "material_stop")
        if f != "affine"
    ]
    if apart:
        found.append(
            "By the formulas for the error, stretching amplifies the residual of the endpoint "
            "identity, but not that of the material one. The slope of the endpoint arm less that "
            "of the stopped material arm is "
            f"{between(apart)}, positive on {count(d > 0 for d in apart)} flows."
        )
    quotients = [
        results(f, a, "error_by_stretch", 3) / results(f, a, "error_by_stretch", 0)
        for f, a in pairs
    ]
    if quotients:
        found.append(
            f"The quarter of windows that stretch most has {between(quotients)} times the relative "
            f"error of the quarter that stretch least, median {middle(quotients):.2g}."
        )
    short = [
        results(f, a, "learned_stretch_by_quarter", 3) / results(f, a, "stretch_by_quarter", 3)
        for f, a in pairs
    ]
    steep = [results(f, a, "steepest_learned") / results(f, a, "steepest_exact") for f, a in pairs]
    if short:
        found.append(
            "In the quarter that stretches most the learned flow map stretches by "
            f"{between(short)} of the exact exponent (median {middle(short):.2g}); the steepest "
            f"gradient of the learned average among the samples is {between(steep)} of the exact "
            "one, which is at least (exp(FTLE |h|) - 1) / |h|."
        )
        part = [results(f, a, "least_over_error") for f, a in pairs]
        found.append(
            "Two points whose exact averages differ by more than L times their distance cannot "
            "both be met by a model of gradient L. In the windows that stretch most this accounts "
            f"for {between(part)} of the largest error near the anchor (median {middle(part):.2g} "
            "over arms and flows), L being the learned gradient there."
        )
    return found


def about_jumps(results: Results) -> list[str]:
    """One jump against several."""
    found = []
    arms, last = results.arms(BASE), len(JUMPS) - 1
    pairs = [(f, a) for f in results.flows() for a in arms if results.settled(f, a)]
    if not pairs:
        return found
    gain = [results(f, a, "endpoint", last) / results(f, a, "endpoint", 0) for f, a in pairs]
    choice = [int(np.argmin([results(f, a, "endpoint", k) for k in range(last + 1)]))
              for f, a in pairs]  # fmt: skip
    tally = ", ".join(f"{JUMPS[k]}: {choice.count(k)}" for k in range(last + 1))
    found.append(
        f"In {JUMPS[last]} jumps the end point is {between(gain)} times as far off as in one, "
        f"median {middle(gain):.2g}; closer on {count(g < 1 for g in gain)} pairs of flow and arm. "
        f"The best number of jumps: {tally}."
    )
    for quarter, name in ((0, "least"), (3, "most")):
        ratio = [
            results(f, a, "endpoint_by_stretch", last, quarter)
            / results(f, a, "endpoint_by_stretch", 0, quarter)
            for f, a in pairs
        ]
        found.append(
            f"In the quarter of windows that stretch {name} it is {middle(ratio):.2g} times, in "
            "the median."
        )
    return found


def rank_correlation(results: Results, flow: str, one: str, other: str) -> float:
    """Spearman's, over the arms of the main table."""
    arms = [a for a in BASE if results.has(flow, a)]
    a, b = (np.array([results(flow, arm, key) for arm in arms]) for key in (one, other))
    if len(arms) < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def claims(results: Results) -> list[Claim]:
    """Beliefs of a study of the double gyre with one seed, held against all of this."""
    makers = (
        _momentum, _no_momentum, _reach, _full_gradient, _ranking, _endpoint, _frozen, _teachers,
        _short_windows, _long_windows, _noise, _bias, _bootstrap_soap, _wider,
    )  # fmt: skip
    return [claim for make in makers if (claim := _tried(make, results)) is not None]


def _tried(make: Callable[[Results], Claim | None], results: Results) -> Claim | None:
    claim = make(results)
    return None if claim is None or re.search(r"\bnan\b", claim.measured) else claim


def _on_gyre(results: Results, one: str, other: str, *key: str | int) -> float:
    key = key or ("error",)
    return results("double_gyre", one, *key) / results("double_gyre", other, *key)


def _momentum(results: Results) -> Claim:
    adam = _on_gyre(results, "material_stop-adam0.9", "material_stop-adam0.5")
    soap = _on_gyre(results, "material_stop-soap0.95", "material_stop")
    return Claim(
        "The stopped gradient rotates, and wants little momentum",
        f"error with beta1 0.9 over 0.5, Adam: {adam:.2g}; SOAP 0.95 over 0.5: {soap:.2g}",
        verdict(q > CLOSE for q in (adam, soap)),
    )


def _no_momentum(results: Results) -> Claim:
    adam = _on_gyre(results, "supervised-adam0.9", "supervised-adam0.5")
    soap = _on_gyre(results, "supervised", "supervised-soap0.5")
    return Claim(
        "Momentum does not matter for supervision",
        f"the same quotients for it: {adam:.2g} and {soap:.2g}",
        verdict(1 / CLOSE < q < CLOSE for q in (adam, soap)),
    )


def _reach(results: Results) -> Claim | None:
    quotients = results.ratios("material_stop", "supervised", "error")
    if not quotients:
        return None
    return Claim(
        "With SOAP and little momentum the stopped identity comes close to supervision",
        f"error over that of supervision, by flow: {between(quotients.values())}",
        verdict(q <= CLOSE for q in quotients.values()),
    )


def _full_gradient(results: Results) -> Claim | None:
    arms = [arm for arm in IDENTITIES if "rising" not in arm]  # whose gradient is full in the end
    flows = [f for f in results.flows("material_full") if len(results.arms(arms)) > 2]
    if not flows:
        return None
    least = [
        min((a for a in arms if results.has(f, a)), key=lambda a: results(f, a, "residual"))
        == "material_full" for f in flows
    ]  # fmt: skip
    first = [best(results, f, arms) == "material_full" for f in flows]
    return Claim(
        "Of the identity arms the full gradient has the smallest residual, not the smallest error",
        f"smallest residual on {count(least)} flows, smallest error on {count(first)}",
        verdict(a and not b for a, b in zip(least, first, strict=True)),
    )


def _ranking(results: Results) -> Claim | None:
    ranks = [rank_correlation(results, f, "residual", "error") for f in results.flows()]
    ranks = [r for r in ranks if not math.isnan(r)]
    if not ranks:
        return None
    return Claim(
        "The size of the residual does not rank the errors of different arms",
        f"rank correlation by flow: {between(ranks)}",
        verdict(r < 0.7 for r in ranks),
    )


def _endpoint(results: Results) -> Claim | None:
    quotients = results.ratios("endpoint", "material_stop", "error")
    if not quotients:
        return None
    return Claim(
        "The endpoint identity is worse than the material one",
        f"error over that of the stopped material loss: {between(quotients.values())}",
        verdict(q > CLOSE for q in quotients.values()),
    )


def _frozen(results: Results) -> Claim:
    worse = _on_gyre(results, "material_stop-teacher", "material_stop")
    return Claim(
        "The derivative of a teacher in the target diverges",
        f"error over that with the live derivative: {worse:.2g}",
        verdict([worse > 10]),
    )


def _teachers(results: Results) -> Claim:
    gains = (
        _on_gyre(results, "bootstrap-alone", "bootstrap"),
        _on_gyre(results, "picard", "picard_teacher"),
    )
    return Claim(
        "A teacher helps bootstrap and Picard",
        f"error without over with, bootstrap: {gains[0]:.2g}; Picard: {gains[1]:.2g}",
        verdict(q > CLOSE for q in gains),
    )


def _short_windows(results: Results) -> Claim | None:
    key = ("error_by_fifth", 0)
    stop = results.ratios("material_stop", "supervised", *key)
    picard = results.ratios("picard", "supervised", *key)
    if not stop or not picard:
        return None
    return Claim(
        "The identity loses on short windows, and Picard does not",
        f"first fifth, error over that of supervision: stopped {between(stop.values())}, "
        f"Picard {between(picard.values())}",
        verdict(stop[f] > CLOSE and picard[f] <= CLOSE for f in stop if f in picard),
    )


def _long_windows(results: Results) -> Claim | None:
    pairs = [(f, a) for f in results.flows() for a in results.arms(BASE) if results.has(f, a)]
    longest = [
        results(f, a, "error_by_fifth", 4)
        >= max(results(f, a, "error_by_fifth", k) for k in range(4)) for f, a in pairs
    ]  # fmt: skip
    if not pairs:
        return None
    return Claim(
        "The longest windows are the hardest for every arm",
        f"so for {count(longest)} pairs of flow and arm",
        verdict(longest),
    )


def _noise(results: Results) -> Claim | None:
    stop = results.ratios("material_stop", "supervised", "gradient_noise")
    picard = results.ratios("picard", "supervised", "gradient_noise")
    if not stop or not picard:
        return None
    return Claim(
        "The gradient of the stopped identity is noisier than that of supervision, Picard's not",
        f"noise over that of supervision at half time: stopped {between(stop.values())}, Picard "
        f"{between(picard.values())}",
        verdict(stop[f] > CLOSE and picard[f] <= CLOSE for f in stop if f in picard),
    )


def _bias(results: Results) -> Claim:
    quotient = _on_gyre(results, "supervised-then_stop", "supervised")
    return Claim(
        "The stopped gradient has no bias: from a supervised start it goes on improving",
        "stopped identity after half of the time with supervision, error over that of supervision "
        f"all the time: {quotient:.2g}",
        verdict([quotient <= CLOSE]),
    )


def _bootstrap_soap(results: Results) -> Claim:
    quotient = _on_gyre(results, "bootstrap", "bootstrap-adam0.9")
    full = _on_gyre(results, "material_full", "material_full-adam0.9")
    return Claim(
        "(open) SOAP in place of Adam for bootstrap and for the full gradient",
        f"error with SOAP over Adam 0.9: bootstrap {quotient:.2g}, full gradient {full:.2g}",
        "SOAP is better for " + (
            " and ".join(name for name, q in (("bootstrap", quotient), ("the full gradient", full))
                         if q < 1 / CLOSE) or "neither"
        ),
    )  # fmt: skip


def _wider(results: Results) -> Claim:
    def quotient(base: str, size: str) -> float:
        return _on_gyre(results, f"{base}-{size}", base)

    parts = {
        f"{base} {size}": quotient(base, size)
        for base in ("material", "supervised")
        for size in ("4x64", "4x128", "6x256")
    }
    name, least = min(parts.items(), key=lambda item: item[1])
    return Claim(
        "(open) another size of the network, in the same time",
        "error over that of 6 x 128: "
        + ", ".join(f"{name.replace('x', ' x ')}: {q:.2g}" for name, q in parts.items()),
        f"{name.replace('x', ' x ')} is better" if least < 1 / CLOSE else "none is better",
    )


def told(arm: Any) -> str:
    """What an arm is told, in a word for a table."""
    return {IDENTITY: "v", SHORT: "v, short steps"}.get(arm.told, "exact averages")
