"""A generated data set that nobody can read without looking closely.

A scene holds a large coloured shape, whose form gives the group, and on it a small grey mark, whose
stripes decide the class within the group. A coarse look, the image with every `coarse`-th part of
its side averaged to a pixel, shows where the mark is and nothing else of it: over every such pixel
the stripes average to the grey of the mark, exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Tuple

import numpy as np

from ..errors import UserError
from .sampling import Normalise, Samples, Splits, array_samples, register
from .view import View

SHAPES = ("disc", "square", "cross", "triangle")
STRIPES = ("flat", "rising", "upright", "falling")
CLASSES = tuple(f"{stripes}_on_{shape}" for shape in SHAPES for stripes in STRIPES)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
MARK, PERIOD = 0.125, 1.5  # half side; coarse pixels a stripe
CONTRAST, NOISE = 75.0, 8.0  # of 255; more contrast would be clipped and so leave a trace
RADIUS = (0.5, 0.7)  # smallest and largest of a shape, as shares of half the image
CHUNK = 32  # scenes drawn at once: all would need much memory


class Scenes(NamedTuple):
    """Images, what they show and where their mark is."""

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
        coarse: side at which the stripes cannot be seen.
        radius: smallest and largest shape, as shares of half the image.
        train, validation, test: images.
    """

    def samples(stream: int, count: int) -> Samples:
        images, labels, marks = scenes(count, size, coarse, [seed, stream], radius)
        plain = array_samples(images, labels, len(CLASSES), transform=Normalise(MEAN, STD))
        return replace(plain, regions=lambda: marks)

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
    seed: Any = 0,
    radius: Tuple[float, float] = RADIUS,
) -> Scenes:
    """Scenes of all classes in equal shares, in random order."""
    if coarse < 16 or size % coarse or size < 2 * coarse:
        raise UserError(
            f"size must be a multiple of coarse, twice as much or more, and coarse 16 or more, "
            f"not {size} and {coarse}"
        )
    if not 0.35 <= radius[0] <= radius[1] <= 0.9:  # a cross has to have room for the mark
        raise UserError(f"radius must be two numbers from 0.35 to 0.9, not {radius}")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(CLASSES))
    images = np.empty((count, 3, size, size), np.uint8)
    marks = np.empty((count, 4))
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        images[rows], marks[rows] = _draw(labels[rows], size, coarse, rng, radius)
    return Scenes(images, labels, marks)


def _draw(
    labels: np.ndarray,
    size: int,
    coarse: int,
    rng: np.random.Generator,
    radii: Tuple[float, float],
) -> Tuple[np.ndarray, np.ndarray]:
    """Images and marks of some labels."""
    count, places = len(labels), np.linspace(-1, 1, size, dtype=np.float32)
    group, stripes = labels // len(STRIPES), labels % len(STRIPES)
    radius = rng.uniform(*radii, size=count)
    middle = rng.uniform(-1, 1, size=(count, 2)) * (0.95 - radius)[:, None]
    mark = _place(group, middle, radius, rng)
    x, y = places[None, None, :], places[None, :, None]

    def column(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[:, None, None]

    def away(points: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        return x - column(points[:, 0]), y - column(points[:, 1])

    across, down = away(middle)
    shape = _inside(column(group), across / column(radius), down / column(radius))
    ground = np.repeat(rng.uniform(20, 70, size=(count, 1)), 3, axis=1)  # dark, of no colour
    colour = rng.uniform(80, 200, size=(count, 3))
    colour[np.arange(count), rng.integers(3, size=count)] = 230
    pixels = np.where(
        shape[:, None], *(c[..., None, None].astype(np.float32) for c in (colour, ground))
    )
    across, down = away(mark)
    disc = across**2 + down**2 < MARK**2
    angle = stripes * (np.pi / 4) + np.pi / 2
    pitch = 2 * np.pi * coarse / 2 / PERIOD
    wave = np.cos(
        pitch * (across * column(np.cos(angle)) + down * column(np.sin(angle)))
        + column(rng.uniform(0, 2 * np.pi, size=count))
    )
    grey = 128 + CONTRAST * _unseen(wave * disc, size // coarse, disc)
    pixels = np.where(disc[:, None], grey[:, None], pixels)
    pixels += rng.normal(0, NOISE, size=pixels.shape).astype(np.float32)
    boxes = np.concatenate([mark - MARK, mark + MARK], axis=1)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8), boxes


def _inside(group: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points, in radii from the middle of a shape, are in it."""
    x, y = np.abs(x), np.broadcast_to(y, np.broadcast_shapes(x.shape, np.shape(y)))
    tall = np.abs(y)
    return np.choose(
        group.astype(int),
        [
            x**2 + tall**2 < 1,
            np.maximum(x, tall) < 0.85,
            (np.minimum(x, tall) < 0.38) & (np.maximum(x, tall) < 1),
            (y < 0.8) & (2 * x < y + 1),
        ],
    )


def _place(
    group: np.ndarray, middle: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A place on every shape, so far from its rim that the mark has room: (N, 2)."""
    tries = rng.uniform(-1, 1, size=(len(group), 256, 2))
    room = MARK / radius[:, None]
    fits = np.ones(tries.shape[:2], bool)
    for angle in np.arange(8) * (np.pi / 4):
        rim = tries + np.stack([np.cos(angle) * room, np.sin(angle) * room], axis=-1)
        fits &= _inside(group[:, None], rim[..., 0], rim[..., 1])
    chosen = tries[np.arange(len(group)), fits.argmax(axis=1)]
    return middle + chosen * radius[:, None]


def _unseen(wave: np.ndarray, pitch: int, disc: np.ndarray) -> np.ndarray:
    """The wave less its mean over what each coarse pixel has of the disc."""
    count, size = wave.shape[0], wave.shape[1]

    def sums(values: np.ndarray) -> np.ndarray:
        parts = values.reshape(count, size // pitch, pitch, size // pitch, pitch)
        return parts.sum(axis=(2, 4), dtype=np.float32)

    means = sums(wave) / np.maximum(sums(disc), 1)
    return (wave - means.repeat(pitch, axis=1).repeat(pitch, axis=2)) * disc
