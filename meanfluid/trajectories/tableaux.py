"""Explicit Runge-Kutta schemes as data that checks itself.

A `Tableau` refuses coefficients that contradict its declared order, by the conditions of all
rooted trees up to that order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from meanfluid.fields.velocity_field import Array

_ROUNDING = 1e-12  # what correctly rounded coefficients of the schemes below stay under


@dataclass(frozen=True, eq=False)
class Tableau:
    """Coefficients of an explicit Runge-Kutta scheme.

    Parameters
    ----------
    name : str
    order : int
        Of the solution that is propagated.
    a : (stages, stages)
        Strictly lower triangular.
    b, c : (stages,)
    errors : (estimates, stages)
        Weights whose sum of stage velocities, times the step, estimates the local error: none for
        a scheme without an embedded one; two for Dormand & Prince's 8(5,3), which are combined
        as in Hairer, Norsett & Wanner, sec. II.10.
    error_order : int
        Order of the embedded solution; the estimate is of order ``error_order + 1`` in the step.

    Raises
    ------
    ValueError
        If the coefficients contradict each other or the declared order.
    """

    name: str
    order: int
    a: Array = field(repr=False)
    b: Array = field(repr=False)
    c: Array = field(repr=False)
    errors: Array = field(repr=False)
    error_order: int

    def __post_init__(self) -> None:
        for name in ("a", "b", "c", "errors"):  # as compiled code reads them
            values = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
        shapes = self.a.shape, self.b.shape, self.c.shape, self.errors.shape[1:]
        size = len(self.b)
        if shapes != ((size, size), (size,), (size,), (size,)):
            raise ValueError(
                f"{self.name}: a, b, c and errors must have shapes (s, s), (s,), (s,) and "
                f"(estimates, s), got {self.a.shape}, {self.b.shape}, {self.c.shape} and "
                f"{self.errors.shape}"
            )
        if np.triu(self.a).any():
            raise ValueError(f"{self.name}: a must be strictly lower triangular (explicit)")
        if len(self.errors) > 2:
            raise ValueError(f"{self.name}: at most two error estimates, got {len(self.errors)}")
        defects: dict[str, float] = {
            "row sums of a equal c": np.abs(self.a.sum(axis=1) - self.c).max()
        }
        for k in range(1, self.order + 1):
            defects[f"sum b c^{k - 1} = 1/{k}"] = float(abs(self.b @ self.c ** (k - 1) - 1 / k))
        for k, weights in enumerate(self.errors):
            defects[f"error weights {k} sum to zero"] = float(abs(weights.sum()))
        defects["conditions of all rooted trees"] = order_defect(self)
        for condition, defect in defects.items():
            if not defect < _ROUNDING:
                raise ValueError(f"{self.name}: violates '{condition}' by {defect:.2e}")

    @property
    def stages(self) -> int:
        """Velocity evaluations in one step."""
        return len(self.b)


def order_defect(tableau: Tableau, order: int | None = None) -> float:
    """Return the largest violation of the order conditions of all rooted trees.

    For every tree with at most `order` nodes, sum b Phi(tree) = 1 / gamma(tree): Butcher;
    Hairer, Norsett & Wanner, Solving ODEs I, sec. II.2, theorem 2.13.
    """
    worst = 0.0
    for size in range(1, (order or tableau.order) + 1):
        for tree in _trees(size):
            density, weight = _density_and_weight(tree, tableau.a)
            worst = max(worst, float(abs(tableau.b @ weight - 1 / density)))
    return worst


Tree = tuple["Tree", ...]  # a rooted tree is the sorted tuple of its branches


@cache
def _trees(size: int) -> tuple[Tree, ...]:
    return tuple(sorted(set(_forests(size - 1, size - 1))))


def _forests(nodes: int, largest: int) -> Iterator[Tree]:
    """Yield every multiset of trees with `nodes` nodes in all, none larger than `largest`."""
    if nodes == 0:
        yield ()
    for first in range(min(nodes, largest), 0, -1):
        for rest in _forests(nodes - first, first):
            for tree in _trees(first):
                yield tuple(sorted((tree, *rest)))


def _size(tree: Tree) -> int:
    return 1 + sum(map(_size, tree))


def _density_and_weight(tree: Tree, a: Array) -> tuple[int, Array]:
    density, weight = _size(tree), np.ones(len(a))
    for branch in tree:
        branch_density, branch_weight = _density_and_weight(branch, a)
        density *= branch_density
        weight = weight * (a @ branch_weight)
    return density, weight


def _tableau(
    name: str,
    *,
    order: int,
    error_order: int,
    stages: Sequence[Mapping[int, float]],
    weights: Mapping[int, float],
    errors: Sequence[Mapping[int, float]],
) -> Tableau:
    """Build a tableau from its nonzero coefficients; the nodes are the row sums."""
    size = len(stages)

    def dense(rows: Sequence[Mapping[int, float]]) -> Array:
        matrix = np.zeros((len(rows), size))
        for i, row in enumerate(rows):
            for j, value in row.items():
                matrix[i, j] = value
        return matrix

    a = dense(stages)
    c = a.sum(axis=1)
    # A node at the end of the step must not lie a rounding error beyond it.
    c = np.where(np.abs(c - 1.0) < _ROUNDING, 1.0, c)
    return Tableau(name, order, a, dense([weights])[0], c, dense(errors), error_order)


rk4 = _tableau(
    "rk4",
    order=4,
    error_order=0,
    stages=[
        {},
        {0: 0.5},
        {1: 0.5},
        {2: 1.0},
    ],
    weights={
        0: 0.16666666666666666,
        1: 0.3333333333333333,
        2: 0.3333333333333333,
        3: 0.16666666666666666,
    },
    errors=[],
)
"""The classical scheme of Kutta (1901); no embedded error, so fixed steps only."""

tsit5 = _tableau(
    "tsit5",
    order=5,
    error_order=4,
    stages=[
        {},
        {0: 0.161},
        {0: -0.008480655492356989, 1: 0.335480655492357},
        {0: 2.8971530571054935, 1: -6.359448489975075, 2: 4.3622954328695815},
        {
            0: 5.325864828439257,
            1: -11.748883564062828,
            2: 7.4955393428898365,
            3: -0.09249506636175525,
        },
        {
            0: 5.86145544294642,
            1: -12.92096931784711,
            2: 8.159367898576159,
            3: -0.071584973281401,
            4: -0.028269050394068383,
        },
        {
            0: 0.09646076681806523,
            1: 0.01,
            2: 0.4798896504144996,
            3: 1.379008574103742,
            4: -3.290069515436081,
            5: 2.324710524099774,
        },
    ],
    weights={
        0: 0.09646076681806523,
        1: 0.01,
        2: 0.4798896504144996,
        3: 1.379008574103742,
        4: -3.290069515436081,
        5: 2.324710524099774,
    },
    errors=[
        {
            0: -0.001780011052225777,
            1: -0.0008164344596567469,
            2: 0.007880878010261995,
            3: -0.1447110071732629,
            4: 0.5823571654525552,
            5: -0.45808210592918697,
            6: 0.015151515151515152,
        },
    ],
)
"""Tsitouras (2011), Computers & Mathematics with Applications 62, 770-775."""

vern7 = _tableau(
    "vern7",
    order=7,
    error_order=6,
    stages=[
        {},
        {0: 0.005},
        {0: -1.07679012345679, 1: 1.185679012345679},
        {0: 0.04083333333333333, 2: 0.1225},
        {0: 0.6389139236255726, 2: -2.455672638223657, 3: 2.272258714598084},
        {0: -2.6615773750187572, 2: 10.804513886456137, 3: -8.3539146573962, 4: 0.820487594956657},
        {
            0: 6.067741434696771,
            2: -24.711273635911084,
            3: 20.427517930788895,
            4: -1.9061579788166472,
            5: 1.006172249242068,
        },
        {
            0: 12.054670076253203,
            2: -49.75478495046899,
            3: 41.142888638604674,
            4: -4.461760149974004,
            5: 2.042334822239175,
            6: -0.09834843665406108,
        },
        {
            0: 10.138146522881808,
            2: -42.6411360317175,
            3: 35.76384003992257,
            4: -4.3480228403929075,
            5: 2.0098622683770357,
            6: 0.3487490460338272,
            7: -0.27143900510483127,
        },
        {
            0: -45.030072034298676,
            2: 187.3272437654589,
            3: -154.02882369350186,
            4: 18.56465306347536,
            5: -7.141809679295079,
            6: 1.3088085781613785,
        },
    ],
    weights={
        0: 0.04715561848627222,
        3: 0.25750564298434153,
        4: 0.2621665397741262,
        5: 0.15216092656738558,
        6: 0.49399691700324844,
        7: -0.29430311714032503,
        8: 0.0813174723249511,
    },
    errors=[
        {
            0: 0.0025470118799310456,
            3: -0.00965839487279575,
            4: 0.0420647097563969,
            5: -0.0666822437469301,
            6: 0.26500974646212816,
            7: -0.29430311714032503,
            8: 0.0813174723249511,
            9: -0.020295184663356284,
        },
    ],
)
"""Verner (2010), Numerical Algorithms 53, 383-396: the efficient 7(6) pair."""

dop853 = _tableau(
    "dop853",
    order=8,
    error_order=7,
    stages=[
        {},
        {0: 0.05260015195876773},
        {0: 0.0197250569845379, 1: 0.0591751709536137},
        {0: 0.02958758547680685, 2: 0.08876275643042054},
        {0: 0.2413651341592667, 2: -0.8845494793282861, 3: 0.924834003261792},
        {0: 0.037037037037037035, 3: 0.17082860872947386, 4: 0.12546768756682242},
        {0: 0.037109375, 3: 0.17025221101954405, 4: 0.06021653898045596, 5: -0.017578125},
        {
            0: 0.03709200011850479,
            3: 0.17038392571223998,
            4: 0.10726203044637328,
            5: -0.015319437748624402,
            6: 0.008273789163814023,
        },
        {
            0: 0.6241109587160757,
            3: -3.3608926294469414,
            4: -0.868219346841726,
            5: 27.59209969944671,
            6: 20.154067550477894,
            7: -43.48988418106996,
        },
        {
            0: 0.47766253643826434,
            3: -2.4881146199716677,
            4: -0.590290826836843,
            5: 21.230051448181193,
            6: 15.279233632882423,
            7: -33.28821096898486,
            8: -0.020331201708508627,
        },
        {
            0: -0.9371424300859873,
            3: 5.186372428844064,
            4: 1.0914373489967295,
            5: -8.149787010746927,
            6: -18.52006565999696,
            7: 22.739487099350505,
            8: 2.4936055526796523,
            9: -3.0467644718982196,
        },
        {
            0: 2.273310147516538,
            3: -10.53449546673725,
            4: -2.0008720582248625,
            5: -17.9589318631188,
            6: 27.94888452941996,
            7: -2.8589982771350235,
            8: -8.87285693353063,
            9: 12.360567175794303,
            10: 0.6433927460157636,
        },
    ],
    weights={
        0: 0.054293734116568765,
        5: 4.450312892752409,
        6: 1.8915178993145003,
        7: -5.801203960010585,
        8: 0.3111643669578199,
        9: -0.1521609496625161,
        10: 0.20136540080403034,
        11: 0.04471061572777259,
    },
    errors=[
        {
            0: 0.01312004499419488,
            5: -1.2251564463762044,
            6: -0.4957589496572502,
            7: 1.6643771824549864,
            8: -0.35032884874997366,
            9: 0.3341791187130175,
            10: 0.08192320648511571,
            11: -0.022355307863886294,
        },
        {
            0: -0.18980075407240762,
            5: 4.450312892752409,
            6: 1.8915178993145003,
            7: -5.801203960010585,
            8: -0.4226823213237919,
            9: -0.1521609496625161,
            10: 0.20136540080403034,
            11: 0.02265179219836082,
        },
    ],
)
"""Dormand & Prince 8(5,3): Hairer, Norsett & Wanner, Solving ODEs I (1993), sec. II.10."""
