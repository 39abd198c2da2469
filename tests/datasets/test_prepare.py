"""The scripts that prepare data: their output is read back, and bad input ends in one line."""

import runpy
import sys
from pathlib import Path

from gluon_attention.datasets import imagenet, mnist, published
from gluon_attention.datasets.image_folder import scan
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.records import Records

import numpy as np
import pytest

DATA = Path(__file__).parents[2] / "data"
SAMPLE = DATA / "sample"


@pytest.fixture()
def run(monkeypatch, capsys):
    """Run a script of data/; returns its exit code, output and errors."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(DATA / name), run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return call


def every(samples):
    return samples.first(len(samples)), samples.labels


def test_packed_imagenet_equals_its_folder(run, tmp_path):
    source = SAMPLE / "imagenet"
    code, out, _ = run("prepare_imagenet.py", "--from", source, "--data-dir", tmp_path)
    assert code == 0 and "train.rec: 12 pictures" in out
    paths, labels, _ = scan(source / "train")
    records = Records(tmp_path / "train.rec")
    label_of = {records.content(row): label for row, label in enumerate(records.labels)}
    assert label_of == {path.read_bytes(): label for path, label in zip(paths, labels)}
    packed, folder = (imagenet(str(root), size=64) for root in (tmp_path, source))
    assert packed.classes == folder.classes
    images, labels = every(packed.test)
    np.testing.assert_array_equal(images[np.argsort(labels)], every(folder.test)[0])


def test_packing_resizes(run, tmp_path):
    arguments = ("--from", SAMPLE / "imagenet", "--data-dir", tmp_path, "--resize", 80)
    assert run("prepare_imagenet.py", *arguments)[0] == 0
    records = Records(tmp_path / "train.rec")
    sides = [min(decode(records.content(row), "").shape[:2]) for row in range(12)]
    assert sides == [80] * 12
    ends = (".idx", ".rec")
    expected = ["synsets.txt", *(part + end for part in ("train", "val") for end in ends)]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def test_samples_are_made_from_published_files(run, tmp_path, monkeypatch):
    """The sample replaces the published data set, whose checksums it does not have."""
    read_verified = published.read_verified
    monkeypatch.setattr(
        published,
        "read_verified",
        lambda folder, name, sha1: read_verified(SAMPLE / "mnist", name, ""),
    )
    monkeypatch.setattr(
        "gluon_attention.datasets.sampling.hold_out", lambda labels, count, seed: (0, np.arange(50))
    )
    code, _, error = run("make_sample.py", "--mnist", SAMPLE / "mnist", "--output", tmp_path)
    assert code == 0, error
    monkeypatch.undo()
    splits = mnist(str(tmp_path / "mnist"), download=False)
    assert [len(part) for part in splits[:3]] == [45, 5, 50]


def test_the_scenes_of_the_sample_are_rendered_anew(run, tmp_path):
    assert run("make_sample.py", "--detail", "--output", tmp_path)[0] == 0
    names = sorted(path.name for path in (SAMPLE / "detail").iterdir())
    assert len(names) == 4 and names == sorted(
        path.name for path in (tmp_path / "detail").iterdir()
    )
    for name in names:
        old, new = (decode((at / "detail" / name).read_bytes(), name) for at in (SAMPLE, tmp_path))
        np.testing.assert_allclose(old.astype(int), new, atol=1)  # cosines differ by processor


@pytest.mark.parametrize(
    "script, arguments, words",
    [
        ("prepare_imagenet.py", ["--from", SAMPLE], "no train/ or val/ folder"),
        ("prepare_imagenet.py", ["--from", SAMPLE / "imagenet", "--quality", 0], "--quality"),
        ("make_sample.py", ["--mnist", "nowhere"], "nowhere lacks"),
    ],
)
def test_bad_input_ends_in_one_line(run, tmp_path, script, arguments, words):
    where = "--output" if script == "make_sample.py" else "--data-dir"
    code, out, error = run(script, *arguments, where, tmp_path / "out")
    assert code == 2 and out == ""
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
