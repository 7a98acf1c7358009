"""The loop over particles of a block evaluator is made of packed instructions.

LLVM gives up silently when a loop cannot be vectorised, and the kernels are then about ten times
slower with the same results; so the machine code itself is read.
"""

import platform
import re
from typing import NamedTuple

import llvmlite.binding as llvm
import pytest

from meanfluid.backends.compiled import block_evaluator
from meanfluid.fields import abc_flow, bickley_jet, double_gyre

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly"
)

ARITHMETIC = re.compile(r"\tv?(?:fn?m(?:add|sub)\d+|mul|add|sub|div)([ps])d\t")
LABEL = re.compile(r"^(\.L\w+):")
JUMP = re.compile(r"\tj\w+\t(\.L\w+)")


class Loop(NamedTuple):
    """Instructions of float64 arithmetic in an innermost loop: on vectors, and on one number."""

    packed: int
    scalar: int


def assembly(evaluator) -> str:
    """Machine code of an evaluator for this processor, from its optimised LLVM code."""
    module = llvm.parse_assembly(evaluator.function.inspect_llvm())
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    return machine.emit_assembly(module)


def innermost_loops(text: str) -> list[Loop]:
    """Count arithmetic in each block of instructions that jumps back to its own label."""
    loops, label, kinds = [], None, []
    for line in text.splitlines():
        if match := LABEL.match(line):
            label, kinds = match[1], []
        elif match := ARITHMETIC.match(line):
            kinds.append(match[1])
        elif (match := JUMP.match(line)) and match[1] == label:
            loops.append(Loop(kinds.count("p"), kinds.count("s")))
    return loops


@pytest.mark.parametrize(
    "field, sines_and_cosines",
    [(double_gyre(), 5), (abc_flow(), 6), (bickley_jet(), 6)],
    ids=["double_gyre", "abc_flow", "bickley_jet"],
)
def test_the_loop_over_particles_computes_on_vectors_alone(field, sines_and_cosines):
    """Its body is one block; a sine or cosine alone is a polynomial of six coefficients.

    Other loops may be scalar: the one over lanes that libm repeats, and copies for few lanes.
    """
    loops = innermost_loops(assembly(block_evaluator(field)))
    hot = max(loops, key=lambda loop: loop.packed)
    assert hot.packed >= 5 * sines_and_cosines, loops
    assert hot.scalar == 0, loops


def test_a_loop_that_is_not_vectorised_would_be_noticed():
    scalar = (
        ".LBB0_1:\n\tvmulsd\t%xmm0, %xmm1, %xmm2\n\tvaddsd\t%xmm0, %xmm1, %xmm2\n\tjne\t.LBB0_1"
    )
    packed = ".LBB0_2:\n\tvfmadd213pd\t%ymm0, %ymm1, %ymm2\n\tjne\t.LBB0_2\n\tjmp\t.LBB0_1"
    assert innermost_loops(f"{scalar}\n{packed}\n") == [Loop(0, 2), Loop(1, 0)]
