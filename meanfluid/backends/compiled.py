"""From a field's body to a compiled function on a block of particles.

A block holds `LANES` particles, component first, and the body is called in a loop over them with
the polynomial elementary functions of `polynomials`, so that LLVM evaluates several particles in
one instruction. A lane that comes out as NaN (an argument beyond the range of a polynomial, or a
true NaN) is evaluated again by libm. Each lane is computed alone, so its value does not depend on
its neighbours.

The block evaluator is called through its address. What steps particles forward is therefore
compiled once for all fields (see `trajectories.stepping`), and a new field costs about a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core.errors import NumbaError
from numba.extending import intrinsic, overload

from meanfluid.backends import libm, polynomials
from meanfluid.fields.elementary import numpy_functions
from meanfluid.fields.velocity_field import VelocityField

LANES = 64  # a multiple of every vector width, so that no remainder loop is ever run

Observable = Callable[..., Any]

_inlined = njit(error_model="numpy", forceinline=True)
_double_p = types.CPointer(types.float64)
# table (rows, parameters), rows, time (LANES,), position (dimension, LANES), and the result,
# rate (components, LANES)
_SIGNATURE = types.void(_double_p, types.int64, _double_p, _double_p, _double_p)


@dataclass(frozen=True)
class BlockEvaluator:
    """A compiled ``(table, time, position) -> rate`` on a block, and how its output is laid out.

    Parameters
    ----------
    function : numba cfunc
        Kept alive here, since callers only hold its address.
    dimension : int
        The first components of the rate: the velocity that carries the particle.
    sizes : tuple of int
        How many components each integrand has that follows.
    """

    function: Any
    dimension: int
    sizes: tuple[int, ...]

    @property
    def address(self) -> int:
        """Where the machine code is, for `call_block`."""
        return int(self.function.address)

    @property
    def components(self) -> int:
        """Velocity components and integrand components together."""
        return self.dimension + sum(self.sizes)


def block_evaluator(
    field: VelocityField, observables: Sequence[Observable] = (), *, carried: bool = True
) -> BlockEvaluator:
    """Compile a field and its observables for blocks of particles.

    Parameters
    ----------
    field : VelocityField
    observables : sequence of callables ``g(m, p, t, x, y[, z])``
        Each returns a number or a tuple. On a modal field `p` is None.
    carried : bool
        Whether particles move with the field. If not, they stay where they are and the field's
        velocity becomes the first integrand (an Eulerian mean).

    Returns
    -------
    BlockEvaluator
        The same object for the same functions: parameters are data, not code.

    Raises
    ------
    ValueError
        If the body or an observable cannot be called, or not be compiled, or returns anything
        but real numbers.
    """
    checked_body(field)
    sizes = tuple(observable_size(field, g) for g in observables)
    record: Any = type(field.parameters)
    try:
        return _compile(
            field.body, record, len(field.parameters), field.dimension,
            field.modal, tuple(observables), sizes, carried,
        )  # fmt: skip
    except NumbaError as error:
        names = ", ".join(getattr(g, "__name__", repr(g)) for g in (field.body, *observables))
        raise ValueError(
            f"{names} could not be compiled: a body may use arithmetic, m.pi and the functions of "
            "m, and loops over a fixed number of terms; mark a function that it calls with "
            f"numba.extending.register_jitable. Numba says: {error}"
        ) from error


def checked_body(field: VelocityField) -> None:
    """Refuse a body that does not return one number per coordinate.

    Raises
    ------
    ValueError
    """
    row: Any = type(field.parameters)(*field.table[0])
    value = _called("body", field.body, row, field)
    if not (isinstance(value, tuple) and len(value) == field.dimension and _are_numbers(value)):
        raise ValueError(
            f"body {field.name} must return a tuple of {field.dimension} real numbers, one "
            f"velocity component per coordinate, got {value!r}"
        )


def observable_size(field: VelocityField, observable: Observable) -> int:
    """Return how many numbers an observable returns, by calling it once.

    Raises
    ------
    ValueError
        If it is not a plain function, cannot be called like a body, or returns anything but
        numbers.
    """
    if not isinstance(observable, FunctionType):
        raise ValueError(
            f"an observable must be a function written with def or lambda, got {observable!r}"
        )
    parameters = None if field.modal else field.parameters
    value = _called("observable", observable, parameters, field)
    parts = value if isinstance(value, tuple) else (value,)
    if not parts or not _are_numbers(parts):
        raise ValueError(
            f"observable {observable.__name__} must return a real number or a tuple of them, "
            f"got {value!r}"
        )
    return len(parts)


def _called(kind: str, function: Callable[..., Any], p: Any, field: VelocityField) -> Any:
    """What a body or observable returns at some point, by NumPy."""
    arguments = [np.float64(0.5)] * (1 + field.dimension)
    try:
        with np.errstate(all="ignore"):
            return function(numpy_functions, p, *arguments)
    except (AttributeError, TypeError) as error:
        name = getattr(function, "__name__", repr(function))
        signature = "(m, p, t" + "".join(f", {c}" for c in "xyz"[: field.dimension]) + ")"
        hint = "; p is None on a modal field" if p is None else ""
        raise ValueError(
            f"{kind} {name} could not be called as {name}{signature}{hint}: {error}"
        ) from error


def _are_numbers(parts: tuple[Any, ...]) -> bool:
    return all(np.ndim(part) == 0 and np.asarray(part).dtype.kind in "iufb" for part in parts)


def scalar_velocity(field: VelocityField, namespace: Any = libm) -> Callable[..., Any]:
    """Compile ``(table, t, position) -> velocity`` for one particle, with libm by default.

    This is the plain scalar form, for parity tests and as the baseline of benchmarks.
    """
    dimension = field.dimension
    unpack = _unpack(type(field.parameters), len(field.parameters))
    call = _caller(njit(field.body, error_model="numpy"), namespace, dimension)
    add = _writer(dimension, accumulate=True)

    @njit(error_model="numpy")
    def velocity(table: Any, t: float, position: Any) -> Any:
        rate = np.zeros((dimension, 1))
        place = position.reshape(dimension, 1)
        for row in range(table.shape[0]):
            add(call(unpack(table, row), t, place, 0), rate, 0, 0)
        return rate[:, 0]

    return velocity  # type: ignore[no-any-return]


@intrinsic
def call_block(
    typingctx: Any, address: Any, table: Any, time: Any, position: Any, rate: Any
) -> Any:
    """Call a block evaluator by its address from compiled code."""
    matrix, vector = types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C")
    signature = types.void(types.intp, matrix, vector, matrix, matrix)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double_p, int64 = ir.DoubleType().as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [double_p, int64, double_p, double_p, double_p])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        arrays = [
            context.make_array(kind_of)(context, builder, value)
            for kind_of, value in zip(signature.args[1:], arguments[1:], strict=True)
        ]
        rows = builder.extract_value(arrays[0].shape, 0)
        table, *rest = (array.data for array in arrays)
        builder.call(function, [table, rows, *rest])
        return context.get_dummy_value()

    return signature, codegen


@lru_cache(maxsize=256)
def _compile(
    body: Callable[..., Any],
    record: Any,
    width: int,
    dimension: int,
    modal: bool,
    observables: tuple[Observable, ...],
    sizes: tuple[int, ...],
    carried: bool,
) -> BlockEvaluator:
    if not carried:  # the velocity is integrated where the particle stands
        sizes = (dimension, *sizes)
    components = dimension + sum(sizes)
    first = 0 if carried else dimension
    unpack = _unpack(record, width)
    parameters_of = _no_parameters if modal else unpack
    velocity = _inlined(body)
    call, call_again = (_caller(velocity, m, dimension) for m in (polynomials, libm))
    add = _writer(dimension, accumulate=True)
    compiled = tuple(_inlined(g) for g in observables)
    own_sizes = sizes if carried else sizes[1:]
    observe, observe_again = (
        _observer(compiled, own_sizes, dimension + first, m, dimension) for m in (polynomials, libm)
    )

    @cfunc(_SIGNATURE, error_model="numpy")
    def evaluate(table_p: Any, rows: int, time_p: Any, position_p: Any, rate_p: Any) -> None:
        table = carray(table_p, (rows, width))
        time = carray(time_p, (LANES,))
        position = carray(position_p, (dimension, LANES))
        rate = carray(rate_p, (components, LANES))
        for k in range(components):
            for lane in range(LANES):
                rate[k, lane] = 0.0
        for row in range(rows):
            p = unpack(table, row)
            for lane in range(LANES):
                add(call(p, time[lane], position, lane), rate, first, lane)
        parameters = parameters_of(table, 0)
        for lane in range(LANES):
            observe(parameters, time[lane], position, rate, lane)
        suspect = 0
        for k in range(components):
            for lane in range(LANES):
                suspect |= rate[k, lane] != rate[k, lane]
        if suspect:
            for lane in range(LANES):
                lost = False
                for k in range(components):
                    lost |= rate[k, lane] != rate[k, lane]
                if lost:
                    for k in range(components):
                        rate[k, lane] = 0.0
                    for row in range(rows):
                        p = unpack(table, row)
                        add(call_again(p, time[lane], position, lane), rate, first, lane)
                    observe_again(parameters, time[lane], position, rate, lane)

    return BlockEvaluator(evaluate, dimension, sizes)


@_inlined
def _no_parameters(table: Any, row: int) -> None:
    """What an observable gets as p on a modal field, where no row is the field's."""
    return None


def _unpack(record: type, width: int) -> Any:
    """Row of the table -> the NamedTuple that the body calls p."""
    if width == 0:

        @_inlined
        def empty(table: Any, row: int) -> Any:
            return record()

        return empty

    take = _taker(width)

    @_inlined
    def unpack(table: Any, row: int) -> Any:
        return record(*take(table, row))

    return unpack


@cache
def _taker(width: int) -> Any:
    last = width - 1
    if width == 1:

        @_inlined
        def only(table: Any, row: int) -> Any:
            return (table[row, 0],)

        return only

    others = _taker(last)

    @_inlined
    def take(table: Any, row: int) -> Any:
        return (*others(table, row), table[row, last])

    return take


def _caller(function: Any, m: Any, dimension: int) -> Any:
    """Call a body or observable at one lane; `m`, a module, can only be bound in compiled code."""
    if dimension == 1:

        @_inlined
        def call1(p: Any, t: float, position: Any, lane: int) -> Any:
            return function(m, p, t, position[0, lane])

        return call1
    if dimension == 2:

        @_inlined
        def call2(p: Any, t: float, position: Any, lane: int) -> Any:
            return function(m, p, t, position[0, lane], position[1, lane])

        return call2

    @_inlined
    def call3(p: Any, t: float, position: Any, lane: int) -> Any:
        return function(m, p, t, position[0, lane], position[1, lane], position[2, lane])

    return call3


@cache
def _writer(size: int, *, accumulate: bool) -> Any:
    """Store a tuple component by component: its members may differ in type, so no loop."""
    if size == 0:

        @_inlined
        def nothing(value: Any, rate: Any, first: int, lane: int) -> None:
            pass

        return nothing

    rest, last = _writer(size - 1, accumulate=accumulate), size - 1
    if accumulate:

        @_inlined
        def add(value: Any, rate: Any, first: int, lane: int) -> None:
            rest(value, rate, first, lane)
            rate[first + last, lane] += value[last]

        return add

    @_inlined
    def write(value: Any, rate: Any, first: int, lane: int) -> None:
        rest(value, rate, first, lane)
        rate[first + last, lane] = value[last]

    return write


def _observer(
    observables: tuple[Any, ...], sizes: tuple[int, ...], first: int, m: Any, dimension: int
) -> Any:
    """Evaluate every observable at one lane into the components from `first` on."""
    if not observables:

        @_inlined
        def nothing(p: Any, t: float, position: Any, rate: Any, lane: int) -> None:
            pass

        return nothing

    *others, last = observables
    start = first + sum(sizes[:-1])
    rest = _observer(tuple(others), sizes[:-1], first, m, dimension)
    call = _caller(last, m, dimension)
    write = _writer(sizes[-1], accumulate=False)

    @_inlined
    def observe(p: Any, t: float, position: Any, rate: Any, lane: int) -> None:
        rest(p, t, position, rate, lane)
        write(_as_tuple(call(p, t, position, lane)), rate, start, lane)

    return observe


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value,)


@overload(_as_tuple, strict=False)  # the annotations are for the type checker
def _compiled_as_tuple(value: Any) -> Any:
    if isinstance(value, types.BaseTuple):
        return lambda value: value
    return lambda value: (value,)
