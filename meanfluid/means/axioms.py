r"""Which of Reynolds' axioms a mean obeys, measured on random smooth fields.

.. math::
    \langle a f + b g \rangle = a \langle f \rangle + b \langle g \rangle , \quad
    \langle c \rangle = c , \quad
    \langle \langle f \rangle g \rangle = \langle f \rangle \langle g \rangle , \quad
    \langle \langle f \rangle \rangle = \langle f \rangle , \quad
    \langle \partial f \rangle = \partial \langle f \rangle .

The second and third imply the fourth, and that deviations have no mean; without the third
:math:`\langle f' g' \rangle` is no moment (see `moments`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from meanfluid.fields.velocity_field import Array

_WAVES = 64  # random waves in a field: every way of being uniform along some of up to six axes
_HIGHEST = 0.25  # of the sampling rate: largest wavenumber, half of the largest that is resolved


@dataclass(frozen=True)
class ReynoldsAxioms:
    """How far a mean violates each axiom, relative to fields of largest value one.

    Attributes
    ----------
    name : str
    linearity, constants, product, idempotence : float
        Largest violation over the points of the fields: of the first four axioms above.
    time, space : float or None
        Of the last one, for derivatives in time and in space, relative to the largest derivative;
        None without such an axis.
    tolerance : float
        Up to which an axiom counts as obeyed.
    """

    name: str
    linearity: float
    constants: float
    product: float
    idempotence: float
    time: float | None
    space: float | None
    tolerance: float

    AXIOMS: ClassVar[tuple[str, ...]] = (
        "linearity", "constants", "product", "idempotence", "time", "space",
    )  # fmt: skip
    HEADER: ClassVar[tuple[str, ...]] = (
        "mean", "linear", "<c> = c", "<<f>g> = <f><g>", "<<f>> = <f>", "d/dt", "nabla",
    )  # fmt: skip

    def holds(self, axiom: str) -> bool | None:
        """Whether an axiom is obeyed, by the name of its violation; None if it was not tried."""
        if axiom not in self.AXIOMS:
            raise ValueError(f"axiom must be one of {', '.join(self.AXIOMS)}, got {axiom!r}")
        violation = getattr(self, axiom)
        return None if violation is None else bool(violation <= self.tolerance)

    @property
    def is_reynolds_operator(self) -> bool:
        """Whether no axiom that was tried is violated."""
        return all(self.holds(axiom) is not False for axiom in self.AXIOMS)

    @property
    def row(self) -> tuple[str, ...]:
        """A row of a table with `HEADER`: "yes", or the violation."""
        cells = []
        for axiom in self.AXIOMS:
            violation = getattr(self, axiom)
            no = "" if violation is None else f"no, {violation:.1g}"
            cells.append("yes" if self.holds(axiom) else no)
        return self.name, *cells

    def __str__(self) -> str:
        rule = ["---"] * len(self.HEADER)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.HEADER, rule, self.row))

    _repr_markdown_ = __str__


def reynolds_axioms(
    mean: Callable[[Any], Any],
    generator: np.random.Generator,
    *,
    axes: Sequence[str] = ("time", "x"),
    shape: Sequence[int] = (48, 64),
    bounded: Sequence[str] = (),
    name: str = "",
    tolerance: float = 1e-10,
) -> ReynoldsAxioms:
    """Measure how far a mean violates Reynolds' axioms.

    Derivatives are not taken numerically: a mean commutes with them if it commutes with a shift by
    one sample, which is exact. A mean that leaves out an axis must keep it with length 1, to say
    which one it was.

    Parameters
    ----------
    mean : callable
        Takes an array of the given shape, gives one of the same shape, or with length 1 along the
        axes that it averages over.
    generator : numpy.random.Generator
        Draws the fields.
    axes : sequence of str
        "ensemble" for independent members, "time", or any other name for a direction of space.
    shape : sequence of int
        Points along each axis. Their spacing is 1/n: every axis has length 1.
    bounded : sequence of str
        Axes along which the fields are not periodic: a window in time, walls.
    name : str, optional
        By default that of the function.
    tolerance : float
        Up to which a violation, relative to the largest value, counts as none.

    Returns
    -------
    ReynoldsAxioms

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range, or the mean returns another shape or something
        that is not finite.

    Examples
    --------
    >>> found = reynolds_axioms(
    ...     lambda f: f.mean(axis=1, keepdims=True), np.random.default_rng(1), name="zonal"
    ... )
    >>> found.is_reynolds_operator
    True
    """
    _check(generator, axes, shape, bounded)
    draw = _Fields(generator, tuple(axes), tuple(shape), frozenset(bounded))

    def apply(f: Array) -> Array:
        value = np.asarray(mean(f))
        fits = value.ndim == f.ndim and all(
            n in (1, m) for n, m in zip(value.shape, f.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"the mean of an array {f.shape} must have that shape, or length 1 along axes "
                f"averaged over (keepdims=True), got {value.shape}"
            )
        if not np.isfinite(value).all():
            raise ValueError("the mean of a finite field is not finite")
        return np.array(np.broadcast_to(value, f.shape))

    f, g = draw.field(), draw.field()
    a, b, c = generator.uniform(-1, 1, 3)
    f_mean, g_mean = apply(f.here), apply(g.here)
    return ReynoldsAxioms(
        name or getattr(mean, "__name__", repr(mean)),
        linearity=_largest(apply(a * f.here + b * g.here) - (a * f_mean + b * g_mean)),
        constants=_largest(apply(np.full(draw.shape, c)) / c - 1),
        product=_largest(apply(f_mean * g.here) - f_mean * g_mean),
        idempotence=_largest(apply(f_mean) - f_mean),
        time=_commutes(apply, draw, f, f_mean, [k for k, n in enumerate(axes) if n == "time"]),
        space=_commutes(
            apply, draw, f, f_mean,
            [k for k, n in enumerate(axes) if n not in ("time", "ensemble")],
        ),
        tolerance=tolerance,
    )  # fmt: skip


def _check(generator: Any, axes: Any, shape: Any, bounded: Any) -> None:
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"generator must be a numpy.random.Generator, got {generator!r}")
    if isinstance(axes, str) or isinstance(bounded, str):
        raise TypeError(f"axes and bounded must be sequences of names, got {axes!r}, {bounded!r}")
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not axes:
        raise ValueError(f"shape must have one number per axis {tuple(axes)}, got {tuple(shape)}")
    if any(n < (1 if name == "ensemble" else 8) for n, name in zip(shape, axes, strict=True)):
        raise ValueError(f"at least 8 points are needed along time and space, got {tuple(shape)}")
    if not set(bounded) <= set(axes) - {"ensemble"}:
        raise ValueError(f"bounded must name some of {tuple(axes)}, got {tuple(bounded)}")


@dataclass(frozen=True)
class _Field:
    """A field, and the same one sample further along each axis (None along an ensemble)."""

    here: Array
    ahead: tuple[Array | None, ...]


@dataclass(frozen=True)
class _Fields:
    generator: np.random.Generator
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    bounded: frozenset[str]

    def field(self) -> _Field:
        """Sum of random waves, whose wavenumbers are whole along periodic axes."""
        parts = []
        for k, (name, n) in enumerate(zip(self.axes, self.shape, strict=True)):
            uniform = (np.arange(_WAVES) >> k) % 2 == 1
            if name == "ensemble":
                parts.append(self.generator.normal(size=(_WAVES, n)))
                continue
            wavenumber = self.generator.uniform(-_HIGHEST * n, _HIGHEST * n, _WAVES)
            wavenumber[uniform] = 0.0  # so that a mean along this axis leaves something
            if name not in self.bounded:
                wavenumber = np.round(wavenumber)
            parts.append(2 * np.pi * np.outer(wavenumber, np.arange(n + 1) / n))
        phase = self.generator.uniform(0, 2 * np.pi, _WAVES)
        total = sum(self._wave(parts, phase, k) for k in range(_WAVES))
        here = total[tuple(slice(n) for n in self.shape)]
        scale = np.abs(here).max()
        ahead = tuple(
            None if name == "ensemble" else total[self._ahead(k)] / scale
            for k, name in enumerate(self.axes)
        )
        return _Field(here / scale, ahead)

    def _wave(self, parts: Sequence[Array], phase: Array, wave: int) -> Any:
        """One wave on the grid, with one point more along time and space than asked for."""
        angle, size = np.full((1,) * len(parts), phase[wave]), np.ones((1,) * len(parts))
        for k, (part, name) in enumerate(zip(parts, self.axes, strict=True)):
            along = part[wave].reshape([-1 if i == k else 1 for i in range(len(parts))])
            if name == "ensemble":
                size = size * along
            else:
                angle = angle + along
        return size * np.cos(angle)

    def _ahead(self, axis: int) -> tuple[slice, ...]:
        """The part of the grid that is one sample further along an axis."""
        return tuple(slice(1, n + 1) if k == axis else slice(n) for k, n in enumerate(self.shape))


def _commutes(
    apply: Callable[[Array], Array], draw: _Fields, f: _Field, f_mean: Array, which: Sequence[int]
) -> float | None:
    """Largest difference of the mean one sample ahead from the mean of what is ahead."""
    violation = None
    for k in which:
        ahead = f.ahead[k]
        assert ahead is not None
        difference = np.roll(f_mean, -1, axis=k) - apply(ahead)
        if draw.axes[k] in draw.bounded:  # what is ahead of the last sample is not known
            difference = np.delete(difference, -1, axis=k)
        found = _largest(difference) / _largest(ahead - f.here)
        violation = found if violation is None else max(violation, found)
    return violation


def _largest(values: Array) -> float:
    return float(np.abs(values).max())
