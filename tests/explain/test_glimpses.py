"""Pictures of RAM's glimpses: boxes at their locations, and their patches below."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention.explain import pictures
from gluon_attention.explain.looks import (
    BLANK,
    Scene,
    glimpse_look,
    glimpses_of,
    module_names,
    patch_boxes,
)
from gluon_attention.explain.pictures import animation, draw, paint, picture
from gluon_attention.explain.tiles import BAND, GAP, paste, save_gif

import numpy as np
import pytest
from builders import small_ram
from mxnet import nd
from PIL import Image


def tiles(scene: Scene, **options: Any) -> Any:
    return draw(scene, glimpse_look(scene, **options))


@pytest.mark.parametrize(("channels", "image_channels"), [(1, 1), (1, 3), (3, 3)])
def test_a_row_for_each_image_and_a_tile_for_each_glimpse(
    channels: int, image_channels: int
) -> None:
    images = np.random.randint(0, 256, size=(2, 40, 30, image_channels), dtype=np.uint8)
    net = small_ram(channels=channels, scales=2)
    rows = paint(net, images, [0] * channels, [1] * channels)
    side = 160 + GAP  # a tile is as wide as the image is high, 40 pixels grown by 4
    assert picture(rows).shape == (2 * (2 * 160 + BAND + GAP), 4 * side, 3)
    frames = animation(rows)
    assert len(frames) == 3 and len({frame.shape for frame in frames}) == 1


def test_patches_are_drawn_at_their_location() -> None:
    image = np.random.randint(100, 256, size=(16, 16, 3), dtype=np.uint8)
    image[..., 1:] = image[..., :1]
    net = small_ram(scales=2)
    middle = (7.5 + 0.5, 7.5 + 0.5)  # of the image, in pixels from its edge
    boxes = patch_boxes(np.array(middle), 4, 2)
    np.testing.assert_array_equal(boxes, [[6, 6, 10, 10], [4, 4, 12, 12]])
    trace = net.trace(nd.array(image[None, None, ..., 0] / 255.0))
    tile = tiles(Scene(image, trace, 0))[1][BAND:]
    view = tile[160:][5::10, 5::10]  # one of every 10 x 10, as the image grew by 10
    np.testing.assert_array_equal(view[6:10, 6:10], image[6:10, 6:10])
    coarse = image[4:12, 4:12].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(view[4:12:2, 4:12:2][0], coarse[0], atol=1)
    assert (view[0] == BLANK).all()  # not seen


def test_patches_are_denormalised() -> None:
    images = np.full((1, 16, 16, 1), 100, np.uint8)
    whole = picture(paint(small_ram(scales=2), images, [0.1307], [0.3081]))
    view = whole[BAND + 160 : BAND + 320, 164:324]  # what the first glimpse saw
    assert {tuple(pixel) for pixel in view[70:90, 70:90].reshape(-1, 3)} == {(100, 100, 100)}


def test_patches_of_whole_pixels_are_drawn_where_they_were_cut() -> None:
    net = small_ram(scales=2, retina="pixels", start="center", policy="random")
    ramp = np.repeat(np.arange(0, 256, 16, dtype=np.uint8)[None], 16, axis=0)  # of each column
    inputs = nd.array(ramp[None, None] / 255.0)
    trace = net.episode(inputs, nd.array([[[0, 0], [0.3, 0.1], [-0.36, 0]]]))
    for step in (1, 2):
        view = tiles(Scene(ramp[..., None].repeat(3, 2), trace, 0), whole_pixels=True)[1 + step]
        columns = view[BAND + 160 :][80, 5::10, 0]  # one of every ten, as the image grew
        window = np.rint(trace.windows[0, step, 0, 0, 0].asnumpy() * 255)
        start = int(window[0]) // 16
        np.testing.assert_array_equal(columns[start : start + 4], window)
    scene = Scene(ramp[..., None].repeat(3, 2), trace, 0)
    edges = [glimpses_of(scene, whole_pixels)[1] % 1 for whole_pixels in (True, False)]
    np.testing.assert_allclose(np.minimum(edges[0], 1 - edges[0]), 0, atol=1e-5)
    assert np.ptp(edges[1]) > 0.1


def test_the_label_of_a_tile_has_the_prediction_after_its_glimpse(monkeypatch: Any) -> None:
    labels = []
    monkeypatch.setattr(pictures, "tile", lambda picture, label: labels.append(label) or picture)
    logits = nd.array([[[9, 0, 0], [0, 9, 0], [0, 0, 9]]])  # before the first glimpse, then after
    windows, places = nd.zeros((1, 2, 1, 1, 4, 4)), nd.zeros((1, 2, 2))
    trace = SimpleNamespace(windows=windows, locations=places, step_logits=logits)
    tiles(Scene(np.zeros((8, 6, 3), np.uint8), trace, 0, names="abc"))
    assert labels == ["image 6x8", "1: b 100 %", "2: c 100 %"]


def test_patches_beyond_the_border_are_cut() -> None:
    view = np.zeros((20, 20, 3), np.uint8)
    paste(view, np.ones((1, 4, 4)), np.array([-6.0, 14.0, 6.0, 26.0]))
    assert (view[14:, :6] == 255).all() and view.sum() == 6 * 6 * 3 * 255
    paste(view, np.ones((1, 4, 4)), np.array([16.0, -4.0, 24.0, 4.0]))
    assert (view[:4, 16:] == 255).all()


def test_gif_has_a_frame_for_each_glimpse(tmp_path: Any) -> None:
    image = np.zeros((1, 28, 28, 1), np.uint8)
    frames = animation(paint(small_ram(scales=2), image, [0], [1]))
    save_gif(str(tmp_path / "way.gif"), frames)
    with Image.open(tmp_path / "way.gif") as movie:
        assert movie.n_frames == 3


def test_a_scene_has_the_values_of_its_own_image() -> None:
    scene = Scene(np.zeros((8, 8, 3), np.uint8), None, 1)
    assert scene.values(nd.array([[1, 2], [3, 4]], dtype="float16")).tolist() == [3, 4]


def test_modules_are_numbered_in_their_stage() -> None:
    masks = [SimpleNamespace(shape=(1, channels, 4, 4)) for channels in (8, 16, 16, 32)]
    assert list(module_names(masks)) == ["A1", "B1", "B2", "C1"]
