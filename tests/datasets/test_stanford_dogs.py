"""Stanford Dogs as distributed: its lists, its labels, and what is wrong with a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from gluon_attention import UserError
from gluon_attention.commands.train.dogs import main
from gluon_attention.datasets.stanford_dogs import stanford_dogs
from gluon_attention.datasets.view import View
from gluon_attention.storage.params import write_parameters
from gluon_attention.zoo.backbones import backbone

import cv2
import numpy as np
import pytest
from mxnet import nd

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "train" / "stanford_dogs_train.py"
BREEDS = ("n02085620-Chihuahua", "n02102318-cocker_spaniel")


def write_list(path: Path, files: Any, labels: Any) -> None:
    from scipy.io import savemat

    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    savemat(path, {"file_list": cells, "labels": np.array(labels, "uint8")[:, None]})


@pytest.fixture(scope="module")
def dogs(tmp_path_factory: Any) -> Path:
    """Twenty pictures of two breeds that differ in brightness."""
    folder, rng = tmp_path_factory.mktemp("dogs"), np.random.RandomState(0)
    files = [f"{BREEDS[label]}/{number}.jpg" for number in range(10) for label in range(2)]
    for number, file in enumerate(files):
        (folder / "Images" / file).parent.mkdir(parents=True, exist_ok=True)
        picture = rng.randint(60, size=(70, 90, 3)) + 120 * (number % 2)
        cv2.imwrite(str(folder / "Images" / file), picture)
    for name, rows in (("train", range(14)), ("test", range(14, 20))):
        picked = [files[row] for row in rows]
        write_list(folder / f"{name}_list.mat", picked, [row % 2 + 1 for row in rows])
    return folder


def test_lists_and_labels(dogs: Path) -> None:
    splits = stanford_dogs(str(dogs), size=64, seed=1)
    assert splits.classes == ["Chihuahua", "cocker_spaniel"]
    assert [len(part) for part in splits[:3]] == [13, 1, 6]
    for part in splits[:3]:
        images = part.first(len(part))
        assert images.shape[1:] == (3, 64, 64)
        np.testing.assert_array_equal(images.mean(axis=(1, 2, 3)) > 0, part.labels)
    assert splits.test.labels.tolist() == [0, 1] * 3


def test_the_seed_decides_the_validation_images(dogs: Path, seed_decides_validation: Any) -> None:
    seed_decides_validation(partial(stanford_dogs, str(dogs)))


def test_another_view_of_a_picture_has_another_identity(dogs: Path) -> None:
    one, same, other = (
        stanford_dogs(str(dogs), size=size, seed=3).validation.identity(0) for size in (64, 64, 48)
    )
    assert one == same != other


@pytest.mark.parametrize("augment", [True, False])
def test_only_training_pictures_are_augmented(
    dogs: Path, only_training_is_random: Any, augment: bool
) -> None:
    splits = stanford_dogs(str(dogs), size=64, augment=augment)
    assert splits.view == View(64, short=64)
    only_training_is_random(splits, augment)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("list", "lacks test_list.mat"),
        ("picture", "lacks Images/n02085620-Chihuahua/18.jpg"),
        ("damage", "test_list.mat is not a list"),
        ("labels", "leave out a label"),
        ("folders", "under two folders"),
    ],
)
def test_an_error_names_what_is_wrong_with_the_folder(
    change: str, sentence: str, dogs: Path, tmp_path: Path
) -> None:
    (tmp_path / "Images").symlink_to(dogs / "Images")
    (tmp_path / "train_list.mat").write_bytes((dogs / "train_list.mat").read_bytes())
    file, labels = f"{BREEDS[0]}/8.jpg", [1]
    if change == "picture":
        file = f"{BREEDS[0]}/18.jpg"
    elif change in ("labels", "folders"):
        labels = [4 if change == "labels" else 2]
    if change == "damage":
        (tmp_path / "test_list.mat").write_bytes(b"MATLAB")
    elif change != "list":
        write_list(tmp_path / "test_list.mat", [file], labels)
    with pytest.raises(UserError, match=sentence):
        stanford_dogs(str(tmp_path))


def flags(folder: Path, *more: str) -> Any:
    small = "--backbone tiny --patch 16 --hidden 8 --stage1-epochs 1 --epochs 1 -b 4 --num-gpus 0"
    own = ["--log-dir", str(folder), "--patches", "3", "--start-size", "1"]
    return [*small.split(), *own, *more]


def test_both_stages_are_trained_then_evaluated(
    dogs: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    common = flags(tmp_path, "--data-dir", str(dogs))
    main([*common])
    first = tmp_path / "dogs-glimpse_resnet50-stage1"
    folder = tmp_path / "dogs-glimpse_resnet50"
    result = json.loads((folder / "result.json").read_text())
    assert result["test_images"] == 6 and "accuracy_3" in result["test"]
    assert (first / "best.params").exists() and any((tmp_path / "features").rglob("*"))
    main([*common, "--evaluate"])
    assert f"test error {result['test_error']:.2f} %" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(UserError, match="give --stage 1, then --stage 2 --backbone-weights .*best"):
        main([*common, "--kvstore", "dist_sync"])


def test_stage_2_starts_from_weights_of_a_backbone(
    dogs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    net, file = backbone("tiny"), tmp_path / "tiny.params"
    net.initialize()
    net(nd.zeros((1, 3, 32, 32)))
    write_parameters(str(file), net.layers.save_parameters)
    words = ["--stage", "2", "--backbone-weights", str(file), "--test-features", "1"]
    main([*flags(tmp_path, "--data-dir", str(dogs), *words)])
    assert (tmp_path / "dogs-glimpse_resnet50" / "patches.png").exists()


def test_a_missing_folder_ends_in_one_line(tmp_path: Path) -> None:
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    command = [sys.executable, str(SCRIPT), *flags(tmp_path, "--data-dir", str(tmp_path / "no"))]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 2 and len(process.stderr.splitlines()) == 1, process.stderr
    assert "lacks train_list.mat of Stanford Dogs; give --data-dir" in process.stderr
