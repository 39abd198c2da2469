"""MNIST and its rendered scenes, against a slow reference."""

import gzip
import hashlib
import json
import math
import shutil
import urllib.error
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.datasets import published
from gluon_attention.datasets.mnist import (
    TASKS,
    Positions,
    SceneRenderer,
    fetch,
    mnist,
    random_affine,
    read_split,
)
from gluon_attention.datasets.sampling import Batches

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "mnist"


def sample(**options):
    return mnist(str(SAMPLE), download=False, **options)


@pytest.fixture(scope="module")
def digits():
    return read_split(SAMPLE, "train")


def every(samples):
    return samples.first(len(samples)), samples.labels


def epoch(splits, index):
    return Batches(splits.train, 50, shuffle=True).epoch(index)


def test_splits_of_the_sample(digits):
    splits = sample()
    assert [len(part) for part in splits[:3]] == [2700, 300, 1000]
    assert list(splits.classes) == list("0123456789")
    images, labels = digits
    label_of = {image.tobytes(): label for image, label in zip(images, labels)}
    parts = [every(part) for part in splits[:2]]
    for pixels, numbers in parts:
        rows = np.rint(pixels[:, 0] * 255).astype(np.uint8)
        assert [label_of[row.tobytes()] for row in rows] == list(numbers)
    train, held_out = ({image.tobytes() for image in pixels} for pixels, _ in parts)
    assert not train & held_out


def test_pixels_are_exact_and_black_is_zero():
    images, labels = read_split(SAMPLE, "t10k")
    pixels, numbers = every(sample().test)
    assert pixels.shape == (1000, 1, 28, 28) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 0], images / 255, rtol=1e-6)
    np.testing.assert_array_equal(numbers, labels)
    assert pixels.min() == 0 and pixels.max() == 1


@pytest.mark.parametrize("task", sorted(TASKS))
def test_scenes_of_a_task_are_reproducible_and_new_each_epoch(task):
    side, pieces = TASKS[task]
    splits = sample(task=task, augment=1.0)
    images, labels = next(epoch(splits, 0))
    assert images.shape == (50, 1, side, side) and labels.shape == (50,)
    assert images.min() == 0 and images.max() == 1
    again, _ = next(epoch(sample(task=task, augment=1.0), 0))
    np.testing.assert_array_equal(images, again)
    other, _ = next(epoch(splits, 1))
    assert not np.array_equal(images, other)


def test_evaluation_scenes_do_not_depend_on_batches_or_seeds():
    splits, other = (sample(task="cluttered60", seed=seed) for seed in (0, 5))
    np.testing.assert_array_equal(every(splits.test)[0], every(other.test)[0])
    for samples in (splits.validation, sample(task="cluttered60").validation):
        batches = Batches(samples, 50, seed=7).epoch(3)
        images = np.concatenate([images for images, _ in batches])
        np.testing.assert_array_equal(images, every(splits.validation)[0])


def test_the_seed_decides_the_validation_images(seed_decides_validation):
    seed_decides_validation(sample)
    scenes = [sample(task="translated60", seed=s).validation.load.__self__ for s in (0, 1)]
    assert (scenes[0].fixed.digit != scenes[1].fixed.digit).any()


@pytest.mark.parametrize("task", ["28", "cluttered60"])
def test_only_training_digits_are_augmented(task):
    plain, moved = sample(task=task), sample(task=task, augment=2.0)
    same = [np.array_equal(*(p.first(300) for p in pair)) for pair in zip(plain, moved[:3])]
    assert same == [False, True, True]


def slow_scene(digits, row, positions, side):
    canvas = np.zeros((side, side), np.uint8)
    top, left = positions.digit[row]
    canvas[top : top + 28, left : left + 28] = digits[row]
    for source, (y, x), (to_y, to_x) in zip(
        positions.source[row], positions.cut[row], positions.piece[row]
    ):
        for i in range(8):
            for j in range(8):
                pixel = digits[source, y + i, x + j]
                canvas[to_y + i, to_x + j] = max(canvas[to_y + i, to_x + j], pixel)
    return canvas


def test_scenes_against_a_slow_reference(digits):
    images = digits[0][:20]
    scenes = SceneRenderer(images, 60, 4)
    positions = scenes.draw(np.arange(20), np.random.default_rng(0))
    rendered = scenes.render(images, positions)
    for row in range(20):
        np.testing.assert_array_equal(rendered[row], slow_scene(images, row, positions, 60))


def test_positions_are_uniform_and_inside_the_scene(digits):
    rows = np.arange(2000) % 30
    positions = SceneRenderer(digits[0][:30], 60, 4).draw(rows, np.random.default_rng(0))
    for places, count in ((positions.digit, 33), (positions.cut, 21), (positions.piece, 53)):
        assert set(np.unique(places)) == set(range(count))
    assert (positions.source != rows[:, None]).all()
    assert set(np.unique(positions.source)) == set(range(30))
    for pieces in (positions.source, positions.cut[..., 0], positions.piece[..., 0]):
        assert (pieces[:, 0] == pieces[:, 1]).mean() < 0.1  # drawn independently


def test_the_brighter_pixel_of_overlapping_pieces_is_kept():
    images = np.stack([np.zeros((28, 28)), np.full((28, 28), 9), np.full((28, 28), 5)])
    scenes = SceneRenderer(images.astype(np.uint8), 28, 2)
    spot = np.zeros((1, 2, 2), int)
    positions = Positions(np.zeros((1, 2), int), np.array([[1, 2]]), spot, spot + 3)
    canvas = scenes.render(scenes.digits[:1], positions)[0]
    assert (canvas[3:11, 3:11] == 9).all() and canvas.sum() == 9 * 64


def test_pieces_come_from_digits_of_their_own_split(monkeypatch):
    splits = sample(task="cluttered60")
    sizes = [part.load.__self__.digits.shape[0] for part in splits[:3]]
    assert sizes == [2700, 300, 1000]
    monkeypatch.setitem(TASKS, "heavy", (60, 40))
    for part, heavy in zip(splits[:3], sample(task="heavy")):
        assert heavy.first(50).mean() > 2 * part.first(50).mean()


class Fixed:
    """A generator of one fixed angle, zoom and shift in [-1, 1]."""

    def __init__(self, *values):
        self.values = np.reshape(values, (4, 1, 1, 1))

    def uniform(self, low, high, size):
        return np.broadcast_to(self.values, size).copy()


def slow_affine(image, angle, zoom, down, right):
    """A rotation, scaling and shift about the centre, one pixel at a time."""
    out = np.zeros((28, 28))
    angle, zoom = np.deg2rad(15) * angle, 1 + 0.1 * zoom
    for i in range(28):
        for j in range(28):
            y, x = (i - 13.5) / zoom, (j - 13.5) / zoom
            y, x = (
                math.cos(angle) * y - math.sin(angle) * x + 13.5 + 2 * down,
                math.sin(angle) * y + math.cos(angle) * x + 13.5 + 2 * right,
            )
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < 28 and 0 <= column < 28:
                        weight = (1 - abs(y - row)) * (1 - abs(x - column))
                        out[i, j] += weight * image[row, column]
    return out


@pytest.mark.parametrize("values", [(1, 0, 0, 0), (0, 1, 0, 0), (0.3, -0.7, 0.4, -1)])
@pytest.mark.parametrize("amount", [1.0, 0.5])
def test_random_affine_against_a_slow_reference(values, amount):
    image = np.random.default_rng(1).integers(256, size=(28, 28)).astype(np.uint8)
    output = random_affine(image[None], amount, Fixed(*np.array(values) / amount))[0]
    np.testing.assert_allclose(output, slow_affine(image, *values), atol=0.51)


def test_each_digit_has_its_own_random_affine():
    image = np.random.default_rng(1).integers(256, size=(28, 28)).astype(np.uint8)
    output = random_affine(np.stack([image] * 5), 1.0, np.random.default_rng(2))
    assert len({digit.tobytes() for digit in output}) == 5


def test_random_affine_by_zero_and_by_whole_pixels():
    image = np.random.default_rng(1).integers(256, size=(1, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(random_affine(image, 1.0, Fixed(0, 0, 0, 0)), image)
    moved = random_affine(image, 1.0, Fixed(0, 0, 1, 0))
    np.testing.assert_array_equal(moved[:, :-2], image[:, 2:])
    assert (moved[:, -2:] == 0).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"task": "cluttered80"}, "cluttered100.*cluttered80"),
        ({"validation": -1}, "validation"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        sample(**options)


def test_unpublished_and_damaged_files_are_refused(tmp_path):
    folder = tmp_path / "mnist"
    shutil.copytree(SAMPLE, folder)
    labels = folder / "train-labels-idx1-ubyte.gz"
    good = labels.read_bytes()
    labels.write_bytes(good[:-9])
    with pytest.raises(UserError, match="train-labels-idx1-ubyte.gz is not the file that"):
        mnist(str(folder))
    (folder / published.MANIFEST).unlink()
    with pytest.raises(UserError, match="not the published file"):
        mnist(str(folder))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte.gz is damaged"):
        published.read_verified(folder, "train-labels-idx1-ubyte", "")


def test_a_file_that_is_not_idx_is_refused(tmp_path):
    packed = gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x01" * 3)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed)
    entry = {"sha256": hashlib.sha256(packed).hexdigest()}
    listed = {"files": {"train-images-idx3-ubyte.gz": entry}}
    (tmp_path / published.MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(UserError, match="not an IDX file of 3 axes"):
        read_split(tmp_path, "train")
    (tmp_path / published.MANIFEST).write_text("[]")
    with pytest.raises(UserError, match="MANIFEST.json is not a list"):
        read_split(tmp_path, "train")


def test_missing_files_without_a_network_end_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="lacks train-images.*--data-dir"):
        mnist(str(tmp_path), download=False)

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(UserError, match="t10k-labels.*no route.*--data-dir") as error:
        mnist(str(tmp_path / "new"))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_only_missing_files_are_downloaded(tmp_path, monkeypatch):
    downloads = []
    monkeypatch.setattr(
        published, "download", lambda urls, *words: downloads.append(urls) or b"content"
    )
    (tmp_path / "t10k-labels-idx1-ubyte").write_text("a part of the set")
    fetch(tmp_path)
    assert len(downloads) == 3
