"""The CUDA engine: in Numba's simulator, compiled without a GPU, and (marked gpu) on one."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cuda_cases
import numpy as np
import own_fields
import pytest

from meanfluid import fields
from meanfluid.backends import devices
from meanfluid.backends.evaluation import layout_of, source_of
from meanfluid.trajectories.problem import Settings, assembled
from meanfluid.trajectories.tableaux import rk4

HERE = Path(__file__).parent
CODES = ("status", "steps", "strayed")


@pytest.fixture(scope="module")
def simulated():
    """All cases, once, in a process whose CUDA is simulated in Python."""
    pytest.importorskip("numba_cuda")
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "cuda_cases.py"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", [name for name, *_ in cuda_cases.cases()])
def test_one_thread_for_each_particle_gives_what_blocks_of_lanes_give(simulated, case):
    """The simulator runs the same source; only the number of lanes differs, so bits agree."""
    report = simulated["cases"][case]
    for name, value in report.items():
        if name in CODES:
            assert value[0] == value[1], (name, value)
        else:
            assert value <= 1e-14, (name, value)


def test_steps_of_the_cpu_converge_at_the_order_where_those_of_the_gpu_are_tested(simulated):
    orders = simulated["orders"]
    assert [tuple(pair) for *pair, _, _ in orders] == cuda_cases.EVERY
    for scheme, family, order, errors in orders:
        expected = cuda_cases.SCHEMES[scheme].order
        assert order == pytest.approx(expected, abs=0.2), (scheme, family, errors)


def variant_and_kernel(field, observables=(), *, deformed=False, **options):
    from meanfluid.trajectories import kernels_cuda

    layout = layout_of(field, observables, carried=True, deformed=deformed)
    problem = assembled(field, layout, Settings(**(cuda_cases.DEFAULTS | options)), 0)
    variant = kernels_cuda.variant_of(problem)
    return variant, kernels_cuda.kernel(source_of(field), observables, layout, variant)


def assembly(monkeypatch, compiled, capability, *, single=False):
    """Return the PTX of a kernel, compiled where there is no GPU."""
    pytest.importorskip("numba_cuda")
    pytest.importorskip("cuda.core")
    from numba import cuda

    from meanfluid.trajectories import kernels_cuda

    monkeypatch.setattr(
        "numba.cuda.dispatcher.get_current_device",
        lambda: SimpleNamespace(compute_capability=capability),
    )
    types = kernels_cuda.signature(single=single)
    ptx, _ = cuda.compile_ptx(compiled.py_func, types, cc=capability)
    return ptx


def check_assembly(ptx, capability, local_bytes):
    """One entry, for the architecture, all arithmetic in double precision, little memory."""
    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    assert len(re.findall(r"\.visible \.entry", ptx)) == 1
    assert not re.findall(r"(?:add|sub|mul|fma|div|sqrt|rcp)\.[a-z.]*f32", ptx)
    memory = [int(n) for n in re.findall(r"\.local .*__local_depot\d+\[(\d+)\]", ptx)]
    assert sum(memory) <= local_bytes, memory


@pytest.mark.parametrize("capability", [pytest.param((8, 0), marks=pytest.mark.slow), (9, 0)])
def test_the_kernel_compiles_for_gpus_that_are_not_there(monkeypatch, capability):
    """Equal steps of a formula: no stage may be left in memory."""
    _, kernel = variant_and_kernel(fields.double_gyre(), scheme=rk4, steps=20, estimate_error=False)
    check_assembly(assembly(monkeypatch, kernel, capability), capability, 512)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize(
    "case", ["adaptive", "gradient", "modes", "samples", "float32 samples", "exact"]
)
def test_all_kinds_of_kernels_compile_for_gpus_that_are_not_there(monkeypatch, case, capability):
    from meanfluid.trajectories import kernels_cuda

    single = case == "float32 samples"
    field = {
        "modes": cuda_cases.waves,
        "samples": cuda_cases.gridded,
        "float32 samples": lambda: cuda_cases.gridded("float32"),
    }.get(case, fields.double_gyre)()
    graded = case == "gradient"
    observables = (cuda_cases.stirring,) if graded else ()
    variant, kernel = variant_and_kernel(field, observables, deformed=graded)
    if case == "exact":
        layout = layout_of(field, (), carried=True, deformed=False)
        kernel = kernels_cuda.kernel(source_of(field), (), layout, variant.again)
    ptx = assembly(monkeypatch, kernel, capability, single=single)
    check_assembly(ptx, capability, 4096)


def test_a_kernel_is_compiled_once_for_all_parameters_and_tolerances():
    pytest.importorskip("numba_cuda")
    _, one = variant_and_kernel(fields.double_gyre())
    _, other = variant_and_kernel(fields.double_gyre(amplitude=0.2), rtol=1e-4)
    assert one is other


# What follows needs a GPU.


def on_gpu(array):
    return devices.cupy_library().asarray(array)


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(5)
    return rng.random((20_000, 2)) * [2.0, 1.0]


@pytest.mark.gpu
@pytest.mark.parametrize("case", [name for name, *_ in cuda_cases.cases()])
def test_gpu_and_cpu_agree(case):
    """Fused operations change last bits; the codes and the number of steps are the same."""
    arguments, options = next((a, o) for name, a, o in cuda_cases.cases() if name == case)
    on_cpu, there = cuda_cases.both(*arguments, gpu=on_gpu, **options)
    report = cuda_cases.compared(on_cpu, there)
    assert report["status"][0] == report["status"][1]
    assert report["strayed"][0] == report["strayed"][1]
    if case != "not finite":  # stuck where the last bit decides
        assert report["travelled"] <= 1e-11, report


@pytest.mark.gpu
@pytest.mark.parametrize("scheme, family", cuda_cases.EVERY)
def test_a_step_agrees_within_four_units_in_the_last_place_of_the_position(scheme, family):
    """The GPU fuses products and sums, which turns last bits of the arguments of the sines."""
    place = np.random.default_rng(5).uniform(-0.9, 0.9, (20_000, 2))
    start, steps = np.linspace(0.0, 3.0, len(place)), 8
    (field, *_), options = cuda_cases.equal_steps(scheme, family, steps)
    on_cpu, there = cuda_cases.both(field, place, start, [[0.5]], gpu=on_gpu, **options)
    reached = np.abs(place + on_cpu.travelled[:, 0]).max()
    ulps = np.abs(there.travelled[:, 0] - on_cpu.travelled[:, 0]) / np.spacing(reached)
    assert ulps.max() <= 4.0 * steps, ulps.max()


@pytest.mark.gpu
@pytest.mark.parametrize("scheme, family", cuda_cases.EVERY)
def test_steps_of_the_gpu_converge_at_the_order_of_the_scheme(scheme, family):
    """For every scheme and family, by the kernels of the test above."""

    def on_card(*arguments, **options):
        return cuda_cases.both(*arguments, gpu=on_gpu, **options)[1].travelled[:, 0]

    order, errors = cuda_cases.observed_order(scheme, family, on_card)
    assert order == pytest.approx(cuda_cases.SCHEMES[scheme].order, abs=0.2), errors


@pytest.mark.gpu
def test_steps_of_the_gpu_reach_the_closed_form():
    field, x = own_fields.unsteady_rotation(), np.array([[0.6, 0.1], [-0.3, 0.9]])
    _, there = cuda_cases.both(field, x, [0.3, 0.3], [[4.0]], gpu=on_gpu, rtol=1e-13)
    exact = own_fields.displaced(field, x, 0.3, 4.3)
    np.testing.assert_allclose(there.travelled[:, 0], exact, rtol=0, atol=1e-13)


@pytest.mark.gpu
def test_results_depend_neither_on_slices_nor_on_neighbours_nor_on_the_side(cloud, monkeypatch):
    """Many slices or one, another order, from the host or from the GPU: the same bits."""
    from meanfluid.trajectories import launch_cuda

    field, start, offsets = fields.double_gyre(), np.zeros(len(cloud)), np.array([[5.0]])
    _, whole = cuda_cases.both(field, cloud, start, offsets, gpu=on_gpu)
    order = np.random.default_rng(0).permutation(len(cloud))
    _, mixed = cuda_cases.both(field, cloud[order], start, offsets, gpu=on_gpu)
    _, from_host = cuda_cases.both(field, cloud, start, offsets)
    monkeypatch.setattr(launch_cuda, "_THREADS", 32)
    monkeypatch.setattr(launch_cuda, "_next_size", lambda length, seconds: 96)
    monkeypatch.setattr(launch_cuda, "_fitting", lambda *_, **__: 1000)
    _, sliced = cuda_cases.both(field, cloud, start, offsets)
    _, sliced_there = cuda_cases.both(field, cloud, start, offsets, gpu=on_gpu)
    for other in (from_host, sliced, sliced_there):
        np.testing.assert_array_equal(other.travelled, whole.travelled)
        np.testing.assert_array_equal(other.steps, whole.steps)
    np.testing.assert_array_equal(mixed.travelled, whole.travelled[order])


@pytest.mark.gpu
def test_arrays_stay_where_they_are(cloud):
    """No copy of the particles is made, and results are born beside them."""
    from meanfluid.trajectories import launch_cuda

    cupy = pytest.importorskip("cupy")
    field = fields.double_gyre()
    layout = layout_of(field, (), carried=True, deformed=False)
    problem = assembled(field, layout, Settings(**cuda_cases.DEFAULTS), 0)
    x, zero, one = on_gpu(cloud), on_gpu(np.zeros(len(cloud))), on_gpu(np.ones((1, 1)))
    reported = []
    output = launch_cuda.run(
        field, (), layout, problem, x, zero, one, progress=lambda *both: reported.append(both)
    )
    assert all(isinstance(array, cupy.ndarray) for array in output)
    assert {array.device.id for array in output} == {x.device.id}
    np.testing.assert_array_equal(x.get(), cloud)
    assert reported[-1] == (len(cloud), len(cloud))


@pytest.mark.gpu
def test_torch_and_cupy_give_the_same_numbers_on_any_stream(cloud):
    from meanfluid.trajectories import launch_cuda

    torch = pytest.importorskip("torch")
    field = fields.double_gyre()
    layout = layout_of(field, (), carried=True, deformed=False)
    problem = assembled(field, layout, Settings(**cuda_cases.DEFAULTS), 0)
    _, expected = cuda_cases.both(field, cloud, np.zeros(len(cloud)), [[2.0]], gpu=on_gpu)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.as_tensor(cloud, device="cuda")
        start, offsets = torch.zeros(len(x), device="cuda"), torch.full((1, 1), 2.0, device="cuda")
        home = devices.home_of(x)
        output = launch_cuda.run(field, (), layout, problem, x, start.double(), offsets.double())
        travelled = home.give(output.travelled)
    stream.synchronize()
    assert home.stream == stream.cuda_stream
    assert travelled.device == x.device
    np.testing.assert_array_equal(travelled.cpu().numpy(), expected.travelled)


@pytest.mark.gpu
def test_an_error_in_progress_leaves_the_gpu_usable(cloud):
    from meanfluid.trajectories import launch_cuda

    field = fields.double_gyre()
    layout = layout_of(field, (), carried=True, deformed=False)
    problem = assembled(field, layout, Settings(**cuda_cases.DEFAULTS), 0)
    arguments = field, (), layout, problem, cloud, np.zeros(len(cloud)), np.ones((1, 1))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch_cuda.run(*arguments, progress=stop)
    assert math.isfinite(launch_cuda.run(*arguments).travelled.sum())
