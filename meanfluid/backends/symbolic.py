r"""Fields as formulas: LaTeX, divergence, Jacobian and acceleration, by sympy.

The formula of a field is called once with symbols named as its arguments and parameters.
Decimals written in it are read as the fractions they spell, 0.1 as 1/10. The velocity of a modal
field is a sum over an index n = 0 .. N - 1 of indexed parameters; its derivatives are taken
and simplified for one mode, under the sum.
"""

import functools
import inspect
from types import SimpleNamespace
from typing import Any, NamedTuple

from meanfluid.errors import missing_extra
from meanfluid.fields.elementary import FUNCTIONS
from meanfluid.fields.velocity_field import VelocityField

_LONG = 300  # operations: the longest divergence in the catalogue that simplifies has 111


class Symbols(NamedTuple):
    """The symbols of a formula.

    `parameters` is a record like that of the field, of symbols; those that are arrays in a modal
    field are indexed bases. `mode` and `modes` are its index and its upper bound N, else None.
    """

    time: Any
    position: tuple[Any, ...]
    parameters: Any
    mode: Any
    modes: Any


def velocity(field: VelocityField) -> tuple[Any, Symbols]:
    """Return the velocity as a sympy column matrix, and its symbols.

    Raises
    ------
    ValueError
        If the field is iterative.
    MissingExtraError
        If sympy is not installed.

    Examples
    --------
    >>> from meanfluid.fields import rotation
    >>> v, symbols = velocity(rotation())
    >>> v.T
    Matrix([[-rate*y, rate*x]])
    """
    one_mode, symbols = _formula(field)
    return _summed(one_mode, symbols), symbols


def latex(field: VelocityField) -> str:
    """Equations of motion in LaTeX, an ``aligned`` environment without dollar signs.

    Parameters appear under their own names, upright if longer than a letter, and `exprel` as
    the quotient that it stands for.
    """
    sympy = _sympy()
    v, symbols = velocity(field)
    labels = [getattr(symbol, "label", symbol) for symbol in symbols.parameters]
    names = {label: _upright(str(label)) for label in labels if _is_word(str(label))}
    style = {"symbol_names": names, "mul_symbol": r" \, "}  # thin spaces between words
    lines = [
        rf"\dot{{{x}}} &= {sympy.latex(component.rewrite(_exprel_class(), sympy.exp), **style)}"
        for x, component in zip(symbols.position, v, strict=True)
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def divergence(field: VelocityField) -> Any:
    """Divergence of the velocity; of a modal field, the sum of that of one mode.

    It is simplified unless the formula is long, where that may take forever.
    """
    sympy = _sympy()
    one_mode, symbols = _formula(field)
    rate = sum(sympy.diff(v, x) for v, x in zip(one_mode, symbols.position, strict=True))
    if rate.count_ops() <= _LONG:
        rate = sympy.simplify(rate)
    return _summed(sympy.Matrix([rate]), symbols)[0]


def jacobian(field: VelocityField) -> Any:
    """Matrix of the derivatives of velocity component i in coordinate j, not simplified."""
    one_mode, symbols = _formula(field)
    return _summed(one_mode.jacobian(symbols.position), symbols)


def material_acceleration(field: VelocityField) -> Any:
    r"""Acceleration along trajectories, :math:`\partial_t v + (v \cdot \nabla) v`, a column."""
    one_mode, symbols = _formula(field)
    local = _summed(one_mode.diff(symbols.time), symbols)
    gradient = _summed(one_mode.jacobian(symbols.position), symbols)
    return local + gradient * _summed(one_mode, symbols)


def _sympy() -> Any:
    try:
        import sympy
    except ImportError as error:
        raise missing_extra("sympy", "symbolic") from error
    return sympy


def _formula(field: VelocityField) -> tuple[Any, Symbols]:
    """Velocity, or the contribution of one mode, and the symbols in it."""
    sympy = _sympy()
    if field.iterative:
        raise ValueError(
            f"{field.name} solves an implicit equation by iteration, so its symbolic form would be "
            "of no use; take its derivatives from meanfluid.backends.tensors"
        )
    names = _argument_names(field)
    time, *position = (sympy.Symbol(name, real=True) for name in names)
    mode = modes = None
    if field.modal:
        names += type(field.parameters)._fields
        mode = sympy.Symbol(_free("n", names), integer=True)
        modes = sympy.Symbol(_free("N", names), integer=True, positive=True)
    values: list[Any] = []
    shown: list[Any] = []
    for name, value in zip(field.parameters._fields, field.parameters, strict=True):
        name = _free(name, _argument_names(field))
        if getattr(value, "ndim", 0) or isinstance(value, list | tuple):
            shown.append(sympy.IndexedBase(name, real=True))
            values.append(shown[-1][mode])
        else:
            shown.append(sympy.Symbol(name, real=True))
            values.append(shown[-1])
    record = type(field.parameters)
    parts = field.body(sympy_functions(), record(*values), time, *position)
    formula = sympy.Matrix([sympy.nsimplify(part, rational=True) for part in parts])
    return formula, Symbols(time, tuple(position), record(*shown), mode, modes)


def _argument_names(field: VelocityField) -> tuple[str, ...]:
    """Names of time and coordinates in the signature of the body, t and x, y, z if it has none."""
    names = tuple(inspect.signature(field.body).parameters)[2:]
    return (
        names if len(names) == 1 + field.dimension else ("t", "x", "y", "z")[: 1 + field.dimension]
    )


def _free(name: str, taken: tuple[str, ...]) -> str:
    return name if name not in taken else _free(name + "_0", taken)


def _summed(matrix: Any, symbols: Symbols) -> Any:
    if symbols.mode is None:
        return matrix
    sympy = _sympy()
    limits = (symbols.mode, 0, symbols.modes - 1)
    return matrix.applyfunc(lambda entry: sympy.Sum(entry, limits) if entry != 0 else entry)


def _is_word(name: str) -> bool:
    """Whether a name is neither a letter, Latin or Greek, nor such a letter with a subscript."""
    sympy = _sympy()
    stem = name.split("_")[0]
    return len(stem) > 1 and not sympy.latex(sympy.Symbol(stem)).startswith("\\")


def _upright(name: str) -> str:
    return r"\mathrm{" + name.replace("_", r"\ ") + "}"


@functools.cache
def sympy_functions() -> Any:
    """Return the functions of a body for sympy expressions."""
    sympy = _sympy()
    exprel = _exprel_class()
    own = {
        "exprel": exprel,
        "exprel_derivative": lambda x: exprel(x, 1),
        "maximum": sympy.Max,
        "minimum": sympy.Min,
        "where_greater": lambda x, y, above, otherwise: sympy.Piecewise(
            (above, sympy.Gt(x, y)), (otherwise, True)
        ),
    }
    return SimpleNamespace(
        pi=sympy.pi, **{name: own.get(name) or getattr(sympy, name) for name in FUNCTIONS}
    )


@functools.cache
def _exprel_class() -> Any:
    sympy = _sympy()

    base: Any = sympy.Function

    class exprel(base):  # type: ignore[misc]
        r"""(exp(x) - 1)/x, and its derivative of order n as ``exprel(x, n)``.

        That is the integral of :math:`s^n e^{s x}` over s from 0 to 1, which has no singularity;
        ``rewrite(exp)`` gives the form in exponentials, which has one at 0.
        """

        nargs = (1, 2)

        @classmethod
        def eval(cls, x: Any, n: Any = None) -> Any:
            if n is not None and n.is_zero:
                return cls(x)
            return 1 / sympy.Integer(1 + (n or 0)) if x.is_zero else None

        @property
        def order(self) -> int:
            return int(self.args[1]) if len(self.args) > 1 else 0

        def fdiff(self, argindex: int = 1) -> Any:
            return type(self)(self.args[0], self.order + 1)

        def _eval_is_real(self) -> Any:
            return self.args[0].is_real

        def _eval_evalf(self, prec: int) -> Any:
            import mpmath

            x = self.args[0]._eval_evalf(prec)
            if x is None or not x.is_number:
                return None
            n = self.order
            with mpmath.workprec(prec):
                value = mpmath.hyp1f1(n + 1, n + 2, x._to_mpmath(prec)) / (n + 1)
            return sympy.Expr._from_mpmath(value, prec)

        def _eval_rewrite_as_exp(self, x: Any, n: Any = 0, **hints: Any) -> Any:
            if n == 0:
                return (sympy.exp(x) - 1) / x
            return (sympy.exp(x) - n * type(self)(x, n - 1).rewrite(sympy.exp)) / x

        def _latex(self, printer: Any, exp: str | None = None) -> str:
            order = f"^{{({self.order})}}" if self.order else ""
            call = rf"\operatorname{{exprel}}{order}\left({printer._print(self.args[0])}\right)"
            return call if exp is None else rf"\left[{call}\right]^{{{exp}}}"

    return exprel
