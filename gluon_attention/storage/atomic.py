"""Atomic writes of files, reads of files, and the lock of a folder."""

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
def atomic_file(path: str) -> Iterator[str]:
    """Yield the name of a temporary file, which replaces `path` if the block ends without error.

    A symbolic link is followed: its target is replaced.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"cannot write {path}, a device or a pipe; give the name of a file")
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=folder, prefix=_ASIDE, suffix="-" + os.path.basename(path)
        )
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    try:
        yield temporary
        _sync(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        _sync(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def read_bytes(path: str, most: int = -1) -> bytes:
    """The content of a file, or its first bytes; a `UserError` says why it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # a path must not hold a NUL
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None


def write_bytes(path: str, content: bytes) -> None:
    """Replace a file atomically."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_text(path: str, text: str) -> None:
    """Replace a text file atomically."""
    write_bytes(path, text.encode())


@contextmanager
def locked_folder(folder: str) -> Iterator[None]:
    """Create a folder and lock it against other processes inside the block.

    Temporary files of killed processes are removed first; a folder that stays empty is removed.
    """
    handle = _lock(folder)
    try:
        remove_leftovers(folder)
        yield
    finally:
        with suppress(OSError):
            os.rmdir(folder)
        os.close(handle)


def _lock(folder: str) -> int:
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
    if os.path.isdir(folder) and os.path.samestat(os.fstat(handle), os.stat(folder)):
        return handle
    os.close(handle)  # another process removed the folder since it was opened
    return _lock(folder)


def remove_leftovers(folder: str, age: float = 0.0) -> None:
    """Remove temporary files of killed processes that are at least `age` seconds old."""
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
