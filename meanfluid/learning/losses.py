"""Losses for average velocities; each returns what to minimise beside the raw residual.

The names say which equation is enforced: `material_loss` differentiates at the anchor (MeanFlow),
`endpoint_loss` at the free end, `semigroup_loss` composes two windows, `supervised_loss` compares
with exact means; `families` has those that step along the trajectory. All take positions and
keyword times: a batch is a dict, ``loss(model, **batch)``.

Targets carry no gradient, except that of `material_loss`: through its derivative, half of the
gradient passes by default. Squared residuals are divided by the mean square of what is
averaged, so that losses, weights and their constants are dimensionless. Defaults of the material
and the supervised loss were measured, with `SOAP` and `MLP`, on the double gyre and on a pair of
vortices.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from meanfluid.learning.anchors import Batch
from meanfluid.learning.average_velocity import Model, Times, Velocity, beside, given_as, spread
from meanfluid.learning.identity import (
    check_tangent,
    free_end_derivative,
    material_derivative,
    one_pass,
    unwrapped,
)

HEAVIEST = 0.5  # no weight exceeds this power of the largest float, so that none overflows
SHORTEST = 1e-3  # of the rms window: shorter ones weigh no more

Field = Velocity | Tensor  # a function of (x, t), or its values at the batch
Self = Literal["self"]  # the model's own value on the empty window, u(x, t, t)


class LossValue(NamedTuple):
    """What a loss returns.

    Attributes
    ----------
    loss : Tensor, scalar
        Weighted; minimise this. With weights it hardly falls: read the residual instead.
    residual : Tensor, scalar
        Unweighted root mean square of the residual, relative to what is averaged; no gradient.
    rows : (n,), optional
        Square of each row's residual, unweighted, relative to the mean square of what is averaged.
        It carries the gradient of the loss without weights; see `LearnedWeights` and `by_window`.
    parts : dict of str to Tensor, optional
        Residuals of the losses of a `Mixture`, by name; no gradient.
    """

    loss: Tensor
    residual: Tensor
    rows: Tensor | None = None
    parts: dict[str, Tensor] | None = None


def material_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    observable: Field | None = None,
    along: Field | Self | None = None,
    power: float = 0.25,
    offset: float = 1e-10,
    window_power: float | None = None,
    grad_through_jvp: float | None = None,
    difference: float | None = None,
    moving: int | None = None,
) -> LossValue:
    """Residual of the material identity u = f + (s - t) D_w u at a batch of anchors.

    MeanFlow as published stops the gradient at the whole target and weights with p = 1, windows
    alike. That is ``grad_through_jvp=0, power=1, window_power=0``, with a model of
    ``tangent="free"``; give the optimiser little momentum then, such as
    ``SOAP(model.parameters(), betas=(0.5, 0.95))``, for the stopped gradient is not the gradient
    of anything and rotates.

    Parameters
    ----------
    model : AverageVelocity
    x, t, s : (n, d), (n,), (n,)
        Anchors and free ends.
    condition : (n, ...), optional
        Handed to the model.
    observable : callable f(x, t) or (n, outputs), optional
        What is averaged; the model's velocity by default.
    along : callable w(x, t), (n, d) or "self", optional
        What carries the mean: by default the velocity of the model, or the observable if the
        model has none. `at_rest` gives the Eulerian mean. "self" is the model's own value on the
        empty window, u(x, t, t), which is less noisy than values of the observable that are.
    power, offset : float
        Rows are weighted by 1 / (e + offset)^power, e their squared residual relative to the
        mean square of f. Power 0 is the plain mean square, 1/2 nearly a mean distance.
    window_power : float, optional
        Rows are also weighted by ``1 / |s - t|**window_power``, relative to the rms window; 1 by
        default with ``tangent="exact"``, where the network is multiplied by s - t, else 0.
    grad_through_jvp : float, optional
        Share of the gradient that passes through the derivative: 0 freezes the target, 1 (or
        True) minimises the whole residual. By default 1/2, which was measured to be best, or 0
        if the observable is given by values: those may be noisy, and the square of noise in the
        derivative would be minimised too.
    difference : float, optional
        Differences instead of forward mode; see `material_derivative`.
    moving : int, optional
        At most so many rows have a window that is not empty, and only so many are differentiated.
        Rows are those of one call: with ``accumulate`` of `fit`, those of a part.
        On a GPU it saves waiting for their number, and in a compiled loss its shapes are fixed.
        More of them are an error, on a GPU or in a compiled loss by a loss that is NaN.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or an option makes no sense.

    References
    ----------
    Geng, Deng, Bai, Kolter and He (2025), arXiv:2505.13447, Algorithm 1 and section 4.3; Geng, Lu,
    Wu, Shechtman, Kolter and He (2025), arXiv:2512.02012, for the tangent "self".
    """
    if grad_through_jvp is None:
        grad_through_jvp = 0.0 if isinstance(observable, Tensor) else 0.5
    f = values_of(observable, model, x, t)
    t, s = spread(t, x), spread(s, x)
    batch = {"x": x, "t": t, "s": s} | given_as(condition)
    through = bool(grad_through_jvp)

    def derivative(rows: Batch, f: Tensor, along: Field | Self | None) -> tuple[Tensor, Tensor]:
        w = carrier_of(along, observable, model, f, rows)
        return material_derivative(
            model, **rows, advection=w, differentiable=through, difference=difference
        )

    rows = _moving_rows(s - t, moving, one_pass(unwrapped(model)))
    if rows is None:
        u, slope = derivative(batch, f, along)
        change = beside(s - t, u) * slope
    else:  # an empty window needs no derivative
        some = {name: values[rows] for name, values in batch.items()}
        carrier = values_of(along, model, x, t)[rows] if isinstance(along, Tensor) else along
        with torch.set_grad_enabled(through and torch.is_grad_enabled()):
            slope = derivative(some, f[rows], carrier)[1] if len(rows) else f[rows]
            moved = beside(some["s"] - some["t"], slope) * slope
            change = moved.new_zeros(len(x), *moved.shape[1:]).index_copy(0, rows, moved)
        u = model(**batch)
    if moving is not None:
        change = torch.where((s != t).sum() > moving, torch.nan, change)
    target = f + torch.lerp(change.detach(), change, float(grad_through_jvp))
    return weighted(u - target, f, power, offset, short(model, s - t, window_power))


def _moving_rows(window: Tensor, count: int | None, one_pass: bool) -> Tensor | None:
    """Numbers of the rows that a derivative is needed of, or None for all."""
    if count is not None:
        if not 0 <= count <= len(window):
            raise ValueError(f"moving must be from 0 to the {len(window)} rows, got {count}")
        if not (window.is_cuda or torch.compiler.is_compiling()):
            found = int((window != 0).sum())
            if found > count:
                raise ValueError(f"moving={count}, but {found} windows are not empty")
        return window.abs().topk(count).indices
    if window.is_cuda and one_pass:  # asking would wait for the GPU every step
        return None
    rows = window.nonzero()[:, 0]
    return None if len(rows) == len(window) else rows


def endpoint_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    observable: Field | None = None,
    velocity: Velocity | Self | None = None,
    teacher: Model | None = None,
    power: float = 0.5,
    offset: float = 1e-10,
    grad_through_jvp: float = 0.0,
) -> LossValue:
    """Residual of u + (s - t) du/ds = v(x + (s - t) u, s), the identity at the free end.

    It evaluates the velocity where the model says that the particle ends.

    Parameters
    ----------
    model, x, t, s, condition, power, offset
        As for `material_loss`.
    observable : callable v(x, t) or (n, outputs), optional
        Wanted on empty windows instead of the velocity, such as noisy values of it. A model that
        knows no velocity learns it there and nowhere else: make enough of the windows empty.
    velocity : callable v(x, t) or "self", optional
        That of the model by default. "self" is the model's own value on the empty window,
        u(x, s, s), or that of the teacher; it needs an `observable`, or a model with
        ``tangent="exact"``.
    teacher : model, optional
        An averaged copy of the model.
    grad_through_jvp : float
        Share of the gradient that passes through the derivative du/ds.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825, Lagrangian self-distillation, for
    the velocity "self".
    """
    t, s = spread(t, x), spread(s, x)
    v = velocity_for(velocity, model, teacher)
    given = given_as(condition)
    u, slope = free_end_derivative(
        model, x, t=t, s=s, condition=condition, differentiable=bool(grad_through_jvp)
    )
    window = beside(s - t, u)
    with torch.no_grad():
        arrival = v(x + window * u.to(x.dtype), s, **given)
        arrival = on_empty(arrival, observable, model, x, t, s)
    slope = torch.lerp(slope.detach(), slope, float(grad_through_jvp))
    return weighted(u + window * slope - arrival, arrival, power, offset)


def semigroup_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    condition: Tensor | None = None,
    observable: Field | None = None,
    teacher: Model | None = None,
    split: float | Tensor = 0.5,
    power: float = 0.5,
    offset: float = 1e-10,
) -> LossValue:
    """Difference between one jump and two, through the time that splits the window.

    Needs no derivative, but an anchor: a model with ``tangent="exact"``, an `observable` for
    empty windows, or another loss beside.

    Parameters
    ----------
    model, x, t, s, condition, power, offset
        As for `material_loss`.
    observable : callable f(x, t) or (n, outputs), optional
        Wanted on empty windows; see `endpoint_loss`.
    teacher : model, optional
        An averaged copy of the model, which makes the two jumps.
    split : float or (n,)
        Share of the window in the first of the two jumps, between 0 and 1.
    """
    t, s = spread(t, x), spread(s, x)
    share = spread(split, x)
    within = (split > 0) & (split < 1)
    if not (within.all() if isinstance(within, Tensor) else within):
        raise ValueError(f"split must lie strictly between 0 and 1, got {split}")
    middle = torch.lerp(t, s, share)
    given = given_as(condition)
    jumping = unwrapped(model) if teacher is None else teacher
    with torch.no_grad():
        first = jumping(x, t=t, s=middle, **given).to(x.dtype)
        second = jumping(x + beside(middle - t, x) * first, t=middle, s=s, **given).to(x.dtype)
        target = torch.lerp(second, first, beside(share, first))
        target = on_empty(target, observable, model, x, t, s)
    return weighted(model(x, t=t, s=s, **given) - target, target, power, offset)


def supervised_loss(
    model: Model,
    x: Tensor,
    *,
    t: Times,
    s: Times,
    mean: Tensor,
    condition: Tensor | None = None,
    power: float = 0.0,
    offset: float = 1e-10,
) -> LossValue:
    """Difference from exact means (n, outputs), such as those of `exact_pool`.

    The plain mean square by default: weights were measured to hurt here.
    """
    given = given_as(condition)
    u = model(x, t=t, s=s, **given).to(x.dtype)
    check_tangent("mean", mean, u)
    return weighted(u - mean, mean, power, offset)


def at_rest(x: Tensor, t: Tensor) -> Tensor:
    """Velocity zero: means carried along it are Eulerian time means."""
    return torch.zeros_like(x)


def velocity_of(model: Model) -> Velocity:
    """Return the velocity that a model averages."""
    velocity: Velocity | None = getattr(unwrapped(model), "velocity", None)
    if velocity is None:
        raise ValueError(
            f"{type(model).__name__} has no velocity; use an AverageVelocity, or pass observable="
        )
    return velocity


def velocity_for(
    velocity: Velocity | Self | None, model: Model, teacher: Model | None
) -> Callable[..., Tensor]:
    """Velocity v(x, t), called with a condition if there is one, of a loss that asks anywhere."""
    if velocity is None:
        if not _knows_velocity(model):
            raise ValueError(
                "this loss asks for the velocity where the model says that particles are, and the "
                'model has none; pass velocity="self" to take its own, u(x, t, t), or a function'
            )
        velocity = velocity_of(model)
    if isinstance(velocity, str):
        _check_self("velocity", velocity)
        own = unwrapped(model) if teacher is None else teacher
        return lambda x, t, **given: own(x, t=t, s=t, **given).to(x.dtype)
    function: Velocity = velocity
    return lambda x, t, **given: _in_full(function, x, t)


def on_empty(
    target: Tensor, observable: Field | None, model: Model, x: Tensor, t: Tensor, s: Tensor
) -> Tensor:
    """Target with the observable, if there is one, in the rows whose window is empty."""
    if observable is None:
        return target
    wanted = values_of(observable, model, x, t)
    check_tangent("observable", wanted, target)
    return torch.where(beside(s == t, target), wanted, target)


def _check_self(name: str, word: str) -> None:
    if word != "self":
        raise ValueError(f'{name} must be a function, values or "self", got {word!r}')


def _knows_velocity(model: Model) -> bool:
    bare = unwrapped(model)
    return bool(getattr(bare, "knows_velocity", hasattr(bare, "velocity")))


def carrier_of(
    along: Field | Self | None, observable: Field | None, model: Model, f: Tensor, rows: Batch
) -> Tensor:
    """Return what carries the mean, at the rows of a batch where the observable is f."""
    if isinstance(along, str):
        _check_self("along", along)
        with torch.no_grad():
            own: Tensor = unwrapped(model)(**(rows | {"s": rows["t"]}))
        return own.to(rows["x"].dtype)
    if along is None and (observable is None or not _knows_velocity(model)):
        return f
    return values_of(along, model, rows["x"], rows["t"])


def values_of(field: Field | None, model: Model, x: Tensor, t: Times) -> Tensor:
    """Values (n, outputs) of a field at the batch; of the model's velocity if it is None."""
    if isinstance(field, Tensor):
        if field.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"values must have one row per row of x, {len(x)}, got shape {tuple(field.shape)}"
            )
        return field
    function: Callable[[Tensor, Tensor], Tensor] = velocity_of(model) if field is None else field
    with torch.no_grad():
        return _in_full(function, x, spread(t, x))


def _in_full(function: Velocity, x: Tensor, t: Tensor) -> Tensor:
    """Call a function of known physics in the precision of x, whatever that of the network is."""
    with torch.autocast(x.device.type, enabled=False):
        return function(x, t)


def short(model: Model, window: Tensor, power: float | None) -> Tensor | float:
    """Weights that favour short windows, relative to the rms one, finite on empty ones."""
    if power is None:
        power = float(getattr(unwrapped(model), "tangent", None) == "exact")
    if not power:
        return 1.0
    duration = window.detach().abs()
    typical = duration.square().mean().sqrt().clamp_min(torch.finfo(duration.dtype).tiny)
    return (duration / typical).clamp_min(SHORTEST) ** -power


def weighted(
    residual: Tensor,
    reference: Tensor,
    power: float,
    offset: float,
    extra: Tensor | float = 1.0,
) -> LossValue:
    """Mean over rows of the residual's square, relative to that of the reference, with weights.

    Weights are `extra` / (e + offset)^power, e the relative square of a row.
    """
    if residual.shape != reference.shape:
        raise ValueError(
            f"the model returns shape {tuple(residual.shape)} where the average of "
            f"{tuple(reference.shape)} is wanted; set the number of outputs of the network"
        )
    if residual.dtype.itemsize < 4:
        residual = residual.float()
    size = reference.detach().square().flatten(1).sum(-1).mean()
    tiny = torch.finfo(residual.dtype).tiny
    e = residual.square().flatten(1).sum(-1) / size.clamp_min(tiny)
    least = tiny ** (HEAVIEST / max(1.0, power))
    weight = extra * (e.detach() + offset).clamp_min(least) ** -power
    return LossValue((weight * e).mean(), e.detach().mean().sqrt(), e)


def by_window(rows: Tensor, *, t: Times, s: Times, edges: Sequence[float] | Tensor) -> Tensor:
    """Raw residual by the length of the window: one number between every two edges.

    Parameters
    ----------
    rows : (n,)
        Squared residuals of a batch, `LossValue.rows`.
    t, s : (n,), time
    edges : (k + 1,), time
        Increasing lengths; each stratum includes its lower edge, the last one also its upper edge.

    Returns
    -------
    (k,)
        Root mean square residual in each stratum, NaN where no window has that length.
    """
    edges = torch.as_tensor(edges, dtype=rows.dtype, device=rows.device)
    if edges.ndim != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
        raise ValueError(f"edges must be at least two increasing lengths, got {edges.tolist()}")
    length = (spread(s, rows) - spread(t, rows)).abs()
    stratum = torch.bucketize(length, edges, right=True) - 1
    stratum = torch.where(length == edges[-1], len(edges) - 2, stratum)
    inside = (stratum >= 0) & (stratum < len(edges) - 1)
    sums = rows.new_zeros(2, len(edges) - 1)
    found = torch.stack([rows.detach(), torch.ones_like(rows)])[:, inside]
    sums.index_add_(1, stratum[inside], found)
    return (sums[0] / sums[1]).sqrt()
