"""What a run shows in TensorBoard: curves in groups, settings, pictures, histograms of kernels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

from gluon_attention.training import engine
from gluon_attention.training.config import Config
from gluon_attention.training.monitor import PICTURES, tag_of

import numpy as np
import pytest
from builders import small_ram, toy_splits

Points = Dict[str, List[Tuple[int, Any]]]  # tag: steps and values


def events(folder: Path) -> Points:
    """The values of the event files in a folder by tag."""
    from mxboard.proto.event_pb2 import Event

    points: Points = {}
    for file in sorted(folder.glob("events.*")):
        content = file.read_bytes()
        while content:  # a record: length, checksum, event, checksum
            (length,) = struct.unpack_from("<Q", content)
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value))
    return points


def groups(points: Points) -> Set[str]:
    return {tag.partition("/")[0] for tag in points}


def test_curves_of_training_and_validation_share_tags(train_toy: Any, tmp_path: Path) -> None:
    train_toy(epochs=2)
    train, validation = (events(tmp_path / "toy" / "events" / n) for n in ("train", "validation"))
    assert groups(train) == {"settings", "loss", "learning_rate", "accuracy", "speed", "memory"}
    assert set(validation) == {"loss/cross_entropy", "accuracy/accuracy"}
    for tag in validation:
        for points in (train[tag], validation[tag]):
            assert [step for step, _ in points] == [5, 10]
    (table,) = train["settings"][0][1].tensor.string_val
    assert "| batch_size | `8` |" in table.decode().splitlines()


@pytest.mark.parametrize("period, steps", [(None, []), (2, [10, 20])])
def test_histograms_are_of_kernels_every_few_epochs(
    train_toy: Any, tmp_path: Path, period: Any, steps: List[int]
) -> None:
    train_toy(epochs=5, histograms=period)
    points = events(tmp_path / "toy" / "events" / "train")
    kernels = {tag: [step for step, _ in points[tag]] for tag in points if "weights/" in tag}
    names = ["weights/body.0.weight", "weights/body.3.weight"] if steps else []
    assert kernels == dict.fromkeys(names, steps)


def test_the_same_images_are_painted_after_every_epoch(tmp_path: Path) -> None:
    config = Config(
        epochs=2, batch_size=8, optimizer="sgd", lr=0.01, num_gpus=0, log_dir=str(tmp_path)
    )
    engine.train(config, "ram", lambda classes: small_ram(classes=classes), toy_splits)
    points = events(tmp_path / "ram" / "events" / "validation")
    pictures = {tag for tag in points if tag.startswith("windows/")}
    assert pictures == {f"windows/image_{number + 1}" for number in range(PICTURES)}
    for tag in pictures:
        assert [step for step, _ in points[tag]] == [5, 10, 10]  # the last of the best weights
        assert points[tag][0][1].image.width >= 300


def test_the_training_sample_covers_the_training_set() -> None:
    splits = toy_splits()
    sample = engine.training_sample(splits)
    rng = np.random.default_rng(0)
    assert len(sample) == len(splits.validation)
    for row, of_all in ((0, 0), (14, 39)):
        np.testing.assert_array_equal(
            sample.load(np.array([row]), rng), splits.train.load(np.array([of_all]), rng)
        )
        assert sample.labels[row] == splits.train.labels[of_all]


def test_a_tag_says_what_a_score_is_about() -> None:
    tags = ["accuracy/accuracy_1", "accuracy/top5", "loss/cross_entropy", "other/side_2"]
    assert [tag_of(tag.partition("/")[2]) for tag in tags] == tags
