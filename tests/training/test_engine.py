"""The training loop, on a toy network with two groups of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.datasets.sampling import Normalise, Splits, array_samples
from gluon_attention.tasks.task import Group, Task, Update, cross_entropy
from gluon_attention.training import checkpoint, engine
from gluon_attention.training.config import Config, setting
from gluon_attention.zoo.attention_net import AttentionNet

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd


class Body(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.first = gluon.nn.HybridSequential()
            self.first.add(gluon.nn.Conv2D(4, 3), gluon.nn.BatchNorm(), gluon.nn.Activation("relu"))
            self.last = gluon.nn.Dense(3)

    def hybrid_forward(self, F, images):
        return (self.last(self.first(images)),)


class Toy(AttentionNet):
    Trace = SimpleNamespace

    def __init__(self, task=None):
        super().__init__()
        self.classes, self.task = 3, task
        with self.name_scope():
            self.body = Body()

    def trace(self, images):
        return SimpleNamespace(logits=self.body(images)[0], _fields=("logits",))

    def objective(self, config):
        return self.task(self, config) if self.task else super().objective(config)


class Alternate(Task):
    """Even epochs move the last layer, odd epochs the first."""

    def __init__(self, net, config):
        self.net = net

    def groups(self):
        return [Group("first", [self.net.body.first]), Group("last", [self.net.body.last], 0.5)]

    def updates(self, epoch):
        return [Update(["first" if epoch % 2 else "last"], self.loss)]

    def loss(self, images, labels):
        return {"ce": cross_entropy(self.net(images), nd.one_hot(labels, 3))}

    def scores(self, images, labels):
        return {"accuracy": self.net(images).argmax(axis=1) == labels}


def splits(samples=40):
    rng = np.random.RandomState(0)
    labels = rng.randint(3, size=samples)
    images = (rng.randint(60, size=(samples, 1, 6, 6)) + 60 * labels[:, None, None, None]).astype(
        "uint8"
    )
    plain = Normalise((0.5,), (0.25,))
    kinds = dict(classes=3, transform=plain)
    train = array_samples(images, labels, **kinds)
    held = array_samples(images[:15], labels[:15], **kinds)
    return Splits(train, held, held, ["a", "b", "c"], (0.5,), (0.25,))


@dataclass(frozen=True)
class Settings(Config):
    epochs: int = setting(4, "epochs")
    batch_size: int = setting(8, "batch")
    optimizer: str = setting("sgd", "optimizer")
    num_gpus: int = setting(0, "gpus")


def run(folder, devices=1, task=None, monkeypatch=None, data=splits, **settings):
    """Train the toy; its network and result."""
    nets = []

    def network(classes):
        nets.append(Toy(task))
        return nets[-1]

    config = Settings(log_dir=str(folder), **settings)
    if devices > 1:
        monkeypatch.setattr(engine, "choose_devices", lambda n: [mx.cpu(i) for i in range(devices)])
    result = engine.train(config, "toy", network, data)
    return nets[-1], result


def weights(net):
    """Parameters averaged over devices, as they are saved."""
    named = net._collect_params_with_prefix()
    return {k: p._reduce().asnumpy() for k, p in named.items()}


def same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], err_msg=name, **tolerance)


def last(folder):
    return checkpoint.load(str(folder / "toy"), dict(_deciding(folder))).arrays


def _deciding(folder):
    with np.load(folder / "toy" / "last.npz") as archive:
        import json

        return json.loads(archive["progress"].tobytes())["settings"]


def cut(epochs, folder, monkeypatch, **settings):
    """Interrupt a run at the start of some epochs, start it again each time."""
    keep = engine.Run.epoch

    def stop(self, number):
        if number in left:
            left.remove(number)
            raise KeyboardInterrupt
        keep(self, number)

    left = [*epochs]
    with monkeypatch.context() as patch:
        patch.setattr(engine.Run, "epoch", stop)
        while left:
            with pytest.raises(KeyboardInterrupt):
                run(folder, **settings)
    run(folder, **settings)


@pytest.mark.parametrize(
    "optimizer, devices, ema", [("sgd", 2, 0.9), ("adam", 2, 0.0), ("lamb", 1, 0.9)]
)
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path, monkeypatch, optimizer, devices, ema):
    contexts = [mx.cpu(i) for i in range(devices)]
    monkeypatch.setattr(engine, "choose_devices", lambda count: contexts)
    settings = dict(optimizer=optimizer, lr=0.01, ema=ema, batch_size=8 // devices)
    run(tmp_path / "whole", **settings)
    cut([2], tmp_path / "cut", monkeypatch, **settings)
    same(last(tmp_path / "whole"), last(tmp_path / "cut"), rtol=0, atol=0)


def test_alternating_groups_resume_after_two_stops(tmp_path, monkeypatch):
    settings = dict(task=Alternate, optimizer="adam", lr=0.01)
    run(tmp_path / "whole", **settings)
    cut([1, 2], tmp_path / "cut", monkeypatch, **settings)
    same(last(tmp_path / "whole"), last(tmp_path / "cut"), rtol=0, atol=0)


def test_training_learns_and_prints_where_its_files_are(tmp_path, capsys, curves):
    _, result = run(tmp_path, epochs=12, lr=0.05)
    assert result["test_error"] < 20 and result["test_images"] == 15
    folder = tmp_path / "toy"
    for name in (
        "best.params",
        "last.npz",
        "history.csv",
        "curves.png",
        "result.json",
        "config.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert str(folder / "best.params") in capsys.readouterr().out
    assert len((folder / "history.csv").read_text().splitlines()) == 13


def test_two_devices_equal_one(tmp_path, monkeypatch):
    # Statistics of BatchNorm are those of a device's part of the batch, so it is left out here.
    monkeypatch.setattr(gluon.nn, "BatchNorm", lambda: gluon.nn.Activation("relu"))
    settings = dict(ema=0.5, clip=0.2)
    one, _ = run(tmp_path / "one", batch_size=8, **settings)
    two, _ = run(tmp_path / "two", batch_size=4, devices=2, monkeypatch=monkeypatch, **settings)
    same(weights(one), weights(two), rtol=1e-5, atol=1e-6)
    files = [tmp_path / name / "toy" / "history.csv" for name in ("one", "two")]
    tables = [np.genfromtxt(file, delimiter=",", names=True) for file in files]
    scores = [table["validationcross_entropy"] for table in tables]  # of averages of weights
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_an_update_moves_its_group_and_nothing_else(tmp_path):
    before, _ = run(tmp_path / "a", task=Alternate, epochs=1, lr=0.0)
    after, _ = run(tmp_path / "b", task=Alternate, epochs=1)
    old, new = weights(before), weights(after)
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert {name for name in changed if "running" not in name} == {
        "body.last.weight",
        "body.last.bias",
    }


def test_another_setting_does_not_resume(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(UserError, match=r"--lr 0.1, not 0.2.*--name"):
        run(tmp_path, epochs=1, lr=0.2)


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys, damage):
    run(tmp_path, epochs=3)
    path = tmp_path / "toy" / "last.npz"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 4
    else:
        content = b"not a checkpoint"
    path.write_bytes(content)
    run(tmp_path, epochs=3)
    output = capsys.readouterr().out
    assert "last.npz" in output and "damaged" in output
    assert "resuming after epoch 2 of 3" in output
    assert (tmp_path / "toy" / "damaged-last.npz").read_bytes() == content


def test_two_damaged_checkpoints_are_an_error(tmp_path):
    run(tmp_path, epochs=2)
    for name in ("last.npz", "previous.npz"):
        (tmp_path / "toy" / name).write_bytes(b"")
    with pytest.raises(UserError, match="damaged.*--name"):
        run(tmp_path, epochs=2)
    assert (tmp_path / "toy" / "last.npz").read_bytes() == b""


def test_batches_are_drawn_by_the_seed(tmp_path, monkeypatch):
    orders = []

    def recorded(self, epoch):
        orders.append(self.train_batches.rows(epoch))
        return {}, 1.0

    monkeypatch.setattr(engine.Run, "train_epoch", recorded)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path, epochs=1, name=name, seed=seed)
    first, again, other = orders
    assert (first == again).all() and (first != other).any()
    assert sorted(first) == sorted(other)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, value):
    class Broken(Alternate):
        def loss(self, images, labels):
            return {"ce": super().loss(images, labels)["ce"] * float(value)}

    with pytest.raises(UserError, match=f"ce is {value} by step 1 at learning rate"):
        run(tmp_path, task=Broken, log_interval=1)
    assert not (tmp_path / "toy" / "last.npz").exists()


def test_evaluate_reads_the_best_weights_again(tmp_path):
    _, result = run(tmp_path, epochs=2)
    _, again = run(tmp_path, epochs=2, evaluate=True)
    assert again["test_error"] == result["test_error"]
    with pytest.raises(UserError, match="train first"):
        run(tmp_path / "nothing", evaluate=True)
    assert not (tmp_path / "nothing").exists()


def test_the_average_of_weights_is_what_is_saved(tmp_path):
    run(tmp_path / "raw", epochs=1)
    run(tmp_path / "ema", epochs=1, ema=0.99)
    raw, ema = last(tmp_path / "raw"), last(tmp_path / "ema")
    same(
        {k: v for k, v in ema.items() if k.startswith("net/")},
        {k: v for k, v in raw.items() if k.startswith("net/")},
        rtol=0,
    )
    best = nd.load(str(tmp_path / "ema" / "toy" / "best.params"))
    for name, value in best.items():
        np.testing.assert_array_equal(value.asnumpy(), ema["average/" + name])


def test_clipping_bounds_a_step(tmp_path):
    one = dict(epochs=1, batch_size=40)  # step
    start, _ = run(tmp_path / "a", lr=0.0, **one)
    moved, _ = run(tmp_path / "b", lr=1.0, clip=1e-3, momentum=0.0, weight_decay=0.0, **one)
    old, new = weights(start), weights(moved)
    trainable = [name for name in old if "running" not in name]
    distance = np.sqrt(sum(((old[k] - new[k]) ** 2).sum() for k in trainable))
    assert distance == pytest.approx(1e-3, rel=0.01)


def test_accumulated_parts_of_a_batch_equal_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(gluon.nn, "BatchNorm", lambda: gluon.nn.Activation("relu"))
    whole, _ = run(tmp_path / "whole", task=Alternate)
    parts, _ = run(tmp_path / "parts", task=Alternate, accumulate=3)  # 3, 3 and 2 of 8
    same(weights(whole), weights(parts), rtol=1e-5, atol=1e-6)
    files = [tmp_path / name / "toy" / "history.csv" for name in ("whole", "parts")]
    whole, parts = (np.genfromtxt(file, delimiter=",", names=True) for file in files)
    for name in (name for name in whole.dtype.names if name.startswith("train")):
        np.testing.assert_allclose(whole[name], parts[name], rtol=1e-4, err_msg=name)
