"""CUB-200-2011, tested with generated scenes in its layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from gluon_attention import UserError
from gluon_attention.datasets.cub import cub200, read_birds, regions
from gluon_attention.datasets.detail import CLASSES, scenes
from gluon_attention.datasets.sampling import smaller_validation
from gluon_attention.datasets.view import View

import cv2
import numpy as np
import pytest
from cub_writer import write_cub

COUNT, SIZE = 60, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("cub")
    write_cub(str(path), COUNT, size=SIZE, coarse=32, seed=1)
    return path


def test_the_lists_decide_the_splits(folder: Path) -> None:
    splits = cub200(str(folder), size=48, short=56, validation=100)
    assert len(splits.train) + len(splits.validation) == 36
    assert (len(splits.validation), len(splits.test)) == (3, 24)
    assert list(splits.classes) == list(CLASSES)
    images = splits.train.first(4)
    assert images.shape == (4, 3, 48, 48) and images.dtype == np.float32
    np.testing.assert_array_equal(splits.test.labels, scenes(COUNT, SIZE, 32, 1).labels[36:])


def test_a_smaller_validation_set_is_recorded_and_noted(folder: Path, capsys: Any) -> None:
    splits = {count: cub200(str(folder), validation=count) for count in (2, 3, 100)}
    recorded = [part.source["options"]["validation"] for part in splits.values()]
    notes = [smaller_validation(part, count) for count, part in splits.items()]
    assert recorded == [2, 3, 3] and notes[:2] == [[], []]
    assert "on 3 images, not 100: a tenth" in notes[2][0]
    assert cub200(str(folder)).source["options"] == {}
    assert not capsys.readouterr().out


def test_test_images_are_normalised_centre_crops(folder: Path) -> None:
    splits = cub200(str(folder), size=48, short=SIZE)
    images = splits.test.first(1)
    expected = scenes(COUNT, SIZE, 32, 1).images[36, :, 8:56, 8:56].transpose(1, 2, 0) / 255
    expected = (expected - splits.mean) / splits.std
    np.testing.assert_allclose(images[0], expected.transpose(2, 0, 1), atol=1e-4)


def test_the_seed_decides_the_validation_images(folder: Path, seed_decides_validation: Any) -> None:
    seed_decides_validation(partial(cub200, str(folder)))


@pytest.mark.parametrize("augment", [True, False])
def test_only_training_pictures_are_augmented(
    folder: Path, only_training_is_random: Any, augment: bool
) -> None:
    splits = cub200(str(folder), size=448, augment=augment)
    assert splits.view == View(448, short=512)
    only_training_is_random(splits, augment)


def test_regions_are_in_coordinates_of_the_crop(folder: Path) -> None:
    marks = scenes(COUNT, SIZE, 32, 1).marks[36:]
    whole = cub200(str(folder), size=SIZE, short=SIZE).test.regions()
    np.testing.assert_allclose(whole, marks, atol=0.0035)  # files have tenths of a pixel
    part = cub200(str(folder), size=48, short=SIZE).test.regions()
    expected = np.clip(((whole + 1) / 2 * 63 - 8) / 47 * 2 - 1, -1, 1)
    np.testing.assert_allclose(part, expected, atol=1e-6)


def test_edges_of_a_box_lie_between_pixels(folder: Path) -> None:
    birds = read_birds(folder)._replace(boxes=np.array([[16, 24, 32, 8], [0, 0, 64, 64]]))
    centres = np.linspace(-1, 1, SIZE)
    edges = [(centres[i - 1] + centres[i]) / 2 for i in (16, 24, 48, 32)]
    boxes = regions(birds, np.arange(2), View(SIZE, short=SIZE))
    np.testing.assert_allclose(boxes, [edges, [-1, -1, 1, 1]], atol=1e-12)
    half = regions(birds, np.arange(1), View(SIZE // 2, short=SIZE // 2))[0]
    centres = np.linspace(-1, 1, SIZE // 2)
    np.testing.assert_allclose(half, [(centres[i - 1] + centres[i]) / 2 for i in (8, 12, 24, 16)])


def test_regions_of_a_picture_that_is_not_square(folder: Path, tmp_path: Path) -> None:
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "classes"):
        text = (folder / f"{name}.txt").read_text()
        (tmp_path / f"{name}.txt").write_text(text)
    birds = read_birds(folder)
    for row, path in enumerate(birds.source.paths):
        there = tmp_path / "images" / path.parent.name
        there.mkdir(parents=True, exist_ok=True)
        picture = np.zeros((80, 120), np.uint8)  # grey, as some of the birds are
        left, top, width, height = np.rint(birds.boxes[row]).astype(int)
        picture[top : top + height, left : left + width] = 255
        cv2.imwrite(str(there / path.name), picture)
    test = cub200(str(tmp_path), size=40, short=40).test
    images = test.first(len(test))
    bright = images[:, 0] > images[:, 0].min() + 2
    places = np.linspace(-1, 1, 40)
    for mask, (left, top, right, bottom) in zip(bright, test.regions()):
        assert mask.any() or right - left < 0.1
        rows, columns = places[mask.any(axis=1)], places[mask.any(axis=0)]
        if mask.any():
            bright_box = [columns[0], rows[0], columns[-1], rows[-1]]
            np.testing.assert_allclose(bright_box, [left, top, right, bottom], atol=0.08)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("bounding_boxes", None, "bounding_boxes.txt"),
        ("image_class_labels", "1 1\n", "image 2"),
        ("image_class_labels", "".join(f"{n} 99\n" for n in range(1, COUNT + 1)), "fit together"),
        ("train_test_split", "".join(f"{n} 1\n" for n in range(1, COUNT + 1)), "end in 1 and in 0"),
        ("images", "1\n", "line 1"),
        ("images", "", "any image"),
    ],
)
def test_an_error_names_the_broken_list(
    folder: Path, tmp_path: Path, name: str, text: Any, words: str
) -> None:
    for path in folder.glob("*.txt"):
        (tmp_path / path.name).write_text(path.read_text())
    if text is None:
        (tmp_path / f"{name}.txt").unlink()
    else:
        (tmp_path / f"{name}.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        cub200(str(tmp_path))
