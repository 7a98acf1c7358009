"""Which mean obeys which of Reynolds' axioms: the table of the theory, measured."""

import numpy as np
import pytest

from meanfluid.means.axioms import ReynoldsAxioms, reynolds_axioms
from meanfluid.means.eulerian import ensemble_mean, phase_mean, time_mean, zonal_mean
from meanfluid.means.filters import gaussian, sharp_spectral, top_hat

TIMES, POINTS = 48, 64
CLOCK = np.arange(TIMES) / TIMES
EVERY = dict(linearity=True, constants=True, product=True, idempotence=True, time=True, space=True)


def window(f):
    return time_mean(f, CLOCK, axis=0, keepdims=True)


def running(f):
    return top_hat(0.2)(f, axis=0, spacing=1 / TIMES)


def exponential(f):
    """A causal one, on fields that repeat: a / (a + i w) for every mode."""
    w = 2 * np.pi * np.fft.rfftfreq(TIMES, 1 / TIMES)
    response = (8.0 / (8.0 + 1j * w))[:, None]
    return np.fft.irfft(np.fft.rfft(f, axis=0) * response, TIMES, axis=0)


def les(maker, width=0.1, ends="periodic"):
    return lambda f: maker(width)(f, axis=1, spacing=1 / POINTS, ends=ends)


CASES = {
    "ensemble": (
        lambda f: ensemble_mean(f, axis=0, keepdims=True),
        {"axes": ("ensemble", "time", "x"), "shape": (5, 16, 16)}, set()),
    "phase": (lambda f: phase_mean(f, axis=0, keepdims=True), {"axes": ("phase", "x")}, set()),
    "zonal": (lambda f: zonal_mean(f, axis=1, keepdims=True), {}, set()),
    "fixed window": (window, {"bounded": ("time",)}, {"time"}),
    "running window": (running, {}, {"product", "idempotence"}),
    "exponential": (exponential, {}, {"product", "idempotence"}),
    "Gaussian filter": (les(gaussian), {}, {"product", "idempotence"}),
    "top-hat filter": (les(top_hat), {}, {"product", "idempotence"}),
    "sharp spectral filter": (les(sharp_spectral), {}, {"product"}),
    "filter between walls": (
        les(gaussian, ends="bounded"), {"bounded": ("x",)}, {"product", "idempotence", "space"}),
    "a wrong factor": (lambda f: 1.1 * f, {}, {"constants", "idempotence"}),
    "twice a mean": (
        lambda f: 2 * f.mean(axis=1, keepdims=True), {}, {"constants", "idempotence"}),
    "a median": (lambda f: np.median(f, axis=1, keepdims=True), {}, {"linearity"}),
    "a shift": (lambda f: np.roll(f, 5, axis=1), {}, {"product", "idempotence"}),
    "one station": (lambda f: f[:, 3:4], {}, {"space"}),
    "a weighted mean": (
        lambda f: (f * (1 + CLOCK[:, None])).sum(axis=0, keepdims=True) / (1 + CLOCK).sum(),
        {}, {"time"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_mean_obeys_what_the_theory_says_and_no_more(name):
    """What is violated is so by a tenth of a per cent at least, what holds by 1e-12 at most."""
    mean, options, violated = CASES[name]
    found = reynolds_axioms(mean, np.random.default_rng(21), name=name, **options)
    tried = {axiom for axiom in found.AXIOMS if getattr(found, axiom) is not None}
    assert {axiom for axiom in tried if not found.holds(axiom)} == violated, found
    for axiom in tried:
        assert getattr(found, axiom) > 1e-3 if axiom in violated else (
            getattr(found, axiom) < 1e-12), found  # fmt: skip
    assert found.is_reynolds_operator == (not violated)


def test_a_fixed_window_misses_the_time_derivative_by_its_ends():
    """<df/dt> = (f(end) - f(start))/h: what is missed falls like 1 over the window, in samples."""
    missed = []
    for times in (100, 1000, 10000):
        found = reynolds_axioms(
            lambda f: f.mean(axis=0, keepdims=True), np.random.default_rng(4),
            bounded=("time",), shape=(times, 8),
        )  # fmt: skip
        missed.append(found.time * times)
    assert max(missed) < 5 * min(missed) and 0.05 < min(missed) < max(missed) < 2


def test_axes_that_are_not_there_are_not_judged():
    found = reynolds_axioms(
        lambda f: f.mean(axis=0, keepdims=True), np.random.default_rng(2), axes=("ensemble",),
        shape=(6,), name="members",
    )  # fmt: skip
    assert found.time is None and found.space is None and found.holds("time") is None
    assert found.is_reynolds_operator


def test_the_record_is_a_row_of_a_table():
    found = ReynoldsAxioms("filter", 1e-16, 0.0, 0.238, 2e-16, None, 1e-15, 1e-10)
    assert found.row == ("filter", "yes", "yes", "no, 0.2", "yes", "", "yes")
    lines = str(found).splitlines()
    assert lines[0].startswith("| mean | linear |") and lines[1].startswith("| --- |")
    assert lines[2] == "| filter | yes | yes | no, 0.2 | yes |  | yes |"
    with pytest.raises(ValueError, match="axiom must be one of"):
        found.holds("commutation")


def test_the_same_generator_gives_the_same_record():
    one, two = (reynolds_axioms(running, np.random.default_rng(8)) for _ in range(2))
    assert one == two and one.name == "running"


REFUSED = {
    "no generator": (np.mean, {"generator": 3}, TypeError, "must be a numpy.random.Generator"),
    "lost axes": (np.mean, {}, ValueError, "length 1 along axes"),
    "names": (window, {"axes": "time"}, TypeError, "sequences of names"),
    "shape": (window, {"shape": (48,)}, ValueError, "one number per axis"),
    "few points": (window, {"shape": (48, 4)}, ValueError, "at least 8 points"),
    "unknown walls": (window, {"bounded": ("y",)}, ValueError, "bounded must name some"),
    "infinite": (lambda f: f / 0.0, {}, ValueError, "not finite"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what):
    mean, options, kind, message = REFUSED[what]
    with pytest.raises(kind, match=message), np.errstate(all="ignore"):
        reynolds_axioms(mean, **{"generator": np.random.default_rng(1), **options})
