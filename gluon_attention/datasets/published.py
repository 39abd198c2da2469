"""Files of published data sets: found, unpacked, verified, downloaded; never half written."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import lzma
import urllib.request
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Sequence

from ..errors import UserError
from ..storage.atomic import written_aside

MANIFEST = "MANIFEST.json"  # {"files": {name: {"sha256": ...}}}, marks a folder as a sample
DATA_DIR = "--data-dir"
_UNPACK = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}


def find(folder: Path, name: str) -> Optional[Path]:
    """A file of a folder, plain or compressed (.gz, .xz)."""
    candidates = [folder / (name + suffix) for suffix in _UNPACK]
    return next((path for path in candidates if path.is_file()), None)


def manifest(folder: Path) -> Optional[Dict[str, str]]:
    """SHA-256 of the files of a sample by name; None for the published set."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content = content_of(path)
    try:
        files = json.loads(content.decode())["files"]
        return {name: entry["sha256"] for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not a list of files with their sha256; make it again") from None


def read(folder: Path, name: str, sha1: str, flag: str = DATA_DIR) -> bytes:
    """Unpacked content, equal to what was published, or to what the manifest of a sample lists.

    `flag` is the one that named the folder.
    """
    path = find(folder, name)
    if path is None:
        raise missing(folder, f"{name} (or .gz, .xz)", flag=flag)
    packed = content_of(path)
    sample = manifest(folder)
    if sample is not None and sample.get(path.name) != hashlib.sha256(packed).hexdigest():
        raise UserError(f"{path} is not the file that {folder / MANIFEST} lists; copy it again")
    try:
        content = _UNPACK[path.suffix if path.name != name else ""](packed)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        raise UserError(f"{path} is damaged or not a {path.suffix} file; copy it again") from None
    if sample is None and hashlib.sha1(content).hexdigest() != sha1:
        raise UserError(
            f"{path} is not the published file: its content has {len(content)} bytes and another "
            "SHA-1; download it again"
        )
    return content


def published(folder: Path, names: Dict[str, str]) -> Dict[str, Path]:
    """The files of a folder that is named by --from, once all are known to be what was published.

    Args:
        names: their SHA-1.
    """
    if manifest(folder) is not None:
        raise UserError(
            f"{folder} holds a sample, not the published files; give it as --data-dir where it is "
            "used, or --from another folder"
        )
    for name, sha1 in names.items():
        read(folder, name, sha1, flag="--from")
    return {name: find(folder, name) for name in names}


def content_of(path: Path) -> bytes:
    """The bytes of a file that somebody may have locked away."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; copy it again") from None


@contextmanager
def name_unreadable() -> Iterator[None]:
    """Say which file or folder of a data set the system does not let anybody look at."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # it is about no file
            raise
        raise UserError(
            f"cannot read {error.filename}: {error.strerror}; give {DATA_DIR} a folder that can be "
            "read"
        ) from None


def text_lines(path: Path) -> List[str]:
    """The lines of a text file."""
    try:
        return content_of(path).decode().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; copy it again") from None


def write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with written_aside(str(path)) as aside:
        Path(aside).write_bytes(content)


def missing(folder: Path, layout: str, reason: str = "", flag: str = DATA_DIR) -> UserError:
    """The error of a folder that lacks the files of its data set."""
    return UserError(f"{folder} lacks {layout}{reason}; give {flag} a folder that has them")


def check_place(folder: Path, names: Iterable[str], layout: str) -> None:
    """Refuse to download to a folder that holds something, but no part of the data set.

    It is there for something else, and was named by mistake.

    Args:
        names: how those of the data set begin.
    """
    with name_unreadable():
        inside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    seen = [name for name in inside if not name.startswith(".")]
    if seen and not any(name.startswith(tuple(names)) for name in seen):
        raise UserError(
            f"{folder} lacks {layout}, and is not filled with them as it holds other things, such "
            f"as {seen[0]!a:.60}; give {DATA_DIR} a folder that has them, or an empty or new one"
        )


def download(urls: Sequence[str], md5: str, folder: Path, layout: str) -> bytes:
    """Content of the first of some addresses that answers with the right bytes."""
    reason = ""
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = f"{url}: {getattr(error, 'reason', error)}"
            continue
        if hashlib.md5(content).hexdigest() == md5:
            return content
        reason = f"{url}: not the published file"
    raise missing(folder, layout, f", and downloading failed ({reason})")
