"""Compiled evaluation of sampled velocities and their gradients, on blocks of particles.

A few lanes at a time, the cell is found along each axis, and the B-spline weights of that cell
(see `fields.splines`), in vectors of lanes. Then, for one lane after the other, the weights
contract its stencil of coefficients, axis by axis. Along the last axis the coefficients of all
nodes and components lie side by side in memory; they are carried along as vectors until the last
contraction, so that vector instructions work wherever the particles are. All this is written in
LLVM's instructions, unrolled for every dimension and degree; nothing is allocated, so that it
serves a CUDA thread too.

What is fused is said, not left to the compiler: a lane's value depends neither on its neighbours
nor on their number.
"""

from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.cpu import CPUContext
from numba.extending import intrinsic

from meanfluid.fields import splines
from meanfluid.fields.samples import GEOMETRY

_LANES = 4  # whose cells and weights are found together on a CPU
_WIDEST = 8  # numbers of a row in one vector; a narrower processor takes it in parts
_double, _int64, _index = ir.DoubleType(), ir.IntType(64), ir.IntType(32)


@cache
def sampler(
    dimension: int,
    degree: int,
    time_degree: int | None,
    single: bool = False,
    *,
    gradient: bool = False,
) -> Any:
    """Compile the interpolation of a kind of sampled field.

    Parameters
    ----------
    dimension : 1, 2 or 3
    degree : 1, 3 or 5
        Of the spline in space.
    time_degree : 1, 3 or 5, or None
        Of the spline in time; None if steady.
    single : bool
        Whether coefficients are stored as float32. Everything else is float64.
    gradient : bool
        Whether the gradient of the interpolated velocity is wanted, too.

    Returns
    -------
    compiled function
        ``f(table, samples, time, place, piece_time, piece_place, rate, first, slope)`` for any
        number of lanes, with `table` and `samples` from `Samples.table` and `Samples.flat`; all
        arrays in C order. It writes the velocity at `time` (lanes,) and `place`
        (dimension or more, lanes) into rows `first` on of `rate`, and the gradient, row-major
        dv_i/dx_j, into rows `slope` on, if it is wanted. The polynomial is that of the cell that
        holds `piece_time`, `piece_place`, or of the nearest one if there are no data. A NaN gives
        NaN.
    """
    kind = _Kind(dimension, degree, time_degree, single, gradient)
    wide, narrow, axis_numbers = _group(kind, _LANES), _group(kind, 1), _axis_reader(kind)

    @njit(error_model="numpy", forceinline=True)
    def block(
        table: Any, samples: Any, time: Any, place: Any, piece_time: Any, piece_place: Any,
        rate: Any, first: int, slope: int,
    ) -> None:  # fmt: skip
        lanes, width = time.shape[0], _group_width()
        even = lanes - lanes % width
        axes = axis_numbers(table)
        for lane in range(0, even, width):
            wide(axes, samples, time, place, piece_time, piece_place, rate, first, slope, lane)
        for lane in range(even, lanes):
            narrow(axes, samples, time, place, piece_time, piece_place, rate, first, slope, lane)

    return block


class _Kind(NamedTuple):
    """What is written into the code: the arguments of `sampler`."""

    dimension: int
    degree: int
    time_degree: int | None
    single: bool
    gradient: bool

    @property
    def unsteady(self) -> bool:
        return self.time_degree is not None

    @property
    def degrees(self) -> list[int]:
        """Degree along each axis, time first."""
        return [*[self.time_degree or 0] * self.unsteady, *[self.degree] * self.dimension]


@intrinsic
def _group_width(context: Any) -> Any:
    """Lanes in a group: one in a CUDA thread."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _int64(_LANES if isinstance(context, CPUContext) else 1)

    return types.int64(), generate


def _axis_reader(kind: _Kind) -> Any:
    """Return ``axis_numbers(table)``, one tuple per axis; loaded once for all lanes.

    Lower end, 1 / spacing, cells, 1 / cells, periodicity, and the distance in memory of
    neighbours along the axis; all float64, which holds whole numbers to 2**53.
    """

    def axis_numbers(context: Any, table: Any) -> Any:
        one = types.UniTuple(types.float64, 6)
        result = types.UniTuple(one, len(kind.degrees))

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(table)(context, builder, arguments[0]).data
            numbers: list[Any] = []
            stride: Any = _double(kind.dimension)
            for k, degree in reversed(list(enumerate(kind.degrees))):
                lower, inverse, cells, periodic = (
                    builder.load(
                        builder.gep(data, [_index(len(GEOMETRY) * k + GEOMETRY.index(name))])
                    )
                    for name in ("lower", "inverse_spacing", "cells", "periodic")
                )
                share = builder.fdiv(_double(1.0), cells)
                axis = [lower, inverse, cells, share, periodic, stride]
                numbers.insert(0, context.make_tuple(builder, one, axis))
                stride = builder.fmul(stride, builder.fadd(cells, _double(degree)))
            return context.make_tuple(builder, result, numbers)

        return result(table), generate

    return intrinsic(axis_numbers)


def _group(kind: _Kind, lanes: int) -> Any:
    """Return the evaluation of some lanes, the first of which is the last argument."""

    def group(
        context: Any, axes: Any, samples: Any, time: Any, place: Any, piece_time: Any,
        piece_place: Any, rate: Any, first: Any, slope: Any, lane: Any,
    ) -> Any:  # fmt: skip
        arrays = (samples, time, place, piece_time, piece_place, rate)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            width = lanes if isinstance(context, CPUContext) else 1
            opened = [
                context.make_array(kind_of)(context, builder, value)
                for kind_of, value in zip(arrays, arguments[1:7], strict=True)
            ]
            writer = _Writer(builder, kind, width)
            numbers = _members(builder, arguments[0])
            writer.write(numbers, opened, *arguments[7:])
            return context.get_dummy_value()

        return types.void(axes, *arrays, types.int64, types.int64, types.int64), generate

    return intrinsic(group)


class _Writer:
    """Writes the instructions that evaluate `width` lanes."""

    def __init__(self, builder: Any, kind: _Kind, width: int) -> None:
        self.builder, self.kind, self.width = builder, kind, width
        self.lanes = ir.VectorType(_double, width)

    def write(self, axes: list[Any], arrays: list[Any], first: Any, slope: Any, lane: Any) -> None:
        """Write all of it, from the numbers of `_axis_reader`."""
        builder, kind = self.builder, self.kind
        samples, *places, rate = arrays
        data = samples.data
        if kind.single:  # the caller may have passed them as words of float64
            data = builder.bitcast(data, ir.FloatType().as_pointer())
        starts, weights, slopes = self._cells(axes, places, lane)
        strides = [builder.fptosi(axis[-1], _int64) for axis in axes]
        count = kind.dimension + (kind.dimension**2 if kind.gradient else 0)
        results = [ir.Constant(self.lanes, ir.Undefined)] * count
        for n in range(self.width):
            own_weights = [self._of_lane(w, n) for w in weights]
            own_slopes = [None if d is None else self._of_lane(d, n) for d in slopes]
            stencil = _Stencil(builder, strides, own_weights, own_slopes, kind)
            pointer = builder.gep(data, [builder.extract_element(starts, _index(n))])
            results = [
                builder.insert_element(result, part, _index(n))
                for result, part in zip(results, stencil.contracted(pointer), strict=True)
            ]
        for i, result in enumerate(results):
            begin, row = (first, i) if i < kind.dimension else (slope, i - kind.dimension)
            address = self._address(rate, builder.add(begin, _int64(row)), lane)
            builder.store(result, address, align=8)

    def _cells(self, axes: list[Any], places: list[Any], lane: Any) -> tuple[Any, Any, Any]:
        """Where the stencil of each lane begins; its weights and their slopes along each axis."""
        kind = self.kind
        time, place, piece_time, piece_place = places
        start: Any = 0.0
        weights: list[Any] = []
        slopes: list[Any] = []
        for k, (degree, axis) in enumerate(zip(kind.degrees, axes, strict=True)):
            row = k - kind.unsteady
            pair = (time, piece_time) if row < 0 else (place, piece_place)
            x, piece = (self._lanes_of(array, max(row, 0), lane) for array in pair)
            numbers = [_Numbers(self.builder, _repeated(self.builder, n, self.lanes)) for n in axis]
            inverse, stride = numbers[1], numbers[-1]
            index, u = _cell(numbers, piece, x)
            start = index * stride + start
            weights.append(splines.WEIGHTS[degree](u))
            sloping = kind.gradient and row >= 0
            slopes.append([d * inverse for d in splines.SLOPES[degree](u)] if sloping else None)
        starts = self.builder.fptosi(start.value, ir.VectorType(_int64, self.width))
        return starts, weights, slopes

    def _lanes_of(self, array: Any, row: int, lane: Any) -> "_Numbers":
        loaded = self.builder.load(self._address(array, _int64(row), lane), align=8)
        return _Numbers(self.builder, loaded)

    def _address(self, array: Any, row: Any, lane: Any) -> Any:
        """Where the lanes of a row begin."""
        builder = self.builder
        lanes = builder.extract_value(array.shape, len(array.shape.type) - 1)
        offset = builder.add(builder.mul(row, lanes), lane)
        return builder.bitcast(builder.gep(array.data, [offset]), self.lanes.as_pointer())

    def _of_lane(self, vectors: Any, n: int) -> list[Any]:
        return [self.builder.extract_element(v.value, _index(n)) for v in vectors]


class _Numbers:
    """A vector of LLVM that formulas can calculate with."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _operand(self, other: Any) -> Any:
        if isinstance(other, _Numbers):
            return other.value
        return ir.Constant(self.value.type, [float(other)] * self.value.type.count)

    def _new(self, value: Any) -> "_Numbers":
        return _Numbers(self.builder, value)

    def __add__(self, other: Any) -> "_Numbers":
        return self._new(self.builder.fadd(self.value, self._operand(other)))

    def __sub__(self, other: Any) -> "_Numbers":
        return self._new(self.builder.fsub(self.value, self._operand(other)))

    def __rsub__(self, other: Any) -> "_Numbers":
        return self._new(self.builder.fsub(self._operand(other), self.value))

    def __mul__(self, other: Any) -> "_Numbers":
        return self._new(self.builder.fmul(self.value, self._operand(other)))

    __radd__, __rmul__ = __add__, __mul__

    def floor(self) -> "_Numbers":
        return self._new(_called(self.builder, "floor", self.value))

    def choose(self, relation: str, other: Any, yes: Any, no: Any) -> "_Numbers":
        """`yes` where these numbers are in relation to `other`, else, or if they are NaN, `no`."""
        holds = self.builder.fcmp_ordered(relation, self.value, self._operand(other))
        return self._new(self.builder.select(holds, self._operand(yes), self._operand(no)))


def _cell(axis: list[_Numbers], piece: _Numbers, x: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Index of the cell that holds `piece`, always one that exists; where x is, in cells from it.

    A cell of a periodic axis has the same index in every period, but x is measured from the one
    that holds `piece`.
    """
    lower, inverse, cells, share, periodic, _ = axis
    number = ((piece - lower) * inverse).floor()
    period = periodic * cells
    index = number - period * (number * share).floor()
    index = index.choose("<", 0.0, index + period, index)  # where the product was rounded
    index = index.choose(">=", cells, index - period, index)
    index = index.choose(">", 0.0, index, 0.0)
    index = index.choose("<", cells - 1.0, index, cells - 1.0)
    number = periodic.choose(">", 0.0, number, index + (piece - piece))  # NaN if piece is
    return index, (x - lower) * inverse - number


class _Stencil:
    """Writes the instructions of the contraction of one lane.

    A *row* is a list of vectors: the coefficients of all nodes of the last axis and all
    components, side by side as in memory, or sums of such rows.
    """

    def __init__(
        self, builder: Any, strides: list[Any], weights: list[list[Any]], slopes: list[Any],
        kind: _Kind,
    ) -> None:  # fmt: skip
        self.builder = builder
        self.strides, self.weights, self.slopes = strides, weights, slopes
        self.dimension, self.single = kind.dimension, kind.single
        self.last = len(weights) - 1

    def contracted(self, pointer: Any) -> list[Any]:
        """Velocity, and its gradient if there are slopes, from the stencil at a pointer."""
        value, *derivatives = self._rows(0, pointer)
        weights, slopes = self.weights[self.last], self.slopes[self.last]
        parts = self._along_row(weights, value)
        if slopes is not None:
            columns = [self._along_row(weights, row) for row in derivatives]
            columns.append(self._along_row(slopes, value))
            parts += [column[i] for i in range(self.dimension) for column in columns]
        return parts

    def _rows(self, k: int, pointer: Any) -> list[Any]:
        """Sum over axes k, k + 1, ... but the last; then its derivatives along each of them."""
        if k == self.last:
            return [self._loaded(pointer)]
        sums: list[Any] = []
        for i, weight in enumerate(self.weights[k]):
            offset = self.builder.mul(self.strides[k], self.strides[k].type(i))
            rows = self._rows(k + 1, self.builder.gep(pointer, [offset]))
            factors = [weight] * len(rows)
            if self.slopes[k] is not None:
                factors.insert(1, self.slopes[k][i])
                rows.insert(1, rows[0])
            sums = [
                self._added(sums[n] if sums else None, factor, row)
                for n, (factor, row) in enumerate(zip(factors, rows, strict=True))
            ]
        return sums

    def _loaded(self, pointer: Any) -> list[Any]:
        """A row from memory, in vectors as wide as possible."""
        builder, row, begin = self.builder, [], 0
        left = len(self.weights[self.last]) * self.dimension
        element, size = pointer.type.pointee, 4 if self.single else 8
        while left:
            width = min(_WIDEST, 1 << (left.bit_length() - 1))
            address = builder.gep(pointer, [_index(begin)])
            kind = ir.VectorType(element, width).as_pointer()
            vector = builder.load(builder.bitcast(address, kind), align=size)
            if self.single:
                vector = builder.fpext(vector, ir.VectorType(_double, width))
            row.append(vector)
            begin, left = begin + width, left - width
        return row

    def _added(self, row: Any, factor: Any, other: Any) -> list[Any]:
        """Row + factor * other."""
        builder = self.builder
        factors = [_repeated(builder, factor, part.type) for part in other]
        if row is None:
            return [builder.fmul(f, part) for f, part in zip(factors, other, strict=True)]
        return [
            _called(builder, "fma", f, part, sum_)
            for f, part, sum_ in zip(factors, other, row, strict=True)
        ]

    def _along_row(self, factors: list[Any], row: list[Any]) -> list[Any]:
        """Sum over the nodes of the last axis, for each component."""
        builder = self.builder
        numbers = [
            builder.extract_element(part, _index(n)) for part in row for n in range(part.type.count)
        ]
        sums = []
        for i in range(self.dimension):
            total = None
            for factor, number in zip(factors, numbers[i :: self.dimension], strict=True):
                total = (
                    builder.fmul(factor, number)
                    if total is None
                    else builder.fma(factor, number, total)
                )
            sums.append(total)
        return sums


def _called(builder: Any, name: str, *vectors: Any) -> Any:
    """Call one of LLVM's functions, such as llvm.fma, on vectors."""
    kind = vectors[0].type
    signature = ir.FunctionType(kind, [kind] * len(vectors))
    function = cgutils.get_or_insert_function(
        builder.module, signature, f"llvm.{name}.v{kind.count}f64"
    )
    return builder.call(function, vectors)


def _repeated(builder: Any, number: Any, kind: Any) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, _index(0))
    mask = ir.Constant(ir.VectorType(_index, kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, one, mask)


def _members(builder: Any, value: Any) -> Any:
    """The members of a tuple, and of the tuples in it."""
    if not isinstance(value.type, ir.LiteralStructType | ir.ArrayType):
        return value
    count = len(value.type)
    return [_members(builder, builder.extract_value(value, i)) for i in range(count)]
