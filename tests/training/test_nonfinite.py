"""Losses that are not numbers: a step can be left out, and then has no effect at all."""

from __future__ import annotations

from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.datasets.sampling import Batches
from gluon_attention.tasks import task
from gluon_attention.training import engine
from gluon_attention.training.run_folder import RunFolder

import numpy as np
import pytest
from builders import Toy
from mxnet import nd


def poison(monkeypatch, steps, value=float("nan")):
    """Make the loss of some calls a value that is no number."""
    keep, calls = task.cross_entropy, []

    def poisoned(*words):
        calls.append(0)
        return keep(*words) * (value if len(calls) - 1 in steps else 1)

    monkeypatch.setattr(task, "cross_entropy", poisoned)


def weights(folder):
    with np.load(folder / "toy" / "last.npz") as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_is_skipped_as_a_whole(train_toy, tmp_path, monkeypatch, value):
    with monkeypatch.context() as patch:
        poison(patch, steps={4}, value=value)  # the last of five
        train_toy(epochs=1, skip_nonfinite=True, log_dir=str(tmp_path / "five"), lr_steps=(9,))
    history = (tmp_path / "five" / "toy" / "history.csv").read_text().splitlines()
    assert dict(zip(history[0].split(","), history[1].split(",")))["skipped_steps"] == "1"

    monkeypatch.setattr(Batches, "__len__", lambda self: 4 if self.shuffle else 2)
    train_toy(epochs=1, log_dir=str(tmp_path / "four"), lr_steps=(9,))
    one, other = weights(tmp_path / "five"), weights(tmp_path / "four")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_an_epoch_of_skipped_steps_stops_the_run(train_toy, monkeypatch):
    poison(monkeypatch, steps=range(5))
    with pytest.raises(UserError, match="every loss is nan by step 5 at learning rate"):
        train_toy(skip_nonfinite=True, log_interval=2)


def test_a_log_interval_of_skipped_steps_does_not_stop_the_run(train_toy, monkeypatch):
    poison(monkeypatch, steps={2, 3, 4})
    train_toy(skip_nonfinite=True, log_interval=2, epochs=1)


def spoil(monkeypatch, batch):
    """Make one batch of images no numbers, whose loss is one, as relu makes NaN 0."""
    whole = Batches.epoch

    def spoiled(self, number):
        for place, (images, labels) in enumerate(whole(self, number)):
            bad = self.shuffle and place == batch
            yield images * np.float32(np.nan if bad else 1), labels

    monkeypatch.setattr(Batches, "epoch", spoiled)


def test_steps_with_nan_images_are_skipped(train_toy, tmp_path, monkeypatch):
    spoil(monkeypatch, batch=2)
    train_toy(skip_nonfinite=True)
    assert all(np.isfinite(array).all() for array in weights(tmp_path).values())


def test_nan_weights_are_detected_at_the_next_log_point(train_toy, monkeypatch):
    spoil(monkeypatch, batch=1)
    with pytest.raises(UserError, match="sum of all weights is nan by step 2 at learning rate"):
        train_toy(log_interval=2, native="0")  # the library's relu keeps NaN


def test_the_sum_of_weights_is_of_all_layers():
    net = Toy(3)
    net.initialize()
    net(nd.zeros((2, 1, 6, 6)))
    *_, last = net.collect_params().values()
    last.set_data(last.data() * float("nan"))
    (total,) = engine.Run._sum_of_weights(SimpleNamespace(net=net)).values()
    assert np.isnan(total)


def test_the_largest_learning_rate_is_named():
    run = SimpleNamespace(folder=RunFolder("x", writes=False), progress=SimpleNamespace(epoch=0))
    with pytest.raises(UserError, match="a is nan by step 4 at learning rate 0.2; no epoch"):
        engine.Run._check_finite(run, {"a": float("nan")}, 3, {"boxes": 0.1, "net": 0.2})


def test_the_last_good_epoch_is_named_and_resumed(train_toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        poison(patch, steps={8})  # of five an epoch
        with pytest.raises(UserError, match="by step 10 at.*the last good epoch is in .*last.npz"):
            train_toy()
    train_toy(log_dir=str(tmp_path / "whole"))
    train_toy()
    one, other = weights(tmp_path), weights(tmp_path / "whole")
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_all_parts_of_a_batch_are_skipped_together(train_toy, tmp_path, monkeypatch):
    poison(monkeypatch, steps={7, 13})  # the second part of step 3, and of step 6 of 15
    train_toy(skip_nonfinite=True, accumulate=2, log_dir=str(tmp_path))
    assert all(np.isfinite(array).all() for array in weights(tmp_path).values())
