"""ImageNet from folders and RecordIO: labels, views, determinism, broken pictures."""

import functools
import shutil
import struct
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.datasets import imagenet, imagenet_val
from gluon_attention.datasets.records import MAGIC, Records
from gluon_attention.datasets.sampling import Batches
from gluon_attention.datasets.view import COLOUR_AXES, View, centre_view

import cv2
import mxnet as mx
import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "imagenet"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def colour(index):
    """One of four colours that JPEG compression leaves distinct."""
    return [(230, 20, 20), (20, 230, 20), (20, 20, 230), (120, 120, 120)][index]


def write_picture(path, rgb, shape=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.empty((*shape, 3), np.uint8)
    picture[:] = rgb
    assert cv2.imwrite(str(path), picture[..., ::-1])


@pytest.fixture()
def coloured(tmp_path):
    """Four classes of one colour each, with six pictures in train/ and two in val/."""
    for part, count in (("train", 6), ("val", 2)):
        for label, wnid in enumerate(("n04", "n02", "n03", "n01")):
            for number in range(count):
                path = tmp_path / part / wnid / f"{wnid}_{number}.JPEG"
                write_picture(path, colour(label), (40 + 5 * number, 60))
    return tmp_path


def colours_of(images):
    means = (images.mean(axis=(2, 3)) * STD + MEAN) * 255
    distance = [np.abs(means - colour(index)).sum(axis=1) for index in range(4)]
    return np.argmin(distance, axis=0)


def every(samples):
    return samples.first(len(samples)), samples.labels


def epoch(samples, index):
    images, labels = zip(*Batches(samples, 4, shuffle=True).epoch(index))
    return np.concatenate(images), np.concatenate(labels)


def test_labels_are_sorted_folders_or_lines_of_synsets(coloured):
    plain = imagenet(str(coloured), size=32, workers=2, jitter=0, lighting=0)
    assert plain.classes == ["n01", "n02", "n03", "n04"]
    order = [3, 1, 2, 0]  # colours in the order of the sorted folders
    for part in plain[:3]:
        images, labels = every(part)
        np.testing.assert_array_equal(np.array(order)[labels], colours_of(images))
    (coloured / "synsets.txt").write_text("n04 red\nn02 green\nn03 blue\nn01 light grey\n")
    named = imagenet(str(coloured), size=32, jitter=0, lighting=0)
    assert named.classes == ["red", "green", "blue", "light grey"]
    for part in named[:3]:
        images, labels = every(part)
        np.testing.assert_array_equal(labels, colours_of(images))
    assert [len(part) for part in named[:3]] == [22, 2, 8]


def test_val_without_training_pictures(coloured):
    shutil.rmtree(coloured / "train")
    (coloured / "synsets.txt").write_text("n00 none\nn04 red\nn02 green\nn03 blue\nn01 grey\n")
    samples, names = imagenet_val(str(coloured), size=32)
    images, labels = every(samples)
    np.testing.assert_array_equal(labels - 1, colours_of(images))
    assert names[0] == "none" and len(samples) == 8
    with pytest.raises(UserError, match="no train/ folder; --data-dir must have train/<wnid>"):
        imagenet(str(coloured))


def test_only_training_pictures_are_augmented():
    splits = imagenet(str(SAMPLE))
    views = [part.load.__self__.view for part in splits[:3]]
    moving = View(224, random=True, area=(0.08, 1), jitter=0.4, lighting=0.1)
    assert views == [moving, centre_view(224), centre_view(224)] and splits.view == views[2]
    assert imagenet_val(str(SAMPLE))[0].load.__self__.view == views[2]


def test_epochs_do_not_depend_on_the_number_of_workers():
    runs = [imagenet(str(SAMPLE), size=64, workers=workers).train for workers in (1, 3)]
    for index in (0, 1):
        one, other = (epoch(run, index) for run in runs)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert not np.array_equal(epoch(runs[0], 0)[0], epoch(runs[0], 1)[0])


def test_each_picture_has_its_own_random_view(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(40, 40, 3)).astype(np.uint8)
    for part in ("train", "val"):
        for number in range(6):
            write_picture(tmp_path / part / "n01" / f"{number}.png", noise, (40, 40))
    samples = imagenet(str(tmp_path), size=16).train
    views = [image.tobytes() for index in (0, 1) for image in epoch(samples, index)[0]]
    assert len(set(views)) == 8


def test_the_seed_decides_the_validation_images(coloured, seed_decides_validation):
    seed_decides_validation(functools.partial(imagenet, str(coloured), size=32))


def test_training_and_validation_are_disjoint(coloured):
    splits = imagenet(str(coloured), size=32)
    train, held_out = (set(part.load.__self__.rows) for part in splits[:2])
    assert not train & held_out and train | held_out == set(range(24))


def test_centre_view_against_its_definition():
    picture = np.random.default_rng(0).integers(256, size=(64, 100, 3)).astype(np.uint8)
    out = View(48, short=64)(picture, np.random.default_rng(0))
    expected = (picture[8:56, 26:74] / 255 - MEAN) / STD
    assert out.shape == (3, 48, 48) and out.dtype == np.float32
    np.testing.assert_allclose(out.transpose(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (7, 7), (256, 256), (1, 50)])
def test_pictures_of_any_shape_fill_the_input(shape):
    picture = np.full((*shape, 3), 255, np.uint8)
    for view in (View(24, short=32), View(24, short=32, random=True), View(24, random=True)):
        out = view(picture, np.random.default_rng(0))
        assert out.shape == (3, 24, 24)
        np.testing.assert_allclose(out, ((1 - MEAN) / STD)[:, None, None] + 0 * out, atol=1e-5)


def test_random_views_cover_all_positions_and_flips():
    """Pixels hold their own coordinates, so each crop shows its position."""
    y, x = np.mgrid[:100, :200].astype(np.uint8)
    picture = np.stack([y, x, 0 * x], axis=2)
    view = View(50, short=100, random=True, mean=(0, 0, 0), std=(1, 1, 1))
    lefts, tops, mirrored = [], [], []
    for seed in range(80):
        out = np.rint(view(picture, np.random.default_rng(seed)) * 255)
        mirrored.append(out[1, 0, 0] > out[1, 0, -1])
        lefts.append(out[1, 0].min())
        tops.append(out[0, 0, 0])
        assert out[1, 0].max() - out[1, 0].min() == 49 and out[0, -1, 0] - out[0, 0, 0] == 49
    assert 20 < sum(mirrored) < 60
    assert min(lefts) < 10 and max(lefts) > 140 and min(tops) < 5 and max(tops) > 45


def test_random_parts_have_the_areas_and_aspects():
    y, x = np.mgrid[:200, :200].astype(np.uint8)
    picture = np.stack([y, x, 0 * x], axis=2)
    view = View(100, random=True, mean=(0, 0, 0), std=(1, 1, 1))
    areas, aspects = [], []
    for seed in range(200):
        out = view(picture, np.random.default_rng(seed)) * 255
        height, width = (np.ptp(out[axis]) + 1 for axis in (0, 1))
        areas.append(height * width / 200**2)
        aspects.append(width / height)
    assert 0.06 < min(areas) < 0.15 and 0.8 < max(areas) <= 1
    assert 0.7 < min(aspects) < 0.8 and 1.25 < max(aspects) < 1.45


def test_the_colour_map_equals_its_separate_steps():
    picture = np.random.default_rng(0).integers(256, size=(20, 20, 3)).astype(np.uint8)
    view = View(20, short=20, random=False, jitter=0.4, lighting=0.1)
    out = view(picture, np.random.default_rng(5)).transpose(1, 2, 0)
    rng, luma = np.random.default_rng(5), np.array([0.299, 0.587, 0.114])
    bright, contrast, saturation = rng.uniform(0.6, 1.4, size=3)
    expected = picture / 255 * bright
    expected = contrast * expected + (1 - contrast) * (expected @ luma).mean()
    expected = saturation * expected + (1 - saturation) * (expected @ luma)[..., None]
    expected = expected + COLOUR_AXES @ rng.normal(0, 0.1, size=3)
    np.testing.assert_allclose(out, (expected - MEAN) / STD, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_an_error_names_the_broken_picture(coloured, content):
    path = coloured / "val" / "n02" / "n02_1.JPEG"
    noise = np.random.default_rng(0).integers(256, size=(60, 60, 3)).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    path.write_bytes(jpeg[: len(jpeg) // 2] if content is None else content)
    splits = imagenet(str(coloured), size=32)
    with pytest.raises(UserError, match=r"n02_1\.JPEG is broken"):
        every(splits.test)


def test_unknown_classes_and_empty_folders_are_refused(coloured, tmp_path):
    write_picture(coloured / "val" / "n99" / "a.png", (0, 0, 0))
    with pytest.raises(UserError, match="n99 is not one of the 4 classes"):
        imagenet(str(coloured))
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="has no <class>/<picture>"):
        imagenet(str(tmp_path / "empty"))
    shutil.rmtree(coloured / "val" / "n99")
    with pytest.raises(UserError):
        imagenet(str(coloured), size=0)
    with pytest.raises(UserError, match="short side"):
        View(448, short=400)


def test_records_with_magic_numbers_and_many_labels(tmp_path):
    """The writer splits payloads at the magic number; the reader joins them."""
    payloads = [MAGIC, b"abcd" + MAGIC * 2 + b"tail", b"x" * 7, MAGIC + b"\0" * 9]
    path = tmp_path / "train.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for key, payload in enumerate(payloads):
        head = struct.pack("<IfQQ", 0, key, key, 0)
        if key == 2:  # two labels, of which the first counts
            head = struct.pack("<IfQQff", 2, 0, key, 0, 3, 1)
        writer.write_idx(key, head + payload)
    writer.close()
    records = Records(path)
    assert [records.content(row) for row in range(4)] == payloads
    np.testing.assert_array_equal(records.labels, [0, 1, 3, 3])


def test_truncated_and_foreign_records_are_refused(tmp_path):
    path = tmp_path / "train.rec"
    path.write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(UserError, match="train.rec needs train.idx"):
        Records(path)
    path.with_suffix(".idx").write_text("0\t0\n")
    with pytest.raises(UserError, match="record 0, is cut off or not where"):
        Records(path)
    path.with_suffix(".idx").write_text("zero\n")
    with pytest.raises(UserError, match="train.idx must have lines of key"):
        Records(path)


@pytest.mark.parametrize("label", [0.5, -1, float("nan")])
def test_labels_of_records_are_whole_numbers_from_0(tmp_path, label):
    path = tmp_path / "train.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    writer.write_idx(0, mx.recordio.pack(mx.recordio.IRHeader(0, label, 0, 0), b"x" * 9))
    writer.close()
    with pytest.raises(UserError, match=f"record 0, has the label {label}"):
        Records(path)
