"""Boxes around the largest group of responses, against OpenCV's connected components."""

from __future__ import annotations

from typing import Any

from gluon_attention.ops.activation_box import activation_box, largest_group

import cv2
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

RING = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
DIAGONAL = [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]]  # one group: corners touch


class Boxes(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, features: Any, earlier: Any) -> Any:
        return activation_box(F, features, earlier)


def group_of(mask: Any) -> np.ndarray:
    mask = np.asarray(mask, np.float32)
    return largest_group(nd, nd.array(mask[None, None])).asnumpy()[0, 0]


def largest_of_opencv(mask: np.ndarray) -> np.ndarray:
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return components == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def smooth(count: int, side: int) -> np.ndarray:
    """Maps (N, h, w) whose groups have the sizes of those of photos."""
    noise = np.random.rand(count, side, side).astype(np.float32)
    return np.stack([cv2.GaussianBlur(picture, (0, 0), 1.2) for picture in noise])


def test_groups_equal_those_of_opencv() -> None:
    maps = smooth(100, 14)
    masks = maps > maps.mean(axis=(1, 2), keepdims=True)
    groups = largest_group(nd, nd.array(masks[:, None])).asnumpy()[:, 0]
    sizes = [largest_of_opencv(mask).sum() for mask in masks]
    np.testing.assert_array_equal(groups.sum(axis=(1, 2)), sizes)
    for mask, group in zip(masks, groups.astype(bool)):
        assert (mask | ~group).all()
        np.testing.assert_array_equal(largest_of_opencv(group), group)  # it is one group


@pytest.mark.parametrize(("mask", "size"), [(RING, 16), (DIAGONAL, 5), (np.zeros((3, 4)), 12)])
def test_size_of_a_group(mask: Any, size: int) -> None:
    assert group_of(mask).sum() == size


def test_the_box_encloses_whole_cells_of_the_earlier_map(hybridize: bool) -> None:
    earlier = nd.zeros((2, 3, 4, 5))
    earlier[0, 1, 1:3, 2:5], earlier[0, 2, 0, 0] = -1, 9  # a group, and a stronger single cell
    earlier[0, 0, 3, 0] = 0.1  # below the mean
    net = Boxes()
    net.hybridize(hybridize)
    boxes = net(nd.ones((2, 4, 2, 3)), earlier).asnumpy()
    left, right, top, bottom = 2 / 5 * 2 - 1, 1, 1 / 4 * 2 - 1, 3 / 4 * 2 - 1
    edges = [(left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2]
    np.testing.assert_allclose(boxes, [edges, [0, 0, 1, 1]], atol=1e-6)


def test_the_last_map_chooses_between_objects_of_the_earlier() -> None:
    earlier, features = nd.ones((2, 3, 8, 8)), nd.zeros((2, 4, 2, 2))
    earlier[:, :, 2:5, :2] = earlier[:, :, 2:5, 6:] = 2  # objects on the left and on the right
    features[0, :, :, 0], features[1, :, :, 1] = -1, 4
    boxes = activation_box(nd, features, earlier).asnumpy()
    np.testing.assert_allclose(boxes, [[x, -0.125, 0.25, 0.375] for x in (-0.75, 0.75)])


def test_strength_is_the_product_of_both_maps() -> None:
    features, earlier = nd.random.normal(shape=(20, 6, 7, 7)), nd.random.normal(shape=(20, 5, 7, 7))
    boxes = activation_box(nd, features, earlier).asnumpy()
    last, outline = (abs(x.asnumpy()).sum(axis=1) for x in (features, earlier))
    strength = np.sqrt(last) * (outline - outline.min(axis=(1, 2), keepdims=True))
    for box, one in zip(boxes, strength):
        rows, columns = np.nonzero(group_of(one > 0.8 * one.mean()))
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        corners = np.concatenate([box[:2] - box[2:], box[:2] + box[2:]])
        np.testing.assert_allclose((corners + 1) * 7 / 2, edges, atol=1e-5)


def test_no_gradient_reaches_the_features(hybridize: bool) -> None:
    net, features = Boxes(), nd.random.normal(shape=(2, 3, 6, 6))
    net.hybridize(hybridize)
    features.attach_grad()
    with autograd.record():
        total = net(features, features).sum() + (features * 2).sum()
    total.backward()
    np.testing.assert_array_equal(features.grad.asnumpy(), 2 * np.ones((2, 3, 6, 6)))
