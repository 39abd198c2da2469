"""The runtime makes MXNet importable and quick, or ends in one sentence: every way it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from gluon_attention import runtime

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAKE_NUMPY = "__version__ = '1.23.5'\nbool = int = float = object = complex = str = None\n"


@pytest.fixture()
def site(tmp_path: Path) -> Path:
    """A folder before all others on the path of `run`, with a numpy that is quick to import."""
    write(tmp_path, "numpy", FAKE_NUMPY)
    return tmp_path


def write(site: Path, module: str, source: str) -> None:
    (site / module).mkdir()
    (site / module / "__init__.py").write_text(source)


def install(site: Path, *distributions: str) -> None:
    """Make pip's records say that these are installed."""
    for name in distributions:
        folder = site / f"{name.replace('-', '_')}-1.9.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.9.1\n")


def run(code: str, *path: Path, **environment: str) -> Tuple[str, str]:
    """Output and last line of errors of a Python that sees only `path` and the project.

    `-S` leaves out the packages that are installed for this Python.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    variables.update(environment, PYTHONPATH=os.pathsep.join(map(str, [*path, ROOT])))
    process = subprocess.run(
        [sys.executable, "-S", "-c", code], env=variables, stdout=-1, stderr=-1, text=True
    )
    return process.stdout.strip(), (process.stderr.strip().splitlines() or [""])[-1]


def import_error(site: Path) -> str:
    """The sentence that an import of what needs MXNet ends in, caught as an ImportError."""
    message, errors = run(
        "try:\n from gluon_attention import get_model\nexcept ImportError as error:\n"
        " print(type(error).__name__, isinstance(error, ValueError), error)",
        site,
    )
    assert message.startswith("RuntimeProblem True "), errors
    assert "\n" not in message
    return message


def test_no_mxnet(site: Path) -> None:
    assert "mxnet==1.9.1" in import_error(site)


def test_both_builds(site: Path) -> None:
    install(site, "mxnet", "mxnet-cu112")
    assert "pip uninstall mxnet mxnet-cu112" in import_error(site)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("libcuda.so.1: cannot open shared object file", "install the driver"),
        ("libcudnn.so.8: cannot open shared object file", "[cu112]"),
        ("libquadmath.so.0: cannot open shared object file", "apt-get install libquadmath0"),
        ("libgomp.so.1: cannot open shared object file", "apt-get install libgomp1"),
        ("libGL.so.1: cannot open shared object file", "apt-get install libgl1"),
        ("libodd-2.so.7: cannot open shared object file", "package that holds it"),
        ("out of patience", "install it again"),
    ],
)
def test_library_is_missing(message: str, remedy: str) -> None:
    message = runtime.explain(OSError(message))
    assert remedy in message and message.split(":")[0] in message
    assert "\n" not in message


def test_import_failures_of_mxnet_are_explained(site: Path) -> None:
    install(site, "mxnet")
    write(site, "mxnet", "raise OSError('libquadmath.so.0: cannot open shared object file')")
    assert "apt-get install libquadmath0" in import_error(site)


def test_missing_dependency_of_mxnet_is_named(site: Path) -> None:
    install(site, "mxnet")
    write(site, "mxnet", "import requests")
    assert "pip install requests" in import_error(site)


def test_an_opencv_that_cannot_load_is_reported(site: Path) -> None:
    install(site, "mxnet")
    write(site, "mxnet", "")
    write(site, "cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    assert "libgl1" in import_error(site)


def test_broken_cuda_library_is_named(site: Path) -> None:
    install(site, "mxnet-cu112")
    write(site, "mxnet", "")
    folder = site / "nvidia" / "cudnn" / "lib"
    folder.mkdir(parents=True)
    (folder / "libcudnn.so.8").write_bytes(b"not a library")
    assert "cannot load libcudnn.so.8" in import_error(site)


def test_cuda_libraries_are_loaded_in_order(tmp_path: Path, monkeypatch: Any) -> None:
    paths = [tmp_path / "nvidia" / "any" / "lib" / name for name in runtime.CUDA_LIBRARIES]
    for path in reversed(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    loaded: List[str] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(runtime.ctypes, "CDLL", loaded.append)
    runtime.preload_cuda()
    assert loaded == [str(path) for path in paths]


def test_an_mxnet_imported_earlier_is_left_alone(monkeypatch: Any) -> None:
    monkeypatch.setattr(runtime, "installed_build", lambda: pytest.fail("asked for the build"))
    runtime.prepare()


def test_an_unsupported_gpu_is_a_warning_at_import(monkeypatch: Any) -> None:
    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.setattr(runtime, "installed_build", lambda: "mxnet-cu112")
    monkeypatch.setattr(runtime, "visible_gpus", lambda: [runtime.GPU(0, (9, 0))])
    with pytest.warns(RuntimeWarning, match="capability 9.0"):
        runtime.prepare()


@pytest.mark.parametrize(("variables", "expected"), [({}, None), ({"OMP_NUM_THREADS": "3"}, "3")])
def test_threads(site: Path, variables: Dict[str, str], expected: str) -> None:
    install(site, "mxnet")
    program = "import os; print(os.environ['OMP_NUM_THREADS'])"
    write(site, "mxnet", program)
    write(site, "cv2", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    code = "import gluon_attention, mxnet"
    assert run(code, site, **variables)[0].splitlines()[:1] == [expected or str(cores)]


def test_a_program_that_cannot_be_imported_ends_in_one_line() -> None:
    environment = dict(os.environ, OMP_NUM_THREADS="abc", PYTHONPATH=str(ROOT))
    words = [sys.executable, "-m", "gluon_attention", "list"]
    process = subprocess.run(words, env=environment, stdout=-1, stderr=-1, text=True)
    (line,) = process.stderr.splitlines()
    assert process.returncode == 2 and line.startswith("error: OMP_NUM_THREADS is 'abc'")


@pytest.mark.parametrize("threads", ["abc", "0", "-3", "2,4", "1.5"])
def test_threads_on_which_mxnet_aborts_are_refused(monkeypatch: Any, threads: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with pytest.raises(runtime.RuntimeProblem, match=f"OMP_NUM_THREADS is '{threads}'"):
        runtime.set_threads()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "active 300000"),
        ({"OMP_WAIT_POLICY": "passive"}, "passive None"),
        ({"GOMP_SPINCOUNT": "0"}, "None 0"),
    ],
)
def test_idle_threads_spin_for_a_while(
    site: Path, variables: Dict[str, str], expected: str
) -> None:
    install(site, "mxnet")
    program = "import os; print(*map(os.environ.get, ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')))"
    write(site, "mxnet", program)
    write(site, "cv2", "")
    code = "import gluon_attention, mxnet"
    assert run(code, site, **variables)[0].splitlines()[:1] == [expected]


@pytest.mark.parametrize(
    ("capability", "fits"),
    [((3, 7), False), ((5, 0), True), ((8, 6), True), ((8, 9), True), ((9, 0), False)],
)
def test_capability(capability: Tuple[int, int], fits: bool) -> None:
    message = runtime.gpu_problem([runtime.GPU(0, (7, 0)), runtime.GPU(1, capability)])
    assert (message is None) == fits
    assert fits or "GPU 1 has compute capability {}.{},".format(*capability) in message


class Driver:
    """Two GPUs, as libcuda.so.1 tells of them; `status` is that of its calls."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 2
        return self.status

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = 10 + index  # a handle is not an index
        return self.status

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: device.value - 10}[number]
        return self.status


def test_the_driver_is_asked_for_its_gpus(monkeypatch: Any) -> None:
    monkeypatch.setattr(runtime.ctypes, "CDLL", {"libcuda.so.1": Driver()}.__getitem__)
    assert runtime.visible_gpus() == [runtime.GPU(0, (8, 0)), runtime.GPU(1, (8, 1))]
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: Driver(status=100))  # no device
    assert runtime.visible_gpus() == []


@pytest.mark.parametrize("version", [(3, 7), (3, 14)])
def test_setup_refuses_other_pythons_in_one_line(version: Tuple[int, int]) -> None:
    code = f"import sys; sys.version_info = {version}; exec(open('setup.py').read())"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=-1, stderr=-1)
    assert process.returncode == 1
    message = process.stderr.decode()
    assert message.count("\n") == 1 and "this is Python {}.{}:".format(*version) in message
