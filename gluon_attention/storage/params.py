"""`.params` files, as `mx.nd.save` writes them, read without trusting them.

MXNet's own reader believes every length in a file: a flipped bit makes it ask for terabytes or end
the process. Here each is held against what is left of the file.
"""

from __future__ import annotations

import math
import struct
from typing import Callable, Dict, List, Tuple

import numpy as np
from mxnet import nd
from mxnet.base import MXNetError

from ..errors import UserError
from .atomic import written_aside

LIST, OLD, DENSE, NUMPY = 0x112, 0xF993FAC8, 0xF993FAC9, 0xF993FACA  # magic numbers
AXES = 32
TYPES = {
    0: "float32",
    1: "float64",
    2: "float16",
    3: "uint8",
    4: "int32",
    5: "int8",
    6: "int64",
    7: "bool",
}


def read_parameters(path: str) -> Dict[str, nd.NDArray]:
    """Arrays of a file by name; a file that is no whole one of named arrays is refused."""
    try:
        with open(path, "rb") as file:
            arrays = _arrays(_Cursor(file.read()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (_Damaged, UnicodeDecodeError):
        raise UserError(
            f"{path} holds no named parameters: it is cut off, damaged or of another kind; "
            "name a whole file of weights"
        ) from None
    return {name: nd.array(array, dtype=array.dtype) for name, array in arrays.items()}


def write_parameters(path: str, save: Callable[[str], None]) -> None:
    """Let MXNet save a file, which does not always notice a full disk, and hold it against that."""
    nd.waitall()  # a forward pass may be changing the layout of weights, which nd.save does not see
    with written_aside(path) as aside:
        try:
            save(aside)
            with open(aside, "rb") as file:
                _arrays(_Cursor(file.read()))
        except (MXNetError, _Damaged) as error:
            if isinstance(error, MXNetError) and "filesys" not in str(error):
                raise
            raise OSError("the disk is full, or fails") from None


class _Damaged(Exception):
    """The bytes are not what they should be."""


class _Cursor:
    """A place in some bytes that never leaves them."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self.content) - self.at:
            raise _Damaged
        self.at += count
        return memoryview(self.content)[self.at - count : self.at]

    def numbers(self, form: str, count: int = 1) -> Tuple[int, ...]:
        form = f"<{count}{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def number(self, form: str) -> int:
        return self.numbers(form)[0]


def _arrays(cursor: _Cursor) -> Dict[str, np.ndarray]:
    if cursor.numbers("Q", 2) != (LIST, 0):
        raise _Damaged
    arrays: List[np.ndarray] = []
    for _ in range(cursor.number("Q")):
        arrays.append(_array(cursor))
    names = [bytes(cursor.take(cursor.number("Q"))).decode() for _ in range(cursor.number("Q"))]
    rest = len(cursor.content) - cursor.at
    if rest or not arrays or len(set(names)) != len(arrays) or len(names) != len(arrays):
        raise _Damaged
    return dict(zip(names, arrays))


def _array(cursor: _Cursor) -> np.ndarray:
    kind = cursor.number("I")
    if kind in (DENSE, NUMPY) and cursor.number("i") != 0:  # a sparse one
        raise _Damaged
    known = kind in (OLD, DENSE, NUMPY)
    axes = cursor.number("i") if known else kind  # files older than those begin with the axes
    if not (kind != NUMPY) <= axes <= AXES:
        raise _Damaged
    shape = cursor.numbers("q" if known else "I", axes)
    cursor.numbers("i", 2)  # the device it was on
    form = TYPES.get(cursor.number("i"))
    if form is None or min(shape, default=1) < 1:
        raise _Damaged
    count = math.prod(shape)
    values = np.frombuffer(cursor.take(count * np.dtype(form).itemsize), form)
    return values.reshape(shape)
