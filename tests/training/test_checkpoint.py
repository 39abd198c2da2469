"""Checkpoints: what they restore, and which are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, NamedTuple, Tuple

from gluon_attention import UserError
from gluon_attention.storage.params import write_parameters
from gluon_attention.tasks.task import Group
from gluon_attention.training import checkpoint
from gluon_attention.training.averages import WeightAverage
from gluon_attention.training.config import Config
from gluon_attention.training.optimizers import GroupOptimizer
from gluon_attention.training.schedule import Schedule
from gluon_attention.training.workers import Workers

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

WORKERS = Workers("device", [mx.cpu()])
SETTINGS = {"lr": 0.1, "lr_steps": (2, 3)}


class Parts(NamedTuple):
    """The parts of a run in a checkpoint, as `save` and `restore` take them."""

    net: gluon.Block
    optimizers: Dict[str, GroupOptimizer]
    average: WeightAverage


def parts() -> Parts:
    """A layer that has made a step."""
    net = gluon.nn.Dense(3, in_units=2)
    net.initialize()
    optimizer = GroupOptimizer(
        Group("all", [net]), Config(optimizer="adam"), Schedule(Config(epochs=1), 1), WORKERS
    )
    average = WeightAverage(net, 0.5)
    with autograd.record():
        loss = net(nd.random.normal(shape=(4, 2))).square().sum()
    loss.backward()
    optimizer.step(0, samples=4)
    average.update(0)
    return Parts(net, {"all": optimizer}, average)


def saved(folder: Path, **progress: Any) -> Parts:
    all_parts = parts()
    kind = dict(epoch=1, counts={"all": 1}, history=[], settings=SETTINGS)
    checkpoint.save(str(folder), *all_parts, checkpoint.Progress(**{**kind, **progress}))
    return all_parts


def numbers(some: Parts) -> Tuple[np.ndarray, ...]:
    arrays = (some.net.weight.data(), some.average.values["weight"])
    return tuple(a.asnumpy() for a in (*arrays, *some.optimizers["all"].state().values()))


def test_weights_averages_and_optimizer_states_are_restored(tmp_path: Path) -> None:
    one, other = saved(tmp_path, counts={"all": 5}), parts()
    content = checkpoint.load(str(tmp_path), SETTINGS)
    checkpoint.restore(content, *other)
    optimizer = other.optimizers["all"]
    assert (content.progress.epoch, optimizer.count, optimizer.trainer.optimizer.num_update) == (
        1,
        5,
        5,
    )
    for before, after in zip(numbers(one), numbers(other)):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", ["net/weight", "average/weight", "all/0.1"])
@pytest.mark.parametrize("wrong", ["absent", "longer", "shaped otherwise"])
def test_arrays_of_another_network_are_refused(tmp_path: Path, name: str, wrong: str) -> None:
    saved(tmp_path)
    content = checkpoint.load(str(tmp_path), SETTINGS)
    array = content.arrays.pop(name)
    if wrong != "absent":
        content.arrays[name] = np.zeros((5, 2) if wrong == "longer" else (7,), array.dtype)
    with pytest.raises(UserError, match="holds a checkpoint of another network"):
        checkpoint.restore(content, *parts())


@pytest.mark.parametrize(
    "other",
    [
        gluon.nn.Dense(4, in_units=2),
        gluon.nn.Dense(3, in_units=2, use_bias=False),
        gluon.nn.BatchNorm(in_channels=2),
    ],
    ids=str,
)
def test_best_weights_of_another_network_are_refused(tmp_path: Path, other: gluon.Block) -> None:
    path, net = str(tmp_path / "best.params"), parts().net
    other.initialize(force_reinit=True)
    for one, two in ((net, other), (other, net)):
        write_parameters(path, one.save_parameters)
        with pytest.raises(UserError, match="best.params holds the weights of another network"):
            checkpoint.load_weights(path, two, [mx.cpu()])


def test_damaged_best_weights_are_reported_as_damaged(tmp_path: Path) -> None:
    path, net = tmp_path / "best.params", parts().net
    write_parameters(str(path), net.save_parameters)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="best.params .*damaged"):
        checkpoint.load_weights(str(path), net, [mx.cpu()])


def test_settings_missing_from_an_old_checkpoint_are_not_compared(tmp_path: Path) -> None:
    saved(tmp_path)
    assert checkpoint.load(str(tmp_path), {**SETTINGS, "newer": 3}).progress.epoch == 1
    with pytest.raises(UserError, match=r"with --lr-steps \[2, 3\], not \[2\]: give the same"):
        checkpoint.load(str(tmp_path), {**SETTINGS, "lr_steps": (2,)})


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_reading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    saved(tmp_path)
    with np.load(tmp_path / "last.npz") as archive:
        content = dict(archive)
    content["net/weight"] = np.array([Trap(tmp_path / "trapped")], dtype=object)
    np.savez(tmp_path / "last.npz", **content)
    with pytest.raises(UserError, match="last.npz .* damaged or no checkpoint"):
        checkpoint.load(str(tmp_path), SETTINGS)
    assert not (tmp_path / "trapped").exists()


def test_a_checkpoint_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with np.load(tmp_path / "last.npz") as archive:
        content = dict(archive, bomb=np.zeros(10**6))
    np.savez_compressed(tmp_path / "last.npz", **content)
    with pytest.raises(UserError, match=r"last.npz \(ValueError\): damaged or no checkpoint"):
        checkpoint.load(str(tmp_path), SETTINGS)


def test_resuming_on_another_number_of_devices_prints_a_note() -> None:
    notes = [checkpoint.Progress(devices=count).resume_notes(4, 2) for count in (0, 1, 2)]
    assert [len(lines) for lines in notes] == [0, 1, 0]
    assert checkpoint.Progress(epoch=1).resume_notes(4, 2) == ["resuming after epoch 1 of 4"]
