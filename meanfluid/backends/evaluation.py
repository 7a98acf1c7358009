"""Velocity, its gradient and observables on a block of lanes: one source for every device.

A block is evaluated by one function

``evaluate(table, samples, time, place, piece_time, piece_place, rate)``

whose arrays are component first, with one column per particle (a *lane*): 64 on the CPU, where
LLVM turns the loops over lanes into vector instructions, and one in a thread of a GPU. The rows of
`rate` are described by `Layout`. `compiled` makes a C function of it, `trajectories.launch_cuda`
device code; what differs between them, the decorator and the elementary functions, is passed in.

Small functions that depend on the number of components are written out as source text, since
compiled code cannot loop over the members of a tuple.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from meanfluid.backends.bodies import Observable, asked_for, observable_shape
from meanfluid.backends.derivatives import differentiated, gradient_body
from meanfluid.backends.interpolation import sampler
from meanfluid.backends.written import written
from meanfluid.fields.velocity_field import VelocityField

Decorator = Callable[[Any], Any]


@dataclass(frozen=True)
class Source:
    """What of a field ends up in code; everything else is data.

    Parameters
    ----------
    dimension : int
    body, record, width
        Of a formula: the function, the type of its parameters, and their number.
    modal : bool
        Whether the body is summed over the rows of the table.
    spline : tuple, optional
        Of a sampled field: the arguments of `interpolation.sampler`.
    """

    dimension: int
    body: Any
    record: Any
    width: int
    modal: bool
    spline: tuple[Any, ...] | None

    @property
    def has_parameters(self) -> bool:
        """Whether an observable sees the parameters: only those of one formula."""
        return self.spline is None and not self.modal


@dataclass(frozen=True)
class Layout:
    """Which rows of the state and of its rate hold what.

    Parameters
    ----------
    dimension : int
        Rows of position: the first of the state.
    shapes : tuple of () or (size,)
        What each integrand returns: a number, or a tuple; their rows follow the carried state.
    deformed : bool
        Whether the gradient of the flow map, dimension**2 rows, row-major, is carried too.
    carried : bool
        Whether particles move with the field; if not, its velocity is the first integrand.
    graded : bool
        Whether the gradient of velocity is needed.
    constants : int
        Numbers that each particle keeps, for observables: further rows of its place, at rest.
    """

    dimension: int
    shapes: tuple[tuple[int, ...], ...]
    deformed: bool
    carried: bool
    graded: bool
    constants: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many rows each integrand has."""
        return tuple(shape[0] if shape else 1 for shape in self.shapes)

    @property
    def places(self) -> int:
        """Rows of a place: position, and what the particle keeps."""
        return self.dimension + self.constants

    @property
    def state(self) -> int:
        """Rows that depend on each other: a place, and the flow map's gradient if it is carried.

        The gradient has a row for each row of a place, so that stepping sees one kind of place;
        those of what is kept stay zero.
        """
        return self.places + (self.dimension * self.places if self.deformed else 0)

    @property
    def components(self) -> int:
        """Rows that are integrated."""
        return self.state + sum(self.sizes)

    @property
    def rows(self) -> int:
        """Rows of the rate: the last ones are scratch for a gradient that is not carried."""
        scratch = self.dimension**2 if self.graded and not self.deformed else 0
        return self.components + scratch

    @property
    def velocity_row(self) -> int:
        """Where the velocity is written."""
        return 0 if self.carried else self.state

    @property
    def gradient_row(self) -> int:
        """Where the gradient of velocity is written, before the flow map's takes its place."""
        return self.places if self.deformed else self.components

    @property
    def summed_rows(self) -> tuple[int, ...]:
        """Where the components of velocity and then those of its gradient are written."""
        first, d = self.velocity_row, self.dimension
        rows = tuple(range(first, first + d))
        if self.graded:
            rows += tuple(range(self.gradient_row, self.gradient_row + d * d))
        return rows


@dataclass(frozen=True)
class Device:
    """What differs between devices.

    Parameters
    ----------
    compile : decorator
        For functions that are inlined into their callers.
    fast, exact : namespaces
        Elementary functions: those that may give NaN out of their range, and those that are asked
        again then. The same object if one serves.
    """

    compile: Decorator
    fast: Any
    exact: Any


def source_of(field: VelocityField) -> Source:
    """Return what of a field ends up in code.

    A body that iterates is written out first: the compiler makes no vector instructions of a loop
    within the loop over lanes.
    """
    body, record, d = field.body, type(field.parameters), field.dimension
    spline = None
    if field.samples is not None:
        spline = (d, field.samples.degree, field.samples.time_degree, field.samples.single)
    elif field.iterative:
        body = differentiated(body, record, d, by=())
    return Source(d, body, record, field.table.shape[1], field.modal, spline)


def layout_of(
    field: VelocityField, observables: tuple[Observable, ...], *, carried: bool, deformed: bool,
    constants: int = 0,
) -> Layout:  # fmt: skip
    """Lay out what is to be integrated.

    Raises
    ------
    ValueError
        If an observable is not one, or asks for a deformation or constants that are not there.
    """
    shapes = tuple(observable_shape(field, g, constants) for g in observables)
    asked = {name for g in observables for name in asked_for(g, field.dimension)}
    if "deformation" in asked and not deformed:
        raise ValueError("an observable asks for the deformation: pass gradient=True")
    if "constants" in asked and not constants:
        raise ValueError("an observable asks for constants: pass constants=")
    if not carried:
        shapes = ((field.dimension,), *shapes)
    graded = deformed or "gradient" in asked
    return Layout(field.dimension, shapes, deformed, carried, graded, constants)


def evaluator(
    source: Source, observables: tuple[Observable, ...], layout: Layout, device: Device
) -> Any:
    """Return the compiled ``evaluate`` of the module's docstring."""
    if source.spline is not None:
        interpolate = sampler(*source.spline, gradient=layout.graded)
        return _sampled(source, observables, layout, device, interpolate)
    fast = _block(*_formula(source, observables, layout, device, device.fast), device)
    if device.exact is device.fast:
        return fast
    repair = _repairer(layout, *_formula(source, observables, layout, device, device.exact), device)

    @device.compile
    def evaluate(
        table: Any, samples: Any, time: Any, place: Any, piece_time: Any, piece_place: Any,
        rate: Any,
    ) -> None:  # fmt: skip
        fast(table, samples, time, place, piece_time, piece_place, rate)
        repair(table, time, place, rate)

    return evaluate


def _formula(
    source: Source, observables: tuple[Observable, ...], layout: Layout, device: Device,
    m: Any,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    """Return what `_block` puts together, each for one lane.

    ``clear(rate, lane)``, ``unpack(table, row) -> p``, ``add(p, t, place, rate, lane)`` for one row
    of the table, ``observed(table) -> p`` and ``finish(p, t, place, rate, lane)``.
    """
    d, terms = source.dimension, source.body
    if layout.graded:
        terms = gradient_body(source.body, source.record, d)
    arguments = ", ".join(f"place[{k}, lane]" for k in range(d))
    rows = layout.summed_rows
    store = "+=" if source.modal else "="
    add = _written(
        "add(p, t, place, rate, lane)",
        [f"value = terms(m, p, t, {arguments})"]
        + [f"rate[{row}, lane] {store} value[{k}]" for k, row in enumerate(rows)],
        device,
        terms=device.compile(terms),
        m=m,
    )
    cleared = set(rows) if source.modal else set()
    if not layout.carried:
        cleared |= set(range(d))
    clear = _written(
        "clear(rate, lane)", [f"rate[{row}, lane] = 0.0" for row in sorted(cleared)], device
    )
    width = source.width
    unpack = _written(
        "unpack(table, row)",
        [f"return record({', '.join(f'table[row, {k}]' for k in range(width))})"],
        device,
        record=source.record,
    )
    return clear, unpack, add, *_finish(source, observables, layout, device, m, unpack)


def _finish(
    source: Source, observables: tuple[Observable, ...], layout: Layout, device: Device,
    m: Any, unpack: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Return ``observed(table) -> p`` and ``finish(p, t, place, rate, lane)``.

    The second evaluates the observables, and the rate of the flow map's gradient F,
    dF/dt = (grad v) F, once velocity and its gradient are known.
    """
    d, lines, names = source.dimension, [], {"m": m}
    gradient = _rectangle("rate", layout.gradient_row, (d, d))
    deformation = [row[:d] for row in _rectangle("place", layout.places, (d, layout.places))]
    known = {
        "constants": _tuple(f"place[{k}, lane]" for k in range(d, layout.places)),
        "velocity": _tuple(f"rate[{layout.velocity_row + k}, lane]" for k in range(d)),
        "gradient": _tuple(_tuple(row) for row in gradient),
        "deformation": _tuple(_tuple(row) for row in deformation),
    }
    coordinates = ", ".join(f"place[{k}, lane]" for k in range(d))
    row = layout.components - sum(layout.sizes) + (0 if layout.carried else d)
    shapes = layout.shapes if layout.carried else layout.shapes[1:]
    for n, (g, shape) in enumerate(zip(observables, shapes, strict=True)):
        names[f"g{n}"] = device.compile(g)
        asked = "".join(f", {known[name]}" for name in asked_for(g, d))
        lines.append(f"value{n} = g{n}(m, p, t, {coordinates}{asked})")
        parts = [f"value{n}[{k}]" for k in range(shape[0])] if shape else [f"value{n}"]
        lines += [f"rate[{row + k}, lane] = {part}" for k, part in enumerate(parts)]
        row += len(parts)
    if layout.deformed:
        for j in range(d):
            for i in range(d):
                terms = [f"{gradient[i][k]} * {deformation[k][j]}" for k in range(d)]
                lines.append(f"f{i}{j} = {' + '.join(terms)}")
        rates = _rectangle("rate", layout.places, (d, layout.places))
        lines += [f"{rates[i][j]} = f{i}{j}" for i in range(d) for j in range(d)]
        lines += [f"{rates[i][j]} = 0.0" for i in range(d) for j in range(d, layout.places)]
    lines += [f"rate[{k}, lane] = 0.0" for k in range(d, layout.places)]
    finish = _written("finish(p, t, place, rate, lane)", lines, device, **names)
    if source.has_parameters:
        return _written("observed(table)", ["return unpack(table, 0)"], device, unpack=unpack), (
            finish
        )
    return _written("observed(table)", ["return None"], device), finish


def _block(clear: Any, unpack: Any, add: Any, observed: Any, finish: Any, device: Device) -> Any:
    """Loop over rows and lanes; what depends on time alone is done once if all lanes share it."""

    @device.compile
    def evaluate(
        table: Any, samples: Any, time: Any, place: Any, piece_time: Any, piece_place: Any,
        rate: Any,
    ) -> None:  # fmt: skip
        shared = True
        for lane in range(time.shape[0]):
            clear(rate, lane)
            shared &= time[lane] == time[0]
        if shared:  # the compiler moves all that depends on t alone out of these loops
            t = time[0]
            for row in range(table.shape[0]):
                p = unpack(table, row)
                for lane in range(time.shape[0]):
                    add(p, t, place, rate, lane)
            q = observed(table)
            for lane in range(time.shape[0]):
                finish(q, t, place, rate, lane)
        else:
            for row in range(table.shape[0]):
                p = unpack(table, row)
                for lane in range(time.shape[0]):
                    add(p, time[lane], place, rate, lane)
            q = observed(table)
            for lane in range(time.shape[0]):
                finish(q, time[lane], place, rate, lane)

    return evaluate


def _repairer(
    layout: Layout, clear: Any, unpack: Any, add: Any, observed: Any, finish: Any, device: Device
) -> Any:
    """Evaluate the lanes again that came out as NaN."""
    components = layout.components

    @device.compile
    def repair(table: Any, time: Any, place: Any, rate: Any) -> None:
        suspect = 0
        for k in range(components):
            for lane in range(time.shape[0]):
                suspect |= rate[k, lane] != rate[k, lane]
        if suspect:
            for lane in range(time.shape[0]):
                lost = False
                for k in range(components):
                    lost |= rate[k, lane] != rate[k, lane]
                if lost:
                    clear(rate, lane)
                    for row in range(table.shape[0]):
                        add(unpack(table, row), time[lane], place, rate, lane)
                    finish(observed(table), time[lane], place, rate, lane)

    return repair


def _sampled(
    source: Source, observables: tuple[Observable, ...], layout: Layout, device: Device,
    interpolate: Any,
) -> Any:  # fmt: skip
    """Interpolate velocity and its gradient; observables are formulas, evaluated exactly."""
    observed, finish = _finish(source, observables, layout, device, device.exact, None)
    first, slope, still = layout.velocity_row, layout.gradient_row, not layout.carried
    dimension = layout.dimension

    @device.compile
    def evaluate(
        table: Any, samples: Any, time: Any, place: Any, piece_time: Any, piece_place: Any,
        rate: Any,
    ) -> None:  # fmt: skip
        interpolate(table, samples, time, place, piece_time, piece_place, rate, first, slope)
        q = observed(table)
        for lane in range(time.shape[0]):
            if still:
                for k in range(dimension):
                    rate[k, lane] = 0.0
            finish(q, time[lane], place, rate, lane)

    return evaluate


def _rectangle(array: str, first: int, shape: tuple[int, int]) -> list[list[str]]:
    """Name the entries of a matrix that is stored row-major in rows of an array."""
    rows, columns = shape
    return [
        [f"{array}[{first + columns * i + j}, lane]" for j in range(columns)] for i in range(rows)
    ]


def _tuple(parts: Iterable[str]) -> str:
    return "(" + "".join(f"{part}, " for part in parts) + ")"


def _written(signature: str, lines: list[str], device: Device, **names: Any) -> Any:
    """Compile a function from its source, with the given names as its globals."""
    return device.compile(written(signature, lines, names))
