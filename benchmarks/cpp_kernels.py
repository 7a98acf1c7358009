"""The C++ of ``cpp/``, compiled at run time in several ways, as contestants.

The flags of a variant are tried in earnest: wide and narrow vectors, with and without
``-ffast-math``. A variant whose elementary functions are further than `MOST_ULP` from the exact
values is not equally accurate and takes no part.
"""

import ctypes
import hashlib
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import mpmath
import numpy as np

import meanfluid as mf

HERE = Path(__file__).parent
SOURCES = HERE / "cpp"
BUILD = HERE / ".build"
MOST_ULP = 4.0
COMMON = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC")

_pointer = np.ctypeslib.ndpointer(dtype=np.float64, flags="C_CONTIGUOUS")


class Variant(NamedTuple):
    """A name for the tables, and what it adds to the common flags."""

    name: str
    flags: tuple[str, ...]


class Library(NamedTuple):
    """A compiled variant: how long the compiler took and how accurate it came out."""

    variant: Variant
    handle: ctypes.CDLL
    compile_seconds: float
    ulp: dict[str, float]

    @property
    def accurate(self):
        return max(self.ulp.values()) <= MOST_ULP


def compiler():
    """Return the path of the C++ compiler, or None."""
    return shutil.which("g++")


def compiler_version():
    """Return what the compiler calls itself, in one line."""
    told = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def variants(vector_bits):
    """Return what is tried on a machine with vectors of so many bits."""
    widths = [256, 512] if vector_bits >= 512 else [256]
    listed = []
    for width in widths:
        wide = (f"-DVECTOR_BYTES={width // 8}", f"-mprefer-vector-width={width}")
        listed += [
            Variant(f"{width} bit", wide),
            Variant(
                f"{width} bit, fast-math but associativity",
                (*wide, "-ffast-math", "-fno-associative-math"),
            ),
            Variant(f"{width} bit, fast-math", (*wide, "-ffast-math")),
        ]
    return listed


def library(variant):
    """Compile a variant, unless it is there already, and measure its elementary functions."""
    tableaux = "#pragma once\n" + "".join(map(as_struct, (mf.rk4, mf.dop853)))
    sources = [path.read_text() for path in sorted(SOURCES.iterdir())]
    text = "\n".join([*sources, tableaux, *COMMON, *variant.flags, compiler_version()])
    folder = BUILD / hashlib.sha256(text.encode()).hexdigest()[:16]
    shared = folder / "kernels.so"
    began = time.perf_counter()
    if not shared.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tableaux.h").write_text(tableaux)
        source, compiled = SOURCES / "kernels.cpp", folder / "kernels.o"
        command = [compiler(), *COMMON, *variant.flags, f"-I{SOURCES}", f"-I{folder}"]
        subprocess.run([*command, "-c", str(source), "-o", str(compiled)], check=True)
        # Linked without -ffast-math, which would set flush-to-zero in the whole process.
        link = [compiler(), "-shared", "-fopenmp", str(compiled), "-o", str(shared)]
        subprocess.run(link, check=True)
        (folder / "seconds").write_text(str(time.perf_counter() - began))
    handle = ctypes.CDLL(str(shared))
    return Library(variant, handle, float((folder / "seconds").read_text()), ulp_errors(handle))


def as_struct(tableau):
    """Return a tableau as a C++ struct of constants."""
    size = tableau.stages

    def numbers(values):
        return "{" + ", ".join(float(v).hex() for v in values) + "}"

    rows = ", ".join(numbers(row) for row in tableau.a)
    return (
        f"struct {tableau.name.capitalize()} {{\n"
        f"    static constexpr int STAGES = {size};\n"
        f"    static constexpr double A[{size}][{size}] = {{{rows}}};\n"
        f"    static constexpr double B[{size}] = {numbers(tableau.b)};\n"
        f"    static constexpr double C[{size}] = {numbers(tableau.c)};\n"
        "};\n"
    )


def ulp_errors(handle, count=512):
    """Return the largest errors of the elementary functions, in units in the last place."""
    mpmath.mp.prec = 120
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-3, 3, count // 2), rng.uniform(-60, 60, count // 2)])
    out = np.empty((4, count))
    handle.elementary.argtypes = [_pointer, _pointer, ctypes.c_long]
    handle.elementary(x, out, count)
    exact = {
        "sin": mpmath.sin,
        "cos": mpmath.cos,
        "tanh": mpmath.tanh,
        "sech2": lambda value: mpmath.sech(value) ** 2,
    }
    errors = {}
    for row, (name, function) in zip(out, exact.items(), strict=True):
        worst = 0.0
        for value, argument in zip(row, x, strict=True):
            truth = function(mpmath.mpf(float(argument)))
            worst = max(worst, float(abs(mpmath.mpf(float(value)) - truth)) / ulp(truth))
        errors[name] = worst
    return errors


def ulp(truth):
    """Return the spacing of float64 numbers at an exact value."""
    return float(np.spacing(abs(float(truth)), dtype=float))


def contestant(built, field, scheme, steps, end, threads, *, together):
    """Return ``position -> final`` of one field and scheme."""
    function = getattr(built.handle, f"{field.name}_{scheme.name}")
    function.restype = None
    function.argtypes = [
        _pointer, ctypes.c_long, _pointer, _pointer, ctypes.c_long, ctypes.c_double,
        ctypes.c_double, ctypes.c_long, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    table = np.ascontiguousarray(field.table)

    def run(position):
        final = np.empty_like(position)
        function(
            table, len(table), position, final, len(position), 0.0, end, steps, threads,
            int(together),
        )  # fmt: skip
        return final

    return run
