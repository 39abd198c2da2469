"""Files that are either whole or not there."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from typing import Iterator

from ..errors import UserError

_ASIDE = ".aside-"


@contextmanager
def written_aside(path: str) -> Iterator[str]:
    """Give the name of a temporary file that replaces `path` when the block ends without error.

    Of a link it replaces what the link leads to.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"cannot write {path}, a device or a pipe; give the name of a file")
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
        os.replace(aside, target)
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


def claim(folder: str) -> int:
    """Keep other processes out of a folder until the handle that is given is closed.

    What a killed process was writing is removed.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"another process is writing {folder}: wait for it, or choose another --name"
        ) from None
    except OSError:  # a file system without locks
        pass
    remove_leftovers(folder)
    return handle


def remove_leftovers(folder: str, age: float = 0.0) -> None:
    """Remove what a killed process was writing; what is younger in seconds may still be written."""
    for path in glob.glob(os.path.join(glob.escape(folder), _ASIDE + "*")):
        with suppress(FileNotFoundError):
            if time.time() - os.path.getmtime(path) >= age:
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
