"""Files that are either whole or not there."""

from __future__ import annotations

import glob
import os
import tempfile
from contextlib import contextmanager
from typing import Iterator

from .errors import UserError

_ASIDE = ".aside-"


@contextmanager
def written_aside(path: str) -> Iterator[str]:
    """Give the name of a temporary file that replaces `path` when the block ends without error."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        handle, aside = tempfile.mkstemp(
            dir=folder, prefix=_ASIDE, suffix="-" + os.path.basename(path)
        )
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    try:
        yield aside
        _sync(aside)
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
        _sync(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def write_text(path: str, text: str) -> None:
    """Replace a text file in one move."""
    with written_aside(path) as aside, open(aside, "w", encoding="utf-8") as file:
        file.write(text)


def remove_leftovers(folder: str) -> None:
    """Remove what a killed process was writing; no other may be writing there now."""
    for path in glob.glob(os.path.join(glob.escape(folder), _ASIDE + "*")):
        os.remove(path)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
