"""Horovod as a store of gradients: its engine stands for, and with Horovod installed, for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.tasks.task import Group
from gluon_attention.training.config import Config
from gluon_attention.training.optimizers import GroupOptimizer, make_optimizers
from gluon_attention.training.schedule import Schedule
from gluon_attention.training.workers import AllWorkers, HorovodStore, OffsetStore, Workers

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

ROOT = Path(__file__).resolve().parents[2]


class Twins:
    """Stands for Horovod with two workers that compute the same."""

    def __init__(self):
        self.names = []

    def rank(self):
        return 0

    def size(self):
        return 2

    def local_rank(self):
        return 1

    def broadcast_(self, array, root_rank, name, priority):
        self.names.append(name)
        array[:] = array.asnumpy()  # fails where memory is not laid out as it is sent

    def allreduce_(self, array, average, name, priority):
        assert not average
        self.names.append(name)
        array *= 2


def workers_of(store):
    return Workers(store, [mx.cpu(0), mx.cpu(1)])


def train_layer(store, devices=1):
    """A layer after three steps over the same eight images, split over devices."""
    contexts = [mx.cpu(i) for i in range(devices)]
    workers, schedule = workers_of(store), Schedule(Config(epochs=1), 3)
    layer = gluon.nn.Dense(3, in_units=4)
    layer.initialize(mx.init.One(), ctx=contexts)
    config = Config(optimizer="sgd", lr=0.1, clip=0.5)
    optimizer = GroupOptimizer(Group("net", [layer]), config, schedule, workers, first_key=5)
    images = nd.array(np.arange(32).reshape(8, 4) / 32)
    for step in range(3):
        parts = gluon.utils.split_and_load(images, contexts)
        with autograd.record():
            losses = [(layer(part) ** 2).sum() for part in parts]
        autograd.backward(losses)
        optimizer.reduce()
        optimizer.step(step, samples=8 * workers.count)
    return optimizer, [
        p.data(context).asnumpy() for p in optimizer.parameters for context in contexts
    ]


@pytest.mark.parametrize("devices", [1, 2])
def test_two_workers_with_equal_gradients_step_like_one(devices):
    twins = Twins()
    optimizer, two = train_layer(HorovodStore(twins), devices)
    for array, other in zip(train_layer("device", devices)[1], two):
        np.testing.assert_allclose(array, other, rtol=1e-6)
    assert set(twins.names) == {"5", "6"}  # beyond the keys of the optimizer before
    assert optimizer.bytes_per_step(False) == 2 * 4 * 15


def test_every_parameter_of_every_group_has_a_key_of_its_own():
    layers = [gluon.nn.Dense(3, in_units=4) for _ in range(3)]
    for layer in layers:
        layer.initialize()
    twins, groups = Twins(), [Group(layer.name, [layer]) for layer in layers]
    workers = workers_of(HorovodStore(twins))
    optimizers = make_optimizers(groups, Config(), Schedule(Config(epochs=1), 3), workers).values()
    with autograd.record():
        total = sum(layer(nd.ones((1, 4))).sum() for layer in layers)
    total.backward()
    for optimizer in optimizers:
        optimizer.reduce()
        optimizer.step(0, samples=1)
    assert sorted(twins.names) == sorted("012345" * 2)  # weights once, gradients once


@pytest.mark.parametrize("kind, decay", [("dist_async", 0.01), ("dist_sync", 0.03)])
def test_weight_decay_of_a_server_is_shared_by_three_workers(kind, decay):
    store = SimpleNamespace(type=kind, rank=0, num_workers=3, set_optimizer=None)
    layer = gluon.nn.Dense(3, in_units=4)
    layer.initialize()
    config = Config(optimizer="sgd", weight_decay=0.03)
    optimizer = GroupOptimizer(
        Group("net", [layer]), config, Schedule(Config(epochs=1), 3), workers_of(store)
    )
    assert optimizer.trainer.optimizer.wd == pytest.approx(decay)
    assert optimizer.bytes_per_step(False) == 4 * 15 * 2
    assert optimizer.bytes_per_step(True) == 4 * 15 * (1 / 16 + 1)
    if kind == "dist_async":
        assert optimizer.trainer.optimizer.wd_mult == {1: 0}  # of the bias
        optimizer.restore({}, 4)
        assert (optimizer.count, optimizer.trainer.optimizer.num_update) == (4, 4 * 3)
    optimizer.detach_trainer()  # or the server would be asked whenever weights are set
    assert layer.weight._trainer is None


def test_clipping_and_several_groups_are_refused_with_dist_async():
    store = SimpleNamespace(type="dist_async", rank=0, num_workers=3, set_optimizer=None)
    groups = [Group(name, [gluon.nn.Dense(1)]) for name in "ab"]
    schedule = Schedule(Config(epochs=1), 3)
    workers = workers_of(store)
    with pytest.raises(UserError, match="--clip needs summed gradients"):
        make_optimizers(groups[:1], Config(clip=1.0), schedule, workers)
    with pytest.raises(UserError, match="one optimizer and this network needs 2; use --kvstore"):
        make_optimizers(groups, Config(kvstore="dist_async"), schedule, workers)


def test_weights_in_blocks_of_onednn_are_broadcast():
    layer = gluon.nn.Conv2D(32, 3, in_channels=32)
    layer.initialize()
    layer(nd.ones((2, 32, 8, 8))).wait_to_read()
    weight, before = layer.weight.data(), layer.weight.data().asnumpy()
    with pytest.raises(mx.MXNetError):
        HorovodStore(Twins()).broadcast(0, weight, weight)
    OffsetStore(HorovodStore(Twins()), 0).broadcast(0, weight, [weight])
    np.testing.assert_array_equal(weight.asnumpy(), before)


def test_workers_agree_on_the_epoch_and_on_what_holds_for_all():
    store = HorovodStore(Twins())
    workers, alone = workers_of(store), workers_of("device")
    workers.check_same_epoch(3)
    workers.release()
    assert AllWorkers(workers)(True) and not AllWorkers(workers)(False)
    assert AllWorkers(alone)(True) and not AllWorkers(alone)(False)
    ahead = SimpleNamespace(type="dist_sync", rank=1, num_workers=2)
    ahead.broadcast = lambda key, value, out: out.__setitem__(0, 2)
    with pytest.raises(UserError, match="at epoch 3, the first at 2"):
        workers_of(ahead).check_same_epoch(3)
    unsynchronised = workers_of(SimpleNamespace(type="dist_async", rank=0, num_workers=3))
    assert not AllWorkers(unsynchronised)(False)


def test_a_server_gives_what_was_pushed_into_each_output():
    calls = []

    def pull(key, out, priority):
        calls.append((key, out))

    server = SimpleNamespace(type="dist_async", rank=0, num_workers=2, set_optimizer=None)
    server.push, server.pull = pull, pull
    store = OffsetStore(server, 10)
    assert store.is_capable("optimizer")
    assert not OffsetStore(HorovodStore(Twins()), 0).is_capable("optimizer")
    store.pushpull(2, "gradient")
    store.pushpull(2, "gradient", "weight")
    assert calls == [(12, "gradient")] * 3 + [(12, "weight")]


def test_one_worker_against_is_enough():
    server = SimpleNamespace(type="dist_sync", rank=0, num_workers=3, set_optimizer=None)
    server.push = server.broadcast = lambda *arguments: None
    for against in (0, 1):
        server.pull = lambda key, out, priority, against=against: out.__setitem__(0, against)
        assert AllWorkers(workers_of(server))(True) == (against == 0)


def test_a_worker_of_horovod_has_one_device_of_its_machine():
    assert workers_of(HorovodStore(Twins())).devices == [mx.cpu(1)]
    assert workers_of("device").devices == [mx.cpu(0), mx.cpu(1)]


def test_a_store_copies_the_sum_to_every_output():
    out = nd.zeros((2,))
    OffsetStore(HorovodStore(Twins()), 0).pushpull(1, nd.ones((2,)), out)
    assert (out.asnumpy() == 2).all()


RUN = [sys.executable, str(ROOT / "tests" / "training" / "distributed_run.py")]
LAUNCH = ["horovodrun", "-np", "2", "--gloo"]
FLAGS = ["--optimizer", "sgd", "--lr", "0.05", "--name", "run"]


def started(words):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = dict(os.environ, OMP_NUM_THREADS="1", PATH=path)
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def arrays(folder):
    with np.load(folder / "run" / "last.npz") as archive:
        progress = json.loads(archive["progress"].tobytes())
        return {name: archive[name] for name in archive.files if name != "progress"}, progress


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.parametrize("groups", ["1", "2", "3"])
def test_two_workers_equal_one_with_the_whole_batch(tmp_path, groups):
    alone = started([*RUN, str(tmp_path / "one"), groups, "-b", "64", "--epochs", "2", *FLAGS])
    output, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, output
    flags = ["-b", "32", "--epochs", "2", "--kvstore", "horovod", "--skip-nonfinite", *FLAGS]
    both = started([*LAUNCH, *RUN, str(tmp_path / "two"), groups, *flags])
    output, _ = both.communicate(timeout=300)
    assert both.returncode == 0, output
    one, two = (arrays(tmp_path / name) for name in ("one", "two"))
    assert one[0].keys() == two[0].keys()
    for name, array in one[0].items():
        np.testing.assert_allclose(array, two[0][name], rtol=1e-5, atol=1e-6, err_msg=name)
    count = sum(array.size for name, array in one[0].items() if name.startswith("net/body"))
    assert two[1]["history"][0]["bytes_per_step"] == 8 * count


@pytest.mark.slow
@pytest.mark.horovod
def test_a_killed_worker_ends_the_job(tmp_path):
    flags = ["-b", "32", "--epochs", "100000", "--kvstore", "horovod", *FLAGS]
    job = started([*LAUNCH, *RUN, str(tmp_path), "1", *flags])
    deadline = time.time() + 120
    while not (tmp_path / "run" / "history.csv").exists() and time.time() < deadline:
        time.sleep(0.1)
    processes = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True)
    workers = [pid for pid in map(int, processes.stdout.split()) if ranked(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    output, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "exited with non-zero status" in output
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def ranked(pid):
    try:
        return "HOROVOD_RANK=" in Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return False
