"""CIFAR from its binary files: labels, augmentation against a slow reference, errors."""

import functools
import hashlib
import io
import json
import shutil
import tarfile
import urllib.error
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.datasets import cifar, cifar10, cifar100, published
from gluon_attention.datasets.sampling import Batches, Normalise

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "cifar10"
FOLDER = cifar.CIFAR10.folder
MEAN = np.reshape([0.4914, 0.4824, 0.4467], (3, 1, 1))
STD = np.reshape([0.2471, 0.2435, 0.2616], (3, 1, 1))


@pytest.fixture(scope="module")
def splits():
    return cifar10(str(SAMPLE), download=False)


@pytest.fixture(scope="module")
def records():
    """Pixels to label of the training file of the sample, by an independent reader."""
    content = published.read_verified(SAMPLE / FOLDER, "data_batch_1.bin", "")
    rows = [content[start : start + 3073] for start in range(0, len(content), 3073)]
    return {row[1:]: row[0] for row in rows}


def epoch(splits, index):
    return Batches(splits.train, 50, shuffle=True).epoch(index)


def pixels_of(images):
    return np.rint((images * STD + MEAN) * 255).astype(np.uint8)


def test_splits_of_the_sample(splits, records):
    assert [len(part) for part in splits[:3]] == [2250, 250, 500]
    assert splits.classes[0] == "airplane" and splits.classes[9] == "truck"
    images, labels = splits.validation.first(250), splits.validation.labels
    keys = [image.tobytes() for image in pixels_of(images)]
    assert [records[key] for key in keys] == list(labels) and len(set(keys)) == 250
    np.testing.assert_array_equal(np.bincount(splits.validation.labels), [25] * 10)
    np.testing.assert_array_equal(np.bincount(splits.test.labels), [50] * 10)


def test_validation_pictures_are_not_trained_on(splits, records):
    """A cropped picture still contains the centre of its original, flipped or not."""
    centres = {}
    for key in records:
        image = np.frombuffer(key, np.uint8).reshape(3, 32, 32)
        centres[image[:, 8:24, 8:24].tobytes()] = key
    held_out = {image.tobytes() for image in pixels_of(splits.validation.first(250))}
    images, labels = next(epoch(splits, 0))
    for image, label in zip(pixels_of(images), labels):
        spots = [(y, x) for y in range(4, 13) for x in range(4, 13)]
        views = [v[:, y : y + 16, x : x + 16] for v in (image, image[:, :, ::-1]) for y, x in spots]
        keys = [centres[v.tobytes()] for v in views if v.tobytes() in centres]
        assert keys and records[keys[0]] == label and keys[0] not in held_out


def test_normalisation_is_exact(splits):
    content = np.frombuffer(
        published.read_verified(SAMPLE / FOLDER, "test_batch.bin", ""), np.uint8
    )
    raw = content.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
    images = splits.test.first(50)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, (raw[:50] / 255 - MEAN) / STD, atol=2e-6)


def slow_crop_flip(image, top, left, mirror):
    out = np.zeros((3, 32, 32), np.uint8)  # black outside
    for y in range(32):
        for x in range(32):
            from_y, from_x = y + top - 4, x + left - 4
            if 0 <= from_y < 32 and 0 <= from_x < 32:
                out[:, y, 31 - x if mirror else x] = image[:, from_y, from_x]
    return out


def test_crop_and_flip_against_a_slow_reference():
    images = np.random.default_rng(0).integers(256, size=(40, 3, 32, 32)).astype(np.uint8)
    augment = cifar.CropFlip(Normalise(MEAN.ravel(), STD.ravel()))
    cropped = augment(images, np.random.default_rng(1))
    positions = set()
    for image, out in zip(images, pixels_of(cropped)):
        choices = [(t, l, m) for t in range(9) for l in range(9) for m in (False, True)]  # noqa: E741
        fits = [c for c in choices if np.array_equal(out, quick_crop_flip(image, *c))]
        assert len(fits) == 1
        np.testing.assert_array_equal(out, slow_crop_flip(image, *fits[0]))
        positions.add(fits[0])
    assert len({t for t, _, _ in positions}) > 6 and 10 < sum(m for _, _, m in positions) < 30
    black = (0 - MEAN) / STD
    corner = cropped[[i for i, out in enumerate(pixels_of(cropped)) if not out[:, 0].any()]][0]
    np.testing.assert_allclose(corner[:, :1], np.broadcast_to(black, (3, 1, 32)), atol=2e-6)


@pytest.mark.parametrize("crop, pad", [(28, 2), (24, 0), (16, 0)])
def test_smaller_crops_move_by_at_least_4_pixels(crop, pad):
    images = np.random.default_rng(0).integers(1, 256, size=(60, 3, 32, 32)).astype(np.uint8)
    cropped = cifar.CropFlip(Normalise(MEAN.ravel(), STD.ravel()), crop)(
        images, np.random.default_rng(1)
    )
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    places = range(padded.shape[2] - crop + 1)
    positions = set()
    for image, out in zip(padded, pixels_of(cropped)):
        parts = {(t, l): image[:, t : t + crop, l : l + crop] for t in places for l in places}  # noqa: E741
        matches = [
            corner
            for corner, p in parts.items()
            if (p == out).all() or (p[:, :, ::-1] == out).all()
        ]
        assert len(matches) == 1
        positions.update(matches)
    assert {t for t, _ in positions} | {l for _, l in positions} == set(places)  # noqa: E741


def quick_crop_flip(image, top, left, mirror):
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))[:, top : top + 32, left : left + 32]
    return padded[:, :, ::-1] if mirror else padded


def test_cutout_sets_one_square_to_the_mean_colour():
    # Larger than the crop, so that no black border is in it.
    images = np.full((200, 3, 40, 40), 255, np.uint8)
    augment = cifar.CropFlip(Normalise(MEAN.ravel(), STD.ravel()), cutout=8)
    blank = (augment(images, np.random.default_rng(0)) == 0).all(axis=1)
    for mask in blank:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask.sum() == len(rows) * len(columns)
        for cut in (rows, columns):
            assert 4 <= len(cut) <= 8 and cut[-1] - cut[0] == len(cut) - 1
    assert blank.any(axis=0).all() and (blank.sum(axis=(1, 2)) == 64).any()


def test_epochs_are_reproducible_and_different(splits):
    again = cifar10(str(SAMPLE), download=False)
    for index in (0, 1):
        np.testing.assert_array_equal(next(epoch(splits, index))[0], next(epoch(again, index))[0])
    first, second = (next(epoch(splits, index))[0] for index in (0, 1))
    assert not np.array_equal(first, second)


def test_alternating_flips_mirror_each_image_in_every_other_epoch():
    def images(seed, index):
        train = cifar10(str(SAMPLE), seed=seed, flip="alternating", download=False).train
        return train.load_epoch(index, np.arange(60), np.random.default_rng(5))  # the same crops

    first = images(0, 0)
    np.testing.assert_array_equal(images(0, 1), first[:, :, :, ::-1])
    np.testing.assert_array_equal(images(0, 2), first)
    assert not np.array_equal(images(1, 0), first)


def test_batches_of_an_epoch_have_its_flips():
    train = cifar10(str(SAMPLE), flip="alternating", download=False).train
    batches = Batches(train, 50, shuffle=True, seed=3)
    rows, rng = batches.rows(1)[:50], np.random.default_rng([3, 1, 1])
    np.testing.assert_array_equal(next(batches.epoch(1))[0], train.load_epoch(1, rows, rng))


def test_reflect_padding_mirrors_the_border():
    images = np.random.default_rng(0).integers(256, size=(30, 3, 32, 32)).astype(np.uint8)
    augment = cifar.CropFlip(Normalise(MEAN.ravel(), STD.ravel()), padding="reflect")
    flipped = np.arange(30) % 2 == 1
    for image, mirror, out in zip(
        images, flipped, pixels_of(augment(images, np.random.default_rng(1), flipped))
    ):
        index = [abs(k) if k < 32 else 62 - k for k in range(-4, 36)]
        padded = image[:, index][:, :, index]
        views = [padded[:, t : t + 32, x : x + 32] for t in range(9) for x in range(9)]
        assert sum(np.array_equal(out, v[:, :, ::-1] if mirror else v) for v in views) == 1


@pytest.mark.parametrize("options", [{"flip": "never"}, {"padding": "grey"}])
def test_another_flip_or_padding_is_refused(options):
    with pytest.raises(UserError, match="must be one of"):
        cifar10(str(SAMPLE), download=False, **options)


def test_all_images_are_trained_on_without_validation():
    splits = cifar10(str(SAMPLE), validation=0, download=False)
    assert [len(part) for part in splits[:3]] == [2500, 0, 500]
    assert splits.examples is splits.train and splits.source["options"]["validation"] == 0


def test_the_seed_decides_the_validation_images(seed_decides_validation):
    seed_decides_validation(functools.partial(cifar10, str(SAMPLE)))


def write_sample(folder, contents):
    """A folder of binary files with a manifest."""
    folder.mkdir(parents=True)
    entries = {}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        entries[name] = {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / published.MANIFEST).write_text(json.dumps({"files": entries}))


def test_cifar100(tmp_path):
    fine = np.arange(100, dtype=np.uint8)
    records = np.column_stack([fine // 5, fine, np.zeros((100, 3072), np.uint8)]).tobytes()
    write_sample(tmp_path / "cifar-100-binary", {"train.bin": records, "test.bin": records})
    splits = cifar100(str(tmp_path))
    np.testing.assert_array_equal(splits.test.labels, fine)
    assert len(splits.classes) == 100 and splits.source["name"] == "cifar100"


@pytest.mark.parametrize("load", [cifar10, cifar100])
def test_crop_and_cutout_apply_to_training_images_only(tmp_path, load):
    archive = {cifar10: cifar.CIFAR10, cifar100: cifar.CIFAR100}[load]
    records = bytes(archive.header + cifar.PIXELS) * 20
    names = (next(iter(archive.train)), *archive.test)
    write_sample(tmp_path / archive.folder, dict.fromkeys(names, records))
    splits = load(str(tmp_path), crop=24, cutout=8)
    parts = [part.first(10) for part in (splits.train, splits.test)]
    assert [part.shape for part in parts] == [(10, 3, 24, 24), (10, 3, 32, 32)]
    assert [(part == 0).any() for part in parts] == [True, False]  # black is not the mean colour


def test_damaged_and_unpublished_files_are_refused(tmp_path):
    record = bytes(3073)
    write_sample(
        tmp_path / "short", {"data_batch_1.bin": record * 20, "test_batch.bin": record[1:]}
    )
    with pytest.raises(UserError, match="test_batch.bin has 3072 bytes"):
        cifar10(str(tmp_path / "short"))
    write_sample(tmp_path / "wild", {"data_batch_1.bin": b"\x0b" * 61460, "test_batch.bin": record})
    with pytest.raises(UserError, match="label 11 of image 0"):
        cifar10(str(tmp_path / "wild"))
    shutil.copytree(SAMPLE, tmp_path / "foreign")
    folder = tmp_path / "foreign" / FOLDER
    (folder / "test_batch.bin.xz").write_bytes(b"\0" * 30)
    with pytest.raises(UserError, match="test_batch.bin.xz is not the file that"):
        cifar10(str(tmp_path / "foreign"))
    (folder / published.MANIFEST).unlink()
    with pytest.raises(UserError, match="test_batch.bin.xz is damaged"):
        published.read_verified(folder, "test_batch.bin", "")
    with pytest.raises(UserError, match="data_batch_1.bin.xz is not the published file"):
        published.read_verified(folder, "data_batch_1.bin", "")


def test_missing_files_without_a_network_end_in_one_line(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    for options in ({"download": False}, {}):
        with pytest.raises(UserError, match="lacks cifar-10-batches-bin/.*--data-dir") as error:
            cifar10(str(tmp_path), **options)
        assert "\n" not in str(error.value)
    assert "no route" in str(error.value) and not list(tmp_path.iterdir())


def archive_of(names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


def test_a_download_is_verified_and_unpacked_completely(tmp_path, monkeypatch):
    expected = [*cifar.CIFAR10.train, *cifar.CIFAR10.test, cifar.CIFAR10.names]
    content = archive_of(expected)
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(content))
    with pytest.raises(UserError, match="not the published file"):
        cifar.fetch(cifar.CIFAR10, tmp_path)
    archive = cifar.CIFAR10._replace(md5=hashlib.md5(content).hexdigest())
    cifar.fetch(archive, tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == sorted(expected)
    assert (tmp_path / FOLDER / expected[0]).read_text() == expected[0]
    for broken in (archive_of(expected[:2]), content[: len(content) // 2], b"nothing"):
        with pytest.raises(UserError, match="is not cifar-10-binary.tar.gz"):
            cifar.unpack(archive, broken, tmp_path / "broken")
