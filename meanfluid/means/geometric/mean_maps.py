r"""Mean maps of an ensemble of flow maps of the torus.

Every kind chooses a map :math:`\bar\varphi` so that the deviations
:math:`\xi^\alpha = \varphi^\alpha \circ \bar\varphi^{-1}` have no mean, and differs in what that
means:

======================= ====================================================== ==========
kind                    condition                                              keeps area
======================= ====================================================== ==========
``"arithmetic"``        :math:`\langle \xi \rangle = id`                       no
``"extended_glm"``      pointwise centre of mass: on flat space the same       no
``"soward_roberts"``    :math:`\langle \log \xi \rangle = 0`                   yes
``"optimal_transport"`` :math:`\langle \xi \rangle - id` is a gradient         yes
``"geodesic"``          mean initial velocity of the Euler flows to them is 0  yes
======================= ====================================================== ==========
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from meanfluid.backends import devices
from meanfluid.means import boxes, cf, periodic
from meanfluid.means.geometric.datasets import map_of, maps_of
from meanfluid.means.geometric.euler import euler_correction, euler_flow
from meanfluid.means.geometric.exponential import (
    Flow,
    checked_tolerance,
    exp,
    group_correction,
    group_flow,
)
from meanfluid.means.geometric.torus import (
    TorusMap,
    average,
    checked_map,
    checked_maps,
    checked_weights,
)

if TYPE_CHECKING:
    import xarray

MeanKind = Literal["arithmetic", "extended_glm", "soward_roberts", "optimal_transport", "geodesic"]

_SOLVING = 1e-9  # of the longer period
_AREA = 1e-6  # error of the determinant beyond which a map does not count as keeping area
_STEPPING = 1e-2  # of the tolerance: what time steps may cost
_NEGLIGIBLE = 1e-3  # of a mean field: accuracy of the fields that it is the mean of
_STRAYING = 4  # iterations in a row that bring nothing, after which it is given up


@dataclass(frozen=True, eq=False)
class MeanMap:
    """A mean map, and how well it is one.

    Attributes
    ----------
    map : TorusMap
    kind : str
    order : 2 or None
        Of the formula that was used; None if the condition was solved.
    residual : float, length
        By how much the condition of the kind is missed, at the worst point of the grid.
    iterations : int
    converged : bool
        Whether the residual is within the tolerance.
    area_error : float
        Largest distance of the determinant from 1.
    """

    map: TorusMap
    kind: str
    order: int | None
    residual: float
    iterations: int
    converged: bool
    area_error: float

    def to_dataset(self) -> "xarray.Dataset":
        """Return displacement and determinant of the map with CF attributes, on the host."""
        import xarray

        places = {
            axis: (axis, np.arange(count) * length / count, {"axis": axis.upper()})
            for axis, count, length in zip("xy", self.map.shape, self.map.lengths, strict=True)
        }
        plane = ("x", "y")
        template = xarray.Dataset(coords=places)
        return self.on(boxes.Box(plane, plane, self.map.lengths, "realization", template, None))

    def on(self, box: boxes.Box) -> "xarray.Dataset":
        """Return displacement and determinant on a grid from xarray."""
        moved = {"long_name": "displacement of the mean map"}
        moved |= {} if box.unit is None else {"units": box.unit}
        area = {"long_name": "change of area", "units": "1"}
        moved, area = (box.as_mean(told, self.kind) for told in (moved, area))
        data = box.variables("displacement", devices.to_host(self.map.displacement), moved)
        data["determinant"] = box.on_grid(self.map.determinant, area)
        told = {key: getattr(self, key) for key in ("kind", "residual", "iterations", "area_error")}
        told |= {} if self.order is None else {"order": self.order}
        attributes = cf.with_provenance(
            {"Conventions": cf.CONVENTIONS, "title": "mean of flow maps"},
            **told, converged=int(self.converged),
        )  # fmt: skip
        result: xarray.Dataset = box.template.assign(data).assign_attrs(attributes)
        return result


def mean_map(
    maps: "Sequence[TorusMap] | xarray.Dataset",
    kind: MeanKind,
    *,
    weights: ArrayLike | None = None,
    order: int | None = None,
    tolerance: float | None = None,
    iterations: int = 60,
    on_failure: Literal["raise", "mark"] = "raise",
) -> Any:
    r"""Return the mean of an ensemble of maps.

    Parameters
    ----------
    maps : sequence of TorusMap
        On one grid. All kinds but the first two need maps that keep area to 1e-6. Or a Dataset
        with variables ``displacement_x`` and ``displacement_y`` (or of any other name, if they are
        the only vector) on x, y and one more dimension, of the maps. The periods are points times
        spacing, or a full circle where the unit is one of angle.
    kind : "arithmetic", "extended_glm", "soward_roberts", "optimal_transport" or "geodesic"
    weights : (members,), optional
        Equal by default; normalised.
    order : 2, optional
        Use the formula for small displacements,
        :math:`\bar\varphi = \exp(\bar q + \frac12 K)` up to third order, with q the logarithms of
        the maps, q' their deviations from the mean, and K = 0 (soward_roberts) or the Leray
        projection of :math:`\langle q' \cdot \nabla q' \rangle` (optimal_transport, geodesic). Its
        residual is reported; it is never raised upon.
    tolerance : float, length, optional
        Largest residual; by default 1e-9 of the longer period.
    iterations : int
        After which it is given up.
    on_failure : "raise" or "mark"
        Whether a mean that does not converge raises, or comes back with ``converged=False``.

    Returns
    -------
    MeanMap
        Of a Dataset, a Dataset on its grid, as `MeanMap.to_dataset` gives it. Its dimension of
        maps is gone; residual and convergence are attributes, since they are of the map as a whole.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range, or the maps do not keep area.
    RuntimeError
        If the iteration does not converge, unless ``on_failure="mark"``.

    References
    ----------
    Gilbert & Vanneste (2018), J. Fluid Mech. 839, 95-134; Soward & Roberts (2010), J. Fluid Mech.
    661, 45-72; Pennec & Arsigny (2013), exponential barycentres, in Matrix Information Geometry,
    123-166; Brenier (1991), Commun. Pure Appl. Math. 44, 375-417; McCann (2001), polar
    factorisation of maps on Riemannian manifolds, Geom. Funct. Anal. 11, 589-608.
    """
    if cf.is_xarray(maps):
        ensemble, box = maps_of(maps)
        whole: MeanMap = mean_map(
            ensemble, kind, weights=weights, order=order, tolerance=tolerance,
            iterations=iterations, on_failure=on_failure,
        )  # fmt: skip
        return whole.on(box)
    members = checked_maps(maps)  # type: ignore[arg-type]
    w = checked_weights(weights, len(members))
    tolerance = checked_tolerance(tolerance, members[0].lengths, _SOLVING)
    if order not in (None, 2) or on_failure not in ("raise", "mark") or iterations < 1:
        raise ValueError(
            'order must be None or 2, on_failure "raise" or "mark" and iterations positive, got '
            f"{order!r}, {on_failure!r} and {iterations!r}"
        )
    if kind in ("arithmetic", "extended_glm"):
        mean = TorusMap(average([one.displacement for one in members], w), members[0].lengths)
        return MeanMap(mean, kind, order, 0.0, 0, True, mean.area_error)
    if kind not in get_args(MeanKind):
        raise ValueError(f"kind must be one of {get_args(MeanKind)}, got {kind!r}")
    worst = max(one.area_error for one in members)
    if not worst < _AREA:
        raise ValueError(
            f"the {kind} mean is one of maps that keep area, got a determinant off 1 by "
            f"{worst:.1e}; use a flow free of divergence, or a finer grid"
        )
    found = _solved(members, kind, w, order, tolerance, iterations)
    if not found.converged and order is None and on_failure == "raise":
        raise RuntimeError(
            f"the {kind} mean did not converge: residual {found.residual:.1e} after "
            f"{found.iterations} iterations, where {tolerance:.1e} was wanted; the members may be "
            'too far apart or the grid too coarse. on_failure="mark" returns what was reached'
        )
    return found


def deviations(
    maps: "Sequence[TorusMap] | xarray.Dataset", mean: "TorusMap | xarray.Dataset"
) -> Any:
    r"""Return :math:`\xi^\alpha = \varphi^\alpha \circ \bar\varphi^{-1}`.

    Each leads from the mean position of a particle to its position in one member.

    Parameters
    ----------
    maps : sequence of TorusMap
        Or a Dataset as in `mean_map`.
    mean : TorusMap
        Or, of a Dataset, the Dataset that `mean_map` gives.

    Returns
    -------
    tuple of TorusMap
        Of Datasets, a Dataset of their displacements for each member, as `maps` are one.
    """
    if cf.is_xarray(maps) or cf.is_xarray(mean):
        ensemble, box = maps_of(maps)
        centre, _ = map_of(mean, "mean")
        boxes.require_together(maps, mean)
        return _on_members(maps, box, deviations(ensemble, centre))
    back = checked_map(mean).inverse()
    return tuple(one.after(back) for one in checked_maps(maps))  # type: ignore[arg-type]


def _on_members(maps: Any, box: boxes.Box, away: tuple[TorusMap, ...]) -> Any:
    """Return deviations as displacements on the grid and the members."""
    import xarray

    told = {"long_name": "displacement from the mean position"}
    told |= {} if box.unit is None else {"units": box.unit}
    data: dict[str, Any] = {}
    each = [box.variables("displacement", one.displacement, told) for one in away]
    for name, (dims, _, attributes) in each[0].items():
        data[name] = (box.members, *dims), np.stack([one[name][1] for one in each]), attributes
    kept = {key: c.variable for key, c in maps.coords.items()
            if set(c.dims) <= {box.members, *box.dims}}  # fmt: skip
    about = cf.with_provenance({"Conventions": cf.CONVENTIONS, "title": "deviations from a mean"})
    return xarray.Dataset(data, kept, about)


def second_order_logarithm(one: TorusMap) -> Any:
    r"""Return :math:`d - \frac12 d \cdot \nabla d`, d the displacement: log up to third order."""
    d = one.displacement
    return d - 0.5 * periodic.advection(d, d, one.lengths)


def _formula(members: tuple[TorusMap, ...], kind: str, w: Any) -> TorusMap:
    lengths = members[0].lengths
    q = [second_order_logarithm(one) for one in members]
    mean = average(q, w)
    field = mean
    if kind != "soward_roberts":
        away = [one - mean for one in q]
        field = mean + 0.5 * average([periodic.advection(a, a, lengths) for a in away], w)
    return exp(periodic.leray(field, lengths), lengths)


def _solved(
    members: tuple[TorusMap, ...],
    kind: str,
    w: Any,
    order: int | None,
    tolerance: float,
    iterations: int,
) -> MeanMap:
    """Move a mean map along its residual until that is gone, and keep the best."""
    lengths = members[0].lengths
    residual_of = _condition(members, kind, w, tolerance, iterations if order == 2 else 1)
    mean, best, strayed = _formula(members, kind, w), None, 0
    for done in range(iterations):
        try:
            shift, missed, regular = residual_of(mean)
        except ValueError:  # what was reached cannot be inverted or integrated any more
            break
        if best is None or missed < best.residual:
            good = missed <= tolerance and regular
            best = MeanMap(mean, kind, order, missed, done, good, mean.area_error)
        strayed = 0 if best.iterations == done else strayed + 1
        if order == 2 or best.converged or strayed == _STRAYING:
            break
        mean = exp(shift, lengths).after(mean)
    if best is None:
        raise RuntimeError(
            f"the {kind} mean has no start: the second-order formula gives a map that cannot be "
            "inverted; the members are too far apart for this grid"
        )
    return best


def _condition(
    members: tuple[TorusMap, ...], kind: str, w: Any, tolerance: float, most: int
) -> Any:
    if kind == "optimal_transport":
        return _TransportCondition(members, w)
    if kind == "geodesic":
        return _BarycentreCondition(members, w, euler_flow, euler_correction, tolerance, most)
    return _BarycentreCondition(members, w, group_flow, group_correction, tolerance, most)


class _TransportCondition:
    """Whether the mean of the deviations is a gradient: the polar factor of the arithmetic mean."""

    def __init__(self, members: tuple[TorusMap, ...], w: Any) -> None:
        self._lengths = members[0].lengths
        self._arithmetic = TorusMap(
            average([one.displacement for one in members], w), self._lengths
        )

    def __call__(self, mean: TorusMap) -> tuple[Any, float, bool]:
        between = self._arithmetic.after(mean.inverse())
        shift = periodic.leray(between.displacement, self._lengths)
        slope = between.gradient
        trace, shear = slope[0, 0] + slope[1, 1], slope[0, 1] + slope[1, 0]
        # Only the gradient of a convex function is nearest: both eigenvalues must be positive.
        spread = np.sqrt((slope[0, 0] - slope[1, 1]) ** 2 + shear**2)
        return shift, float(np.abs(shift).max()), bool((trace > spread).all())


class _BarycentreCondition:
    """Whether the fields that lead to the deviations cancel; they are improved at every call."""

    def __init__(
        self,
        members: tuple[TorusMap, ...],
        w: Any,
        flow: Any,
        correction: Any,
        tolerance: float,
        most: int,
    ) -> None:
        self._members, self._w, self._correction = members, w, correction
        self._lengths, self._most = members[0].lengths, most
        self._leads = [Flow(self._lengths, flow, _STEPPING * tolerance) for _ in members]
        self._fields: list[Any] = []

    def __call__(self, mean: TorusMap) -> tuple[Any, float, bool]:
        away = deviations(self._members, mean)
        if not self._fields:
            self._fields = [self._kept(one.displacement) for one in away]
        before = np.inf
        for _ in range(self._most):
            misfits = [
                one.displacement - leads(field).displacement
                for one, leads, field in zip(away, self._leads, self._fields, strict=True)
            ]
            worst = max(float(np.abs(misfit).max()) for misfit in misfits)
            if worst > 0.5 * before:  # as near as the grid allows
                break
            before = worst
            self._fields = [
                field + self._kept(self._correction(field, misfit, self._lengths))
                for field, misfit in zip(self._fields, misfits, strict=True)
            ]
            shift = average(self._fields, self._w)
            missed = float(np.abs(shift).max())
            if worst <= _NEGLIGIBLE * missed:
                break
        self._fields = [field - shift for field in self._fields]
        return shift, max(worst, missed), True

    def _kept(self, field: Any) -> Any:
        return periodic.leray(field, self._lengths)
