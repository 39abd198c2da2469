"""The generated scenes: what the downscaled image contains and what it does not."""

from __future__ import annotations

from typing import Any

from gluon_attention import UserError
from gluon_attention.datasets.detail import CLASSES, detail, scenes

import cv2
import numpy as np
import pytest
from cub_writer import write_cub


def test_scenes_are_balanced_seeded_and_different() -> None:
    first, again, other = (scenes(64, 96, 32, seed) for seed in (1, 1, 2))
    assert first.images.shape == (64, 3, 96, 96) and first.images.dtype == np.uint8
    assert (np.bincount(first.labels) == 4).all() and len(CLASSES) == 16
    for one, same, new in zip(first, again, other):
        np.testing.assert_array_equal(one, same)
        assert (one != new).any()


def test_scenes_stay_those_that_shipped_weights_were_trained_on() -> None:
    sample = scenes(16, 64, 32, 7)
    images = sample.images.astype(float)
    assert sample.labels.tolist() == [3, 10, 6, 8, 1, 14, 0, 7, 4, 13, 15, 2, 12, 5, 9, 11]
    means = [78.64, 51.82, 84.75, 88.1, 67.85, 85.71, 73.11, 79.54]
    means += [97.38, 73.34, 52.7, 93.16, 36.75, 76.18, 73.2, 83.77]
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), means, atol=0.05)
    changes = [11.26, 11.98, 11.75, 11.11, 12.58, 11.6, 11.31, 11.97]
    changes += [10.77, 11.45, 11.3, 11.32, 11.19, 11.3, 12.08, 11.3]
    np.testing.assert_allclose(np.abs(np.diff(images)).mean(axis=(1, 2, 3)), changes, atol=0.05)
    with pytest.raises(UserError, match="do not fit into 2 GB"):
        scenes(10**6, 64, 32)


@pytest.mark.parametrize("radius", [(0.5, 0.7), (0.38, 0.5)])
@pytest.mark.parametrize(("size", "coarse"), [(64, 32), (192, 64), (128, 32)])
def test_marks_lie_on_the_shape_inside_the_image(size: int, coarse: int, radius: Any) -> None:
    sample = scenes(48, size, coarse, radius=radius)
    assert abs(sample.marks).max() <= 1
    places = np.linspace(-1, 1, size)
    for image, (left, top, right, bottom) in zip(sample.images, sample.marks):
        x, y = (left + right) / 2, (top + bottom) / 2
        ring = [(x + 0.16 * np.cos(a), y + 0.16 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
        pixels = [image[:, abs(places - v).argmin(), abs(places - u).argmin()] for u, v in ring]
        coloured = [np.ptp(pixel.astype(int)) > 25 or pixel.max() > 150 for pixel in pixels]
        assert sum(coloured) >= 4  # the ground is dark and grey


def test_stripes_are_visible_at_full_size_only() -> None:
    size, coarse, count = 192, 64, 192
    sample = scenes(count, size, coarse, 3)
    energy = np.zeros((count, 4))  # of changes across each direction, in the middle of the mark
    coarse_energy = np.zeros((count, 4))
    pitch = size // coarse
    for row, (image, mark) in enumerate(zip(sample.images, sample.marks)):
        grey = image.mean(axis=0)
        small = grey.reshape(coarse, pitch, coarse, pitch).mean(axis=(1, 3))
        for picture, table, reach in ((grey, energy, 7), (small, coarse_energy, 2)):
            x, y = np.rint((mark[:2] + mark[2:]) / 4 * len(picture) + len(picture) / 2).astype(int)
            patch = picture[y - reach : y + reach + 1, x - reach : x + reach + 1]
            for index, (dy, dx) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
                moved = np.roll(patch, (dy, dx), axis=(0, 1))
                table[row, index] = ((patch - moved)[1:-1, 1:-1] ** 2).mean()
    stripes = sample.labels % 4
    assert _nearest_mean_accuracy(energy, stripes) > 0.9
    assert _nearest_mean_accuracy(coarse_energy, stripes) < 0.4


def _nearest_mean_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a nearest-mean classifier: means from the first half, test on the second."""
    features = np.log(features + 1e-3)
    features = features - features.mean(axis=1, keepdims=True)
    half = len(labels) // 2
    means = np.stack([features[:half][labels[:half] == k].mean(axis=0) for k in range(4)])
    away = ((features[half:, None] - means) ** 2).sum(axis=2)
    return float((away.argmin(axis=1) == labels[half:]).mean())


def test_splits_differ_and_have_regions() -> None:
    splits = detail(size=64, coarse=32, train=32, validation=16, test=24, seed=5)
    assert [len(part) for part in splits[:3]] == [32, 16, 24]
    images, labels = splits.test.first(8), splits.test.labels
    expected = scenes(24, 64, 32, [5, 2])
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_allclose(images, (expected.images[:8] / 255 - 0.5) / 0.25, atol=1e-5)
    np.testing.assert_array_equal(splits.test.regions(), expected.marks)
    assert (splits.validation.regions() != expected.marks[:16]).any()


def test_a_shape_too_small_or_too_large_for_the_mark_is_refused() -> None:
    for radius in ((0.2, 0.5), (0.6, 0.5), (0.5, 0.95)):
        with pytest.raises(UserError, match="from 0.35"):
            scenes(4, 64, 32, radius=radius)


@pytest.mark.parametrize("sizes", [(64, 48), (32, 32), (24, 8)])
def test_a_size_that_is_no_multiple_of_coarse_is_refused(sizes: Any) -> None:
    with pytest.raises(UserError, match="multiple of coarse"):
        scenes(4, *sizes)


def test_cub_files_contain_the_same_scenes(tmp_path: Any) -> None:
    write_cub(str(tmp_path), 20, size=64, coarse=32, seed=2)
    sample = scenes(20, 64, 32, 2)
    files = dict(line.split() for line in (tmp_path / "images.txt").read_text().splitlines())
    for number, image in enumerate(sample.images, 1):
        picture = cv2.imread(str(tmp_path / "images" / files[str(number)]))[..., ::-1]
        np.testing.assert_array_equal(picture, image.transpose(1, 2, 0))
    split = (tmp_path / "train_test_split.txt").read_text().split()[1::2]
    assert split == ["1"] * 12 + ["0"] * 8
