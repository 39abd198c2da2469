"""Compiles the native library if a C++ compiler and oneDNN are installed.

`python -m gluon_attention.native.build` writes it beside this file, or into the user's cache where
the package is read-only, and says in one line what it did. It never fails for want of a compiler.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .loader import NAME, folders, stamp

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "source")
WHEELS = "onednn-cpu-gomp and onednn-devel-cpu-gomp"
# What is compiled for each instruction set.
LOOPS_OF = ("kernels.cc", "tiles.cc")
LEVELS = {
    "base": [],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
COMMON = ["-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra"]
LOOPS = ["-fno-math-errno", "-fno-trapping-math"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]


class Tools(NamedTuple):
    """Files that the library is compiled with."""

    compiler: List[str]
    includes: List[str]
    onednn: str  # libdnnl.so.3


class Missing(Exception):
    """The reason why the library cannot be built."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Build the library, or print in one line why that is impossible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="also where it is up to date")
    parser.add_argument("--asan", action="store_true", help="with the address sanitizer")
    flags = parser.parse_args(argv)
    try:
        path, fresh = build(flags.force, flags.asan)
    except Missing as reason:
        print(f"native library: not built, {reason}; training works without it")
        return 0
    print(f"native library: {'built ' if fresh else 'up to date, '}{path}")
    return 0


def build(force: bool = False, sanitize: bool = False) -> Tuple[str, bool]:
    """The path of the library, and whether this call compiled it."""
    tools = find_tools()
    folder = _writable()
    target = os.path.join(folder, NAME)
    mark = f"{stamp()}{' asan' if sanitize else ''} {tools.onednn}\n"
    if not force and os.path.exists(target) and _read(target + ".stamp") == mark:
        return target, False
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = _link(tools, _compile(tools, scratch, sanitize), scratch, sanitize)
        os.replace(library, target)  # whole at any moment: half a library would crash its user
    with open(target + ".stamp", "w", encoding="utf-8") as file:
        file.write(mark)
    return target, True


def find_tools() -> Tools:
    """The compiler of this machine, MXNet's header, oneDNN's headers and library."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Missing("it is for Linux on x86-64")
    compiler_words = os.environ.get("CXX", "")
    compiler = shlex.split(compiler_words) or [next(filter(shutil.which, ("g++", "clang++")), "")]
    if not shutil.which(compiler[0] or " "):
        raise Missing("there is no C++ compiler (g++ or clang++, or CXX in the environment)")
    mxnet = find_spec("mxnet")
    if mxnet is None or not mxnet.origin:
        raise Missing("MXNet is not installed")
    header = os.path.join(os.path.dirname(mxnet.origin), "include")
    if not os.path.exists(os.path.join(header, "mxnet", "lib_api.h")):
        raise Missing("this build of MXNet has no mxnet/lib_api.h")
    prefix = sysconfig.get_paths()["data"]
    headers, library = os.path.join(prefix, "include"), os.path.join(prefix, "lib", "libdnnl.so.3")
    if not os.path.exists(library) or not os.path.exists(os.path.join(headers, "dnnl.hpp")):
        raise Missing(f"{WHEELS} are not installed")
    return Tools(compiler, ["-isystem", header, "-isystem", headers], library)


def _compile(tools: Tools, folder: str, sanitize: bool) -> List[str]:
    """Object files of all sources, two at a time."""
    jobs = []
    for name in sorted(os.listdir(SOURCES)):
        source = os.path.join(SOURCES, name)
        if name in LOOPS_OF:
            for level, flags in LEVELS.items():
                options = [f"-DLEVEL={level}", *LOOPS, *flags]
                jobs.append((source, f"{name[:-3]}_{level}.o", options))
        elif name.endswith(".cc"):
            jobs.append((source, name[:-3] + ".o", []))

    def one(job: Tuple[str, str, List[str]]) -> str:
        source, name, flags = job
        path = os.path.join(folder, name)
        options = [*COMMON, *(SANITIZED if sanitize else []), *flags]
        _run([*tools.compiler, *options, *tools.includes, "-c", source, "-o", path])
        return path

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, jobs))


def _link(tools: Tools, objects: Sequence[str], folder: str, sanitize: bool) -> str:
    path = os.path.join(folder, NAME)
    where = os.path.dirname(tools.onednn)
    # As pip installs both, seen from the package; then where oneDNN was at build time.
    search = f"-Wl,-rpath,$ORIGIN/../../../../..:{where}"
    options = [*COMMON, *(SANITIZED if sanitize else [])]
    _run([*tools.compiler, *options, "-shared", *objects, tools.onednn, search, "-o", path])
    return path


def _run(command: Sequence[str]) -> None:
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        lines = process.stderr.splitlines() or ["nothing"]
        error = next((line for line in lines if "error" in line), lines[0])
        raise Missing(f"the compiler says: {error.strip()}")


def _writable() -> str:
    """The first folder for the library that can be written."""
    for folder in folders():
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise Missing("neither the package nor the cache folder can be written")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
