"""Pictures of any size, decoded in threads: from folders of files, seen through a `View`."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..errors import UserError
from .batches import Batches

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LUMA = np.array([0.299, 0.587, 0.114])
# Principal axes of the colours of ImageNet times their standard deviations: Krizhevsky et al. 2012.
COLOUR_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.array([0.2175, 0.0188, 0.0045])


@dataclass(frozen=True)
class View:
    """How a picture (H, W, 3) becomes an input (3, size, size), normalised.

    Args:
        short: resize the short side to this and crop `size`; 0 instead resizes a part of random
            area (a share of the picture) and aspect (width / height).
        random: crop at a random place and mirror; otherwise crop the centre.
        jitter: brightness, contrast and saturation change by up to this factor, both ways.
        lighting: standard deviation of the noise along the colour axes of ImageNet.
    """

    size: int
    short: int = 0
    random: bool = False
    area: Tuple[float, float] = (0.08, 1.0)
    aspect: Tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.0
    lighting: float = 0.0
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1 or 0 < self.short < self.size:
            raise UserError(
                f"cannot crop {self.size} pixels from a short side of {self.short}; "
                "size must be above 0 and not above the short side"
            )
        assert self.short or self.random, "a fixed view needs a short side"

    def __call__(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        crop = _short_side if self.short else _random_part
        cropped = crop(picture, self, rng)
        if self.random and rng.random() < 0.5:
            cropped = cropped[:, ::-1]
        cropped = cropped.astype(np.float32)
        return cv2.transform(cropped, self.colours(cropped, rng)).transpose(2, 0, 1)

    def colours(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One affine map (3, 4) of a pixel's colour: jitter, lighting, then the normalisation."""
        linear, offset = np.eye(3) / 255, np.zeros(3)
        if self.jitter:
            bright, contrast, saturation = rng.uniform(1 - self.jitter, 1 + self.jitter, size=3)
            grey = LUMA @ cv2.mean(picture)[:3] / 255
            offset = np.full(3, (1 - contrast) * bright * grey)
            mix = saturation * np.eye(3) + (1 - saturation) * LUMA  # each row adds the luma
            linear = contrast * bright * mix / 255
        if self.lighting:
            offset = offset + COLOUR_AXES @ rng.normal(0, self.lighting, size=3)
        both = np.column_stack([linear, offset - self.mean])
        return both / np.asarray(self.std)[:, None]


class Files(NamedTuple):
    """Pictures that are files; whatever else has `name` and `content` will do as well."""

    paths: Sequence[Path]

    def name(self, row: int) -> str:
        return str(self.paths[row])

    def content(self, row: int) -> bytes:
        return self.paths[row].read_bytes()


class Decoder:
    """Loads pictures in threads; every picture has its own random stream, whatever the threads."""

    def __init__(self, source: Files, rows: np.ndarray, view: View, workers: int) -> None:
        if workers < 1:
            raise UserError(f"workers must be a number of threads above 0, not {workers}")
        self.source, self.rows, self.view, self.workers = source, rows, view, workers
        self.pool: Optional[ThreadPoolExecutor] = None
        cv2.setNumThreads(0)  # threads inside of threads would fight for the cores

    def load(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Inputs of some rows, float32 (N, 3, size, size)."""
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        out = np.empty((len(rows), 3, self.view.size, self.view.size), np.float32)
        streams = rng.integers(2**63, size=len(rows))

        def one(index: int) -> None:
            row = self.rows[rows[index]]
            picture = decode(self.source.content(row), self.source.name(row))
            out[index] = self.view(picture, np.random.default_rng(streams[index]))

        for _ in self.pool.map(one, range(len(rows))):
            continue  # raises what a thread raised
        return out


def picture_batches(
    source: Files,
    labels: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
    classes: int,
    *,
    view: View,
    workers: int = 4,
    shuffle: bool = False,
    seed: int = 0,
    part: Tuple[int, int] = (0, 1),
) -> Batches:
    """Batches of some rows of a source; `labels` are those of all rows."""
    load = Decoder(source, rows, view, workers).load
    return Batches(labels[rows], batch_size, classes, load, shuffle=shuffle, seed=seed, part=part)


def decode(content: bytes, name: str) -> np.ndarray:
    """RGB pixels uint8 (H, W, 3) of a JPEG, PNG, ...; grey gets three channels, EXIF is ignored."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    # OpenCV gives no picture for a cut-off file, and raises for an empty one.
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if picture is None:
        raise UserError(f"{name} is broken or not a picture; replace it or take it out")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def scan(
    folder: Path, index: Optional[Dict[str, int]] = None
) -> Tuple[List[Path], np.ndarray, List[str]]:
    """Files, labels and class names of `folder/<class>/<picture>`, all sorted.

    Args:
        index: label of each class folder; their sorted order when it is None.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if index is None:
        index = {path.name: label for label, path in enumerate(folders)}
    unknown = [path.name for path in folders if path.name not in index]
    if unknown:
        raise UserError(
            f"{folder / unknown[0]} is not one of the {len(index)} classes, which are "
            f"{', '.join(list(index)[:3])} ...; rename or remove it"
        )
    paths: List[Path] = []
    labels: List[int] = []
    for path in folders:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        paths += found
        labels += [index[path.name]] * len(found)
    if not paths:
        raise UserError(f"{folder} has no <class>/<picture>, with a name in {', '.join(SUFFIXES)}")
    return paths, np.array(labels), list(index)


def _short_side(picture: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """The picture resized to a short side, and a square cropped from it."""
    height, width = picture.shape[:2]
    scale = view.short / min(height, width)
    resized = _resize(
        picture, max(round(height * scale), view.short), max(round(width * scale), view.short)
    )
    top, left = (length - view.size for length in resized.shape[:2])
    if view.random:
        top, left = rng.integers(top + 1), rng.integers(left + 1)
    else:
        top, left = top // 2, left // 2
    return resized[top : top + view.size, left : left + view.size]


def _random_part(picture: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """A part of random area and aspect, resized to a square; the middle if ten do not fit."""
    height, width = picture.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*view.area)
        aspect = math.exp(rng.uniform(*np.log(view.aspect)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            break
    else:
        h = w = min(height, width)
        top, left = (height - h) // 2, (width - w) // 2
    return _resize(picture[top : top + h, left : left + w], view.size, view.size)


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Averaged where it shrinks, so that nothing aliases; bilinear where it grows."""
    shrinks = height < picture.shape[0] and width < picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=method)
