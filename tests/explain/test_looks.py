"""Where looks draw what a trace holds: to the pixel, on images that are no squares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention.explain import looks

import numpy as np
import pytest

HEIGHT, WIDTH = 5, 9
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
IMAGE[..., 0] = 10 * np.arange(WIDTH)  # columns in one channel, rows in another
IMAGE[..., 1] = 10 * np.arange(HEIGHT)[:, None]


def scene(**trace: Any) -> Any:
    return SimpleNamespace(
        image=IMAGE, trace=SimpleNamespace(**trace), values=np.asarray, mean=(0.0,), std=(1.0,)
    )


def test_a_zoom_shows_the_centres_of_the_corner_pixels_of_its_box() -> None:
    box = np.array([2.0, 1.0, 6.0, 3.0])
    np.testing.assert_array_equal(looks.zoom(IMAGE, box, (5, 3)), IMAGE[1:4, 2:7])
    twice = looks.zoom(IMAGE, box, (9, 5))
    np.testing.assert_array_equal(twice[::2, ::2], IMAGE[1:4, 2:7])


def test_boxes_of_scales_are_drawn_around_the_pixels_that_they_hold(monkeypatch: Any) -> None:
    monkeypatch.setattr(looks, "resize", lambda image: image)
    look = looks.box_look(scene(scale_logits=np.zeros((2, 3)), boxes=[[0.0, 0.0, 0.5]]))
    np.testing.assert_array_equal(look.steps[1].boxes, [[2.5, 1.5, 6.5, 3.5]])
    assert look.steps[0].boxes.shape == (0, 4)


def test_a_finer_patch_samples_between_pixels() -> None:
    patch = looks.resample_patch(IMAGE, np.array([2.0, 1.0, 4.0, 3.0]), 4).astype(float)
    places = np.arange(4) / 2 + 0.25 - 0.5  # centres of its pixels, from the corner of the box
    np.testing.assert_allclose(patch[0, :, 0], 10 * (2 + places), atol=0.6)
    np.testing.assert_allclose(patch[:, 0, 1], 10 * (1 + places), atol=0.6)


@pytest.mark.parametrize(("location", "center"), [((1, -1), (8.5, 0.5)), ((0, 0), (4.5, 2.5))])
def test_glimpses_lie_around_their_location(location: Any, center: Any) -> None:
    trace = scene(windows=np.zeros((1, 1, 1, 2, 2)), locations=[location])
    _, boxes = looks.glimpses_of(trace, whole_pixels=False)
    expected = looks.patch_boxes(np.array(center), 2, 1)
    np.testing.assert_array_equal(boxes[0], expected)
