"""MNIST, and the translated and cluttered scenes of 'Recurrent Models of Visual Attention'.

A scene is a black canvas with one digit and, as clutter, 8x8 pieces of other digits of the same
split. All positions are uniformly random; where digits and pieces overlap, the brighter pixel
wins. Training scenes are new each epoch, validation scenes depend on the seed alone, and test
scenes are the same for every seed.

The paper has four pieces of clutter on 60x60, and its public generator eight on 100x100.
`cluttered100_4`, with four, is the easier task that some implementations report instead.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import UserError, check_choice
from ..storage.atomic import write_bytes
from . import published
from .sampling import Samples, Splits, hold_out, register
from .view import default_view

TASKS = {  # name: side of the image, pieces of clutter
    "28": (28, 0),
    "translated60": (60, 0),
    "cluttered60": (60, 4),
    "cluttered100": (100, 8),
    "cluttered100_4": (100, 4),
}
SIDE, PIECE = 28, 8
# name: (SHA-1 of the unpacked file, MD5 of the .gz)
FILES = {
    "train-images-idx3-ubyte": (
        "c3557c10f29b266e19b3eeee1553c85e0ef4a8ea",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    "train-labels-idx1-ubyte": (
        "adbf52269f5d842899f287c269e2883e40b4f6e2",
        "d53e105ee54ea40749a09fcbcd1e9432",
    ),
    "t10k-images-idx3-ubyte": (
        "65e11ec1fd220343092a5070b58418b5c2644e26",
        "9fb629c4189551a2d022fa330f9573f3",
    ),
    "t10k-labels-idx1-ubyte": (
        "a6d52cc628797e845885543326e9f10abb8a6f89",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


@register
def mnist(
    root: str,
    *,
    task: str = "28",
    seed: int = 0,
    validation: int = 5000,
    augment: float = 0.0,
    download: bool = True,
) -> Splits:
    """Grey digits, normalised to pixel / 255.

    Args:
        root: folder of the four IDX files, plain or .gz; a download fills it.
        task: a key of `TASKS`.
        seed: seed of the validation images and their scenes.
        augment: strength of the augmentation of training digits; 1 shifts them by up to 2 pixels,
            rotates them by up to 15 degrees and scales them by up to 10 %.
    """
    check_choice("task", task, tuple(TASKS))
    (side, pieces), folder = TASKS[task], Path(root)
    if download:
        fetch(folder)
    images, labels = read_split(folder, "train")
    test_images, test_labels = read_split(folder, "t10k")
    is_sample = published.read_manifest(folder) is not None
    train, held_out = hold_out(labels, validation, seed, tenth=is_sample)

    train_scenes = SceneRenderer(images[train], side, pieces, augment)
    validation_scenes = SceneRenderer(images[held_out], side, pieces)
    validation_scenes.freeze(np.random.default_rng([seed, 0, 1]))
    test_scenes = SceneRenderer(test_images, side, pieces)
    test_scenes.freeze(np.random.default_rng(28))
    return Splits(
        Samples(labels[train], 10, train_scenes.load),
        Samples(labels[held_out], 10, validation_scenes.load),
        Samples(test_labels, 10, test_scenes.load),
        classes=[str(digit) for digit in range(10)],
        mean=[0.0],
        std=[1.0],
        view=default_view((1, side, side)),
    )


def fetch(folder: Path) -> None:
    """Download missing files to a folder."""
    files = ", ".join(f"{name}.gz" for name in FILES)
    for name, (_, md5) in FILES.items():
        if published.find_file(folder, name) is None:
            urls = [f"{mirror}{name}.gz" for mirror in MIRRORS]
            write_bytes(str(folder / f"{name}.gz"), published.download(urls, md5, folder, files))


class Positions(NamedTuple):
    """All random choices of N scenes of P pieces; a corner is (row, column) of the upper left."""

    digit: np.ndarray  # (N, 2) corner of the digit in the scene
    source: np.ndarray  # (N, P) row of the digit that a piece is cut from
    cut: np.ndarray  # (N, P, 2) corner of the piece in that digit
    piece: np.ndarray  # (N, P, 2) corner of the piece in the scene


class SceneRenderer:
    """Renders the digits of one split on a canvas with clutter."""

    def __init__(self, digits: np.ndarray, side: int, pieces: int, augment: float = 0.0) -> None:
        if pieces and len(digits) == 1:
            raise UserError("clutter needs at least 2 digits to cut pieces from")
        self.digits, self.side, self.pieces, self.augment = digits, side, pieces, augment
        self.cuts = sliding_window_view(digits, (PIECE, PIECE), axis=(1, 2))
        self.fixed: Optional[Positions] = None

    def freeze(self, rng: np.random.Generator) -> None:
        """Fix the scene of every row, independent of batches and epochs."""
        self.fixed = self.draw(np.arange(len(self.digits)), rng)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> Positions:
        count = (len(rows), self.pieces)
        source = rng.integers(max(len(self.digits) - 1, 1), size=count)
        return Positions(
            rng.integers(self.side - SIDE + 1, size=(len(rows), 2)),
            source + (source >= rows[:, None]),  # any other digit
            rng.integers(SIDE - PIECE + 1, size=(*count, 2)),
            rng.integers(self.side - PIECE + 1, size=(*count, 2)),
        )

    def load(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scenes of some rows, float32 (N, 1, side, side) in [0, 1]."""
        digits = self.digits[rows]
        if self.augment:
            digits = random_affine(digits, self.augment, rng)
        if self.side > SIDE or self.pieces:
            if self.fixed is None:
                positions = self.draw(rows, rng)
            else:
                positions = Positions(*(array[rows] for array in self.fixed))
            digits = self.render(digits, positions)
        return digits[:, None] * np.float32(1 / 255)

    def render(self, digits: np.ndarray, positions: Positions) -> np.ndarray:
        """Digits and clutter on black, uint8 (N, side, side)."""
        canvas = np.zeros((len(digits), self.side, self.side), np.uint8)
        scenes = np.arange(len(digits))

        def windows(size: int) -> np.ndarray:
            return sliding_window_view(canvas, (size, size), axis=(1, 2), writeable=True)

        windows(SIDE)[scenes, positions.digit[:, 0], positions.digit[:, 1]] = digits
        for number in range(self.pieces):  # one after another, because pieces may overlap
            cut, corner = positions.cut[:, number], positions.piece[:, number]
            pixels = self.cuts[positions.source[:, number], cut[:, 0], cut[:, 1]]  # (N, 8, 8)
            target = (scenes, corner[:, 0], corner[:, 1])
            windows(PIECE)[target] = np.maximum(windows(PIECE)[target], pixels)
        return canvas


def random_affine(digits: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Digits shifted, rotated and scaled at random, sampled bilinearly; uint8 (N, H, W)."""
    count, height, width = digits.shape
    angle, zoom, *shift = rng.uniform(-1, 1, size=(4, count, 1, 1)).astype(np.float32)
    angle *= np.float32(np.deg2rad(15) * strength)
    zoom = 1 / (1 + np.float32(0.1 * strength) * zoom).clip(0.1)
    rows = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    columns = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    return _sample(
        digits,
        cos * rows - sin * columns + shift[0] * 2 * np.float32(strength) + (height - 1) / 2,
        sin * rows + cos * columns + shift[1] * 2 * np.float32(strength) + (width - 1) / 2,
    )


def _sample(digits: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear values at (y, x), both (N, H, W), black outside."""
    count, height, width = digits.shape
    padded = np.pad(digits, ((0, 0), (1, 2), (1, 2)))
    y, x = y.clip(-1, height) + 1, x.clip(-1, width) + 1
    top, left = y.astype(np.int32), x.astype(np.int32)
    dy, dx = y - top, x - left
    stride = width + 3
    corner = np.arange(count, dtype=np.int32)[:, None, None] * ((height + 3) * stride)
    corner = corner + top * stride + left
    flat = padded.ravel()
    upper = flat[corner] * (1 - dx) + flat[corner + 1] * dx
    lower = flat[corner + stride] * (1 - dx) + flat[corner + stride + 1] * dx
    return (upper + (lower - upper) * dy + 0.5).astype(np.uint8)


def read_split(folder: Path, split: str) -> Tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) and labels (N,) of the training or test files."""
    images = _read_idx(folder, f"{split}-images-idx3-ubyte", 3)
    labels = _read_idx(folder, f"{split}-labels-idx1-ubyte", 1)
    if images.shape != (len(labels), SIDE, SIDE):
        raise UserError(f"{folder}: {split} images {images.shape} do not fit {len(labels)} labels")
    return images, labels


def _read_idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """A uint8 array in IDX: bytes 0, 0, 8, number of axes; big-endian lengths of the axes; data."""
    content = published.read_verified(folder, name, FILES[name][0])
    header = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(content[4:header].ljust(4 * axes, b"\0"), ">u4"))
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) != header + math.prod(shape):
        raise UserError(
            f"{folder / name} is not an IDX file of {axes} axes of bytes, or is cut off"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
