"""The loss scale of float16: small gradients survive, and overflows cost a step each."""

from __future__ import annotations

import csv
import math
import subprocess
import sys

from gluon_attention import UserError
from gluon_attention.tasks import task
from gluon_attention.training import accelerate, engine, loss_scale
from gluon_attention.training.config import Config
from gluon_attention.training.loss_scale import LossScale
from gluon_attention.training.workers import connect

import mxnet as mx
import numpy as np
import pytest
from builders import Toy
from mxnet import nd


@pytest.fixture
def float16(monkeypatch):
    """Lets --dtype float16 compute in float32 on the CPU, with all that it does to losses."""
    monkeypatch.setattr(Toy, "dtypes", ("float32", "float16"))
    monkeypatch.setattr(engine, "check_precision", lambda dtype, devices: None)
    monkeypatch.setattr(accelerate, "set_precision", lambda dtype, devices: None)


def weights(folder):
    with np.load(folder / "toy" / "last.npz") as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


def history(folder):
    with open(folder / "toy" / "history.csv") as file:
        return [
            (int(row["skipped_steps"]), float(row["loss_scale"])) for row in csv.DictReader(file)
        ]


def same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize(
    "changes", [{}, dict(clip=0.1), dict(accumulate=2), dict(optimizer="lamb")]
)
def test_a_scale_changes_no_digit(train_toy, tmp_path, float16, monkeypatch, changes):
    devices = [mx.cpu(0), mx.cpu(1)] if "clip" in changes else [mx.cpu(0)]
    monkeypatch.setattr(engine, "choose_devices", lambda count: devices)
    for dtype in ("float16", "float32"):
        train_toy(epochs=1, dtype=dtype, log_dir=str(tmp_path / dtype), native="0", **changes)
    same(weights(tmp_path / "float16"), weights(tmp_path / "float32"))
    assert history(tmp_path / "float16") == [(0, 2**16)]


def through_float16(monkeypatch, factor):
    """Losses times a factor, whose gradients pass through float16."""
    keep = task.cross_entropy

    def cast(logits, *words):
        return keep(logits.astype("float16").astype("float32"), *words) * factor

    monkeypatch.setattr(task, "cross_entropy", cast)


def test_small_gradients_are_not_lost(train_toy, tmp_path, float16, monkeypatch):
    through_float16(monkeypatch, 2.0**-27)
    kind = dict(epochs=1, lr=1e6, momentum=0.0, weight_decay=0.0, native="0", seed=3)
    train_toy(**kind, dtype="float16", log_dir=str(tmp_path / "scaled"))
    train_toy(**kind, log_dir=str(tmp_path / "plain"))
    name = "net/body.3.weight"
    scaled, plain = weights(tmp_path / "scaled")[name], weights(tmp_path / "plain")[name]
    monkeypatch.setattr(engine.Run, "train_epoch", lambda run, epoch: ({"loss": 0.0}, 1.0))
    train_toy(**kind, log_dir=str(tmp_path / "start"))
    start = weights(tmp_path / "start")[name]
    assert (plain == start).all() and abs(scaled - start).mean() > 1e-4


def test_overflows_are_skipped_and_resumed(train_toy, tmp_path, float16, monkeypatch):
    through_float16(monkeypatch, 4)
    monkeypatch.setattr(loss_scale, "GROWTH", 4)
    kind = dict(epochs=4, dtype="float16", lr_steps=(9,), native="0")
    train_toy(**kind, log_dir=str(tmp_path / "whole"))
    record = history(tmp_path / "whole")
    assert record[0][0] > 1 and sum(skipped for skipped, _ in record) > 3, record
    for limit in (1, 3):  # stopped after these epochs
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(engine.Run, "epoch", stopping(limit))
            train_toy(**kind, log_dir=str(tmp_path / "cut"))
    train_toy(**kind, log_dir=str(tmp_path / "cut"))
    same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert history(tmp_path / "cut") == record


def stopping(limit, keep=engine.Run.epoch):
    def epoch(run, index):
        if index == limit:
            raise KeyboardInterrupt
        keep(run, index)

    return epoch


def test_a_scale_adapts(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH", 3)
    scale, good = LossScale(), [nd.ones((2,))] * 201  # more than MXNet checks at a time
    assert not scale.fits([*good, nd.array([math.inf])]) and scale.state() == [2**15, 0]
    assert not scale.fits([nd.array([math.nan]), *good]) and scale.value == 2**14
    assert [scale.fits(good) for _ in range(4)] == [True] * 4 and scale.state() == [2**15, 1]
    scale = LossScale(loss_scale.HIGHEST, 2)
    assert scale.fits(good) and scale.value == loss_scale.HIGHEST


def test_overflows_at_any_scale_end_the_run():
    scale = LossScale()
    with pytest.raises(UserError, match="gradients overflow float16 however small"):
        for _ in range(27):
            assert not scale.fits([nd.array([math.nan])])
    assert scale.value < loss_scale.LOWEST


@pytest.mark.parametrize(
    "settings", [dict(kvstore="dist_async"), dict(kvstore="dist_sync", compression="2bit")]
)
def test_stores_without_sums_are_refused(settings):
    with pytest.raises(UserError, match="--dtype float16 looks for overflows"):
        connect(Config(dtype="float16", **settings), [mx.cpu()])


GRAPH = """import sys
import mxnet as mx
from gluon_attention import get_model
from gluon_attention.training import devices
devices.set_precision("float16", [mx.gpu()])
net = get_model(sys.argv[1])
graph = net(mx.sym.var("data"))
_, (logits,), _ = graph.infer_type(data="float32")
types = graph.get_internals().infer_type(data="float32")
convolutions = {t for o, t in zip(graph.get_internals().list_outputs(), types[1])
                if o.endswith("fwd_output") and "conv" in o}
print(logits.__name__, *(t.__name__ for t in convolutions), *{t.__name__ for t in types[0]})
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar_residual_attention56", "residual_attention56"])
def test_a_graph_in_float16_keeps_its_weights_in_float32(name):
    """In a process of its own, for which MXNet's operators are changed; nothing is computed."""
    words = [sys.executable, "-c", GRAPH, name]
    process = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    assert process.stdout.split() == ["float16", "float16", "float32"]
