"""Pictures packed in RecordIO (.rec with .idx), as MXNet's `im2rec` and `mx.recordio` write them.

Read here, and not by `mx.io.ImageRecordIter`, so that a packed set gives the very batches that its
folder gives: a full shuffle, validation pictures cut from the training file, the same epoch for
any number of threads. ImageRecordIter's augmentation depends on its threads.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, List, Optional

import numpy as np

from ..errors import UserError

CLASSES = 2**20  # more than anybody has
MAGIC = struct.pack("<I", 0xCED7230A)
LABELLED = struct.Struct("<IfQQ")  # how many labels follow (0: the next one), label, two ids


class Records:
    """Records of a file in the order of their place in it; safe to read from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = path.with_suffix(".idx")
        if not index.is_file():
            raise UserError(
                f"{path} needs {index.name} beside it; data/prepare_imagenet.py makes both"
            )
        table = _table(index, int, "lines of key and offset")
        order = np.argsort(table[:, 1])
        self.keys, begins = table[order, 0], table[order, 1]
        if begins[0] < 0 or len(set(begins)) + len(set(self.keys)) < 2 * len(table):
            raise UserError(f"{index} has a key or an offset twice, or one below 0; make it again")
        self.bounds = np.append(begins, path.stat().st_size)
        self.file = os.open(path, os.O_RDONLY)
        self.labels = self._labels()

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def name(self, row: int) -> str:
        return f"{self.path}, record {self.keys[row]},"

    def content(self, row: int) -> bytes:
        record = self._record(int(self.bounds[row]), int(self.bounds[row + 1]), row)
        if len(record) < LABELLED.size:
            raise UserError(f"{self.name(row)} is cut off; pack the file again")
        return record[LABELLED.size + 4 * LABELLED.unpack_from(record)[0] :]

    def _labels(self) -> np.ndarray:
        """Labels from `im2rec`'s .lst when it is there, which saves a look at every record."""
        listed = self.path.with_suffix(".lst")
        if listed.is_file():
            table = _table(listed, float, "lines of key, label and name", "\t")
            by_key = dict(zip(table[:, 0], table[:, 1]))
            if all(key in by_key for key in self.keys):
                return self._whole(np.array([by_key[key] for key in self.keys]))
        labels = []
        for row, begin in enumerate(self.bounds[:-1]):
            head = self._read(int(begin), 8 + LABELLED.size + 4, row)
            several, label = LABELLED.unpack_from(head, 8)[:2]
            labels.append(
                struct.unpack_from("<f", head, 8 + LABELLED.size)[0] if several else label
            )
        return self._whole(np.array(labels))

    def _whole(self, labels: np.ndarray) -> np.ndarray:
        """Labels as whole numbers of classes, if that is what they are."""
        for row in np.flatnonzero(~((labels >= 0) & (labels < CLASSES) & (labels % 1 == 0))):
            raise UserError(
                f"{self.name(row)} has the label {labels[row]}; labels are whole numbers from 0"
            )
        return labels.astype(np.int64)

    def _read(self, begin: int, length: int, row: int) -> bytes:
        data = os.pread(self.file, max(length, 0), begin)  # a file cut off ends before it begins
        if len(data) < 8 + LABELLED.size or data[:4] != MAGIC:
            raise UserError(
                f"{self.name(row)} is cut off or not where the index says; pack it again"
            )
        return data

    def _record(self, begin: int, end: int, row: int) -> bytes:
        """A record's payload: parts that were split where they held the magic number, joined."""
        data = self._read(begin, end - begin, row)
        parts: List[bytes] = []
        at, kind = 0, 1
        while kind in (1, 2):  # 0 whole, 1 first, 2 middle, 3 last part
            if data[at : at + 4] != MAGIC:
                raise UserError(f"{self.name(row)} is broken; pack the file again")
            word = struct.unpack_from("<I", data.ljust(at + 8, b"\0"), at + 4)[0]
            kind, length = word >> 29, word & (2**29 - 1)
            parts.append(data[at + 8 : at + 8 + length])
            if len(parts[-1]) < length:
                raise UserError(f"{self.name(row)} is cut off; pack the file again")
            at += 8 + (length + 3) // 4 * 4
        return MAGIC.join(parts)


def _table(path: Path, kind: Any, layout: str, delimiter: Optional[str] = None) -> np.ndarray:
    """The first two numbers of each line of a text file; without a delimiter there are no others.

    Not by numpy.loadtxt, which now and then does not survive bytes that are no numbers.
    """
    pairs = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in filter(str.strip, file):
                first, second, *rest = line.split(delimiter)
                pairs.append((kind(first), kind(second)))
                if rest and not delimiter:
                    raise ValueError
        table = np.array(pairs, np.int64 if kind is int else float)
    except (OSError, ValueError, OverflowError):
        pairs = []
    if not pairs or not np.isfinite(table).all():
        raise UserError(f"{path} must have {layout}; make it again")
    return table
