"""The one way by which pictures are read: looked at before they are decoded, then decoded."""

from __future__ import annotations

import struct
import zlib
from typing import Callable, Dict, Optional, Tuple

import cv2
import numpy as np

from ..errors import UserError

MAX_SIDE, MAX_PIXELS = 16_384, 100_000_000  # pixels that are decoded at most
PNG = b"\x89PNG\r\n\x1a\n"
RIFF = b"RIFF"  # begins a WebP

# Errors of this package say what OpenCV would print of a broken file. OpenCV 4.12 moved the function.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)

Size = Tuple[int, int]  # width, height


def decode(content: bytes, name: str, upright: bool = False) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a JPEG, PNG, BMP or WebP; grey gets three channels.

    Sixteen bits become eight, CMYK becomes RGB, what is transparent is shown, an animation is its
    first picture. EXIF is ignored, as is usual for data sets; `upright` turns a picture as it says.
    """
    try:
        size = _size(content)
    except (struct.error, IndexError):
        size = None
    if size is not None and (max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS):
        raise UserError(
            f"{name} is {size[0]}x{size[1]} pixels large; pictures may have {MAX_PIXELS:,}, and "
            f"{MAX_SIDE:,} a side: make it smaller"
        )
    picture = None
    if size is not None and min(size) > 0:
        itself = upright and not content.startswith(RIFF)  # OpenCV knows no EXIF of a WebP
        flags = cv2.IMREAD_COLOR | (0 if itself else cv2.IMREAD_IGNORE_ORIENTATION)
        try:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except (cv2.error, MemoryError):
            picture = None
    if picture is None:  # OpenCV gives none for a cut-off file
        kind = " (a GIF; save it as PNG)" if content[:4] == b"GIF8" else ""
        raise UserError(
            f"{name} is broken or not a picture in JPEG, PNG, BMP or WebP{kind}; "
            "replace it or take it out"
        )
    if upright and content.startswith(RIFF):
        picture = _turned(picture, _orientation(content))
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """What an orientation of EXIF, 1 to 8, stands for, upright."""
    if orientation > 4:
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def _orientation(content: bytes) -> int:
    """What the EXIF of a WebP says of it, 1 to 8; 1 where it says nothing or is broken."""
    at, length, kind = 12, 0, b""
    try:
        while kind != b"EXIF":
            at += length + length % 2
            kind, length = struct.unpack_from("<4sI", content, at)
            at += 8
        exif = content[at : at + length]
        exif = exif[6:] if exif.startswith(b"Exif\0\0") else exif
        order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, first)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, first + 2 + 12 * entry)
            if (tag, kind) == (274, 3) and 1 <= value <= 8:  # 16 bits
                return value
    except (struct.error, KeyError):
        pass
    return 1


def _size(content: bytes) -> Optional[Size]:
    """Width and height from the header; None for what is none of the four kinds or cut off."""
    for start, read in _READERS.items():
        if content.startswith(start):
            return read(content)
    return None


def _jpeg(content: bytes) -> Optional[Size]:
    at = 2
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fills
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of a frame
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return None


def _png(content: bytes) -> Optional[Size]:
    """Every checksum is tried, as libpng complains of a wrong one to the terminal."""
    size, at, kind = None, len(PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        if size is None:
            if kind != b"IHDR":
                return None
            size = struct.unpack_from(">II", content, at + 8)
        (check,) = struct.unpack_from(">I", content, at + 8 + length)
        if check != zlib.crc32(memoryview(content)[at + 4 : at + 8 + length]):
            return None
        at += 12 + length
    return size


def _bmp(content: bytes) -> Optional[Size]:
    old = struct.unpack_from("<I", content, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", content, 18)
    return abs(width), abs(height)


def _webp(content: bytes) -> Optional[Size]:
    form, kind = content[8:12], content[12:16]
    if form != b"WEBP":
        return None
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, middle, high = struct.unpack_from("<HHH", content, 24)  # 24 bits each
        return (low | (middle & 0xFF) << 16) + 1, (middle >> 8 | high << 8) + 1
    return None


_READERS: Dict[bytes, Callable[[bytes], Optional[Size]]] = {
    b"\xff\xd8": _jpeg,
    PNG: _png,
    b"BM": _bmp,
    RIFF: _webp,
}
