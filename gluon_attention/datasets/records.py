"""Pictures packed in RecordIO (.rec with .idx), as MXNet's `im2rec` and `mx.recordio` write them.

`mx.io.ImageRecordIter` is not used because its augmentation depends on the number of threads and
it shuffles within a buffer only; `mx.recordio.MXIndexedRecordIO` is not because all threads would
share its seek position. With this reader a packed data set has the same batches as its folder: a
full shuffle, held-out validation images, the same epoch for any number of threads.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import List

import numpy as np

from ..errors import UserError

MAX_CLASSES = 2**20
MAGIC = struct.pack("<I", 0xCED7230A)
HEADER = struct.Struct("<IfQQ")  # number of labels that follow (0: the next field), label, two ids


class Records:
    """Records of a file in the order of their offsets; safe to read from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = path.with_suffix(".idx")
        if not index.is_file():
            raise UserError(
                f"{path} needs {index.name} beside it; data/prepare_imagenet.py writes both"
            )
        table = _read_index(index)
        order = np.argsort(table[:, 1])
        self.keys, offsets = table[order, 0], table[order, 1]
        if offsets[0] < 0 or len(set(offsets)) + len(set(self.keys)) < 2 * len(table):
            raise UserError(
                f"{index} has a key or an offset twice, or one below 0; create it again"
            )
        self.bounds = np.append(offsets, path.stat().st_size)
        self.file = os.open(path, os.O_RDONLY)
        self.labels = self._read_labels()

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def name(self, row: int) -> str:
        return f"{self.path}, record {self.keys[row]},"

    def content(self, row: int) -> bytes:
        payload = self._read_payload(row)
        if len(payload) < HEADER.size:
            raise UserError(f"{self.name(row)} is cut off; pack the file again")
        return payload[HEADER.size + 4 * HEADER.unpack_from(payload)[0] :]

    def _read_labels(self) -> np.ndarray:
        """The label of every record, or the first of several."""
        labels = np.empty(len(self.keys))
        for row, offset in enumerate(self.bounds[:-1]):
            data = self._read(int(offset), 8 + HEADER.size + 4, row)
            count, label = HEADER.unpack_from(data, 8)[:2]
            labels[row] = struct.unpack_from("<f", data, 8 + HEADER.size)[0] if count else label
        valid = (labels >= 0) & (labels < MAX_CLASSES) & (labels % 1 == 0)
        for row in np.flatnonzero(~valid):
            raise UserError(
                f"{self.name(row)} has the label {labels[row]}; labels are whole numbers from 0"
            )
        return labels.astype(np.int64)

    def _read(self, offset: int, length: int, row: int) -> bytes:
        data = os.pread(self.file, max(length, 0), offset)  # below 0: the offset is past the end
        if len(data) < 8 + HEADER.size or data[:4] != MAGIC:
            raise UserError(
                f"{self.name(row)} is cut off or not where the index says; pack it again"
            )
        return data

    def _read_payload(self, row: int) -> bytes:
        """A record without its frames; a payload is split where it contains the magic number."""
        start, end = int(self.bounds[row]), int(self.bounds[row + 1])
        data = self._read(start, end - start, row)
        parts: List[bytes] = []
        position, kind = 0, 1
        while kind in (1, 2):  # 0 whole, 1 first, 2 middle, 3 last part
            if data[position : position + 4] != MAGIC:
                raise UserError(f"{self.name(row)} is broken; pack the file again")
            word = struct.unpack_from("<I", data.ljust(position + 8, b"\0"), position + 4)[0]
            kind, length = word >> 29, word & (2**29 - 1)
            parts.append(data[position + 8 : position + 8 + length])
            if len(parts[-1]) < length:
                raise UserError(f"{self.name(row)} is cut off; pack the file again")
            position += 8 + (length + 3) // 4 * 4
        return MAGIC.join(parts)


def _read_index(path: Path) -> np.ndarray:
    """Keys and offsets, int64 (N, 2), read without numpy.loadtxt, which some bytes crash."""
    try:
        with open(path, encoding="utf-8") as file:
            pairs = [[int(word) for word in line.split()] for line in file if line.strip()]
        table = np.array(pairs, np.int64)
    except (OSError, TypeError, ValueError, OverflowError):
        table = np.empty(0)
    if table.ndim != 2 or table.shape[1] != 2:
        raise UserError(f"{path} must have lines of key and offset; create it again")
    return table
