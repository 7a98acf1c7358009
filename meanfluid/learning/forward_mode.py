"""A doctor for networks: does forward mode work in every layer, is it right, and what to do.

The identity needs products of the Jacobian with a vector. Some operations refuse them (batch
normalisation in training mode, grid sampling, fused attention on some devices); custom layers may
return wrong ones; features of time may be singular, or so fast that the derivative swamps the
value.
"""

import copy
import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

LIVELY = 30.0  # rms time derivative, per value and interval, above which times enter too fast
FALLBACK = "material_loss(..., difference=0.01) needs no forward mode"
ADVICE = (
    (
        ("scaled_dot_product", "multi_head_attention", "MultiheadAttention", "transformer_encoder"),
        "Fused attention: write softmax(q k^T / sqrt(d)) v in tensor operations, or call it under "
        "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
    ),
    (
        ("BatchNorm", "batch_norm"),
        "Batch normalisation moves its statistics: use group or RMS normalisation, or call eval()",
    ),
    (
        ("grid_sampl",),
        "Grid sampling: interpolate by indexing (gather) in tensor operations, or evaluate it "
        "outside of the network and pass the values in",
    ),
)
_Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
COMPILED = frozenset(("layer_norm", "group_norm"))


class JvpCheck(NamedTuple):
    """What `check_jvp` found.

    Attributes
    ----------
    safe : bool
        Nothing was found; there may be warnings.
    error : float
        Relative difference between forward mode and a central one of fourth order.
    findings : tuple of str
        One sentence per unsafe layer: where it is, its type, what happened and what to do.
    warnings : tuple of str
        What works here but may not elsewhere, or trains badly.
    """

    safe: bool
    error: float
    findings: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class _Rule(NamedTuple):
    """How to compare: the number type, the step of the difference and the error allowed."""

    dtype: torch.dtype
    step: float
    tolerance: float


DOUBLE = _Rule(torch.float64, 1e-5, 1e-6)  # the difference's own error is near 1e-9
SINGLE = _Rule(torch.float32, 3e-3, 1e-2)  # for networks that convert to float32 inside


def check_jvp(
    network: nn.Module,
    *,
    dimension: int | None = None,
    x: Tensor | None = None,
    condition: Tensor | None = None,
    times: tuple[float, float] = (0.0, 1.0),
    generator: Generator,
    samples: int = 8,
) -> JvpCheck:
    """Compare forward-mode derivatives of a network with finite differences, layer by layer.

    Also checked: that the network is not random, that it is finite and smooth on empty windows,
    that it depends smoothly on both times, and how fast. Weights that are zero throughout are
    drawn, in the copy that is checked.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t, s)``; checked in its present mode, on a copy on the CPU.
    dimension : int, optional
        Columns of x, for networks of points; x is drawn.
    x : (n, ...), optional
        Example positions, such as images, instead of `dimension`.
    condition : (n, ...), optional
        Handed to the network, as its fourth argument.
    times : (float, float), time
        Interval of t and s.
    generator : torch.Generator
        On the CPU; draws inputs and directions.
    samples : int
        Rows of x, if it is drawn.

    Raises
    ------
    ValueError
        If neither `dimension` nor `x` is given, or the network cannot be called at all.

    Examples
    --------
    >>> from meanfluid.learning import MLP, Features
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = MLP(Features([(0.0, 1.0)]), generator=generator)
    >>> check_jvp(network, dimension=1, generator=generator).safe
    True
    """
    if (dimension is None) == (x is None):
        raise ValueError("give either dimension, for networks of points, or an example x")
    if not times[0] < times[1]:
        raise ValueError(f"times must be (first, last) with first < last, got {times}")
    if x is None:
        x = torch.randn(samples, dimension or 0, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        patient, rule = _prepared(network, x, condition)
        return _examined(patient, rule, times, generator)


@dataclass(frozen=True)
class _Patient:
    """A network with its condition, as a function of x, t and s."""

    network: nn.Module
    x: Tensor
    condition: Tensor | None

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        given = () if self.condition is None else (self.condition,)
        value: Tensor = self.network(x, t, s, *given)
        return value


class _Calls(TorchFunctionMode):
    """Names of the functions of torch that are called, and whether attention chose its backend."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.free_backend = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        self.names.add(name)
        if name == "scaled_dot_product_attention":
            cuda: Any = torch.backends.cuda
            self.free_backend |= cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled()
        return function(*args, **(kwargs or {}))

    def warnings(self) -> list[str]:
        """Say what may fail elsewhere."""
        found = []
        if self.free_backend or "multi_head_attention_forward" in self.names:
            found.append(
                "forward mode works here, but attention may be fused on another device, or in the "
                f"other of train and eval mode, and is refused then. {ADVICE[0][1]}"
            )
        if norms := COMPILED & self.names:
            found.append(
                f"under torch.compile forward mode refuses {' and '.join(sorted(norms))} (torch "
                "2.13): write it in tensor operations, use nn.RMSNorm, or do not compile"
            )
        return found


def _prepared(network: nn.Module, x: Tensor, condition: Tensor | None) -> tuple[_Patient, _Rule]:
    """Copy a network, in float64 if it can be called so, otherwise in float32."""
    refused: Exception | None = None
    for rule in (DOUBLE, SINGLE):
        if condition is not None:
            condition = condition.detach().cpu()
            condition = condition.to(rule.dtype) if condition.is_floating_point() else condition
        copied = copy.deepcopy(network).cpu().to(rule.dtype)
        patient = _Patient(copied, x.detach().cpu().to(rule.dtype), condition)
        half = torch.full((len(x),), 0.5, dtype=rule.dtype)
        try:
            if patient(patient.x, half, half).dtype == rule.dtype:
                return patient, rule
        except Exception as error:
            refused = error
    arguments = "x, t, s" if condition is None else "x, t, s, condition"
    raise ValueError(
        f"the network cannot be called as network({arguments}) with x of shape {tuple(x.shape)}: "
        f"{_first_line(refused)}; pass an example x= of the shape that it takes"
    ) from refused


def _examined(
    patient: _Patient, rule: _Rule, times: tuple[float, float], generator: Generator
) -> JvpCheck:
    _draw_zeros(patient.network, generator)
    first, last = times
    draws = torch.rand(2, len(patient.x), generator=generator, dtype=torch.float64)
    t, s = (first + (last - first) * draws).to(rule.dtype)
    inputs = (patient.x, t, s)
    findings: list[str] = []
    calls = _Calls()
    with calls:
        value = patient(*inputs)
    if not value.isfinite().all():
        return JvpCheck(False, float("nan"), ("the network is not finite at some t and s",))
    if not torch.equal(value, patient(*inputs)):
        findings.append(
            f"the network is random in its present mode ({_random_layers(patient.network)}): the "
            "derivative and the value would see different draws; call eval() first, or leave the "
            "layer out"
        )
        patient.network.eval()
    error = _disagreement(patient, inputs, generator, rule)
    steps = [] if isinstance(error, str) else _steps(patient, inputs)
    if steps:
        findings += steps
    elif _wrong(error, rule):
        blamed = _blame(patient, inputs, generator, rule)
        findings += blamed or [f"the network as a whole: {_say(error, '', calls.names)}"]
    else:
        findings += _on_the_diagonal(patient, t, generator)
    warnings = [] if isinstance(error, str) else _speed(patient, inputs, last - first)
    if not any("attention" in finding for finding in findings):
        warnings += calls.warnings()
    number = error if isinstance(error, float) else float("nan")
    return JvpCheck(not findings, number, tuple(findings), tuple(warnings))


def _draw_zeros(network: nn.Module, generator: Generator) -> None:
    """Replace weights that are zero, as initial ones of last layers are: they would hide faults."""
    for p in network.parameters():
        if p.is_floating_point() and not p.any():
            p.normal_(std=0.1, generator=generator)


def _disagreement(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    generator: Generator,
    rule: _Rule,
) -> float | str:
    """Relative error of the forward-mode derivative, or what it raised."""
    along = tuple(_like(a, generator) for a in inputs)
    try:
        forward = torch.func.jvp(function, inputs, along)[1]
    except Exception as error:
        return _first_line(error)
    one, two = (
        [
            function(*(a + k * rule.step * b for a, b in zip(inputs, along, strict=True)))
            for k in (reach, -reach)
        ]
        for reach in (1, 2)
    )
    difference = (8 * (one[0] - one[1]) - (two[0] - two[1])) / (12 * rule.step)
    return float((forward - difference).norm() / difference.norm().clamp_min(1e-30))


def _blame(
    patient: _Patient, inputs: tuple[Tensor, ...], generator: Generator, rule: _Rule
) -> list[str]:
    """Check each layer alone, at the inputs that it sees; of nested ones name the innermost."""
    named: list[str] = []
    findings = []
    for name, call in reversed(_calls_of_layers(patient, inputs).items()):
        layer, arguments, _ = call
        if any(inner.startswith(f"{name}.") for inner in named):
            continue
        places = [k for k, a in enumerate(arguments) if _is_floating(a)]
        if not places:
            continue

        alone = functools.partial(_called_alone, call, places)
        error = _disagreement(alone, tuple(arguments[k] for k in places), generator, rule)
        if _wrong(error, rule):
            named.append(name)
            kind = type(layer).__name__
            findings.append(f"layer {name} ({kind}): {_say(error, kind)}")
    return findings[::-1]


def _called_alone(call: _Call, places: list[int], *values: Tensor) -> Tensor:
    """Call a layer as the network did, but with these values; return its first tensor."""
    layer, arguments, options = call
    filled = list(arguments)
    for k, value in zip(places, values, strict=True):
        filled[k] = value
    output: Any = layer(*filled, **options)
    outputs: tuple[Any, ...] = output if isinstance(output, tuple) else (output,)
    first: Tensor = next(a for a in outputs if _is_floating(a))
    return first


def _calls_of_layers(patient: _Patient, inputs: tuple[Tensor, ...]) -> dict[str, _Call]:
    """Layers by name, outer ones first, with what they are called with."""
    seen: dict[str, _Call] = {}
    handles = []
    names = [name for name, _ in patient.network.named_modules() if name]
    for name in names:

        def note(layer: nn.Module, arguments: Any, options: Any, name: str = name) -> None:
            seen[name] = layer, arguments, options

        layer = patient.network.get_submodule(name)
        handles.append(layer.register_forward_pre_hook(note, with_kwargs=True))
    try:
        patient(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: seen[name] for name in names if name in seen}


def _on_the_diagonal(patient: _Patient, t: Tensor, generator: Generator) -> list[str]:
    """Check that value and derivative are finite on empty windows."""
    inputs = (patient.x, t, t)
    found = torch.func.jvp(patient, inputs, tuple(_like(a, generator) for a in inputs))
    names = [
        n for n, a in zip(("value", "derivative"), found, strict=True) if not a.isfinite().all()
    ]
    if not names:
        return []
    return [
        f"not finite on empty windows, s = t: the {' and the '.join(names)}. Is there a root or "
        "logarithm of s - t? Let s - t enter as it is, or replace it inside the function by "
        "torch.where, not only the result"
    ]


def _steps(patient: _Patient, inputs: tuple[Tensor, ...]) -> list[str]:
    """Find times that matter to the value, but not to the derivative."""
    findings = []
    value = patient(*inputs)
    for k, name in ((1, "t"), (2, "s")):
        moved = list(inputs)
        moved[k] = inputs[3 - k]
        if not torch.equal(value, patient(*moved)) and not _slope(patient, inputs, k).any():
            findings.append(
                f"{name} enters in steps: the value depends on it but its derivative is zero. Do "
                "not round it or look it up in a table; let it enter by smooth features"
            )
    return findings


def _speed(patient: _Patient, inputs: tuple[Tensor, ...], interval: float) -> list[str]:
    """Find times in which the network varies much faster than over their interval."""
    size = patient(*inputs).square().mean().sqrt()
    warnings = []
    for k, name in ((1, "t"), (2, "s")):
        ratio = float(interval * _slope(patient, inputs, k).square().mean().sqrt() / size)
        if ratio > LIVELY:
            warnings.append(
                f"the derivative in {name} is {ratio:.0f} times the value per interval of times: "
                "the identity multiplies it by the window. Do not scale times by 1000, and let "
                "them enter by features of low frequency"
            )
    return warnings


def _slope(patient: _Patient, inputs: tuple[Tensor, ...], k: int) -> Tensor:
    """Derivative in one of the times, up in every second row and down in the others."""
    along = [torch.zeros_like(a) for a in inputs]
    along[k] = 1 - 2.0 * (torch.arange(len(inputs[k])) % 2).to(inputs[k].dtype)
    slope: Tensor = torch.func.jvp(patient, inputs, tuple(along))[1]
    return slope


def _wrong(error: float | str, rule: _Rule) -> bool:
    return isinstance(error, str) or not error <= rule.tolerance  # NaN is wrong


def _say(error: float | str, kind: str, called: Collection[str] = ()) -> str:
    """Say what happened, to a layer or to functions that are called, and what to do."""
    if isinstance(error, float):
        return (
            f"forward mode differs from a finite difference by {error:.1e} of its size: is "
            f"something detached, rounded, or a derivative written by hand? {FALLBACK}"
        )
    text = f"forward mode is refused: {error}"
    for where in (f"{error} {kind}", " ".join(called)):
        for words, advice in ADVICE:
            if any(word in where for word in words):
                return f"{text}. {advice}; {FALLBACK}"
    return f"{text}. Write it in tensor operations; {FALLBACK}"


def _random_layers(network: nn.Module) -> str:
    kinds = {type(m).__name__ for m in network.modules() if "Dropout" in type(m).__name__}
    return ", ".join(sorted(kinds)) or "no layer known for it"


def _first_line(error: Exception | None) -> str:
    lines = str(error).strip().splitlines()
    return (lines or [type(error).__name__])[0][:160].rstrip(".")


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _like(value: Tensor, generator: Generator) -> Tensor:
    return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
