"""Pictures of RA-CNN's boxes: on the image, with their content, and animated over epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Tuple

from gluon_attention.datasets.detail import detail
from gluon_attention.explain import pictures
from gluon_attention.explain.looks import Scene, box_look
from gluon_attention.explain.pictures import animation, draw, paint, picture
from gluon_attention.explain.tiles import BAND, GAP
from gluon_attention.ops.attention_crop import crop_box
from gluon_attention.training.config import Config, setting
from gluon_attention.training.engine import train

import numpy as np
import pytest
from builders import small_racnn
from mxnet import nd
from PIL import Image


def tiles(scene: Scene) -> Any:
    return draw(scene, box_look(scene))


@pytest.mark.parametrize("crops", [(), (16,), (16, 24)])
def test_a_tile_for_each_scale(crops: tuple) -> None:
    images = np.random.randint(0, 256, size=(2, 40, 60, 3), dtype=np.uint8)
    sheet = picture(paint(small_racnn(crops=crops), images, [0] * 3, [1] * 3))
    height, width = 120 + BAND + GAP, 180 + GAP
    assert sheet.shape == (2 * height, (1 + len(crops)) * width, 3)


@pytest.mark.parametrize("box", [[0.25, -0.25, 0.5], [0.25, -0.25, 0.5, 0.3]])
def test_tiles_show_the_box_and_its_content(box: list) -> None:
    image = np.add.outer(np.arange(64) * 2, np.arange(64))[..., None].repeat(3, axis=2)
    trace = SimpleNamespace(boxes=nd.array([[box]]), scale_logits=nd.array([[[0, 9], [9, 0]]]))
    whole, crop = tiles(Scene(image.astype(np.uint8), trace, 0))
    side = 64 * math.ceil(160 / 64)
    expected = crop_box(nd, nd.array(image.transpose(2, 0, 1)[None]), nd.array([box]), side)
    crop = crop[BAND:].transpose(2, 0, 1)
    np.testing.assert_allclose(crop, expected.asnumpy()[0], atol=1.1)
    frame = np.ptp(whole[BAND:].astype(int), axis=2) > 30  # the ramp is grey
    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    ends = np.array([-0.25, 0.75, -0.25 - box[-1], -0.25 + box[-1]])
    ends = (ends + 1) / 2 * 63 * 3
    actual = [columns[0], columns[-1], rows[0], rows[-1]]
    np.testing.assert_allclose(actual, ends, atol=4)


@dataclass(frozen=True)
class Settings(Config):
    epochs: int = setting(5, "epochs")
    batch_size: int = setting(8, "batch")
    optimizer: str = setting("adam", "optimizer")
    num_gpus: int = setting(0, "gpus")
    stages: Tuple[int, ...] = setting((1, 1, 1), "stages")
    accumulate: int = setting(2, "parts")


def test_a_run_goes_through_all_stages_and_animates_its_boxes(tmp_path: Any) -> None:
    result = train(
        Settings(log_dir=str(tmp_path)),
        "run",
        lambda classes: small_racnn(classes=classes, shrink=2, crops=(16,), shared=True),
        lambda: detail(size=64, coarse=32, train=16, validation=8, test=10),
    )
    assert result["test_images"] == 10
    for name in ("box_holds_region", "box_centre_in_region"):
        assert 0 <= result["test"][name] <= 1
    table = (tmp_path / "run" / "history.csv").read_text().splitlines()
    for name in (
        "train/classify1",
        "train/locate2",
        "train/classify2",
        "train/rank2",
        "validation/side_2",
    ):
        assert name in table[0]
    with Image.open(tmp_path / "run" / "boxes.gif") as movie:
        assert movie.n_frames == 5


def test_one_scale_is_animated_as_one_frame() -> None:
    net = small_racnn(classes=3, crops=())
    painted = paint(net, np.zeros((1, 32, 32, 3), np.uint8), [0] * 3, [1] * 3)
    (frame,) = animation(painted)
    np.testing.assert_array_equal(frame, picture(painted))


def test_long_class_names_are_cut_in_labels(monkeypatch: Any) -> None:
    labels = []
    monkeypatch.setattr(pictures, "tile", lambda picture, label: labels.append(label) or picture)
    trace = SimpleNamespace(
        boxes=nd.array([[[0, 0, 0.5]]]), scale_logits=nd.array([[[0, 9], [9, 0]]])
    )
    tiles(
        Scene(np.zeros((8, 8, 3), np.uint8), trace, 0, names=["cat", "longer than a tile is wide"])
    )
    assert labels == ["1: longer than a tile 100 %", "2: cat 100 %"]
