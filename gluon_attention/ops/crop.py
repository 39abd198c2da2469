"""Windows of images: one crop, its growing pyramid, its soft mask.

Every function takes `F` (`mx.nd` or `mx.sym`) first, so that it runs alone and in a hybrid block.
Coordinates are in [-1, 1] with the pixel centres of the corners at -1 and 1, x before y: `center`
and `extent` are (N, 2), a window spans center - extent to center + extent, and a window of g pixels
of a W-pixel row has extent (g - 1) / (W - 1). What lies outside an image is zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple, Union

from ..errors import UserError
from .safe import concat

Size = Union[int, Tuple[int, int]]


def crop(F: Any, images: Any, center: Any, extent: Any, size: Size) -> Any:
    """Sample a window of each image bilinearly: (N, C, H, W) to (N, C, *size).

    Args:
        images: (N, C, H, W).
        center: (N, 2), the middle of each window, x before y.
        extent: (N, 2), half the sides of each window.
        size: height and width of the result, or one number for both; at least 2.

    Differentiable in images, center and extent; one launch for the batch.
    """
    zero = F.zeros_like(_axis(F, center, 0))
    theta = concat(
        F,
        *(_axis(F, extent, 0), zero, _axis(F, center, 0)),
        *(zero, _axis(F, extent, 1), _axis(F, center, 1)),
    )  # (N, 6), rows of the matrices that map window to image
    return _sample(F, images, theta, _pair(size))


def pyramid(F: Any, images: Any, center: Any, size: Size, scales: int) -> Any:
    """Windows around a point, each twice as wide as the one before: (N, K, C, *size).

    The first is sampled at the pitch of the pixels; window k covers 2**k times as many of them and
    is average-pooled to the same size. Nothing is resized twice, and only images get a gradient
    through the pooling: callers that look often at one batch call `box_means` and `aim` once and
    `glimpse` often.
    """
    boxed = box_means(F, images, scales)
    return glimpse(F, boxed, center, aim(F, boxed, size, scales))


def box_means(F: Any, images: Any, scales: int) -> Any:
    """Means over every 2**k x 2**k pixels: (N, K, C, H + S - 1, W + S - 1) with S = 2**(K-1).

    Pooling a bilinearly sampled window equals sampling the pooled image, so boxes are taken once
    however often the images are looked at. Entry (S-1) + i of a row is the box that starts at pixel
    i: boxes that stick out of the image by any part are there, with zeros for what is outside.
    """
    rim = 2 ** (scales - 1) - 1
    if rim:
        images = F.pad(
            images, mode="constant", constant_value=0, pad_width=(0, 0, 0, 0) + 4 * (rim,)
        )
    levels = [images]
    for k in range(scales - 1):  # a box of 2s is the mean of four boxes of s, s apart
        levels.append(_widen(F, _widen(F, levels[-1], 2, 2**k), 3, 2**k))
    # A level is shorter by its box less one: cut all to the shortest.
    cut = [F.slice_like(level, levels[-1], axes=(2, 3)) for level in levels[:-1]] + levels[-1:]
    return F.stack(*cut, axis=1)


class Aim(NamedTuple):
    """The affine matrices of glimpses as a function of their point: point * slope + shift."""

    slope: Any  # (1, 1, 2, 3)
    shift: Any  # (1, K, 2, 3)
    size: Tuple[int, int]
    scales: int  # K


def aim(F: Any, boxed: Any, size: Size, scales: int) -> Aim:
    """All of the matrices but the point, for the `box_means` of images; the same at every step."""
    height, width = _pair(size)
    widest = 2 ** (scales - 1)
    shape = F.cast(F.slice_axis(F.shape_array(boxed), axis=0, begin=3, end=5), "float32")
    sides = F.reshape(F.reverse(shape, axis=0), shape=(1, 2)) - 1  # canvas: W + S - 2, H + S - 2
    share = 1 / sides
    x, y, zero = _axis(F, share, 0), _axis(F, share, 1), F.zeros_like(_axis(F, share, 0))
    slope = concat(F, zero, zero, 1 - x * (widest - 1), zero, zero, 1 - y * (widest - 1))
    shifts = []
    for k in range(scales):
        # On the canvas a box of s starts (s - 1) / 2 before its middle, behind a rim of S - 1.
        reach = x * ((width - 1) * 2**k), y * ((height - 1) * 2**k)
        rim = widest - 2**k
        shifts.append(concat(F, reach[0], zero, x * rim, zero, reach[1], y * rim))
    slope, shift = (F.reshape(n, shape=(1, -1, 2, 3)) for n in (slope, F.stack(*shifts, axis=1)))
    return Aim(slope, shift, (height, width), scales)


def glimpse(F: Any, boxed: Any, center: Any, aimed: Aim) -> Any:
    """The pyramid around a point (N, 2), from the `box_means` of the images: (N, K, C, *size).

    It is a few operators only: an episode glimpses often, and each waits for the one before.
    """
    point = F.reshape(center, shape=(0, 1, 2, 1))
    matrices = F.broadcast_add(F.broadcast_mul(point, aimed.slope), aimed.shift)  # (N, K, 2, 3)
    flat = F.reshape(boxed, shape=(-3, -2)), F.reshape(matrices, shape=(-3, -3))  # (NK, ...)
    return F.reshape(_sample(F, *flat, aimed.size), shape=(-4, -1, aimed.scales, -2))


def between_pixels(F: Any, images: Any, center: Any) -> Any:
    """The corner of pixels that public implementations of RAM cut even windows around: (N, 2).

    With l the center, floor(W (l + 1) / 2) pixels of W lie before it.
    """
    shape = F.cast(F.slice_axis(F.shape_array(images), axis=0, begin=2, end=4), "float32")
    sides = F.reshape(F.reverse(shape, axis=0), shape=(1, 2))  # W, H
    before = F.floor(F.broadcast_mul(center + 1, sides) * 0.5)
    return F.broadcast_div(before * 2 - 1, sides - 1) - 1


def boxcar(F: Any, center: Any, extent: Any, size: Size, sharpness: float = 10.0) -> Any:
    """A soft mask that is near 1 inside the window and near 0 outside: (N, 1, *size).

    The product over both axes of a rising and a falling logistic edge; `sharpness` is the slope of
    the edges in the same coordinates as the window, so it does not depend on the size.
    """
    height, width = _pair(size)
    sides = []
    for axis, length in enumerate((width, height)):
        middle = F.broadcast_axis(_axis(F, center, axis), axis=1, size=length)  # (N, length)
        places = F.contrib.arange_like(middle, axis=1) * (2.0 / (length - 1)) - 1
        away = F.broadcast_sub(F.expand_dims(places, axis=0), middle)
        half = _axis(F, extent, axis)
        rise = F.sigmoid(sharpness * F.broadcast_add(away, half))
        sides.append(rise - F.sigmoid(sharpness * F.broadcast_sub(away, half)))
    across, down = sides
    mask = F.broadcast_mul(F.expand_dims(down, axis=2), F.expand_dims(across, axis=1))
    return F.expand_dims(mask, axis=1)


def _sample(F: Any, images: Any, matrices: Any, size: Tuple[int, int]) -> Any:
    """Windows that matrices (N, 6) map to images."""
    grid = F.GridGenerator(matrices, transform_type="affine", target_shape=size)
    return F.BilinearSampler(images, grid)


def _axis(F: Any, pairs: Any, axis: int) -> Any:
    return F.slice_axis(pairs, axis=1, begin=axis, end=axis + 1)  # (N, 1)


def _widen(F: Any, boxed: Any, axis: int, side: int) -> Any:
    """Means of neighbours `side` apart along an axis, which gets shorter by as much."""
    ahead = F.slice_axis(boxed, axis=axis, begin=side, end=None)
    return (F.slice_axis(boxed, axis=axis, begin=0, end=-side) + ahead) * 0.5


def _pair(size: Size) -> Tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 2:
        raise UserError(f"a window needs at least 2 pixels a side to have an extent, not {size}")
    return int(height), int(width)
