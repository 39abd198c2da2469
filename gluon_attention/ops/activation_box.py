"""The box around the strong responses of two feature maps: no parameters, labels or gradient.

The last feature map tells the object from the background, and an earlier map of twice the
resolution has its outline. A response is the sum of magnitudes over channels. The square root of
that of the last map is multiplied by that of the earlier one, from which its minimum is subtracted.
Positions above a share of the mean of the product form a mask, and the box encloses the largest
connected group of that mask; corners connect, too.

The method is the AOLM of Zhang et al., "Multi-branch and Multi-scale Attention Learning for
Fine-Grained Visual Categorization" (2020), except that AOLM intersects two masks, each of the
positions above the mean of its map. On MobileNetV2 more of the boxes by the product overlap birds.

Standard operators compute the group, so that any graph can contain them. Each position starts with
a unique number and repeatedly takes the largest number among its neighbours, until all positions of
a group have the same.
"""

from __future__ import annotations

from typing import Any, Tuple

from .resize import resize_like
from .safe import concat, detach

LEVEL = 0.8  # of the mean
STEPS = 32  # of propagation; a group with longer paths counts as several


def activation_box(F: Any, features: Any, earlier: Any) -> Any:
    """Boxes (N, 4): centers, then half sides, in whole cells of the earlier map.

    The image spans -1 to 1. The box of a constant earlier map is the whole image.

    Args:
        features: the last feature map (N, C, h, w).
        earlier: a feature map (N, C', H, W).
    """
    outline = _response(F, earlier)
    outline = F.broadcast_sub(outline, F.min(outline, axis=(2, 3), keepdims=True))
    strength = resize_like(F, F.sqrt(_response(F, features)), outline) * outline
    mask = F.broadcast_greater(strength, LEVEL * F.mean(strength, axis=(2, 3), keepdims=True))
    group = largest_group(F, mask)
    (x, width), (y, height) = _span(F, group, 3), _span(F, group, 2)
    return concat(F, x, y, width, height)


def _response(F: Any, features: Any) -> Any:
    """Magnitudes summed over channels, (N, 1, h, w)."""
    return F.sum(F.abs(detach(F, features)), axis=1, keepdims=True)


def largest_group(F: Any, mask: Any) -> Any:
    """The cells of the largest group in a mask (N, 1, h, w); all cells if the mask is empty."""
    cells = F.flatten(mask)  # (N, hw)
    index = F.contrib.arange_like(cells, axis=1) + 1
    numbers = F.reshape_like(F.broadcast_mul(cells, F.reshape(index, shape=(1, -1))), mask)
    for _ in range(STEPS):
        largest = F.Pooling(numbers, kernel=(3, 3), pad=(1, 1), pool_type="max")
        numbers = largest * mask
    numbers = F.flatten(numbers)
    equal = F.broadcast_equal(F.expand_dims(numbers, axis=1), F.expand_dims(numbers, axis=2))
    size = F.sum(equal, axis=2) * cells  # of the group of each cell
    is_largest = F.broadcast_equal(size, F.max(size, axis=1, keepdims=True))
    chosen = F.max(is_largest * numbers, axis=1, keepdims=True)  # the last if several are equal
    return F.reshape_like(F.broadcast_equal(numbers, chosen), mask)


def _span(F: Any, group: Any, axis: int) -> Tuple[Any, Any]:
    """Middle and half length of a group along an axis, (N, 1) each, in shares of that axis."""
    occupied = F.max(group, axis=(1, 5 - axis))  # (N, length)
    index = F.reshape(F.contrib.arange_like(occupied, axis=1), shape=(1, -1))
    length = F.max(index, keepdims=True) + 1  # (1, 1)
    end = F.max(F.broadcast_mul(occupied, index + 1), axis=1, keepdims=True)
    before = F.max(F.broadcast_mul(occupied, F.broadcast_sub(length, index)), axis=1, keepdims=True)
    begin = F.broadcast_sub(length, before)
    return F.broadcast_div(begin + end, length) - 1, F.broadcast_div(end - begin, length)
