"""Averages of weights, and the BatchNorm statistics of averaged weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List

from gluon_attention import UserError
from gluon_attention.datasets.sampling import Batches
from gluon_attention.training import engine
from gluon_attention.training.averages import (
    WeightAverage,
    recompute_statistics,
)
from gluon_attention.training.config import Config

import mxnet as mx
import numpy as np
import pytest
from builders import Toy, toy_splits
from mxnet import gluon, nd

SWA = dict(epochs=4, swa=0.5, swa_lr=0.01, lr=0.05)  # the third and the fourth epoch


def weight() -> gluon.Block:
    block = gluon.nn.Dense(1, in_units=1, use_bias=False)
    block.initialize(mx.init.Zero())
    return block


def arrays(folder: Path) -> Dict[str, np.ndarray]:
    with np.load(folder / "last.npz") as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


def test_the_moving_average_follows_its_formula_and_restores_the_weights() -> None:
    block = weight()
    average, expected = WeightAverage(block, 0.3), 0.0
    for step in range(7):  # of which three have a smaller decay
        block.weight.set_data(nd.array([[step + 1]]))
        average.update(step)
        keep = min(0.3, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * (step + 1)
    with average.applied():
        assert block.weight.data().asscalar() == pytest.approx(expected, rel=1e-6)
    assert block.weight.data().asscalar() == 7


def test_the_mean_of_epochs_begins_with_the_first_of_them() -> None:
    block = weight()
    average = WeightAverage(block, first=2)
    for epoch, expected in enumerate([0, 1, 2, 2.5, 3]):
        block.weight.set_data(nd.array([[epoch]]))
        average.update(epoch)
        average.end_epoch(epoch)
        with average.applied():
            assert block.weight.data().asscalar() == pytest.approx(expected)


def test_two_averages_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="--ema and --swa both"):
        Config(ema=0.9, swa=0.25)


def test_recomputed_statistics_are_those_of_the_data_and_nothing_else_changes() -> None:
    net, train = Toy(3), toy_splits().train
    net.initialize(mx.init.Xavier())
    images = nd.array(train.first(40))
    net(images)
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    recompute_statistics(net, Batches(train, 8, shuffle=True), 0, [mx.cpu()])
    features = net.body[0](images).asnumpy().transpose(1, 0, 2, 3).reshape(4, -1)
    norm = net.body[1]
    np.testing.assert_allclose(norm.running_mean.data().asnumpy(), features.mean(1), atol=0.02)
    np.testing.assert_allclose(norm.running_var.data().asnumpy(), features.var(1), rtol=0.1)
    for name, parameter in net.collect_params().items():
        if "running" not in name:
            np.testing.assert_array_equal(parameter.data().asnumpy(), before[name])


def test_statistics_come_from_batches_of_their_epoch_until_a_signal() -> None:
    class Stop(Exception):
        pass

    def epoch(number: int) -> Iterator[Any]:
        epochs.append(number)
        yield nd.ones((2, 1, 8, 8)), nd.zeros(2)

    def check() -> None:
        if len(epochs) == 3:
            raise Stop

    net, epochs = Toy(3), []
    net.initialize()
    with pytest.raises(Stop):
        recompute_statistics(net, SimpleNamespace(epoch=epoch), 5, [mx.cpu()], check)
    assert epochs == [5, 6, 7]
    recompute_statistics(weight(), None, 0, [])  # has none


def test_a_run_tests_the_mean_of_its_last_epochs(
    train_toy: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    ends: List[np.ndarray] = []
    keep = engine.Run.train_epoch

    def train_epoch(self: Any, epoch: int) -> Any:
        result = keep(self, epoch)
        ends.append(self.net.body[3].weight.data().asnumpy())
        return result

    monkeypatch.setattr(engine.Run, "train_epoch", train_epoch)
    train_toy(**SWA, keep="last")
    saved = nd.load(str(tmp_path / "toy" / "best.params"))
    mean = np.mean(ends[2:], axis=0)
    np.testing.assert_allclose(saved["body.3.weight"].asnumpy(), mean, rtol=1e-5)
    last = arrays(tmp_path / "toy")
    for name in ("running_mean", "running_var"):
        recomputed = saved[f"body.1.{name}"].asnumpy()
        np.testing.assert_array_equal(recomputed, last[f"average/body.1.{name}"])
        assert not np.array_equal(recomputed, last[f"net/body.1.{name}"])


@pytest.mark.parametrize("stop", [2, 3])
def test_a_stopped_run_resumes_to_the_same_mean(
    train_toy: Any, tmp_path: Path, monkeypatch: Any, stop: int
) -> None:
    settings = dict(SWA, decay="linear", validation=0)
    train_toy(name="whole", **settings)
    keep = engine.Run.epoch

    def epoch(self: Any, number: int) -> None:
        if number == stop:
            raise KeyboardInterrupt("stopped")
        keep(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Run, "epoch", epoch)
        with pytest.raises(KeyboardInterrupt, match="stopped"):
            train_toy(name="cut", **settings)
    train_toy(name="cut", **settings)
    whole, resumed = arrays(tmp_path / "whole"), arrays(tmp_path / "cut")
    assert whole.keys() == resumed.keys() and any(name.startswith("average/") for name in whole)
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)


def test_a_run_without_validation_keeps_the_last_epoch_and_claims_no_accuracy(
    tmp_path: Path, monkeypatch: Any, curves: None
) -> None:
    splits, tests = toy_splits(), []
    none = Batches(splits.validation, 1).samples
    empty = type(none)(none.labels[:0], 3, none.load)
    measure = engine.measure
    monkeypatch.setattr(engine, "measure", lambda *words: tests.append(1) or measure(*words))
    config = Config(
        epochs=2, batch_size=8, optimizer="sgd", num_gpus=0, validation=0, log_dir=str(tmp_path)
    )
    data = lambda: splits._replace(validation=empty)  # noqa: E731
    result = engine.train(config, "toy", Toy, data)
    assert result["best_epoch"] == 2 and len(tests) == 1
    folder = tmp_path / "toy"
    assert "validation" not in (folder / "history.csv").read_text()
    assert (folder / "curves.png").stat().st_size > 0
    best, last = nd.load(str(folder / "best.params")), arrays(folder)
    for name, value in best.items():
        np.testing.assert_array_equal(value.asnumpy(), last["net/" + name])
    assert json.loads((folder / "config.json").read_text())["settings"]["validation"] == 0
