"""Files of published data sets: download, verification and decompression."""

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
from typing import Dict, Iterator, List, Optional, Sequence

from ..errors import UserError

MANIFEST = "MANIFEST.json"  # {"files": {name: {"sha256": ...}}}, marks a folder as a sample
_DECOMPRESS = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}


def find_file(folder: Path, name: str) -> Optional[Path]:
    """Path of a file, plain or compressed (.gz, .xz); None if it is missing."""
    candidates = [folder / (name + suffix) for suffix in _DECOMPRESS]
    return next((path for path in candidates if path.is_file()), None)


def read_manifest(folder: Path) -> Optional[Dict[str, str]]:
    """SHA-256 of each file of a sample by name; None for a published data set."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content = path.read_bytes()
    try:
        files = json.loads(content.decode())["files"]
        return {name: entry["sha256"] for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not a list of files with their sha256; create it again"
        ) from None


def read_verified(folder: Path, name: str, sha1: str) -> bytes:
    """Decompressed content of a file, after its checksum is verified.

    Args:
        sha1: checksum of the published content; that of a sample is in its manifest.
    """
    path = find_file(folder, name)
    if path is None:
        raise missing_files(folder, f"{name} (or .gz, .xz)")
    compressed = path.read_bytes()
    manifest = read_manifest(folder)
    if manifest is not None and manifest.get(path.name) != hashlib.sha256(compressed).hexdigest():
        raise UserError(f"{path} is not the file that {folder / MANIFEST} lists; copy it again")
    try:
        content = _DECOMPRESS[path.suffix if path.name != name else ""](compressed)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        raise UserError(f"{path} is damaged or not a {path.suffix} file; copy it again") from None
    if manifest is None and hashlib.sha1(content).hexdigest() != sha1:
        raise UserError(
            f"{path} is not the published file: its content has {len(content)} bytes and another "
            "SHA-1; download it again"
        )
    return content


def read_lines(path: Path) -> List[str]:
    """Lines of a text file."""
    try:
        return path.read_bytes().decode().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; copy it again") from None


@contextmanager
def name_unreadable() -> Iterator[None]:
    """Convert an operating system error about a file to a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(
            f"cannot read {error.filename}: {error.strerror}; give --data-dir a folder that can "
            "be read"
        ) from None


def missing_files(folder: Path, files: str, reason: str = "") -> UserError:
    """The error for a folder that lacks files of its data set."""
    return UserError(f"{folder} lacks {files}{reason}; give --data-dir a folder that has them")


def download(urls: Sequence[str], md5: str, folder: Path, files: str) -> bytes:
    """Content from the first URL whose bytes match the checksum.

    Args:
        folder, files: destination of the content and its name, for the message.
    """
    reason = ""
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                content = response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = f"{url}: {getattr(error, 'reason', error)}"
            continue
        if hashlib.md5(content).hexdigest() == md5:
            return content
        reason = f"{url}: not the published file"
    raise missing_files(folder, files, f", and downloading failed ({reason})")
