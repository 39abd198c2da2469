"""How a picture of any size becomes an input of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, List, Sequence, Tuple

import cv2
import numpy as np

from ..errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LONG = 4  # times as long as wide: more is cut before it is resized, by `_near`
AROUND = 2  # pixels left around the part that is seen; a resize looks at no more
CHOICE = 16  # more pixels that each end may lie further out
LUMA = np.array([0.299, 0.587, 0.114])
# Principal axes of the colours of ImageNet times their standard deviations: Krizhevsky et al. 2012.
COLOUR_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.array([0.2175, 0.0188, 0.0045])


@dataclass(frozen=True)
class View:
    """How a picture (H, W, 3) becomes an input (3 or 1, size, size), normalised.

    Args:
        short: resize the short side to this and crop `size`; 0 instead resizes a part of random
            area (a share of the picture) and aspect (width / height).
        random: crop at a random place and mirror; otherwise crop the centre.
        jitter: brightness, contrast and saturation change by up to this factor, both ways.
        lighting: standard deviation of the noise along the colour axes of ImageNet.
        mean, std: in units of pixel / 255, of three channels, or of one for grey inputs.
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

    def __call__(self, picture: np.ndarray, rng: Any = None) -> np.ndarray:
        cropped = self.pixels(picture, rng).astype(np.float32)
        if len(self.mean) == 1:
            return (cropped.transpose(2, 0, 1) / 255 - self.mean[0]) / np.float32(self.std[0])
        return cv2.transform(cropped, self.colours(cropped, rng)).transpose(2, 0, 1)

    def pixels(self, picture: np.ndarray, rng: Any = None) -> np.ndarray:
        """The part that is seen, of the size that it is seen in, uint8 (size, size, 3 or 1)."""
        crop = _short_side if self.short else _random_part
        cropped = crop(picture, self, rng)
        if self.random and rng.random() < 0.5:
            cropped = cropped[:, ::-1]
        if len(self.mean) == 1:
            return cv2.cvtColor(np.ascontiguousarray(cropped), cv2.COLOR_RGB2GRAY)[..., None]
        return cropped

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


CIFAR_VIEW = View(32, 32, mean=(0.4914, 0.4824, 0.4467), std=(0.2471, 0.2435, 0.2616))
MNIST_VIEW = View(28, 28, mean=(0.0,), std=(1.0,))


def centre_view(size: int) -> View:
    """The middle of a picture that is as much larger as 256 is than 224."""
    return View(size, short=round(size * 256 / 224))


def default_view(shape: Tuple[int, int, int]) -> View:
    """The view that networks for images of such a shape (C, H, W) are evaluated with."""
    channels, size, _ = shape
    if channels == 1:
        return replace(MNIST_VIEW, size=size, short=size)
    return replace(CIFAR_VIEW, size=size, short=size) if size < 64 else centre_view(size)


def _short_side(picture: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """The picture resized to a short side, and a square cropped from it."""
    sides = picture.shape[:2]
    scale = view.short / min(sides)
    whole = [max(round(side * scale), view.short) for side in sides]
    top, left = (length - view.size for length in whole)
    if view.random:
        top, left = rng.integers(top + 1), rng.integers(left + 1)
    else:
        top, left = top // 2, left // 2
    if max(whole) > LONG * view.short:
        picture, whole, (top, left) = _near(picture, view.size, whole, (top, left))
    resized = _resize(picture, *whole)
    return resized[top : top + view.size, left : left + view.size]


def _near(
    picture: np.ndarray, size: int, whole: Sequence[int], corner: Sequence[int]
) -> Tuple[np.ndarray, List[int], List[int]]:
    """Cut a long picture to little more than a crop will show of it, before it is resized.

    What is far longer than wide would be gigabytes when enlarged whole. The crop may move by a part
    of a pixel; the ends that are cut at are those where that part is smallest.

    Args:
        size: side of the crop.
        whole: height and width that the picture would be resized to.
        corner: top and left of the crop in that.

    Returns:
        The part of the picture, and `whole` and `corner` for it.
    """
    axis, whole, corner = int(whole[1] > whole[0]), list(whole), list(corner)
    length, place = picture.shape[axis], corner[axis]
    grown = whole[axis] / length
    first, last = int(place / grown) - AROUND, math.ceil((place + size) / grown) + AROUND

    def part(pixels: int) -> float:
        return abs(pixels * grown - round(pixels * grown))

    start = min(range(max(first, 0), max(first - CHOICE, 0) - 1, -1), key=part)
    ends = range(min(last, length), min(last + CHOICE, length) + 1)
    stop = min(ends, key=lambda end: part(end - start))
    whole[axis] = max(round((stop - start) * grown), size)
    corner[axis] = min(max(place - round(start * grown), 0), whole[axis] - size)
    return (picture[:, start:stop] if axis else picture[start:stop]), whole, corner


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
