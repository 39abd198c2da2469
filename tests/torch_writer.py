"""Writes files as torch.save does, without PyTorch."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np


class PickledCall(NamedTuple):
    """A call that the pickle makes when it is loaded."""

    path: Any
    arguments: Tuple[Any, ...]


class PickledObject(NamedTuple):
    """An object of a class that is not installed here."""

    path: str
    state: Dict[str, Any]


class TensorView(NamedTuple):
    """A tensor as a file describes it: part of a storage."""

    base: np.ndarray
    offset: int
    shape: Tuple[Any, ...]
    strides: Tuple[int, ...]


class TorchWriter:
    """Writes files as torch.save does, opcode by opcode; bytes are taken as a finished pickle."""

    call = staticmethod(lambda path, *arguments: PickledCall(path, arguments))
    whole, view = PickledObject, TensorView
    TYPES = {"f4": "Float", "f8": "Double", "f2": "Half", "u2": "BFloat16", "i8": "Long"}

    def save(self, file: Path, value: Any, old: bool = False, claim: int = 0) -> str:
        """Write a file and return its path.

        Args:
            old: the format before zip archives.
            claim: number of elements that storages claim to hold; 0 for the true one.
        """
        self.storages: List[np.ndarray] = []
        self.claim = claim
        pickled = value if isinstance(value, bytes) else b"\x80\x02" + self.write(value) + b"."
        raw = [np.ascontiguousarray(base).tobytes() for base in self.storages]
        if old:
            keys = b"(" + b"".join(self.write(str(key)) for key in range(len(raw))) + b"l"
            keys = b"](" + keys[1:-1] + b"e" if raw else b"]"
            magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
            head = magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}X\x01\0\0\0aK\x01s."
            body = b"".join(
                struct.pack("<q", base.size) + data for base, data in zip(self.storages, raw)
            )
            file.write_bytes(head + pickled + b"\x80\x02" + keys + b"." + body)
        else:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("net/data.pkl", pickled)
                for key, data in enumerate(raw):
                    archive.writestr(f"net/data/{key}", data)
                archive.writestr("net/version", "3\n")
        return str(file)

    def write(self, value: Any) -> bytes:
        """Opcodes of a value."""
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            start = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            steps = tuple(step // value.itemsize for step in value.strides)
            value = TensorView(base, start // value.itemsize, value.shape, steps)
        if isinstance(value, TensorView):
            rest = (
                value.offset,
                value.shape,
                value.strides,
                False,
                PickledCall("collections.OrderedDict", ()),
            )
            arguments = b"(" + self.storage(value.base) + b"".join(map(self.write, rest)) + b"t"
            return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
        if isinstance(value, PickledCall):
            return self.path(value.path) + self.write(tuple(value.arguments)) + b"R"
        if isinstance(value, PickledObject):
            return self.path(value.path) + b")\x81" + self.write(value.state) + b"b"
        if isinstance(value, dict):
            return b"}(" + b"".join(map(self.write, sum(value.items(), ()))) + b"u"
        if isinstance(value, (tuple, list)):
            inner = b"".join(map(self.write, value))
            return b"(" + inner + b"t" if isinstance(value, tuple) else b"](" + inner + b"e"
        if isinstance(value, str):
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        plain = {None: b"N", True: b"\x88", False: b"\x89"}
        if value is None or isinstance(value, bool):
            return plain[value]
        length = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)

    def path(self, path: Any) -> bytes:
        if isinstance(path, PickledCall):
            return self.write(path)
        module, _, name = path.rpartition(".")
        return f"c{module}\n{name}\n".encode()

    def storage(self, base: np.ndarray) -> bytes:
        keys = [number for number, other in enumerate(self.storages) if other is base]
        key = keys[0] if keys else len(self.storages)
        if not keys:
            self.storages.append(base)
        kind = self.path(f"torch.{self.TYPES[base.dtype.str[1:]]}Storage")
        about = (str(key), "cuda:0", self.claim or base.size)
        return b"(" + self.write("storage") + kind + b"".join(map(self.write, about)) + b"tQ"
