"""CUDA kernels: the stepping of `stepping`, with one trajectory in one thread.

Nothing of the algorithm is written here. The functions that step a block of lanes on the CPU are
bound anew with one lane, the field's evaluator in the place of `call_block`, and arrays of a size
that the compiler knows, so that it can keep them in registers. Only the stages of a step are
written out for a field that is one formula, coefficient by coefficient, because a loop over them
would keep the stages in memory. Where a velocity is a long sum it does not matter, and the code
would outgrow its cache.

Elementary functions are the polynomials of the CPU. A particle that meets something that is not
finite is integrated again with CUDA's own functions, which hold for every argument.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numba import config, cuda, float64, int64, types

from meanfluid.backends import libm, polynomials
from meanfluid.backends.bodies import Observable
from meanfluid.backends.compiled import CPU
from meanfluid.backends.devices import require_compiler
from meanfluid.backends.evaluation import Device, Layout, Source, evaluator
from meanfluid.backends.rebinding import Rebinding
from meanfluid.backends.written import written
from meanfluid.trajectories import stages, stepping
from meanfluid.trajectories.control import Status
from meanfluid.trajectories.records import (
    FRESH,
    PAUSED,
    Course,
    Lanes,
    Output,
    Particles,
    Problem,
)

Rows = tuple[tuple[float, ...], ...]

# The simulator runs plain Python, and knows nothing of inlining.
_device = cuda.jit(device=True, **({} if config.ENABLE_CUDASIM else {"forceinline": True}))
_NOT_FINITE = int(Status.NOT_FINITE)
_WHOLE_WARP = 0xFFFFFFFF


@dataclass(frozen=True)
class Variant:
    """What of a problem ends up in code; everything else is data.

    Parameters
    ----------
    a, b, c, errors : tuples of float
        Coefficients of the scheme.
    order, error_order : int
    bounds, beyond : tuple of int
    fixed, shadowed, folded : bool
    landing : float
        See `records.Problem`.
    timeless : bool
        Whether the field holds at all times.
    sliced : bool
        Whether only a slab of time is in memory.
    exact : bool
        Whether only particles are integrated that came out as not finite, with CUDA's own
        elementary functions.
    """

    a: Rows
    b: tuple[float, ...]
    c: tuple[float, ...]
    errors: Rows
    order: int
    error_order: int
    bounds: tuple[int, ...]
    beyond: tuple[int, ...]
    fixed: bool
    shadowed: bool
    folded: bool
    landing: float
    timeless: bool
    sliced: bool = False
    exact: bool = False

    @property
    def again(self) -> "Variant":
        """The variant for what did not come out as finite."""
        return replace(self, exact=True)


def variant_of(problem: Problem) -> Variant:
    """Return what of a problem ends up in code."""
    return Variant(
        a=_rows(problem.a),
        b=tuple(problem.b.tolist()),
        c=tuple(problem.c.tolist()),
        errors=_rows(problem.error_weights),
        order=problem.order,
        error_order=problem.error_order,
        bounds=tuple(problem.bounds.tolist()),
        beyond=tuple(problem.beyond.tolist()),
        fixed=problem.fixed > 0,
        shadowed=problem.shadowed,
        folded=problem.folded,
        landing=float(problem.landing),
        timeless=(problem.earliest, problem.latest) == (-math.inf, math.inf),
        sliced=problem.sliced,
    )


def _rows(matrix: Any) -> Rows:
    return tuple(tuple(row) for row in matrix.tolist())


def signature(*, single: bool = False) -> tuple[Any, ...]:
    """Types of a kernel's arguments; `single` for a field of float32 samples."""
    vector, matrix, code = types.float64[::1], types.float64[:, ::1], types.int8[::1]
    block = types.float64[:, :, ::1]
    return (
        matrix, types.float32[::1] if single else vector, vector, vector, matrix, vector, vector,
        float64, float64, int64, int64, float64, float64, matrix, vector, matrix, vector, matrix,
        matrix, block, types.float64[:, :, :, ::1], code, types.int32[:, ::1], code,
        code, vector, matrix, matrix, block, block, types.int64[:, ::1],
        code, int64, int64,
    )  # fmt: skip


@lru_cache(maxsize=64)
def kernel(
    source: Source, observables: tuple[Observable, ...], layout: Layout, variant: Variant
) -> Any:
    """Return the kernel that integrates particles ``first:last``; see `signature`.

    Its last array is set to 1 where a particle has to be integrated again by `Variant.again`.

    Raises
    ------
    MissingExtraError
        If numba-cuda is not installed.
    """
    require_compiler()
    first_rates, integrate = _stepping(source, observables, layout, variant)
    state, components, rows = layout.state, layout.components, layout.rows
    a, b, c = np.array(variant.a), np.array(variant.b), np.array(variant.c)
    errors = np.array(variant.errors) if variant.errors else np.zeros((1, len(b)))
    order, error_order, landing = variant.order, variant.error_order, variant.landing
    bounds, beyond = np.array(variant.bounds), np.array(variant.beyond)
    folded, shadowed, is_fixed, exact, sliced = (
        variant.folded, variant.shadowed, variant.fixed, variant.exact, variant.sliced,
    )  # fmt: skip
    kept = source.spline is None and not source.modal
    width = max(1, source.width) if kept else 1

    @cuda.jit
    def integrate_all(
        table: Any, samples: Any, lower: Any, upper: Any, knots: Any, noise: Any, slab: Any,
        rtol: float, atol: float, max_steps: int, fixed: int, earliest: float, latest: float,
        position: Any, start: Any, offsets: Any, first_step: Any, rate: Any, grain: Any,
        travelled: Any, shadow: Any, status: Any, steps: Any, strayed: Any, phase: Any,
        elapsed: Any, rhythm: Any, heading: Any, sums: Any, extremes: Any, counts: Any,
        failed: Any, first: int, last: int,
    ) -> None:  # fmt: skip
        own = cuda.local.array((1, width), float64)
        never = cuda.local.array(1, int64)
        never[0] = 0
        if kept:
            for k in range(table.shape[1]):
                own[0, k] = table[0, k]
        problem = Problem(
            0, own if kept else table, samples, state, components, rows, bounds, a, b, c, errors,
            order, error_order, rtol, atol, max_steps, fixed if is_fixed else 0, shadowed, lower,
            upper, beyond, folded, earliest, latest, knots, noise, landing, sliced, slab,
        )  # fmt: skip
        particles = Particles(position, start, offsets, first_step)
        output = Output(rate, grain, travelled, shadow, status, steps, strayed)
        course = Course(phase, elapsed, rhythm, heading, sums, extremes, counts)
        here, stride = first + cuda.grid(1), cuda.gridsize(1)
        for i in range(here, last, stride):
            if (not exact or status[i] == _NOT_FINITE) and (not sliced or phase[i] == FRESH):
                _clear(output, shadowed, i)
                first_rates(problem, particles, output, course, i, i + 1)
        integrate(problem, particles, output, course, here, last, never)
        if not exact:
            for i in range(here, last, stride):
                if status[i] == _NOT_FINITE and (not sliced or phase[i] <= PAUSED):
                    failed[0] = 1

    return integrate_all


@_device
def _clear(output: Any, shadowed: bool, i: int) -> None:
    """Write what holds of a particle that fails at once."""
    output.steps[i, 0] = output.steps[i, 1] = output.strayed[i] = 0
    for time in range(output.travelled.shape[1]):
        for k in range(output.travelled.shape[2]):
            output.travelled[i, time, k] = math.nan
        if shadowed:
            for part in range(output.shadow.shape[3]):
                output.shadow[i, time, 0, part] = output.shadow[i, time, 1, part] = math.nan


def _stepping(
    source: Source, observables: tuple[Observable, ...], layout: Layout, variant: Variant
) -> tuple[Any, Any]:
    """Bind ``first_rates`` and ``integrate`` to one lane of this field."""
    names = {
        "LANES": 1,
        "np": _numpy(),
        "call_block": _call_block(source, observables, layout, variant),
        "_new_lanes": _new_lanes(layout, variant),
    }
    if variant.timeless:
        names["held"] = _timeless
    if source.spline is None and not source.modal:
        names["_step"] = _written_step(names, layout, variant)
    load, exact = Rebinding(_device, names)(stepping._load), variant.exact
    simulated = config.ENABLE_CUDASIM

    @_device
    def _load(
        problem: Any, particles: Any, output: Any, course: Any, lanes: Any, waiting: int,
        last: int, active: int,
    ) -> tuple[int, int]:  # fmt: skip
        """Take the particles of this thread one after another; return whether to go on.

        All threads of a warp go on until none has a particle, those without one as lanes do that
        are idle. So they meet here, and stay in step.
        """
        while lanes.who[0] < 0 and waiting < last:
            if not exact or output.status[waiting] == _NOT_FINITE:
                load(problem, particles, output, course, lanes, waiting, waiting + 1, 0)
            waiting += cuda.gridsize(1)
        working = lanes.who[0] >= 0
        if not simulated:
            working = cuda.any_sync(_WHOLE_WARP, working)
        return waiting, 1 if working else 0

    bind = Rebinding(_device, names | {"_load": _load})
    return bind(stepping.first_rates), bind(stepping.integrate)


def _call_block(
    source: Source, observables: tuple[Observable, ...], layout: Layout, variant: Variant
) -> Any:
    """Return what takes the place of `compiled.call_block`: the evaluator itself."""
    m = libm if variant.exact else polynomials
    if config.ENABLE_CUDASIM:  # plain Python, on plain arrays
        plain = evaluator(source, observables, layout, Device(lambda function: function, m, m))

        def simulated(address: int, *arrays: Any) -> None:
            with np.errstate(all="ignore"):
                plain(*(np.asarray(getattr(a, "_item", a)) for a in arrays))

        return simulated
    block = evaluator(source, observables, layout, Device(CPU.compile, m, m))
    block = Rebinding(_device, {"np": _numpy()})(block)

    @_device
    def call_block(
        address: Any, table: Any, samples: Any, time: Any, place: Any, piece_time: Any,
        piece_place: Any, rate: Any,
    ) -> None:  # fmt: skip
        block(table, samples, time, place, piece_time, piece_place, rate)

    return call_block


@_device
def _timeless(problem: Any, time: float) -> float:
    """Take the place of `stages.held` for a field that holds at all times."""
    return time


def _written_step(names: dict[str, Any], layout: Layout, variant: Variant) -> Any:
    """Write out `stages._step`, sums in the same order."""
    bind = Rebinding(_device, names)
    scope = {
        "held": names.get("held") or bind(stages.held),
        "evaluate_piece": bind(stages._evaluate_piece),
    }
    lines = ["stage, place, origin, h = lanes.stage, lanes.place, lanes.origin, lanes.h[0]"]
    for i, (weights, node) in enumerate(zip(variant.a, variant.c, strict=True)):
        lines.append(f"lanes.clock[0] = held(problem, lanes.time[0] + {node!r} * h)")
        for k in range(layout.state):
            terms = [f"{w!r} * stage[{j}, {k}, 0]" for j, w in enumerate(weights[:i]) if w]
            way = f"travelled[{k}, 0] + h * ({' + '.join(terms) or '0.0'})"
            lines.append(f"place[{k}, 0] = origin[{k}, 0] + ({way})")
        lines.append(f"evaluate_piece(problem, lanes, stage[{i}])")
    return _device(written("_step(problem, lanes, travelled)", lines, scope))


def _new_lanes(layout: Layout, variant: Variant) -> Any:
    """Write out `stepping._new_lanes` with local arrays, filled like those of the CPU."""
    d = layout.places
    nothing: Any = [0] * len(Problem._fields)
    problem = Problem(*nothing)._replace(
        state=layout.state, components=layout.components, rows=layout.rows,
        bounds=np.array(variant.bounds), b=np.array(variant.b),
        error_weights=np.array(variant.errors), lower=np.zeros(d), upper=np.zeros(d),
    )  # fmt: skip
    lines = []
    for name, array in stepping._new_lanes.py_func(problem)._asdict().items():
        shape = tuple(max(1, n) for n in (*array.shape[:-1], 1))
        lines.append(f"{name} = cuda.local.array({shape}, {array.dtype.name})")
        for axis, n in enumerate(shape):
            lines.append("    " * axis + f"for i{axis} in range({n}):")
        index = ", ".join(f"i{axis}" for axis in range(len(shape)))
        value = array.flat[0].item() if array.size else 0
        lines.append("    " * len(shape) + f"{name}[{index}] = {value!r}")
    lines.append(f"return Lanes({', '.join(Lanes._fields)})")
    scope = {"cuda": cuda, "Lanes": Lanes, "int64": int64, "float64": float64}
    # Inlined as source: local arrays live no longer than the function that makes them.
    return cuda.jit(device=True, inline="always")(written("_new_lanes(problem)", lines, scope))


def _numpy() -> Any:
    """What compiled code uses of NumPy: numba-cuda lacks its floor and ceil."""
    if config.ENABLE_CUDASIM:
        return np
    module: Any = ModuleType("numpy_on_cuda")
    for name in ("float64", "int64", "uint64"):
        setattr(module, name, getattr(np, name))
    module.floor, module.ceil = _floor, _ceil
    return module


@_device
def _floor(x: float) -> float:
    return cuda.libdevice.floor(x)  # type: ignore[no-any-return]


@_device
def _ceil(x: float) -> float:
    return cuda.libdevice.ceil(x)  # type: ignore[no-any-return]
