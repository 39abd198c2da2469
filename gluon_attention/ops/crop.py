"""Windows of images: one crop, and the patches of a glimpse.

Every function takes `F` (`mx.nd` or `mx.sym`) first, so that it runs alone and in a hybrid block.
Coordinates are in [-1, 1] with the pixel centers of the corners at -1 and 1, x before y: `center`
and `extent` are (N, 2), a window spans center - extent to center + extent, and a window of g pixels
of a W-pixel row has extent (g - 1) / (W - 1). Outside an image everything is zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple, Union

from ..errors import UserError
from .safe import concat

CropSize = Union[int, Tuple[int, int]]


def crop(F: Any, images: Any, center: Any, extent: Any, size: CropSize) -> Any:
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


def pyramid_means(F: Any, images: Any, scales: int) -> Any:
    """Means over every 2**k x 2**k pixels: (N, K, C, H + S - 1, W + S - 1) with S = 2**(K-1).

    Pooling a bilinearly sampled window equals sampling the pooled image, so each batch is pooled
    once for all glimpses. Images are padded by S - 1 zeros, so that index (S-1) + i
    of a row is the mean that starts at pixel i, for windows partly outside too. One row of four
    pixels a to d at three scales (S = 4):

        padded   0   0   0 | a   b   c   d | 0   0   0
        k = 0    0   0   0   a   b   c   d              of 1 pixel
        k = 1    00  00  0a  ab  bc  cd  d0             of 2
        k = 2    000a 00ab 0abc abcd bcd0 cd00 d000     of 4
        index    0   1   2   3   4   5   6              3 = S - 1 starts at pixel 0, which is a
    """
    padding = 2 ** (scales - 1) - 1
    if padding:
        images = F.pad(
            images, mode="constant", constant_value=0, pad_width=(0, 0, 0, 0) + 4 * (padding,)
        )
    levels = [images]
    for k in range(scales - 1):  # a mean of side 2s is that of four of side s, s apart
        levels.append(_pair_means(F, _pair_means(F, levels[-1], 2, 2**k), 3, 2**k))
    # The larger its means, the shorter a level: cut all to the shortest.
    levels[:-1] = [F.slice_like(level, levels[-1], axes=(2, 3)) for level in levels[:-1]]
    return F.stack(*levels, axis=1)


class GlimpseMatrices(NamedTuple):
    """The affine matrices of glimpses as a function of their center: center * slope + shift."""

    slope: Any  # (1, 1, 2, 3)
    shift: Any  # (1, K, 2, 3)
    size: Tuple[int, int]
    scales: int  # K


def glimpse_matrices(F: Any, means: Any, size: CropSize, scales: int) -> GlimpseMatrices:
    """The parts of the matrices that no center changes, for the `pyramid_means` of a batch.

    Along a row of W pixels the means have L = W + S - 1 entries. Pixel p of a window of g pixels
    of scale k lies 2**k * (p - (g - 1) / 2) pixels from its center, the mean there starts
    (2**k - 1) / 2 before that, and the padding shifts all by S - 1. With the L entries spread over
    -1 to 1, and the center l over the image's -1 to 1:

          -1                                                            1    entries
           |-- S-1 --|======================= image ====================|
                     l = -1             l                             l = 1
                               |--- window ----|

        middle of the window = l * (1 - (S - 1) / (L - 1)) + (S - 2**k) / (L - 1)
        half its side        = (g - 1) * 2**k / (L - 1)
    """
    height, width = _pair(size)
    widest = 2 ** (scales - 1)  # S
    shape = F.cast(F.slice_axis(F.shape_array(means), axis=0, begin=3, end=5), "float32")
    entry = 1 / (F.reshape(F.reverse(shape, axis=0), shape=(1, 2)) - 1)  # 1 / (L - 1), for x and y
    x, y, zero = _axis(F, entry, 0), _axis(F, entry, 1), F.zeros_like(_axis(F, entry, 0))
    slope = concat(F, zero, zero, 1 - x * (widest - 1), zero, zero, 1 - y * (widest - 1))
    shifts = []
    for k in range(scales):
        half = x * ((width - 1) * 2**k), y * ((height - 1) * 2**k)
        offset = widest - 2**k
        shifts.append(concat(F, half[0], zero, x * offset, zero, half[1], y * offset))
    slope, shift = (F.reshape(n, shape=(1, -1, 2, 3)) for n in (slope, F.stack(*shifts, axis=1)))
    return GlimpseMatrices(slope, shift, (height, width), scales)


def glimpse(F: Any, means: Any, center: Any, matrices: GlimpseMatrices) -> Any:
    """Patches around a point (N, 2), from the `pyramid_means` of the images: (N, K, C, *size).

    The first has the resolution of the image; patch k covers 2**k times as many pixels a side and
    is average-pooled to the same size. An episode has many glimpses in sequence, so there are few
    operators.
    """
    center = F.reshape(center, shape=(0, 1, 2, 1))
    theta = F.broadcast_add(F.broadcast_mul(center, matrices.slope), matrices.shift)  # (N, K, 2, 3)
    means, theta = F.reshape(means, shape=(-3, -2)), F.reshape(theta, shape=(-3, -3))  # (NK, ...)
    windows = _sample(F, means, theta, matrices.size)
    return F.reshape(windows, shape=(-4, -1, matrices.scales, -2))


def snap_to_pixels(F: Any, images: Any, center: Any) -> Any:
    """The pixel corners that public implementations of RAM cut even windows around: (N, 2).

    For a center l, the corner after floor(W (l + 1) / 2) of the W pixels.
    """
    shape = F.cast(F.slice_axis(F.shape_array(images), axis=0, begin=2, end=4), "float32")
    sides = F.reshape(F.reverse(shape, axis=0), shape=(1, 2))  # W, H
    pixels = F.floor(F.broadcast_mul(center + 1, sides) * 0.5)
    return F.broadcast_div(pixels * 2 - 1, sides - 1) - 1


def _sample(F: Any, images: Any, matrices: Any, size: Tuple[int, int]) -> Any:
    """Images at the windows that affine matrices (N, 6) map to them."""
    grid = F.GridGenerator(matrices, transform_type="affine", target_shape=size)
    return F.BilinearSampler(images, grid)


def _axis(F: Any, pairs: Any, axis: int) -> Any:
    return F.slice_axis(pairs, axis=1, begin=axis, end=axis + 1)  # (N, 1)


def _pair_means(F: Any, values: Any, axis: int, distance: int) -> Any:
    """Means of entries a distance apart along an axis, which gets shorter by as much."""
    later = F.slice_axis(values, axis=axis, begin=distance, end=None)
    return (F.slice_axis(values, axis=axis, begin=0, end=-distance) + later) * 0.5


def _pair(size: CropSize) -> Tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 2:
        raise UserError(f"a window needs at least 2 pixels a side to have an extent, not {size}")
    return int(height), int(width)
