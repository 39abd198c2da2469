"""The native library, loaded into MXNet if it is built."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from typing import Dict, List, Optional, Sequence

import numpy as np
from mxnet import nd
from mxnet._ctypes.ndarray import _imperative_invoke
from mxnet.base import _LIB, MXNetError, OpHandle, c_str, check_call, mx_uint

NAME = "libgluon_attention.so"
HERE = os.path.dirname(os.path.abspath(__file__))
OPERATOR = "gluon_attention_native"

_loaded: Optional[Library] = None
_tried = False


class Library:
    """The functions of the library that Python calls."""

    def __init__(self, path: str) -> None:
        # mx.library.load would also generate all functions of mx.nd and mx.sym again, in 2 seconds.
        check_call(_LIB.MXLoadLib(c_str(path), mx_uint(0)))
        self._operator = OpHandle()
        check_call(_LIB.NNGetOpHandle(c_str(OPERATOR), ctypes.byref(self._operator)))
        self.path = path
        self._handle = ctypes.CDLL(path)  # the handle that MXNet has opened already
        for name in ("error", "instruction_set", "profiled"):
            getattr(self._handle, f"gluon_attention_{name}").restype = ctypes.c_char_p
        self._handle.gluon_attention_memory.restype = ctypes.c_size_t

    def run(self, number: int, arrays: Sequence[nd.NDArray]) -> List[nd.NDArray]:
        """The outputs of a program for images and parameters, recorded by autograd."""
        options = (["program"], [number], None, False, True)
        return _imperative_invoke(self._operator.value, arrays, *options)

    def program(self, text: str) -> int:
        """The number of a program, for the operator."""
        number = self._handle.gluon_attention_program(text.encode())
        if number < 0:
            raise ValueError(self._handle.gluon_attention_error().decode())
        return number

    def constant(self, number: int, values: np.ndarray) -> None:
        """Copy the values of a parameter to the end of the constants of an inference program."""
        values = np.ascontiguousarray(values, np.float32)
        pointer = values.ctypes.data_as(ctypes.c_void_p)
        shape = values.ctypes.shape_as(ctypes.c_int64)
        self._handle.gluon_attention_constant(number, pointer, shape, values.ndim)

    def forget(self, number: int) -> None:
        """Free an inference program after its current calls have ended."""
        self._handle.gluon_attention_forget(number)

    @property
    def instruction_set(self) -> str:
        """The instruction set that oneDNN may use here, such as AVX512_CORE_AMX."""
        return self._handle.gluon_attention_instruction_set().decode()

    @property
    def has_bfloat16(self) -> bool:
        """Whether oneDNN computes in bfloat16 here at all."""
        return self.instruction_set.startswith("AVX512")

    @property
    def bfloat16_pays(self) -> bool:
        """Whether bfloat16 is faster than float32 on this processor."""
        return bool(self._handle.gluon_attention_bfloat16_pays())

    def memory(self) -> int:
        """Bytes allocated for features and gradients."""
        return self._handle.gluon_attention_memory()

    def profile(self, on: bool) -> None:
        """Reset the times of all steps, and switch the measurement on or off."""
        self._handle.gluon_attention_profile(int(on))

    def profiled(self) -> Dict[str, float]:
        """Seconds by kind of step."""
        lines = self._handle.gluon_attention_profiled().decode().splitlines()
        return {name: float(seconds) for seconds, _, name in (x.partition(" ") for x in lines)}


def library() -> Optional[Library]:
    """The library; None if it is not built, or built from other sources."""
    global _loaded, _tried
    if not _tried:
        _tried = True
        path = _path()
        if path:
            try:
                _loaded = Library(path)
            except (OSError, MXNetError):  # oneDNN was uninstalled, or another MXNet
                _loaded = None
    return _loaded


def folders() -> List[str]:
    """Folders of the library: the package, then the user's cache; or that of the environment."""
    if os.environ.get("GLUON_ATTENTION_NATIVE"):
        return [os.environ["GLUON_ATTENTION_NATIVE"]]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return [os.path.join(HERE, "built"), os.path.join(cache, "gluon_attention", version)]


def stamp() -> str:
    """A digest of sources and compiler options; a library with another one is not used."""
    digest = hashlib.sha256()
    source = os.path.join(HERE, "source")
    names = [os.path.join("source", name) for name in sorted(os.listdir(source))]
    for name in ["build.py", *(name for name in names if name.endswith((".cc", ".h")))]:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(name.encode() + file.read())
    return digest.hexdigest()[:16]


def _path() -> str:
    for folder in folders():
        path = os.path.join(folder, NAME)
        try:
            with open(path + ".stamp", encoding="utf-8") as file:
                if file.read().startswith(stamp()):
                    return path
        except OSError:
            continue
    return ""
