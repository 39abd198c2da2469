"""What the loop refuses before it has written or trained anything."""

from __future__ import annotations

from gluon_attention import UserError, get_model
from gluon_attention.tasks import task
from gluon_attention.training import engine, workers
from gluon_attention.training.config import Config

import mxnet as mx
import pytest


def small_ram(classes):
    return get_model("ram_28", classes=classes, glimpses=2, widths=(8, 8, 8, 8, 8))


def colours(classes):
    return get_model("ram_28", classes=classes, channels=3)


def test_a_run_of_another_network_keeps_its_description(train_toy, tmp_path):
    train_toy(epochs=1, name="x")
    before = (tmp_path / "x" / "config.json").read_bytes()
    with pytest.raises(UserError, match="checkpoint of another network"):
        train_toy(small_ram, epochs=1, name="x")
    with pytest.raises(UserError, match="x holds a run of toy, not of ram: choose another --name"):
        train_toy(small_ram, "ram", epochs=1, name="x")
    assert (tmp_path / "x" / "config.json").read_bytes() == before


def test_mixup_is_refused_for_a_task_without_it(train_toy, tmp_path):
    with pytest.raises(UserError, match="this network is not trained with --mix-up"):
        train_toy(small_ram, mix_up=True)
    assert not list(tmp_path.rglob("*.json"))
    train_toy(mix_up=True)


def test_a_network_of_other_images_is_refused(train_toy):
    with pytest.raises(UserError, match=r"does not accept images \(1, 6, 6\), channels first"):
        train_toy(colours)


def test_a_second_distributed_run_in_one_process_is_refused(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    monkeypatch.setattr(workers, "_CONNECTED", ["dist_sync"])
    with pytest.raises(UserError, match="--kvstore dist_sync trains one network per process"):
        workers.connect(Config(kvstore="dist_sync"), [])


def test_workers_agree_on_their_epoch_and_are_released_by_a_failure(train_toy, monkeypatch):
    calls = []
    monkeypatch.setattr(
        workers.Workers, "check_same_epoch", lambda self, epoch: calls.append(epoch)
    )
    monkeypatch.setattr(workers.Workers, "release", lambda self: calls.append("released"))
    train_toy(epochs=1)
    with pytest.raises(UserError, match="does not accept images"):
        train_toy(colours, epochs=1)
    assert calls == [0, 1, "released"]


def test_a_run_closes_its_event_files_however_it_ends(train_toy, monkeypatch):
    closed = []
    monkeypatch.setattr(engine.Monitor, "close", lambda self: closed.append(self))
    train_toy(epochs=1)
    assert len(closed) == 1
    monkeypatch.setattr(engine.Run, "epoch", lambda self, epoch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_toy(epochs=1, name="other")
    assert len(closed) == 2


def test_compression_has_the_threshold_of_its_flag(monkeypatch):
    class Store:
        rank, num_workers = 0, 2

        def set_gradient_compression(self, compression):
            options.append(compression)

    options = []
    monkeypatch.setenv("DMLC_ROLE", "worker")
    monkeypatch.setattr(workers, "_CONNECTED", [])
    monkeypatch.setattr(mx.kv, "create", lambda kind: Store())
    config = Config(kvstore="dist_sync", compression="2bit", compression_threshold=0.25)
    workers.connect(config, [])
    assert options == [{"type": "2bit", "threshold": 0.25}]


def test_a_run_resumed_on_more_devices_prints_a_note(train_toy, tmp_path, capsys, monkeypatch):
    train_toy(epochs=2)
    (tmp_path / "toy" / "last.npz").unlink()  # as if it had been killed in its second epoch
    monkeypatch.setattr(engine, "choose_devices", lambda gpus: [mx.cpu(0), mx.cpu(1)])
    train_toy(epochs=2)
    note = "note: a step had images of 1 devices so far, and now of 2"
    assert note in capsys.readouterr().out.splitlines()


def test_a_run_resumed_by_another_version_prints_a_note(train_toy, tmp_path, capsys, monkeypatch):
    train_toy(epochs=2)
    (tmp_path / "toy" / "last.npz").unlink()  # as if it had been killed in its second epoch
    monkeypatch.setattr(engine, "versions", lambda: {"mxnet": "2.0"})
    train_toy(epochs=2)
    note = f"note: the epochs so far were trained by mxnet {mx.__version__} (now 2.0)"
    assert note in capsys.readouterr().out.splitlines()


def test_an_interrupted_run_says_how_it_resumes(train_toy, monkeypatch):
    keep, calls = task.cross_entropy, []

    def cut(*words):
        calls.append(0)
        if len(calls) in (1, 8):  # the first of five steps, then, from the start, the seventh
            raise KeyboardInterrupt
        return keep(*words)

    monkeypatch.setattr(task, "cross_entropy", cut)
    for then in ("starts anew, as no epoch is complete", "resumes after epoch 1"):
        with pytest.raises(KeyboardInterrupt, match=f"interrupted; the same command {then}"):
            train_toy()
