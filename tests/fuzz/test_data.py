"""Intact and damaged folders of data sets: they load, or one sentence says what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.datasets import cifar10, cub200, imagenet, imagenet_val, mnist, stanford_dogs
from gluon_attention.datasets.sampling import Batches

import cv2
import mxnet as mx
import numpy as np
import pytest
from cub_writer import write_cub
from hypothesis import strategies as st


def write_manifest(folder):
    """Make a folder a sample."""
    paths = [path for path in folder.iterdir() if path.name != "MANIFEST.json"]
    files = {p.name: {"sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in paths}
    (folder / "MANIFEST.json").write_text(json.dumps({"files": files}))


def make_cifar(folder):
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1.bin", 30), ("test_batch.bin", 10)):
        records = rng.integers(256, size=(count, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(count) % 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)))


def make_mnist(folder):
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 10)):
        images = rng.integers(256, size=(count, 28, 28)).astype(np.uint8).tobytes()
        head = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + images)
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, count) + labels
        )


def make_folders(folder):
    for part, count in (("train", 6), ("val", 2)):
        for wnid in ("n01", "n02"):
            (folder / part / wnid).mkdir(parents=True)
            for number in range(count):
                picture = np.full((20, 24, 3), 30 * number, np.uint8)
                cv2.imwrite(str(folder / part / wnid / f"{number}.png"), picture)
    (folder / "synsets.txt").write_text("n01 one\nn02 two\n")


def make_records(folder):
    for part, count in (("train", 12), ("val", 4)):
        names = [str(folder / f"{part}{end}") for end in (".idx", ".rec")]
        writer = mx.recordio.MXIndexedRecordIO(*names, "w")
        for key in range(count):
            content = cv2.imencode(".png", np.full((20, 24, 3), 20 * key, np.uint8))[1].tobytes()
            header = mx.recordio.IRHeader(0, float(key % 2), key, 0)
            writer.write_idx(key, mx.recordio.pack(header, content))
        writer.close()


def make_birds(folder):
    write_cub(str(folder), 40, size=32, coarse=16)


SETS = {  # name: function that writes a folder, function that loads it
    "cifar": (make_cifar, lambda root: cifar10(root, download=False)),
    "mnist": (make_mnist, lambda root: mnist(root, task="cluttered60", download=False)),
    "folders": (make_folders, lambda root: imagenet(root, size=16, workers=1)),
    "records": (make_records, lambda root: imagenet(root, size=16, workers=1)),
    "birds": (make_birds, lambda root: cub200(root, size=16, workers=1)),
}


@pytest.fixture(scope="module")
def folders_of_sets(tmp_path_factory):
    folders = {}
    for name, (make, _) in SETS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        make(folders[name])
        if name in ("cifar", "mnist"):
            write_manifest(folders[name])
    return folders


def read_all(name, root):
    """Load a folder and read all batches once."""
    splits = SETS[name][1](str(root))
    for part in (splits.train, splits.validation, splits.test):
        for images, labels in Batches(part, 4).epoch(0):
            assert np.isfinite(images).all() and images.dtype == np.float32
            assert labels.min() >= 0 and labels.max() < len(splits.classes)
    for part in (splits.validation, splits.test):
        if part.regions:
            assert np.isfinite(part.regions()).all()


TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(-2, 45), st.one_of(st.integers(), st.floats(), st.text())))
    .map(lambda pairs: "\n".join(f"{number} {value}" for number, value in pairs)),
)  # fmt: skip
DAMAGE = st.one_of(
    st.tuples(st.sampled_from(["remove", "empty", "folder", "link", "twice"]), st.just(0)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.tuples(st.floats(0, 1), st.integers(0, 255))),
    st.tuples(st.just("word"), st.tuples(st.floats(0, 1), st.sampled_from(["nan", "-1", "1e99"]))),
    st.tuples(st.just("text"), TEXTS),
    st.tuples(st.just("bytes"), st.binary(max_size=50)),
)
DAMAGES = st.lists(st.tuples(st.floats(0, 1), DAMAGE), min_size=1, max_size=3)


def damage(path, kind, value):
    content = bytearray(path.read_bytes()) if path.is_file() else bytearray()
    if kind in ("remove", "folder", "link"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to("nowhere")
    elif path.is_file():
        lines = content.splitlines(keepends=True)
        if kind == "word":
            words = content.split(b" ")
            words[int(value[0] * (len(words) - 1))] = value[1].encode()
            content = b" ".join(words)
        elif kind == "flip" and content:
            content[int(value[0] * (len(content) - 1))] = value[1]
        path.write_bytes(
            {
                "empty": b"",
                "twice": b"".join([*lines, *lines[:1]]),
                "cut": content[: int(value * len(content))] if kind == "cut" else b"",
                "text": value.encode("utf-8", "replace") if kind == "text" else b"",
                "bytes": value,
            }.get(kind, content)
        )


def entries(root):
    return sorted(path for path in root.rglob("*") if path.name != "MANIFEST.json")


@pytest.mark.parametrize("name", SETS)
def test_damaged_folders_load_or_are_refused(fuzz, refused, folders_of_sets, tmp_path, name):
    read_all(name, folders_of_sets[name])

    def check(damages):
        root = tmp_path / "tree"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(folders_of_sets[name], root)
        for place, (kind, value) in damages:
            paths = entries(root)
            if paths:
                damage(paths[int(place * (len(paths) - 1))], kind, value)
        if name in ("cifar", "mnist") and all(path.is_file() for path in entries(root)):
            write_manifest(root)
        refused(lambda: read_all(name, root))

    fuzz(8, DAMAGES, check)


@pytest.mark.parametrize("text", [b"", b"{", b'{"files": 3}', b'{"files": {"a": {}}}', b"\xff"])
def test_a_broken_manifest_is_named(folders_of_sets, tmp_path, text):
    shutil.copytree(folders_of_sets["cifar"], tmp_path / "tree")
    (tmp_path / "tree" / "MANIFEST.json").write_bytes(text)
    with pytest.raises(UserError, match="MANIFEST.json"):
        read_all("cifar", tmp_path / "tree")


@pytest.mark.parametrize(
    "name, file, text, words",
    [
        ("birds", "images.txt", "1 a.png\n1 b.png\n", "two lines that begin with 1"),
        ("birds", "images.txt", "1 ../../a.png\n", "not below images/"),
        ("birds", "bounding_boxes.txt", "1 nan 0 1 1\n", "no line for image 2"),
        ("birds", "classes.txt", "\udcff", "not text in UTF-8"),
        ("records", "train.idx", "0\t0\n0\t500\n", "twice"),
        ("records", "train.idx", "0\t-8\n", "below 0"),
        ("records", "train.idx", "", "lines of key and offset"),
        ("folders", "synsets.txt", "n01 one\nn01 two\n", "synsets.txt must have"),
    ],
)
def test_an_error_names_the_broken_file(folders_of_sets, tmp_path, name, file, text, words):
    shutil.copytree(folders_of_sets[name], tmp_path / "tree")
    (tmp_path / "tree" / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=words):
        read_all(name, tmp_path / "tree")


@pytest.mark.parametrize("rest", [0.3, 0.75, 0.99])
def test_truncated_records_are_refused(folders_of_sets, tmp_path, rest):
    shutil.copytree(folders_of_sets["records"], tmp_path / "tree")
    packed = tmp_path / "tree" / "train.rec"
    packed.write_bytes(packed.read_bytes()[: int(rest * packed.stat().st_size)])
    with pytest.raises(UserError, match="cut off.*pack"):
        read_all("records", tmp_path / "tree")


def test_a_class_without_pictures_is_refused(folders_of_sets, tmp_path):
    root = tmp_path / "tree"
    shutil.copytree(folders_of_sets["folders"], root)
    shutil.rmtree(root / "val" / "n02")
    read_all("folders", root)
    for path in (root / "train" / "n02").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="n02 has no picture with a name in .jpg"):
        read_all("folders", root)


def test_a_file_without_read_permission_is_refused(folders_of_sets, tmp_path, monkeypatch):
    def locked(path, *words, **named):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("cifar", "mnist", "birds"):
        with monkeypatch.context() as patch, pytest.raises(UserError, match="Permission denied"):
            patch.setattr(Path, "read_bytes", locked)
            read_all(name, folders_of_sets[name])


@pytest.mark.parametrize("load", [cifar10, cub200, imagenet, imagenet_val, mnist, stanford_dogs])
def test_a_folder_without_read_permission_is_refused(tmp_path, monkeypatch, load):
    def locked(path, *words, **named):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", locked)
    with pytest.raises(UserError, match=f"cannot read {tmp_path}.*: Permission denied; give --dat"):
        load(str(tmp_path))
