"""Windows of images against slicing, padding and averaging in numpy."""

from gluon_attention.errors import UserError
from gluon_attention.ops.crop import (
    crop,
    glimpse,
    glimpse_matrices,
    pyramid_means,
    snap_to_pixels,
)

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd


class Graph(gluon.HybridBlock):
    """A function of (F, *inputs) as a hybridized block."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.hybridize()

    def hybrid_forward(self, F, *inputs):
        return self.function(F, *inputs)


def run(function, *arrays):
    """The values of a function of (F, *inputs), after checking that both ways agree."""
    inputs = [nd.array(a, dtype="float32") for a in arrays]
    plain = function(nd, *inputs).asnumpy()
    np.testing.assert_allclose(Graph(function)(*inputs).asnumpy(), plain, rtol=1e-5, atol=1e-6)
    return plain


def images_of(*shape, seed=0):
    return np.random.RandomState(seed).rand(*shape).astype("float32")


def at(column, row, height, width):
    """The coordinates of a pixel, x before y."""
    return [2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1]


def pyramid(F, images, center, size, scales):
    """The patches of one glimpse."""
    means = pyramid_means(F, images, scales)
    return glimpse(F, means, center, glimpse_matrices(F, means, size, scales))


def retina(image, column, row, size, scale):
    """The window of `size * scale` pixels around a point, pooled by `scale`: the naive way."""
    reach = size * scale
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    top, left = (round(v - (reach - 1) / 2) + reach for v in (row, column))
    window = padded[:, top : top + reach, left : left + reach]
    return window.reshape(len(image), size, scale, size, scale).mean(axis=(2, 4))


@pytest.mark.parametrize("shape", [(3, 1, 9, 9), (1, 3, 7, 12)])
def test_full_extent_is_the_identity(shape):
    images = images_of(*shape)
    center, extent = np.zeros((shape[0], 2)), np.ones((shape[0], 2))
    actual = run(lambda F, x, c, e: crop(F, x, c, e, shape[2:]), images, center, extent)
    np.testing.assert_allclose(actual, images, atol=1e-5)


def test_window_on_whole_pixels_is_a_slice():
    images = images_of(2, 3, 10, 17)
    center = [at(5, 3, 10, 17), at(11, 6, 10, 17)]
    extent = [[4 / 16, 2 / 9]] * 2  # 5 columns and 3 rows
    actual = run(lambda F, x, c, e: crop(F, x, c, e, (3, 5)), images, center, extent)
    np.testing.assert_allclose(actual[0], images[0, :, 2:5, 3:8], atol=1e-5)
    np.testing.assert_allclose(actual[1], images[1, :, 5:8, 9:14], atol=1e-5)


def test_outside_is_zero():
    actual = run(
        lambda F, x, c, e: crop(F, x, c, e, 3), np.ones((1, 1, 5, 5)), [[1, 1]], [[0.5, 0.5]]
    )
    np.testing.assert_allclose(actual[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]], atol=1e-6)
    away = run(lambda F, x, c: pyramid(F, x, c, 2, 2), np.ones((1, 1, 4, 4)), [[5.0, -5.0]])
    assert not away.any()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "size, scales, shape", [(4, 1, (1, 9, 9)), (4, 3, (1, 20, 15)), (3, 4, (3, 9, 30))]
)
def test_pyramid_equals_a_retina_in_numpy(size, scales, shape, batch):
    images = images_of(batch, *shape)
    draw = np.random.RandomState(1)
    # Windows of an even number of pixels are centred between pixels, also beyond the border.
    half = 0.5 if size % 2 == 0 else 0.0
    spots = [
        (draw.randint(-2, shape[2] + 2) + half, draw.randint(-2, shape[1] + 2) + half)
        for _ in range(batch)
    ]
    center = [at(x, y, *shape[1:]) for x, y in spots]
    actual = run(lambda F, x, c: pyramid(F, x, c, size, scales), images, center)
    assert actual.shape == (batch, scales, shape[0], size, size)
    for n, (x, y) in enumerate(spots):
        for k in range(scales):
            # an odd size doubled is even: the naive window is then the mean of its neighbours
            shifts = (0,) if (size * 2**k) % 2 == 0 and half or k == 0 else (-0.5, 0.5)
            expected = [retina(images[n], x + i, y + j, size, 2**k) for i in shifts for j in shifts]
            np.testing.assert_allclose(actual[n, k], np.mean(expected, axis=0), atol=1e-5)


def test_pyramid_between_pixels_is_bilinear():
    images = images_of(1, 1, 12, 12)
    x, y, part = 5.5, 6.5, 0.25
    actual = run(lambda F, i, c: pyramid(F, i, c, 4, 2), images, [at(x + part, y, 12, 12)])
    for k in range(2):
        left, right = (retina(images[0], x + step, y, 4, 2**k) for step in (0, 1))
        np.testing.assert_allclose(actual[0, k], (1 - part) * left + part * right, atol=1e-5)


def test_a_window_of_two_sides_is_the_center_of_a_square_one():
    images, center = images_of(2, 1, 12, 15), [at(5.5, 6.5, 12, 15), at(1.5, 10.5, 12, 15)]
    square, low, narrow = (
        run(lambda F, i, c, size=size: pyramid(F, i, c, size, 3), images, center)
        for size in (4, (2, 4), (4, 2))
    )
    np.testing.assert_allclose(low, square[..., 1:3, :], atol=1e-5)
    np.testing.assert_allclose(narrow, square[..., 1:3], atol=1e-5)


def test_snap_to_pixels_gives_the_center_of_even_windows():
    images, center = np.zeros((1, 1, 10, 16)), [[0.3, -0.5]]  # 10.4 of 16 columns, 2.5 of 10 rows
    actual = run(snap_to_pixels, images, center)
    np.testing.assert_allclose(actual, [at(9.5, 1.5, 10, 16)], atol=1e-6)


def test_pyramid_means_against_numpy():
    images = images_of(2, 1, 6, 5)
    actual = run(lambda F, x: pyramid_means(F, x, 3), images)
    assert actual.shape == (2, 3, 1, 9, 8)
    padded = np.pad(images, ((0, 0), (0, 0), (3, 3), (3, 3)))
    for k, row, column in [(0, 3, 4), (1, 2, 7), (2, 0, 0), (2, 8, 7)]:
        side = 2**k
        expected = padded[:, :, row : row + side, column : column + side].mean(axis=(2, 3))
        np.testing.assert_allclose(actual[:, k, :, row, column], expected, atol=1e-6)


def gradients(function, arrays):
    inputs = [nd.array(a, dtype="float32") for a in arrays]
    for one in inputs:
        one.attach_grad()
    with autograd.record():
        value = function(nd, *inputs)
        weight = nd.array(images_of(*value.shape, seed=7), dtype="float32")
        total = (value * weight).sum()
    total.backward()
    for which, one in enumerate(inputs):
        slopes = np.zeros(one.shape)
        for index in np.ndindex(*one.shape):
            ends = []
            for step in (2e-3, -2e-3):
                moved = [a.asnumpy() for a in inputs]
                moved[which][index] += step
                moved = [nd.array(a, dtype="float32") for a in moved]
                ends.append((function(nd, *moved) * weight).sum().asscalar())
            slopes[index] = (ends[0] - ends[1]) / 4e-3
        np.testing.assert_allclose(one.grad.asnumpy(), slopes, rtol=1e-2, atol=2e-3)


def test_gradients_of_crop_in_images_center_and_extent():
    center, extent = [[0.13, -0.21], [0.4, 0.46]], [[0.43, 0.37], [0.61, 0.3]]
    gradients(lambda F, x, c, e: crop(F, x, c, e, (3, 4)), [images_of(2, 1, 5, 6), center, extent])


def test_window_of_one_pixel_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        crop(mx.nd, nd.zeros((1, 1, 4, 4)), nd.zeros((1, 2)), nd.ones((1, 2)), 1)
