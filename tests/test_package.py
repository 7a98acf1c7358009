"""The package as a whole: what importing it loads, its public names, its docstrings."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import meanfluid

ROOT = Path(meanfluid.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
HEAVY = ("torch", "cupy", "sympy", "matplotlib", "heyoka")

PUBLIC = [  # of design.md, as far as they exist
    "VelocityField", "Axis", "fields", "flow_map", "trajectories", "Trajectories", "Status",
    "average_velocity", "lagrangian_mean", "eulerian_mean", "compare", "Tableau", "dop853",
    "rk4", "tsit5", "vern7", "TrajectoryError", "CheckpointError", "TrainingError",
    "MissingExtraError", "learning", "__version__",
]  # fmt: skip


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_and_using_the_package_loads_no_library_that_few_need():
    program = """
import sys, meanfluid as mf
u = mf.average_velocity(mf.fields.rotation(), [(1.0, 0.0)], 0.0, 1.0)
print(*sys.modules)
"""
    loaded = set(python(program).split())
    assert "numba" in loaded and not loaded & set(HEAVY), loaded & set(HEAVY)


def test_the_public_names_exist():
    for name in PUBLIC:
        assert hasattr(meanfluid, name), name
    assert not hasattr(meanfluid, "no_such_name")
    with pytest.raises(AttributeError, match="module 'meanfluid' has no attribute 'velocity'"):
        _ = meanfluid.velocity


def test_public_names_have_docstrings():
    for name, value in vars(meanfluid).items():
        if not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
            assert (inspect.getdoc(value) or "").strip(), name
            assert value.__doc__ and not value.__doc__.startswith(f"{name}("), name
    for name in vars(meanfluid.fields):
        value = getattr(meanfluid.fields, name)
        if not name.startswith("_") and inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_about(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring and docstring.split("\n")[0].endswith((".", ":", "?")), docstring


def test_the_version_is_that_of_the_installed_distribution():
    from importlib.metadata import version

    assert meanfluid.__version__ == version("meanfluid")
