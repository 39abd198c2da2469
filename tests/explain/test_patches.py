"""Pictures of the glimpse network: squares of its glimpses, their patches, its attention."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention import get_model
from gluon_attention.explain.looks import Scene, patch_corners, patch_look, resample_patch
from gluon_attention.explain.pictures import animation, draw, paint, picture
from gluon_attention.explain.tiles import BAND, GAP

import numpy as np
import pytest
from mxnet import nd


def tiles(scene: Scene) -> Any:
    return draw(scene, patch_look(scene))


def traced(attention: Any, squares: Any) -> Any:
    steps = len(attention[0])
    logits, patches = nd.zeros((1, steps, 4)), nd.zeros((1, steps, len(squares[0][0]), 3, 16, 16))
    arrays = dict(attention=nd.array(attention), glimpse_boxes=nd.array(squares))
    return SimpleNamespace(step_logits=logits, patches=patches, **arrays)


@pytest.mark.parametrize(("patches", "start_size"), [(1, 4), (2, 1), (3, 1)])
def test_a_tile_for_each_glimpse(patches: int, start_size: int) -> None:
    options = dict(backbone="tiny", patch=16, hidden=8, patches=patches, start_size=start_size)
    net = get_model("glimpse_resnet50", classes=4, glimpses=2, **options)
    net.initialize(net.initializer)
    images = np.random.randint(0, 256, size=(2, 64, 64, 3), dtype=np.uint8)
    rows = paint(net, images, [0.5] * 3, [0.25] * 3)
    side = 64 * 3  # grown to 160 or more
    height = 2 * side + side // patches + BAND + GAP
    assert picture(rows).shape == (2 * height, 3 * (side + GAP), 3)
    assert len(animation(rows)) == 2


def test_tiles_show_squares_patches_and_attention() -> None:
    ramp = np.add.outer(np.arange(64) * 3, np.arange(64))[..., None].repeat(3, axis=2)
    squares = [[[[0.5, -0.5, 0.25], [0.5, -0.5, 0.5]]]]
    trace = traced([[[[0.1, 0.7], [0.1, 0.1]]]], squares)
    _, tile = tiles(Scene(ramp.astype(np.uint8), trace, 0))
    side, tile = 192, tile[BAND:].astype(int)
    frame = np.ptp(tile[:side], axis=2) > 60  # the ramp is grey
    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    actual = np.array([columns[0], columns[-1], rows[0], rows[-1]])
    np.testing.assert_allclose(actual, [96, 191, 0, 96], atol=3)  # the wider square
    strip = tile[side : side + 96]
    for cell, (low, high) in enumerate([((40, 8), (56, 24)), ((32, 0), (64, 32))]):
        (left, top), (right, bottom) = low, high
        expected = ramp[top:bottom, left:right].mean()
        np.testing.assert_allclose(strip[:, cell * 96 : cell * 96 + 96].mean(), expected, atol=2)
    over = tile[side + 96 :]
    brightest = [over[y : y + 90, x : x + 90, 0].mean() for y in (0, 100) for x in (0, 100)]
    assert np.argmax(brightest) == 1  # red tells yellow from violet: the region at the top right
    assert resample_patch(np.full((8, 8, 3), 9, np.uint8), np.array([-8, 0, 0, 8]), 4).max() == 0


def test_boxes_of_an_image_that_is_not_square() -> None:
    trace = SimpleNamespace(glimpse_boxes=nd.array([[[[0.5, -0.5, 0.25]]]]))
    corners = patch_corners(Scene(np.zeros((40, 80, 3), np.uint8), trace, 0))
    np.testing.assert_allclose(corners, [[[50, 5, 70, 15]]])


def test_a_patch_has_the_mean_of_the_pixels_in_each_of_its_own() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 3::8] = image[:, 4::8] = 200  # a quarter of all pixels, among them every middle
    patch = resample_patch(image, np.array([0, 0, 32, 32]), 4)
    np.testing.assert_allclose(patch.astype(int), 50, atol=1)
