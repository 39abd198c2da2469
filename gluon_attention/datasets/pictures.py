"""Decoding of pictures, after a check of the size in their headers."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Dict, Optional, Tuple, Type

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import UserError
from ..storage.atomic import read_bytes

LARGEST = 1 << 29  # bytes of an encoded picture; 100 million pixels of BMP have less
MAX_SIDE, MAX_PIXELS, MAX_ASPECT = 16_384, 100_000_000, 64
ORIENTATION = 274  # EXIF tag
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk, with its checksum
# By the first bytes of a file. Without Image.open, whose own limit of pixels only prints a warning.
FORMATS: Dict[bytes, Type[ImageFile]] = {
    b"\xff\xd8": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"BM": BmpImageFile,
    b"RIFF": WebPImageFile,
}
PictureSize = Tuple[int, int]  # width, height

# No messages about broken files, which raise errors. OpenCV 4.12 moved the function.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)


def read_picture(path: str, stream: Optional[BinaryIO] = None) -> np.ndarray:
    """The pixels (H, W, 3) uint8 of a picture, rotated by its EXIF orientation.

    Args:
        path: of the file; with a stream, its name in messages.
        stream: read instead of the file.
    """
    content = stream.read(LARGEST + 1) if stream else read_bytes(path, LARGEST + 1)
    if len(content) > LARGEST:  # a device is endless
        raise UserError(f"{path} is larger than {LARGEST >> 20} MB; give a smaller picture")
    return decode(content, path, upright=True)


def decode(content: bytes, name: str, upright: bool = False) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a JPEG, PNG, BMP or WebP; grey is repeated in three channels.

    16 bits are reduced to 8, CMYK is converted, alpha is dropped, an animation is read up to its
    first frame. EXIF orientation is ignored, as usual for data sets, unless `upright`.
    """
    try:
        size = _read_size(content)
    except Exception:  # noqa: BLE001 - Pillow raises many types for a broken header
        size = (0, 0)
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise UserError(
            f"{name} is {size[0]}x{size[1]} pixels large; pictures may have {MAX_PIXELS:,}, and "
            f"{MAX_SIDE:,} a side: make it smaller"
        )
    if max(size) > MAX_ASPECT * min(size) > 0:  # resizing its short side would need gigabytes
        raise UserError(
            f"{name} is {size[0]}x{size[1]} pixels large; pictures may be {MAX_ASPECT} times as "
            "long as wide: crop it"
        )
    picture = _decode_pixels(content) if min(size) > 0 else None
    if picture is None:
        hint = " (a GIF; save it as PNG)" if content[:4] == b"GIF8" else ""
        raise UserError(
            f"{name} is broken or not a picture in JPEG, PNG, BMP or WebP{hint}; "
            "replace or remove it"
        )
    return _rotate(picture, _read_orientation(content)) if upright else picture


def _open(content: bytes) -> ImageFile:
    """A picture of which only the header is read; raises any type for a broken one."""
    form = next(form for start, form in FORMATS.items() if content.startswith(start))
    return form(io.BytesIO(content))


def _read_size(content: bytes) -> PictureSize:
    if content.startswith(b"RIFF"):
        return _read_webp_size(content)
    image = _open(content)
    size = image.size
    if isinstance(image, PngImageFile):
        image.verify()  # all checksums but the last, as libpng prints about wrong ones
        return size if PNG_END in content else (0, 0)
    return size


def _read_webp_size(content: bytes) -> PictureSize:
    """Read without Pillow, whose WebP reader allocates all pixels when it opens a file."""
    kind = content[12:16] if content[8:12] == b"WEBP" else b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        sides = (content[start : start + 3] for start in (24, 27))
        width, height = (int.from_bytes(side, "little") + 1 for side in sides)
        return width, height
    return 0, 0


def _decode_pixels(content: bytes) -> Optional[np.ndarray]:
    if content.startswith(b"\x89PNG"):
        content = _critical_chunks(content)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (cv2.error, MemoryError):
        return None
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _critical_chunks(png: bytes) -> bytes:
    """The critical chunks: libpng prints warnings about others, such as iCCP."""
    chunks, start = [png[:8]], 8
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], "big")
        if png[start + 4 : start + 5].isupper():
            chunks.append(png[start:end])
        start = end
    return b"".join(chunks)


def _read_orientation(content: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 if it is missing or broken."""
    try:
        orientation = _open(content).getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - Pillow raises many types for broken EXIF
        return 1
    return orientation if orientation in range(1, 9) else 1


def _rotate(picture: np.ndarray, orientation: int) -> np.ndarray:
    """The picture upright, by its EXIF orientation."""
    if orientation > 4:
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)
