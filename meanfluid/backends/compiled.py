"""From a field's body to a compiled function on a block of particles.

A block holds `LANES` particles, component first, and the body is called in a loop over them with
the polynomial elementary functions of `polynomials`, so that LLVM evaluates several particles in
one instruction. A lane that comes out as NaN (an argument beyond the range of a polynomial, or a
true NaN) is evaluated again by libm. Each lane is computed alone, so its value does not depend on
its neighbours. What is evaluated is written in `evaluation`, for every device.

The block evaluator is called through its address. What steps particles forward is therefore
compiled once for all fields (see `trajectories.stepping`), and a new field costs a second or two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from meanfluid.backends import libm, polynomials
from meanfluid.backends.bodies import Observable, checked_body
from meanfluid.backends.evaluation import Device, Layout, Source, evaluator, layout_of, source_of
from meanfluid.fields.velocity_field import VelocityField

LANES = 64  # a multiple of every vector width, so that no remainder loop is ever run

# The functions of an evaluator call each other, and nobody else does: Python needs no way in.
_inner = njit(error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
CPU = Device(_inner, polynomials, libm)

_double_p = types.CPointer(types.float64)
# table (rows, parameters) and its rows, samples, time (LANES,), place (state, LANES), the time
# (LANES,) and place (places, LANES) that choose the piece of a sampled field, and the result,
# rate (rows, LANES)
_SIGNATURE = types.void(_double_p, types.int64, *(_double_p,) * 6)


@dataclass(frozen=True)
class BlockEvaluator:
    """A compiled ``evaluate`` on a block, and how its output is laid out.

    Parameters
    ----------
    function : numba cfunc
        Kept alive here, since callers only hold its address.
    layout : Layout
    """

    function: Any
    layout: Layout

    @property
    def address(self) -> int:
        """Where the machine code is, for `call_block`."""
        return int(self.function.address)


def block_evaluator(
    field: VelocityField,
    observables: Sequence[Observable] = (),
    *,
    carried: bool = True,
    deformed: bool = False,
    constants: int = 0,
) -> BlockEvaluator:
    """Compile a field and its observables for blocks of particles.

    Parameters
    ----------
    field : VelocityField
    observables : sequence of callables ``g(m, p, t, x, y[, z])``
        Each returns a number or a tuple, and may ask for more by name (see `bodies`). On a modal
        or sampled field `p` is None.
    carried : bool
        Whether particles move with the field. If not, they stay where they are and the field's
        velocity becomes the first integrand (an Eulerian mean).
    deformed : bool
        Whether the gradient of the flow map is carried along.
    constants : int
        How many numbers each particle keeps for observables, after its coordinates.

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
    layout = checked_layout(
        field, tuple(observables), carried=carried, deformed=deformed, constants=constants
    )
    try:
        return _compile(source_of(field), tuple(observables), layout)
    except NumbaError as error:
        names = ", ".join(getattr(g, "__name__", repr(g)) for g in (field.body, *observables))
        raise ValueError(
            f"{names} could not be compiled: a body may use arithmetic, m.pi and the functions of "
            "m, and loops over a fixed number of terms; mark a function that it calls with "
            f"numba.extending.register_jitable. Numba says: {error}"
        ) from error


def checked_layout(
    field: VelocityField, observables: tuple[Observable, ...], *, carried: bool, deformed: bool,
    constants: int = 0,
) -> Layout:  # fmt: skip
    """Lay out what is to be integrated, once body and observables are seen to work.

    Raises
    ------
    ValueError
        If they do not.
    """
    if field.samples is None:
        checked_body(field)
    return layout_of(field, observables, carried=carried, deformed=deformed, constants=constants)


def scalar_velocity(field: VelocityField, namespace: Any = libm) -> Callable[..., Any]:
    """Compile ``(table, t, position) -> velocity`` for one particle, with libm by default.

    This is the plain scalar form, for parity tests and as the baseline of benchmarks.
    """
    layout = layout_of(field, (), carried=True, deformed=False)
    device = Device(CPU.compile, namespace, namespace)
    evaluate, dimension = evaluator(source_of(field), (), layout, device), field.dimension

    @njit(error_model="numpy")
    def velocity(table: Any, t: float, position: Any) -> Any:
        rate, time = np.zeros((dimension, 1)), np.full(1, t)
        place = position.reshape(dimension, 1)
        evaluate(table, time, time, place, time, place, rate)
        return rate[:, 0]

    return velocity  # type: ignore[no-any-return]


@intrinsic
def call_block(
    typingctx: Any, address: Any, table: Any, samples: Any, time: Any, place: Any,
    piece_time: Any, piece_place: Any, rate: Any,
) -> Any:  # fmt: skip
    """Call a block evaluator by its address from compiled code."""
    matrix, vector = types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C")
    signature = types.void(types.intp, matrix, vector, vector, matrix, vector, matrix, matrix)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double_p, int64 = ir.DoubleType().as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [double_p, int64, *[double_p] * 6])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        table, *rest = (
            context.make_array(kind_of)(context, builder, value)
            for kind_of, value in zip(signature.args[1:], arguments[1:], strict=True)
        )
        rows = builder.extract_value(table.shape, 0)
        builder.call(function, [table.data, rows, *(array.data for array in rest)])
        return context.get_dummy_value()

    return signature, codegen


@lru_cache(maxsize=256)
def _compile(source: Source, observables: tuple[Observable, ...], layout: Layout) -> BlockEvaluator:
    block = evaluator(source, observables, layout, CPU)
    width, places, state, components = (
        source.width,
        layout.places,
        layout.state,
        layout.rows,
    )

    @cfunc(_SIGNATURE, error_model="numpy")
    def evaluate(
        table_p: Any, rows: int, samples_p: Any, time_p: Any, place_p: Any, piece_time_p: Any,
        piece_place_p: Any, rate_p: Any,
    ) -> None:  # fmt: skip
        block(
            carray(table_p, (rows, width)),
            carray(samples_p, (1,)),
            carray(time_p, (LANES,)),
            carray(place_p, (state, LANES)),
            carray(piece_time_p, (LANES,)),
            carray(piece_place_p, (places, LANES)),
            carray(rate_p, (components, LANES)),
        )

    return BlockEvaluator(evaluate, layout)
