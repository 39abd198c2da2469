"""The box around the strong responses of a feature map: no parameters, no labels, no gradient.

Responses are summed over channels. Positions above a share of the mean form a mask, and the box
encloses the largest connected group of that mask; corners connect, too. This is the AOLM of Zhang
et al., "Multi-branch and Multi-scale Attention Learning for Fine-Grained Visual Categorization"
(2020), with two changes that raised the overlap with the boxes of birds on MobileNetV2: AOLM's
threshold is the mean itself, and it intersects the mask with that of an earlier layer.

Standard operators compute the group, so that any graph can contain them. Each position starts with
a unique number and repeatedly takes the largest number among its neighbours, until all positions of
a group have the same.
"""

from __future__ import annotations

from typing import Any, Tuple

from .safe import concat, detach

LEVEL = 0.6  # of the mean
STEPS = 32  # of propagation; a group with longer paths counts as several


def activation_box(F: Any, features: Any) -> Any:
    """Boxes (N, 4) from feature maps (N, C, h, w): centers, then half sides, in whole cells.

    The image spans -1 to 1. The box of a constant map is the whole image.
    """
    strength = F.sum(detach(F, features), axis=1, keepdims=True)  # (N, 1, h, w)
    mask = F.broadcast_greater(strength, LEVEL * F.mean(strength, axis=(2, 3), keepdims=True))
    group = largest_group(F, mask)
    (x, width), (y, height) = _span(F, group, 3), _span(F, group, 2)
    return concat(F, x, y, width, height)


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
