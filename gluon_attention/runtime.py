"""Preparation for the import of MXNet: threads, numpy names, CUDA libraries, error messages."""

from __future__ import annotations

import ctypes
import glob
import importlib
import importlib.util
import os
import re
import sys
import warnings
from importlib import metadata
from typing import List, NamedTuple, Optional, Sequence, Tuple

from . import numpy_names
from .errors import UserError
from .installation import pip_install, pip_install_mxnet

BUILDS = ("mxnet", "mxnet-cu112")  # the CPU and the CUDA build, both imported as `mxnet`
USE_CPU = f"`pip uninstall mxnet-cu112` and `{pip_install_mxnet('mxnet')}`"

# Libraries of the nvidia-*-cu11 wheels that mxnet-cu112 links to, dependencies first.
CUDA_LIBRARIES = (
    "libcudart.so.11.0",
    "libnvrtc.so.11.2",
    "libnvToolsExt.so.1",
    "libcublasLt.so.11",
    "libcublas.so.11",
    "libcufft.so.10",
    "libcurand.so.10",
    "libcusolver.so.11",
    "libnccl.so.2",
    "libcudnn.so.8",
)
SYSTEM_PACKAGES = {
    "libquadmath.so.0": "libquadmath0",
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
CAPABILITIES = ((5, 0), (8, 9))  # mxnet-cu112 1.9.1 has code for Maxwell to Ada, and no PTX


class RuntimeProblem(UserError, ImportError):
    """This machine or environment cannot run MXNet."""


class GPU(NamedTuple):
    """A device: its number for the driver, and its compute capability."""

    index: int
    capability: Tuple[int, int]


def prepare() -> None:
    """Prepare this process for `import mxnet`, or raise one sentence on why that cannot work."""
    set_threads()
    numpy_names.restore(importlib.import_module("numpy"))
    if "mxnet" in sys.modules:  # imported earlier by the caller: too late for the rest
        return
    if installed_build() == "mxnet-cu112":
        preload_cuda()
        problem = gpu_problem(visible_gpus())
        if problem:  # not an error: the CPU of this machine can still be used
            warnings.warn(problem, RuntimeWarning, stacklevel=3)


def set_threads() -> None:
    """Use every core, unless the environment sets a number: MXNet's default is half of them.

    MXNet starts more threads than there are cores. By default libgomp then puts idle threads to
    sleep at once, which doubles the time of one image. Under the active policy they spin first;
    GOMP_SPINCOUNT, libgomp's own default of ten microseconds, keeps that spin from being endless.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ.update(OMP_WAIT_POLICY="active", GOMP_SPINCOUNT="300000")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        if not threads.strip().isdecimal() or int(threads) == 0:  # MXNet would abort
            raise RuntimeProblem(
                f"OMP_NUM_THREADS is {threads!r}, and must be a number of threads: set it to 1 or "
                "more, or unset it"
            )
        return
    usable = getattr(os, "sched_getaffinity", None)  # Linux only; respects taskset and cpusets
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(cores)


def installed_build() -> Optional[str]:
    """The installed MXNet build, or None if `mxnet` is of no known distribution."""
    builds = [name for name in BUILDS if _is_installed(name)]
    if len(builds) == 2:
        raise RuntimeProblem(
            "mxnet and mxnet-cu112 are both installed and overwrite each other: run "
            "`pip uninstall mxnet mxnet-cu112`, then install one of them"
        )
    if not builds and importlib.util.find_spec("mxnet") is None:
        raise RuntimeProblem(
            f"MXNet is not installed: run `{pip_install_mxnet('mxnet')}` for the CPU, or for an "
            f"NVIDIA GPU `{pip_install_mxnet('mxnet-cu112')}` and `{pip_install('cu112')}`"
        )
    return builds[0] if builds else None


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def preload_cuda() -> None:
    """Load the CUDA libraries of the nvidia wheels, so that the linker finds them by soname."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for library in CUDA_LIBRARIES:
        for folder in folders:
            for path in glob.glob(os.path.join(glob.escape(folder), "*", "lib", library)):
                try:
                    ctypes.CDLL(path)
                except OSError as error:
                    raise RuntimeProblem(explain(error)) from error


def import_mxnet() -> None:
    """Import MXNet and OpenCV; without OpenCV, MXNet would fail later."""
    for module in ("mxnet", "cv2"):
        try:
            with warnings.catch_warnings():  # both use deprecated names of numpy and Python
                warnings.simplefilter("ignore", DeprecationWarning)
                importlib.import_module(module)
        except (OSError, ImportError) as error:
            raise RuntimeProblem(explain(error)) from error


def explain(error: Exception) -> str:
    """One sentence on a failed import: what is missing and how to get it."""
    if isinstance(error, ModuleNotFoundError):
        return f"the package '{error.name}' is not installed: run `pip install {error.name}`"
    match = re.search(r"lib[\w+.-]+?\.so[.\d]*", str(error))
    library = match.group() if match else ""
    if library.startswith("libcuda.so"):
        return (
            "mxnet-cu112 needs the NVIDIA driver (libcuda.so.1), which this machine lacks: install "
            f"the driver, or for the CPU {USE_CPU}"
        )
    if library in CUDA_LIBRARIES:
        return (
            f"mxnet-cu112 cannot load {library} ({error}): run `{pip_install('cu112')}`, "
            f"or for the CPU {USE_CPU}"
        )
    if library in SYSTEM_PACKAGES:
        package = SYSTEM_PACKAGES[library]
        return f"the system lacks {library}: run `apt-get install {package}` or the like"
    if library:
        return f"cannot load {library} ({error}): install the system package that holds it"
    return f"MXNet cannot be imported ({error}): uninstall and install it again"


def visible_gpus() -> List[GPU]:
    """The GPUs that the driver shows to this process; none without a working driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [
        GPU(i, (_attribute(driver, i, 75), _attribute(driver, i, 76))) for i in range(count.value)
    ]


def _attribute(driver: ctypes.CDLL, index: int, number: int) -> int:
    """An attribute of a device: 75 and 76 are the two parts of its compute capability."""
    value, device = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value


def gpu_problem(gpus: Sequence[GPU]) -> Optional[str]:
    """A sentence on the first GPU that mxnet-cu112 has no code for."""
    oldest, newest = CAPABILITIES
    for gpu in gpus:
        if not oldest <= gpu.capability <= newest:
            return (
                "GPU {} has compute capability {}.{}, but mxnet-cu112 1.9.1 runs on 5.0 to 8.9: "
                "hide it with CUDA_VISIBLE_DEVICES or use the CPU with `--num-gpus 0`"
            ).format(gpu.index, *gpu.capability)
    return None
