"""RA-CNN's crop: its values, the gradients of its box, and boxes that stay in the image."""

from __future__ import annotations

from typing import Any

from gluon_attention import UserError
from gluon_attention.ops.attention_crop import (
    AttentionCrop,
    bounded_box,
    clamped_box,
    crop_box,
    inner_box,
    mask_gradient_table,
    pixel_crop,
)

import cv2
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

BOXES = [[0.2, -0.3, 0.5], [-0.45, 0.4, 0.31]]


def block(hybridize: bool, *args: Any) -> AttentionCrop:
    attention_crop = AttentionCrop(*args)
    attention_crop.hybridize(hybridize, static_alloc=True, static_shape=True)
    return attention_crop


def images_of(*shape: int) -> nd.NDArray:
    return nd.array(np.random.rand(*shape))


def box_gradient(
    attention_crop: Any, images: nd.NDArray, boxes: Any, heads: np.ndarray
) -> np.ndarray:
    """Gradient in the boxes when that in the crops is `heads`."""
    boxes = nd.array(boxes)
    boxes.attach_grad()
    with autograd.record():
        crops = attention_crop(images, boxes)
    crops.backward(nd.array(heads))
    return boxes.grad.asnumpy()


@pytest.mark.parametrize("gradient", ["sampler", "mask", "both"])
def test_a_crop_samples_the_content_of_its_box(gradient: str, hybridize: bool) -> None:
    image = cv2.GaussianBlur(np.random.rand(41, 61).astype(np.float32), (0, 0), 3)
    crops = block(hybridize, (11, 13), gradient)(nd.array(image[None, None]), nd.array([BOXES[0]]))
    x, y, half = BOXES[0]
    columns = (np.linspace(x - half, x + half, 13) + 1) / 2 * 60
    rows = (np.linspace(y - half, y + half, 11) + 1) / 2 * 40
    expected = cv2.remap(
        image,
        np.tile(columns.astype(np.float32), (11, 1)),
        np.tile(rows.astype(np.float32)[:, None], (1, 13)),
        cv2.INTER_LINEAR,
    )
    np.testing.assert_allclose(crops.asnumpy()[0, 0], expected, atol=2e-3)  # cv2 rounds to 1/32


def test_the_box_of_the_whole_image_is_the_identity(hybridize: bool) -> None:
    images = images_of(2, 3, 9, 9)
    crops = block(hybridize, 9)(images, nd.array([[0, 0, 1]] * 2))
    np.testing.assert_allclose(crops.asnumpy(), images.asnumpy(), atol=1e-5)


def test_sampler_gradient_is_the_numeric_one(hybridize: bool) -> None:
    # Bilinear sampling has a kink at every pixel, except where the image is bilinear itself.
    down, across = np.linspace(-1, 1, 12)[:, None], np.linspace(-1, 1, 15)
    a, b, c = np.random.randn(3, 2, 2, 1, 1)
    images = nd.array(a * down + b * across + c * down * across)
    heads = np.random.randn(2, 2, 5, 5)
    attention_crop = block(hybridize, 5, "sampler")
    actual = box_gradient(attention_crop, images, BOXES, heads)
    for index in np.ndindex(2, 3):
        ends = []
        for step in (1e-2, -1e-2):
            moved = np.array(BOXES)
            moved[index] += step
            ends.append((attention_crop(images, nd.array(moved)).asnumpy() * heads).sum())
        assert actual[index] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=5e-2)


def boxcar(x: float, y: float, half: float, size: int, box: float, sharpness: float) -> np.ndarray:
    """The mask of a box, at the pixels of the crop of the box (0, 0, `box`)."""
    places = np.linspace(-box, box, size)

    def side(middle: float) -> np.ndarray:
        edge = lambda z: 1 / (1 + np.exp(-sharpness / box * z))
        return edge(places - middle + half) - edge(places - middle - half)

    return np.outer(side(y), side(x))


@pytest.mark.parametrize("size", [30, 99, 150])
def test_the_smallest_box_in_a_corner_keeps_its_whole_pixels_despite_rounding(size: int) -> None:
    """Its edge is at 2/3 of the side, which in float32 is a little less."""
    box = clamped_box(nd, nd.array([[9.0, 9.0, -9.0]]), 1 / 3, 1.0)
    columns = np.tile(np.arange(size, dtype="float32"), (1, 1, size, 1))
    crops = pixel_crop(nd, nd.array(columns), box, (size // 3, size // 3)).asnumpy()[0, 0, -1]
    np.testing.assert_allclose(crops[1:], np.arange(size)[-size // 3 + 1 :], rtol=1e-3)
    assert crops[0] == pytest.approx(size * 2 // 3 / 2, rel=1e-3)  # the mask halves the first


def test_mask_gradient_table_is_the_numeric_derivative_of_the_boxcar() -> None:
    """Numeric derivatives in half sides of the box, each less its mean."""
    box, step, size = 0.4, 1e-5, 15
    moves = np.eye(3) * step
    for table, (x, y, half) in zip(mask_gradient_table((size, size), 8.0), moves):
        ends = [boxcar(s * x, s * y, box + s * half, size, box, 8.0) for s in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * step) * box
        np.testing.assert_allclose(table, expected - expected.mean(), atol=1e-5)


def test_mask_gradient_is_the_energy_weighted_table(hybridize: bool) -> None:
    heads, attention_crop = np.random.randn(2, 3, 7, 7), block(hybridize, 7, "mask")
    actual = box_gradient(attention_crop, images_of(2, 3, 20, 20), BOXES, heads)
    energy = (heads**2).sum(axis=1)
    expected = -np.einsum("nhw,khw->nk", energy, mask_gradient_table((7, 7), 10.0))
    expected /= np.sqrt(energy.sum(axis=(1, 2)))[:, None]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_both_is_the_sum_of_sampler_and_mask(hybridize: bool) -> None:
    images, heads = images_of(2, 3, 20, 20), np.random.randn(2, 3, 7, 7)
    one, other, both = (
        box_gradient(block(hybridize, 7, kind), images, BOXES, heads)
        for kind in ("sampler", "mask", "both")
    )
    np.testing.assert_allclose(both, one + other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [8, 9, (12, 16)])
def test_uniform_energy_gives_no_mask_gradient(size: Any) -> None:
    height, width = size if isinstance(size, tuple) else (size, size)
    heads = np.random.choice([-1, 1], (2, 3, height, width))
    actual = box_gradient(AttentionCrop(size, "mask"), images_of(2, 3, 20, 20), BOXES, heads)
    np.testing.assert_allclose(actual, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "columns", "step"),
    [
        (slice(None), slice(0, 3), (-1, 0, 1)),  # energy on the left: go left, and wider
        (slice(None), slice(-3, None), (1, 0, 1)),
        (slice(0, 3), slice(None), (0, -1, 1)),
        (slice(8, 13), slice(8, 13), (0, 0, -1)),  # in the middle: zoom in
        (slice(8, 13), slice(11, 16), (1, 0, -1)),
    ],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_box_descends_towards_energy(rows: slice, columns: slice, step: tuple, sign: int) -> None:
    heads = np.zeros((1, 1, 21, 21))
    heads[:, :, rows, columns] = sign * 1e-4
    actual = -box_gradient(AttentionCrop(21, "mask"), images_of(1, 1, 30, 30), [BOXES[0]], heads)
    assert tuple(np.sign(np.where(abs(actual[0]) < 1e-8, 0, actual[0]))) == step


def test_mask_gradient_is_proportional_to_the_loss(hybridize: bool) -> None:
    images, heads = images_of(2, 1, 20, 20), 1e-6 * np.random.randn(2, 1, 6, 6)
    attention_crop = block(
        hybridize, 6, "mask"
    )  # of gradients as small as those of a mean over a batch
    once, thrice, none = (
        box_gradient(attention_crop, images, BOXES, heads * by) for by in (1, 3, 0)
    )
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-3, atol=1e-12)
    assert not none.any()


def test_bounded_boxes_stay_inside_and_keep_their_gradient() -> None:
    free = nd.array([[x, y, s] for x in (-9, 0, 9) for y in (-9, 0, 9) for s in (-9, 0, 9)])
    free.attach_grad()
    with autograd.record():
        boxes = bounded_box(nd, free, 0.25, 0.9)
        total = boxes.sum()
    total.backward()
    actual = boxes.asnumpy()
    far = abs(actual[:, :2]) + actual[:, 2:]
    assert (far <= 1).all() and (far[abs(free.asnumpy()[:, :2]) == 9] > 0.999).all()
    assert actual[:, 2].min() >= 0.25 and actual[:, 2].max() <= 0.9
    assert (abs(free.grad.asnumpy()[:, :2]) > 1e-6).all()
    np.testing.assert_allclose(actual[13], [0, 0, 0.575], atol=1e-6)


def test_clamped_boxes_stay_inside() -> None:
    free = nd.array([[x, y, s] for x in (-9, 0, 9) for y in (-9, 0, 9) for s in (-9, -0.4, 9)])
    actual = clamped_box(nd, free, 2 / 3, 2).asnumpy()  # a sigmoid gives up to twice the image
    assert (abs(actual[:, :2]) + actual[:, 2:] <= 1 + 1e-6).all()
    np.testing.assert_allclose(actual[12:15], [[0, 0, 2 / 3], [0, 0, 0.8026], [0, 0, 1]], atol=1e-4)
    np.testing.assert_allclose(actual[24], [1 / 3, 1 / 3, 2 / 3], atol=1e-4)


def test_inner_box_equals_a_crop_of_a_crop() -> None:
    ramp = np.linspace(0, 1, 33)
    images = nd.array((ramp[:, None] * 2 + ramp)[None, None])  # bilinear sampling is exact on it
    outer, inner = nd.array([BOXES[0]]), nd.array([[-0.2, 0.4, 0.5]])
    twice = crop_box(nd, crop_box(nd, images, outer, 33), inner, 9)
    once = crop_box(nd, images, inner_box(nd, outer, inner), 9)
    np.testing.assert_allclose(twice.asnumpy(), once.asnumpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # of the input, until it comes
@pytest.mark.parametrize("gradient", ["sampler", "both"])
def test_export_gives_the_same_numbers(tmp_path: Any, gradient: str) -> None:
    attention_crop = block(True, 6, gradient)
    images, boxes = images_of(2, 3, 20, 20), nd.array(BOXES)
    expected = attention_crop(images, boxes).asnumpy()
    attention_crop.export(str(tmp_path / "crop"))
    again = gluon.SymbolBlock.imports(str(tmp_path / "crop-symbol.json"), ["data0", "data1"])
    np.testing.assert_allclose(again(images, boxes).asnumpy(), expected, rtol=1e-5)


def test_another_gradient_is_refused() -> None:
    with pytest.raises(UserError, match="gradient"):
        AttentionCrop(8, "x")
