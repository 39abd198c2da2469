"""A generated data set whose classes differ in detail that a downscaled image does not contain.

A scene has a large coloured shape and on it a small grey mark. The shape decides the group, and the
direction of the mark's stripes decides the class within the group. In the image averaged down to
`coarse` pixels a side the mark is visible but its stripes are not: within each coarse pixel their
mean is exactly the grey of the mark.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Sequence, Tuple, Union

import numpy as np

from ..errors import UserError
from .sampling import Normalise, Samples, Splits, register
from .view import View

SHAPES = ("disc", "square", "cross", "triangle")
STRIPES = ("flat", "rising", "upright", "falling")
CLASSES = tuple(f"{stripes}_on_{shape}" for shape in SHAPES for stripes in STRIPES)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
MARK, PERIOD = 0.125, 1.5  # radius as a share of half the image; coarse pixels a stripe
CONTRAST, NOISE = 75.0, 8.0  # of 255; more contrast would be clipped, and change coarse means
RADIUS = (0.5, 0.7)  # range of the shape's radius, as shares of half the image
CHUNK = 32  # scenes rendered at once, to bound memory
LARGEST = 1 << 31  # bytes of all images in a split


class Scenes(NamedTuple):
    """Images, their labels and the boxes of their marks."""

    images: np.ndarray  # (N, 3, size, size) uint8
    labels: np.ndarray  # (N,)
    marks: np.ndarray  # (N, 4): left, top, right, bottom; corner pixels are at -1 and 1


@register
def detail(
    *,
    size: int = 192,
    coarse: int = 64,
    radius: Tuple[float, float] = RADIUS,
    train: int = 1200,
    validation: int = 320,
    test: int = 320,
    seed: int = 0,
) -> Splits:
    """Generated scenes; all samples have `regions`, the boxes of the marks.

    Args:
        size: side of the images, a multiple of `coarse`.
        coarse: side of the downscaled image in which the stripes are invisible.
        radius: range of the shape's radius, as shares of half the image.
        train, validation, test: numbers of images.
        seed: seed of all scenes.
    """

    def samples(stream: int, count: int) -> Samples:
        _check(count, size, coarse, radius)
        normalise, labels = Normalise(MEAN, STD), _labels(count, [seed, stream])

        @lru_cache(maxsize=None)
        def all_scenes() -> Scenes:  # on first use
            return scenes(count, size, coarse, [seed, stream], radius)

        return Samples(
            labels,
            len(CLASSES),
            lambda rows, rng: normalise(all_scenes().images[rows], rng),
            regions=lambda: all_scenes().marks,
        )

    return Splits(
        samples(0, train),
        samples(1, validation),
        samples(2, test),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        view=View(size, short=size, mean=MEAN, std=STD),
    )


def scenes(
    count: int,
    size: int,
    coarse: int,
    seed: Union[int, Sequence[int]] = 0,
    radius: Tuple[float, float] = RADIUS,
) -> Scenes:
    """Scenes of all classes in equal shares, in random order."""
    _check(count, size, coarse, radius)
    rng = np.random.default_rng(seed)
    labels = _labels(count, rng)
    images = np.empty((count, 3, size, size), np.uint8)
    marks = np.empty((count, 4))
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        images[rows], marks[rows] = _render(labels[rows], size, coarse, rng, radius)
    return Scenes(images, labels, marks)


def _check(count: int, size: int, coarse: int, radius: Tuple[float, float]) -> None:
    """Refuse scenes that cannot be rendered, or do not fit into memory."""
    if coarse < 16 or size % coarse or size < 2 * coarse:
        raise UserError(
            f"size must be a multiple of coarse, at least twice as large, and coarse at least 16, "
            f"not {size} and {coarse}"
        )
    if not 0.35 <= radius[0] <= radius[1] <= 0.9:  # a smaller cross has no room for the mark
        raise UserError(f"radius must be two numbers from 0.35 to 0.9, not {radius}")
    if count * 3 * size**2 > LARGEST:
        raise UserError(
            f"{count} images of {size} pixels a side do not fit into {LARGEST >> 30} GB"
        )


def _labels(count: int, seed: Union[int, Sequence[int], np.random.Generator]) -> np.ndarray:
    """Classes in equal shares and random order, the first numbers of a generator."""
    return np.random.default_rng(seed).permutation(np.arange(count) % len(CLASSES))


def _render(
    labels: np.ndarray,
    size: int,
    coarse: int,
    rng: np.random.Generator,
    radii: Tuple[float, float],
) -> Tuple[np.ndarray, np.ndarray]:
    """Images and mark boxes for some labels."""
    count, axis = len(labels), np.linspace(-1, 1, size, dtype=np.float32)
    group, stripes = labels // len(STRIPES), labels % len(STRIPES)
    radius = rng.uniform(*radii, size=count)
    centre = rng.uniform(-1, 1, size=(count, 2)) * (0.95 - radius)[:, None]
    mark = _mark_centres(group, centre, radius, rng)
    x, y = axis[None, None, :], axis[None, :, None]

    def column(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[:, None, None]

    def offsets(points: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        return x - column(points[:, 0]), y - column(points[:, 1])

    dx, dy = offsets(centre)
    shape = _inside(column(group), dx / column(radius), dy / column(radius))
    background = np.repeat(rng.uniform(20, 70, size=(count, 1)), 3, axis=1)  # dark grey
    colour = rng.uniform(80, 200, size=(count, 3))
    colour[np.arange(count), rng.integers(3, size=count)] = 230
    pixels = np.where(
        shape[:, None], *(c[..., None, None].astype(np.float32) for c in (colour, background))
    )
    dx, dy = offsets(mark)
    disc = dx**2 + dy**2 < MARK**2
    angle = stripes * (np.pi / 4) + np.pi / 2
    frequency = 2 * np.pi * coarse / 2 / PERIOD
    wave = np.cos(
        frequency * (dx * column(np.cos(angle)) + dy * column(np.sin(angle)))
        + column(rng.uniform(0, 2 * np.pi, size=count))
    )
    grey = 128 + CONTRAST * _without_coarse_means(wave * disc, size // coarse, disc)
    pixels = np.where(disc[:, None], grey[:, None], pixels)
    pixels += rng.normal(0, NOISE, size=pixels.shape).astype(np.float32)
    boxes = np.concatenate([mark - MARK, mark + MARK], axis=1)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8), boxes


def _inside(group: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points are inside a shape of radius 1 around the origin."""
    x, y = np.abs(x), np.broadcast_to(y, np.broadcast_shapes(x.shape, np.shape(y)))
    height = np.abs(y)
    return np.choose(
        group.astype(int),
        [
            x**2 + height**2 < 1,
            np.maximum(x, height) < 0.85,
            (np.minimum(x, height) < 0.38) & (np.maximum(x, height) < 1),
            (y < 0.8) & (2 * x < y + 1),
        ],
    )


def _mark_centres(
    group: np.ndarray, centre: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A random position on each shape with room for the mark, (N, 2), by rejection sampling."""
    candidates = rng.uniform(-1, 1, size=(len(group), 256, 2))  # in radii of the shape
    mark = MARK / radius[:, None]
    fits = np.ones(candidates.shape[:2], bool)
    for angle in np.arange(8) * (np.pi / 4):
        rim = candidates + np.stack([np.cos(angle) * mark, np.sin(angle) * mark], axis=-1)
        fits &= _inside(group[:, None], rim[..., 0], rim[..., 1])
    first = candidates[np.arange(len(group)), fits.argmax(axis=1)]
    return centre + first * radius[:, None]


def _without_coarse_means(wave: np.ndarray, factor: int, disc: np.ndarray) -> np.ndarray:
    """The wave on the disc, with zero mean within each coarse pixel of `factor`^2 pixels."""
    count, size = wave.shape[0], wave.shape[1]

    def sums(values: np.ndarray) -> np.ndarray:
        blocks = values.reshape(count, size // factor, factor, size // factor, factor)
        return blocks.sum(axis=(2, 4), dtype=np.float32)

    means = sums(wave) / np.maximum(sums(disc), 1)
    return (wave - means.repeat(factor, axis=1).repeat(factor, axis=2)) * disc
