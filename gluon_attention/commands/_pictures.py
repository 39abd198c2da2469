"""The pictures that a verb reads: files, folders or standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterator, List, Sequence, TypeVar

import numpy as np

from ..datasets import pictures
from ..datasets.image_folder import SUFFIXES
from ..errors import UserError

Item = TypeVar("Item")


def add_pictures(parser: Any) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="picture file, folder of pictures, or - for a picture or paths on standard input",
    )


def picture_paths(words: Sequence[str]) -> Iterator[str]:
    """Paths of the pictures of some arguments; `-` is a picture on standard input."""
    for word in words:
        if word == "-":
            yield from _paths_on_stdin()
        elif os.path.isdir(word):
            inside = (path for path in Path(word).rglob("*") if path.suffix.lower() in SUFFIXES)
            paths = sorted(path for path in inside if path.is_file())  # no pipe, no device
            if not paths:
                raise UserError(f"{word} has no pictures: files that end in {', '.join(SUFFIXES)}")
            yield from map(str, paths)
        else:
            yield word


def in_batches(items: Iterator[Item], size: int) -> Iterator[List[Item]]:
    batch: List[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def read_picture(path: str) -> np.ndarray:
    """The pixels (H, W, 3) uint8 of a picture; `-` is standard input."""
    if path == "-":
        return pictures.read_picture("standard input", sys.stdin.buffer)
    return pictures.read_picture(path)


def _paths_on_stdin() -> Iterator[str]:
    if sys.stdin is None:
        raise UserError("standard input is closed; pipe a picture into it, or name one")
    if _is_picture(sys.stdin.buffer.peek(16)[:16]):
        yield "-"
        return
    empty = True
    for line in map(bytes.strip, sys.stdin.buffer):
        try:
            path = line.decode()
        except UnicodeDecodeError:
            path = "\0"
        if "\0" in path:
            raise UserError("standard input is neither a picture nor a list of paths")
        if path:
            empty = False
            yield path
    if empty:
        raise UserError("standard input is empty; pipe a picture into it, or paths, one per line")


def _is_picture(head: bytes) -> bool:
    """Whether bytes begin a picture; a path can begin like one, as BMW.png begins like a BMP."""
    return (
        head.startswith((b"\xff\xd8", b"\x89PNG"))
        or (head.startswith(b"BM") and head[6:10] == bytes(4))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
    )
