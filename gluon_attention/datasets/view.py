"""The transform that turns a picture of any size into an input of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Optional, Sequence, Tuple

import cv2
import numpy as np

from ..errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = np.array([0.299, 0.587, 0.114])
# Principal axes of ImageNet's colours times their standard deviations (Krizhevsky et al. 2012).
COLOUR_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.array([0.2175, 0.0188, 0.0045])


@dataclass(frozen=True)
class View:
    """Turns a picture (H, W, 3) into a normalised input (3 or 1, size, size).

    Args:
        short: resize the short side to this, then crop `size`; None resizes a random part instead.
        random: random crop and horizontal flip; otherwise the centre crop.
        area: range of the area of a random part, as a share of the picture.
        aspect: range of the width / height of a random part.
        jitter: largest relative change of brightness, contrast and saturation.
        lighting: standard deviation of the noise along ImageNet's colour axes.
        mean, std: of pixel / 255, for three channels, or for one channel of grey inputs.
    """

    size: int
    short: Optional[int] = None
    random: bool = False
    area: Tuple[float, float] = (0.08, 1.0)
    aspect: Tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.0
    lighting: float = 0.0
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1 or (self.short is not None and self.short < self.size):
            raise UserError(
                f"cannot crop {self.size} pixels from a short side of {self.short}; "
                "size must be above 0 and not above the short side"
            )
        assert self.short or self.random, "a centre crop needs a short side"

    def __call__(
        self, picture: np.ndarray, rng: Optional[np.random.Generator] = None
    ) -> np.ndarray:
        cropped = self.pixels(picture, rng).astype(np.float32)
        if len(self.mean) == 1:
            return (cropped.transpose(2, 0, 1) / 255 - self.mean[0]) / np.float32(self.std[0])
        return cv2.transform(cropped, self.colour_map(cropped, rng)).transpose(2, 0, 1)

    def pixels(self, picture: np.ndarray, rng: Optional[np.random.Generator] = None) -> np.ndarray:
        """The input before normalisation and colour changes, uint8 (size, size, 3 or 1)."""
        crop = _random_resized_part if self.short is None else _resized_crop
        cropped = crop(picture, self, rng)
        if self.random and rng.random() < 0.5:
            cropped = cropped[:, ::-1]
        if len(self.mean) == 1:
            return cv2.cvtColor(np.ascontiguousarray(cropped), cv2.COLOR_RGB2GRAY)[..., None]
        return cropped

    def colour_map(self, picture: np.ndarray, rng: Optional[np.random.Generator]) -> np.ndarray:
        """Jitter, lighting and normalisation as one affine map (3, 4) of a pixel's colour."""
        linear, offset = np.eye(3) / 255, np.zeros(3)
        if self.jitter:
            bright, contrast, saturation = rng.uniform(1 - self.jitter, 1 + self.jitter, size=3)
            grey = LUMA @ cv2.mean(picture)[:3] / 255
            offset = np.full(3, (1 - contrast) * bright * grey)
            mix = saturation * np.eye(3) + (1 - saturation) * LUMA  # LUMA is added to each row
            linear = contrast * bright * mix / 255
        if self.lighting:
            offset = offset + COLOUR_AXES @ rng.normal(0, self.lighting, size=3)
        affine = np.column_stack([linear, offset - self.mean])
        return affine / np.asarray(self.std)[:, None]


CIFAR_VIEW = View(32, 32, mean=(0.4914, 0.4824, 0.4467), std=(0.2471, 0.2435, 0.2616))
MNIST_VIEW = View(28, 28, mean=(0.0,), std=(1.0,))


def centre_view(size: int) -> View:
    """The centre crop of ImageNet: the short side is 256 / 224 times the size."""
    return View(size, short=round(size * 256 / 224))


def default_view(shape: Tuple[int, int, int]) -> View:
    """The view of networks for inputs (C, H, W) whose data set is unknown."""
    channels, size, _ = shape
    if channels == 1:
        return replace(MNIST_VIEW, size=size, short=size)
    return replace(CIFAR_VIEW, size=size, short=size) if size < 64 else centre_view(size)


def _resized_crop(
    picture: np.ndarray, view: View, rng: Optional[np.random.Generator]
) -> np.ndarray:
    """A square crop of the picture whose short side is resized to `view.short`."""
    sides = picture.shape[:2]
    scale = view.short / min(sides)
    height, width = (max(round(side * scale), view.short) for side in sides)
    top, left = height - view.size, width - view.size
    if view.random:
        top, left = rng.integers(top + 1), rng.integers(left + 1)
    else:
        top, left = top // 2, left // 2
    resized = _resize(picture, height, width)
    return resized[top : top + view.size, left : left + view.size]


def _random_resized_part(picture: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """A part of random area and aspect, resized to a square; the centre if ten draws do not fit."""
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
    """Area average to shrink, against aliasing; bilinear to enlarge."""
    shrinks = height < picture.shape[0] and width < picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=method)
