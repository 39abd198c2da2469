"""`.params` files, as `mx.nd.save` writes them, with every length checked.

MXNet's own reader trusts the lengths in a file: a flipped bit makes it allocate terabytes or abort
the process. This reader checks each length against the rest of the file.
"""

from __future__ import annotations

import math
import struct
from typing import Callable, Dict, List, Tuple

import numpy as np
from mxnet import nd
from mxnet.base import MXNetError

from ..errors import UserError
from .atomic import atomic_file, read_bytes

LIST, OLD, DENSE, NUMPY = 0x112, 0xF993FAC8, 0xF993FAC9, 0xF993FACA  # magic numbers
MAX_AXES = 32
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
    """Named arrays of a file; a damaged file, or one of unnamed arrays, is refused."""
    try:
        arrays = _arrays(_Cursor(read_bytes(path)))
    except (_Damaged, UnicodeDecodeError):
        raise UserError(
            f"{path} holds no named parameters: it is cut off, damaged or of another kind; "
            "name a whole file of weights"
        ) from None
    return {name: nd.array(array, dtype=array.dtype) for name, array in arrays.items()}


def write_parameters(path: str, save: Callable[[str], None]) -> None:
    """Write a file by `save` and read it back, as MXNet does not always notice a full disk."""
    nd.waitall()  # a forward pass may still be changing the memory layout of weights
    with atomic_file(path) as temporary:
        try:
            save(temporary)
            _arrays(_Cursor(read_bytes(temporary)))
        except (MXNetError, _Damaged) as error:
            if isinstance(error, MXNetError) and "filesys" not in str(error):
                raise
            raise OSError("the disk is full, or fails") from None


class _Damaged(Exception):
    """The content is not that of a `.params` file."""


class _Cursor:
    """A position in some bytes; reading beyond their end raises `_Damaged`."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self.content) - self.position:
            raise _Damaged
        self.position += count
        return memoryview(self.content)[self.position - count : self.position]

    def numbers(self, code: str, count: int = 1) -> Tuple[int, ...]:
        """So many numbers of a type code of `struct`."""
        code = f"<{count}{code}"
        return struct.unpack(code, self.take(struct.calcsize(code)))

    def number(self, code: str) -> int:
        return self.numbers(code)[0]


def _arrays(cursor: _Cursor) -> Dict[str, np.ndarray]:
    if cursor.numbers("Q", 2) != (LIST, 0):
        raise _Damaged
    arrays: List[np.ndarray] = []
    for _ in range(cursor.number("Q")):
        arrays.append(_array(cursor))
    names = [bytes(cursor.take(cursor.number("Q"))).decode() for _ in range(cursor.number("Q"))]
    rest = len(cursor.content) - cursor.position
    if rest or not arrays or len(set(names)) != len(arrays) or len(names) != len(arrays):
        raise _Damaged
    return dict(zip(names, arrays))


def _array(cursor: _Cursor) -> np.ndarray:
    kind = cursor.number("I")
    if kind in (DENSE, NUMPY) and cursor.number("i") != 0:  # a sparse array
        raise _Damaged
    has_magic = kind in (OLD, DENSE, NUMPY)  # the oldest files begin with the number of axes
    axes = cursor.number("i") if has_magic else kind
    if not (kind != NUMPY) <= axes <= MAX_AXES:
        raise _Damaged
    shape = cursor.numbers("q" if has_magic else "I", axes)
    cursor.numbers("i", 2)  # the device it was on
    dtype = TYPES.get(cursor.number("i"))
    if dtype is None or min(shape, default=1) < 1:
        raise _Damaged
    count = math.prod(shape)
    values = np.frombuffer(cursor.take(count * np.dtype(dtype).itemsize), dtype)
    return values.reshape(shape)
