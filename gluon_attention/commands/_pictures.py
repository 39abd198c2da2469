"""The pictures that a verb is given: files, folders or standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import numpy as np

from ..datasets.image_folder import SUFFIXES
from ..datasets.pictures import decode
from ..errors import UserError

Picture = Tuple[str, np.ndarray]  # path, pixels (H, W, 3) uint8


def pictures(words: Sequence[str]) -> Iterator[Picture]:
    """Pictures of files and folders; `-` is one picture, or a list of paths, on standard input."""
    return ((name, read(name)) for name in named(words))


def named(words: Sequence[str]) -> Iterator[str]:
    """Where those pictures lie; `-` is the one that is piped."""
    for word in words:
        if word == "-":
            yield from _piped()
        elif os.path.isdir(word):
            inside = (p for p in Path(word).rglob("*") if p.suffix.lower() in SUFFIXES)
            found = sorted(p for p in inside if not p.is_dir())
            if not found:
                raise UserError(f"{word} has no pictures: files that end in {', '.join(SUFFIXES)}")
            yield from map(str, found)
        else:
            yield word


def batches(items: Iterator[Picture], size: int) -> Iterator[List[Picture]]:
    """The same pictures, up to `size` at a time."""
    batch: List[Picture] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _piped() -> Iterator[str]:
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
        raise UserError("standard input is empty; pipe a picture into it, or paths, one a line")


def _is_picture(head: bytes) -> bool:
    """Whether bytes begin a picture: a path can begin as some do, BMW.png as a BMP."""
    return (
        head.startswith((b"\xff\xd8", b"\x89PNG"))
        or (head.startswith(b"BM") and head[6:10] == bytes(4))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
    )


def read(path: str) -> np.ndarray:
    """The pixels of a picture, turned as it says."""
    if path == "-":
        return decode(sys.stdin.buffer.read(), "standard input", upright=True)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return decode(content, path, upright=True)
