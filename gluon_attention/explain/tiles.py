"""Tiles of pictures: labels, colours and marks on them, sheets of them, and image files."""

from __future__ import annotations

from typing import List, Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..storage.atomic import atomic_file

Tiles = List[np.ndarray]  # (H, W, 3) uint8, all of one size

SMALLEST, LARGEST = 160, 256  # longer side of an image in a tile
BAND, GAP, COLUMNS = 20, 4, 7
COLOURS = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def save_png(path: str, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8."""
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def load_png(path: str) -> np.ndarray:
    """Read a picture (H, W, 3) uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def save_gif(path: str, frames: Tiles, seconds: float = 0.8) -> None:
    """Write frames of one size as an endless animation."""
    with atomic_file(path) as temporary:
        first, *rest = [Image.fromarray(frame) for frame in frames]
        first.save(
            temporary,
            "GIF",
            save_all=True,
            append_images=rest,
            duration=int(seconds * 1000),
            loop=0,
        )


def resize(image: np.ndarray) -> np.ndarray:
    """An image resized for a tile; small ones by an integer factor, so that pixels stay sharp."""
    side = max(image.shape[:2])
    if side > LARGEST:
        size = [max(1, round(n * LARGEST / side)) for n in image.shape[1::-1]]
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    factor = -(-SMALLEST // side)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def heat(gray: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as colours, at the size of a gray image and darkened by it."""
    values = cv2.resize(values, gray.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = COLOURS[np.rint(values * 255).astype(np.uint8)]
    return np.rint(colours * (0.5 + 0.5 * gray / 255)).astype(np.uint8)


def tile(picture: np.ndarray, label: str, span: Optional[Tuple[float, float]] = None) -> np.ndarray:
    """The picture below a band with its label and, if colours have a range, a colour scale."""
    font = ImageFont.load_default(12)
    width = max(picture.shape[1], SMALLEST)
    framed = Image.new("RGB", (width, picture.shape[0] + BAND), "white")
    framed.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, BAND))
    draw = ImageDraw.Draw(framed)
    draw.text((2, BAND // 2), label, fill="black", font=font, anchor="lm")
    if span is not None:
        low, high = (f"{value:.2f}" for value in span)
        draw.text((width - 2, BAND // 2), high, fill="black", font=font, anchor="rm")
        right = width - 5 - int(font.getlength(high))
        scale = np.repeat(COLOURS[None, ::8], BAND - 10, axis=0)  # 32 pixels wide
        framed.paste(Image.fromarray(np.ascontiguousarray(scale)), (right - 32, 5))
        draw.text((right - 35, BAND // 2), low, fill="black", font=font, anchor="rm")
    return np.asarray(framed)


def mark(base: np.ndarray, boxes: np.ndarray, path: np.ndarray) -> np.ndarray:
    """A picture with boxes, and a line through some points to the last of them."""
    picture = Image.fromarray(base)
    draw = ImageDraw.Draw(picture)
    colours = COLOURS[np.linspace(255, 100, len(boxes)).astype(int)]
    for box, colour in zip(boxes, colours):
        draw.rectangle(list(map(float, box)), outline=tuple(map(int, colour)), width=2)
    draw.line([tuple(map(float, point)) for point in path], fill=(255, 80, 60), width=2)
    x, y = path[-1]
    draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=(255, 80, 60))
    return np.asarray(picture)


def paste(view: np.ndarray, patch: np.ndarray, box: np.ndarray) -> None:
    """Draw a patch (C, g, g), of 0 to 1, into its box of a view, each pixel as a square."""
    left, top, right, bottom = np.rint(box).astype(int)
    pixels = np.clip(patch * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    pixels = cv2.resize(pixels, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    pixels = pixels.reshape(bottom - top, right - left, -1)
    height, width = view.shape[:2]
    inside = pixels[max(-top, 0) : height - top, max(-left, 0) : width - left]
    view[max(top, 0) : bottom, max(left, 0) : right] = inside


def sheet(tiles: Tiles, columns: int = COLUMNS) -> np.ndarray:
    """Tiles in rows of at most so many columns, on white."""
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    whole = np.full((rows * (height + GAP), columns * (width + GAP), 3), 255, np.uint8)
    for number, picture in enumerate(tiles):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        whole[top : top + height, left : left + width] = picture
    return whole


def below(sheets: Tiles) -> np.ndarray:
    """Pictures of one width, one below the other."""
    return np.concatenate(sheets, axis=0)
