"""Pictures of masks: normalisation, heat, sizes, sheets, animations and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Tuple

from gluon_attention import UserError
from gluon_attention.explain.looks import Scene, mask_look
from gluon_attention.explain.pictures import animation, denormalise, draw, paint, picture
from gluon_attention.explain.tiles import BAND, COLOURS, GAP, save_gif, save_png

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd
from mxnet.contrib.amp.amp import bfloat16
from PIL import Image

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def tiles(scene: Scene) -> Any:
    return draw(scene, mask_look(scene))


class Trace(NamedTuple):
    logits: Any
    masks: Any


class CornerMasks(gluon.HybridBlock):
    """A network whose masks are high in one corner of the map for each channel, in turn."""

    look = staticmethod(mask_look)

    def __init__(self, *shapes: Tuple[int, int, int]) -> None:
        super().__init__()
        self.shapes = shapes
        with self.name_scope():
            self.bias = self.params.get("bias", shape=(1,), init="zeros")
        self.initialize()

    @property
    def device(self) -> mx.Context:
        return self.bias.list_ctx()[0]

    def trace(self, images: nd.NDArray) -> Trace:
        self.inputs = images.asnumpy()
        masks = []
        for channels, height, width in self.shapes:
            mask = np.zeros((len(images), channels, height, width))
            for c in range(channels):
                mask[:, c, -(c % 2), -(c // 2 % 2)] = 1 + c
            masks.append(nd.array(mask))
        return Trace(nd.zeros((len(images), 2)), masks)


def photos(count: int, height: int, width: int) -> np.ndarray:
    return np.random.randint(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_the_net_is_given_normalised_images() -> None:
    net, images = CornerMasks((1, 4, 4)), photos(2, 32, 24)
    paint(net, images, MEAN, STD)
    reference = (images / 255 - 0.5) / 0.25
    np.testing.assert_allclose(net.inputs, reference.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_denormalise_inverts_normalisation() -> None:
    images, mean, std = photos(2, 5, 4), (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    normalized = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(denormalise(normalized, mean, std), images)
    far = denormalise(np.full((1, 3, 1, 1), 9.0) * [[[[-1]], [[0]], [[1]]]], mean, std)
    assert far.ravel().tolist() == [0, 128, 255]


def test_one_mean_makes_images_gray() -> None:
    net = CornerMasks((1, 4, 4))
    paint(net, photos(2, 16, 16), (0.5,), (0.25,))
    assert net.inputs.shape == (2, 1, 16, 16)


@pytest.mark.parametrize("channel, corner", [(0, (0, 0)), (1, (1, 0)), (2, (0, 1)), (3, (1, 1))])
def test_heat_lies_where_the_mask_is_high(channel: int, corner: Tuple[int, int]) -> None:
    net, image = CornerMasks((4, 8, 8)), np.full((32, 32, 3), 255, np.uint8)
    trace = net.trace(nd.zeros((1, 3, 32, 32)))
    plain, heat = tiles(Scene(image, trace, 0, channel=channel))
    assert (plain[BAND:] == 255).all()
    heat = heat[BAND:].astype(int)
    hot, cold = COLOURS[-1], COLOURS[0]
    for row in (0, 1):
        for column in (0, 1):
            reference = hot if (row, column) == corner else cold
            assert abs(heat[-row, -column] - reference).max() <= 3


def test_the_mean_of_the_channels_is_drawn_by_default() -> None:
    trace = CornerMasks((4, 8, 8)).trace(nd.zeros((1, 3, 32, 32)))
    _, heat = tiles(Scene(np.full((32, 32, 3), 255, np.uint8), trace, 0))
    assert abs(heat[-1, -1].astype(int) - COLOURS[-1]).max() <= 3  # channel 3 is highest


def test_masks_in_bfloat16_are_numbers() -> None:
    trace = CornerMasks((1, 8, 8)).trace(nd.zeros((1, 3, 32, 32)))
    below = [(-mask).astype(bfloat16) for mask in trace.masks]
    _, heat = tiles(Scene(np.full((32, 32, 3), 255, np.uint8), Trace(None, below), 0))
    assert abs(heat[BAND, 0].astype(int) - COLOURS[0]).max() <= 3  # -1 is low


def test_a_constant_mask_and_one_pixel_are_drawn() -> None:
    trace = Trace(None, [nd.ones((1, 3, 5, 5)), nd.ones((1, 4, 1, 1))])
    parts = tiles(Scene(photos(1, 5, 9)[0], trace, 0))
    assert len({tile.shape for tile in parts}) == 1 and len(parts) == 3


@pytest.mark.parametrize("height, width", [(32, 32), (24, 40), (224, 224), (448, 300)])
def test_pictures_of_all_sizes(height: int, width: int) -> None:
    net = CornerMasks((2, 8, 8), (2, 8, 8), (4, 4, 4))
    whole = picture(paint(net, photos(2, height, width), MEAN, STD))
    assert whole.dtype == np.uint8
    rows, columns = whole.shape[0] // 2, whole.shape[1] // 4
    assert 160 <= max(rows, columns) <= 256 + BAND + GAP
    first, second = whole[:rows], whole[rows:]
    assert first.shape == second.shape and (first != second).any()


def test_many_masks_go_into_several_rows() -> None:
    few = picture(paint(CornerMasks(*[(2, 4, 4)] * 6), photos(1, 32, 32), MEAN, STD))
    many = picture(paint(CornerMasks(*[(2, 4, 4)] * 18), photos(1, 32, 32), MEAN, STD))
    assert many.shape == (3 * few.shape[0], *few.shape[1:])


def test_animation_over_depth(tmp_path: Path) -> None:
    net, images = CornerMasks((2, 8, 8), (4, 4, 4)), photos(3, 32, 32)
    frames = animation(paint(net, images, MEAN, STD))
    assert len(frames) == 2 and frames[0].shape == frames[1].shape
    save_gif(str(tmp_path / "masks.gif"), frames, seconds=0.5)
    with Image.open(tmp_path / "masks.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (2, 500, 0)
        assert gif.size == frames[0].shape[1::-1]
    assert [p.name for p in tmp_path.iterdir()] == ["masks.gif"]


def test_png_keeps_every_pixel(tmp_path: Path) -> None:
    (photo,) = photos(1, 20, 30)
    save_png(str(tmp_path / "deep" / "a.png"), photo)
    with Image.open(tmp_path / "deep" / "a.png") as image:
        assert (np.asarray(image) == photo).all()


def test_invalid_channels_and_images_are_refused() -> None:
    net = CornerMasks((4, 8, 8))
    with pytest.raises(UserError, match="channel must be from 0 to 3 here, not 4"):
        paint(net, photos(1, 32, 32), MEAN, STD, channel=4)
    for wrong in (np.zeros((1, 8, 8, 3)), np.zeros((1, 3, 8, 8), np.uint8)):
        with pytest.raises(UserError, match="images of type uint8 and shape"):
            paint(net, wrong, MEAN, STD)
