"""Every backend evaluates the formula of every field to the same number as NumPy does."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from meanfluid import fields, trajectories
from meanfluid.backends import reference, symbolic
from meanfluid.backends.tensors import torch_velocity
from meanfluid.fields import VelocityField
from tests.catalogue import CASES

POINTS = 17


class Column(NamedTuple):
    swirl: float = 1.5
    width: float = 0.6
    beat: float = 2.0


def column(m, p, t, x, y, z):
    """A user's own field: a pulsating vortex column with an axial jet."""
    distance = x * x + y * y
    turning = p.swirl * (1 + m.sin(p.beat * t) / 3) * m.exprel(-distance / p.width**2)
    lift = m.maximum(m.exp(-distance), 0.25) * m.cos(z - p.beat * t)
    return -turning * y, turning * x, lift


class Rolls(NamedTuple):
    wavenumber: np.ndarray
    speed: np.ndarray
    amplitude: float


def rolls(m, p, t, x, z):
    """One mode of a user's own modal field; the amplitude is common to all."""
    phase = p.wavenumber * (x - p.speed * t)
    return p.amplitude * m.cos(phase) * m.cos(z), p.amplitude * p.wavenumber * m.sin(phase)


OWN = {
    "own field in space": VelocityField(body=column, parameters=Column(), dimension=3),
    "own modes": VelocityField(
        body=rolls,
        parameters=Rolls(np.array([1.0, 2.5, 4.0]), np.array([0.3, -0.2, 0.1]), 0.7),
        dimension=2,
    ),
}


def points_of(name: str) -> tuple[VelocityField, np.ndarray, np.ndarray]:
    """A field with times and positions where it holds."""
    rng = np.random.default_rng(5)
    if name in OWN:
        field = OWN[name]
        return field, rng.uniform(-1, 1, POINTS), rng.uniform(-1.5, 1.5, (POINTS, field.dimension))
    case = CASES[name]
    times = rng.uniform(*sorted((case.start, case.end)), POINTS)
    return case.field, times, case.position(POINTS, seed=5)


def by_torch(field: VelocityField, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    return torch_velocity(field)(torch.tensor(x), torch.tensor(t)).numpy()


def by_sympy(field: VelocityField, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    sympy, special = pytest.importorskip("sympy"), pytest.importorskip("scipy.special")
    v, symbols = symbolic.velocity(field)
    arguments = [symbols.time, *symbols.position, *symbols.parameters]
    values = list(field.parameters)
    if field.modal:
        arguments, values = [*arguments, symbols.modes], [*values, len(field.table)]
    evaluate = sympy.lambdify(arguments, list(v), [{"exprel": special.exprel}, "numpy"])
    return np.array([evaluate(t_i, *x_i, *values) for t_i, x_i in zip(t, x, strict=True)])


def by_heyoka(field: VelocityField, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    heyoka = pytest.importorskip("heyoka")
    variables, rates = zip(*reference._system(heyoka, field, ()), strict=True)
    evaluate = heyoka.cfunc(rates, vars=variables, compact_mode=True)
    parameters = [] if field.modal else field.table[0]
    return np.array(
        [evaluate(inputs=x_i, pars=parameters, time=t_i) for t_i, x_i in zip(t, x, strict=True)]
    )


def by_compiled(field: VelocityField, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    return trajectories(field, x, t, t).average_velocity  # in an empty window, the velocity


BACKENDS: dict[str, Callable[[VelocityField, np.ndarray, np.ndarray], np.ndarray]] = {
    "torch": by_torch,
    "sympy": by_sympy,
    "heyoka": by_heyoka,
    "compiled": by_compiled,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*CASES, *OWN])
def test_every_backend_gives_the_velocity_that_numpy_gives(name, backend):
    field, times, position = points_of(name)
    if field.iterative and backend == "sympy":
        with pytest.raises(ValueError, match="implicit equation"):
            BACKENDS[backend](field, times, position)
        return
    expected = field.velocity(times, position)
    found = BACKENDS[backend](field, times, position)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


def test_every_field_of_the_catalogue_has_a_case():
    makers = {name for name in vars(fields) if callable(vars(fields)[name]) and name.islower()}
    spectra = {"gaussian_spectrum", "power_law", "von_karman_pao"}
    data = {"coarsened", "from_xarray", "sampled"}  # see tests/fields/test_sampled.py
    made = {case.field.name for case in CASES.values()}
    assert makers - spectra - data <= made, sorted(makers - spectra - data - made)
