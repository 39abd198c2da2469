"""Pictures of any size in folders, decoded in threads and transformed by a `View`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from ..errors import UserError
from .pictures import decode
from .records import Records
from .sampling import Samples
from .view import View

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class PictureFiles(NamedTuple):
    """Pictures in separate files; `records.Records` has the same two methods."""

    paths: Sequence[Path]

    def name(self, row: int) -> str:
        return str(self.paths[row])

    def content(self, row: int) -> bytes:
        try:
            return self.paths[row].read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", error)
            raise UserError(
                f"cannot read {self.name(row)}: {reason}; replace or remove it"
            ) from None


PictureSource = Union[PictureFiles, Records]


class Decoder:
    """Loads pictures of a source in threads.

    Each picture has its own random stream, so results do not depend on the number of threads.
    """

    def __init__(self, source: PictureSource, rows: np.ndarray, view: View, workers: int) -> None:
        self.source, self.rows, self.view, self.workers = source, rows, view, workers
        self.pool: Optional[ThreadPoolExecutor] = None
        cv2.setNumThreads(0)  # OpenCV's own threads would compete with these for the cores

    def load(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Inputs of some rows, float32 (N, 3, size, size)."""
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        out = np.empty((len(rows), 3, self.view.size, self.view.size), np.float32)
        streams = rng.integers(2**63, size=len(rows))

        def load_one(index: int) -> None:
            row = self.rows[rows[index]]
            picture = decode(self.source.content(row), self.source.name(row))
            out[index] = self.view(picture, np.random.default_rng(streams[index]))

        for _ in self.pool.map(load_one, range(len(rows))):
            continue  # raises the exceptions of the threads
        return out

    def content(self, row: int) -> bytes:
        """The view and the bytes of the file."""
        return repr(self.view).encode() + self.source.content(self.rows[row])


class Pictures(NamedTuple):
    """All labelled pictures of a source, from which the samples of each split are selected."""

    source: PictureSource
    labels: np.ndarray  # (N,)
    classes: int
    workers: int  # threads that decode

    def samples(self, rows: np.ndarray, view: View) -> Samples:
        decoder = Decoder(self.source, rows, view, self.workers)
        return Samples(self.labels[rows], self.classes, decoder.load, decoder.content)


def scan(
    folder: Path, index: Optional[Dict[str, int]] = None
) -> Tuple[List[Path], np.ndarray, List[str]]:
    """Paths, labels and class names of `folder/<class>/<picture>`, all sorted.

    Args:
        index: label by name of a class folder; None numbers the sorted folders.
    """
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    if index is None:
        index = {path.name: label for label, path in enumerate(folders)}
    unknown = [path.name for path in folders if path.name not in index]
    if unknown:
        raise UserError(
            f"{folder / unknown[0]} is not one of the {len(index)} classes, which are "
            f"{', '.join(list(index)[:3])} ...; rename or remove it"
        )
    paths: List[Path] = []
    labels: List[int] = []
    for path in folders:
        pictures = [p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES]
        if not pictures:
            raise UserError(
                f"{path} has no picture with a name in {', '.join(SUFFIXES)}; fill or remove it"
            )
        paths += pictures
        labels += [index[path.name]] * len(pictures)
    if not paths:
        raise UserError(f"{folder} has no <class>/<picture>, with a name in {', '.join(SUFFIXES)}")
    return paths, np.array(labels), list(index)
