"""A run resumes on the data that it was trained on; other data must be accepted by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

from gluon_attention import UserError
from gluon_attention.datasets.sampling import Splits
from gluon_attention.training import checkpoint, engine
from gluon_attention.training.config import Config
from gluon_attention.training.data_record import differences, record_data, version_notes

import numpy as np
import pytest
from builders import Toy, toy_splits


def fewer() -> Splits:
    splits = toy_splits()
    return splits._replace(train=replace(splits.train, labels=splits.train.labels[:24]))


def other_labels() -> Splits:
    splits = toy_splits()
    return splits._replace(test=replace(splits.test, labels=1 - splits.test.labels % 2))


CHANGES = {
    "classes, not 2": lambda: toy_splits()._replace(classes=["a", "b"]),
    "a class 'c' where 'd' is now": lambda: toy_splits()._replace(classes=["a", "b", "d"]),
    "40 training images, not 24; 5 steps an epoch, not 3": fewer,
    "other labels of test images": other_labels,
}


@pytest.mark.parametrize("line", CHANGES)
def test_a_record_says_what_differs(line: str) -> None:
    def record(splits: Splits) -> Dict[str, Any]:
        return record_data(splits, len(splits.train) // 8)

    before, now = record(toy_splits()), record(CHANGES[line]())
    assert "; ".join(differences(before, now, same_devices=True)).endswith(line)
    assert differences({}, now, same_devices=True) == []  # of an older version


def test_steps_are_not_compared_between_numbers_of_devices() -> None:
    one, other = record_data(toy_splits(), 5), record_data(toy_splits(), 2)
    assert differences(one, other, same_devices=False) == []


def test_a_change_of_versions_is_noted() -> None:
    notes = version_notes({"mxnet": "1.8", "numpy": "1.2"}, {"mxnet": "1.9", "numpy": "1.2"})
    assert notes == ["note: the epochs so far were trained by mxnet 1.8 (now 1.9)"]


def test_a_run_resumes_on_other_data_only_if_they_are_accepted(tmp_path: Path, capsys: Any) -> None:
    def train(data: Any, **settings: Any) -> Dict[str, Any]:
        config = Config(epochs=2, batch_size=8, num_gpus=0, log_dir=str(tmp_path), **settings)
        return engine.train(config, "toy", Toy, data)

    train(toy_splits)
    (tmp_path / "toy" / "last.npz").unlink()  # as if it had been killed in its second epoch
    with pytest.raises(UserError, match=r"toy holds a run on other data, with 40 .* not 24; 5 "):
        train(fewer)
    capsys.readouterr()
    train(fewer, accept_data=True)
    assert "trained on other data, with 40 training images" in capsys.readouterr().out
    with np.load(tmp_path / "toy" / "last.npz") as archive:
        progress = checkpoint._read_progress(archive["progress"])
    assert progress.data["training images"] == 24 and progress.versions["numpy"] == np.__version__
