"""Crops of whole pixels under a soft mask, as public RA-CNN in PyTorch makes them."""

from __future__ import annotations

from gluon_attention.ops.attention_crop import clamped_box, pixel_crop

import numpy as np
from mxnet import gluon, nd

HEIGHT, WIDTH, SIZE = 31, 40, (12, 17)


def mask_of(low: int, high: int, length: int) -> np.ndarray:
    """A soft step up at `low` and down at `high`, of slope 10 a pixel."""
    pixels = np.arange(length)

    def step(edge: int) -> np.ndarray:
        return 1 / (1 + np.exp(np.clip(10 * (edge - pixels), -500, 500)))

    return step(low) - step(high)


def reference_crop(image: np.ndarray, free_box: np.ndarray) -> np.ndarray:
    """The crop of one image (C, H, W) for a free box (x, y, half), in double precision."""
    box, spans, masked = 1 / (1 + np.exp(-free_box)), [], image
    for axis, length, shape in ((1, HEIGHT, (-1, 1)), (0, WIDTH, (1, -1))):
        half = max(box[2] * length, length / 3)
        center = min(max(box[axis] * length, half), length - half)
        low, high = int(max(center - half, 0)), int(min(center + half + 1e-9, length))
        masked = masked * mask_of(low, high, length).reshape(shape)
        spans.append(np.linspace(low, high - 1, SIZE[1 - axis]))
    rows, columns = (np.floor(span + 1e-9).astype(int) for span in spans)
    down, right = spans[0] - rows, spans[1] - columns
    next_rows, next_columns = np.minimum(rows + 1, HEIGHT - 1), np.minimum(columns + 1, WIDTH - 1)

    def between_columns(lines: np.ndarray) -> np.ndarray:
        pixels = masked[:, lines]
        return pixels[:, :, columns] * (1 - right) + pixels[:, :, next_columns] * right

    above, below = between_columns(rows), between_columns(next_rows)
    return above * (1 - down[:, None]) + below * down[:, None]


def test_crops_equal_numpy(hybridize: bool) -> None:
    """Boxes that are free, clamped to the border, and the whole image."""
    free = np.array([[0.3, -0.2, 0.1], [9, -9, -9], [-1, 2, 9], [0.5, 0.5, -0.5]], "f4")
    images = np.random.randn(4, 3, HEIGHT, WIDTH).astype("f4")
    net = gluon.nn.HybridLambda(lambda F, x, y: pixel_crop(F, x, clamped_box(F, y, 2 / 3, 2), SIZE))
    net.hybridize(hybridize)
    crops = net(nd.array(images), nd.array(free)).asnumpy()
    for image, free_box, crop in zip(images, free, crops):
        expected = reference_crop(image.astype("f8"), free_box.astype("f8"))
        np.testing.assert_allclose(crop, expected, 1e-3, 1e-3)
