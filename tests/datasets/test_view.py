"""Views of pictures: they equal the images of the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

from gluon_attention.datasets import cifar10, detail, mnist
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.view import CIFAR_VIEW, MNIST_VIEW, View, centre_view, default_view

import cv2
import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@pytest.mark.parametrize("name", ["cifar10", "mnist-28", "mnist-60", "detail"])
def test_a_view_of_a_test_image_is_the_test_image(name: str) -> None:
    splits = {
        "cifar10": lambda: cifar10(SAMPLE / "cifar10"),
        "mnist-28": lambda: mnist(SAMPLE / "mnist"),
        "mnist-60": lambda: mnist(SAMPLE / "mnist", task="cluttered60"),
        "detail": lambda: detail(size=64, coarse=32, train=4, validation=4, test=4),
    }[name]()
    images = splits.test.first(4)
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (splits.mean, splits.std))
    for image in images:
        raw = np.rint((image * std + mean) * 255).astype(np.uint8).transpose(1, 2, 0)
        coloured = np.repeat(raw, 4 - raw.shape[2], axis=2) if raw.shape[2] == 1 else raw
        picture = decode(cv2.imencode(".png", coloured[..., ::-1])[1].tobytes(), "here")
        np.testing.assert_allclose(splits.view(picture), image, atol=2e-6)


def test_the_source_of_splits_loads_them_again() -> None:
    splits = mnist(SAMPLE / "mnist", task="cluttered60", seed=3, download=False)
    assert splits.source == {"name": "mnist", "options": {"task": "cluttered60", "seed": 3}}
    again = mnist(SAMPLE / "mnist", **splits.source["options"])
    assert len(again.test) == len(splits.test)


def test_the_default_view_follows_the_shape() -> None:
    assert default_view((3, 32, 32)) == CIFAR_VIEW and default_view((1, 28, 28)) == MNIST_VIEW
    assert default_view((3, 448, 448)) == centre_view(448) == View(448, short=512)


def test_downscaling_averages_all_pixels() -> None:
    """Bilinear sampling would use two of the four pixels on each axis."""
    picture = np.random.randint(0, 256, size=(64, 64, 3), dtype=np.uint8)
    expected = picture.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(View(16, short=16).pixels(picture), expected, atol=0.51)


@pytest.mark.parametrize("shape", [(256, 16_384, 3), (16_384, 256, 3)])
def test_pictures_64_times_as_long_as_wide_are_resized(shape: Tuple[int, int, int]) -> None:
    assert View(448, short=512).pixels(np.zeros(shape, np.uint8)).shape == (448, 448, 3)
