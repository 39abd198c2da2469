"""An epoch of the loop: saved weights, random numbers, learning rates and reports."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError
from gluon_attention.training import engine, monitor
from gluon_attention.training import optimizers as optimize
from gluon_attention.training.devices import prepare
from gluon_attention.training.workers import Workers

import mxnet as mx
import numpy as np
import pytest
from builders import Toy
from mxnet import gluon, nd


def one_of_two_workers(rank: int) -> Workers:
    workers = Workers("device", [mx.cpu()])
    workers.rank, workers.count = rank, 2
    return workers


def dense(net: gluon.Block) -> np.ndarray:
    """The weights of the last layer."""
    return net.body[3].weight.data().asnumpy()


def saved(file: Path) -> np.ndarray:
    return nd.load(str(file))["body.3.weight"].asnumpy()


@pytest.mark.parametrize("keep, epoch, ema", [("best", 1, 0.0), ("best", 1, 0.5), ("last", 4, 0.5)])
def test_weights_of_the_best_or_last_epoch_are_saved_and_tested(
    train_toy: Any, tmp_path: Path, monkeypatch: Any, keep: str, epoch: int, ema: float
) -> None:
    judged: List[np.ndarray] = []

    def evaluate(task: Any, batches: Any, *_: Any) -> Dict[str, float]:
        assert len(batches.samples) == 15  # of the validation set
        judged.append(dense(task.net))
        return {"accuracy": [0.9, 0.9, 0.5, 0.7][len(judged) - 1], "cross_entropy": len(judged)}

    def measure(net: Any, task: Any, batches: Any, *_: Any) -> Dict[str, Any]:
        assert len(batches.samples) == 10
        tested.append(dense(net))
        return dict(test_error=0.0, test={}, test_images=10)

    tested: List[np.ndarray] = []
    monkeypatch.setattr(engine, "evaluate", evaluate)
    monkeypatch.setattr(engine, "measure", measure)
    monkeypatch.setattr(engine.Run, "training_accuracy", lambda self: 0.5)
    assert train_toy(epochs=4, ema=ema, save_period=3, keep=keep)["best_epoch"] == epoch
    folder = tmp_path / "toy"
    for arrays in (tested[0], saved(folder / "best.params")):
        np.testing.assert_array_equal(arrays, judged[epoch - 1])
    assert [path.name for path in folder.glob("epoch-*")] == ["epoch-0003.params"]
    np.testing.assert_array_equal(saved(folder / "epoch-0003.params"), judged[2])


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_batchnorm_statistics_are_averaged_over_devices(
    train_toy: Any, tmp_path: Path, monkeypatch: Any, ema: float
) -> None:
    gathered: List[np.ndarray] = []
    share = engine.average_statistics

    def average_statistics(net: gluon.Block) -> None:
        nd.waitall()
        gathered.extend(array.asnumpy() for array in net.body[1].running_mean.list_data())
        share(net)

    monkeypatch.setattr(engine, "average_statistics", average_statistics)
    monkeypatch.setattr(engine, "choose_devices", lambda count: [mx.cpu(0), mx.cpu(1)])
    train_toy(epochs=1, batch_size=20, ema=ema, keep="last")  # one step, a half on each device
    one, two = gathered
    assert np.abs(one - two).max() > 1e-3
    mean = (one + two) / 2
    with np.load(tmp_path / "toy" / "last.npz") as checkpoint:
        np.testing.assert_allclose(checkpoint["net/body.1.running_mean"], mean, rtol=1e-6)
    running_mean = nd.load(str(tmp_path / "toy" / "best.params"))["body.1.running_mean"].asnumpy()
    share_of_step = 0.9 if ema else 1  # the moving average starts at 0, and forgets that soon
    np.testing.assert_allclose(running_mean, share_of_step * mean, rtol=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_run_killed_before_writing_its_best_weights_writes_them_on_resume(
    train_toy: Any, tmp_path: Path, monkeypatch: Any, ema: float
) -> None:
    whole = train_toy(run="whole", ema=ema)
    keep = engine.write_parameters

    def killed(path: str, net: Any) -> None:
        raise KeyboardInterrupt("killed")

    monkeypatch.setattr(engine, "write_parameters", killed)
    for _ in range(3):  # after the first epoch, and then each time it resumes
        with pytest.raises(KeyboardInterrupt, match="killed"):
            train_toy(ema=ema)
    monkeypatch.setattr(engine, "write_parameters", keep)
    assert train_toy(ema=ema)["test_error"] == whole["test_error"]
    np.testing.assert_array_equal(*(saved(tmp_path / n / "best.params") for n in ("toy", "whole")))


def test_the_average_of_weights_includes_every_step(
    train_toy: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    weights: List[np.ndarray] = []
    keep = engine.Run.apply

    def apply(self: Any, *words: Any) -> Any:
        weights.extend([] if weights else [dense(self.net)])
        losses = keep(self, *words)
        weights.append(dense(self.net))
        return losses

    monkeypatch.setattr(engine.Run, "apply", apply)
    train_toy(epochs=2, ema=0.4)
    expected, *after = weights
    for count, value in enumerate(after):
        share = min(0.4, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * value
    with np.load(tmp_path / "toy" / "last.npz") as archive:
        np.testing.assert_allclose(archive["average/body.3.weight"], expected, rtol=1e-5)
        np.testing.assert_array_equal(archive["net/body.3.weight"], after[-1])


def test_random_numbers_of_an_epoch_do_not_depend_on_earlier_ones(
    train_toy: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    drawn: List[Any] = []

    def draw(self: Any, number: int) -> Any:
        drawn.append((np.random.rand(), nd.random.uniform().asscalar()))
        np.random.rand(len(drawn))  # the next epoch would begin elsewhere in the stream
        nd.random.uniform(shape=(len(drawn),)).wait_to_read()
        return {"loss": 0.0}, 1.0

    monkeypatch.setattr(engine.Run, "train_epoch", draw)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        train_toy(epochs=2, name=name, seed=seed)
    monkeypatch.setattr(engine, "connect", lambda config, devices: one_of_two_workers(1))
    train_toy(epochs=2, name="the second of two workers", seed=1)
    assert drawn[:2] == drawn[2:4]
    for numbers in zip(*drawn[2:]):  # numpy's, MXNet's
        assert len(set(numbers)) == 6


def test_gradients_are_averaged_over_the_images_of_all_workers(
    train_toy: Any, monkeypatch: Any
) -> None:
    steps: List[Any] = []
    monkeypatch.setattr(optimize.GroupOptimizer, "step", lambda self, *words: steps.append(words))
    monkeypatch.setattr(engine, "connect", lambda config, devices: one_of_two_workers(0))
    result = train_toy(epochs=1)
    assert steps == [(0, 16), (1, 16)]
    assert result["images_per_second"] * result["seconds"] == pytest.approx(32)
    monkeypatch.setattr(engine, "connect", lambda config, devices: one_of_two_workers(1))
    assert train_toy(epochs=1, name="the second of two workers") == {}  # the first one tests


def test_a_network_may_draw_its_weights_from_numpy(train_toy: Any) -> None:
    drawn: List[float] = []

    def network(classes: int) -> gluon.Block:
        drawn.append(np.random.rand())
        return Toy(classes)

    for name in "ab":
        train_toy(network, epochs=1, name=name)
    assert drawn[0] == drawn[1]


def test_losses_are_means_over_all_steps(train_toy: Any, tmp_path: Path) -> None:
    losses = []
    for interval in (2, 50):  # of five steps
        train_toy(epochs=2, log_interval=interval, name=str(interval))
        with open(tmp_path / str(interval) / "history.csv") as file:
            losses.append([float(row["train/cross_entropy"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_every_step_has_the_learning_rate_of_the_schedule(train_toy: Any, monkeypatch: Any) -> None:
    used: List[float] = []
    logged: List[float] = []
    make_step = optimize.GroupOptimizer.step

    def step(self: Any, *words: Any) -> None:
        make_step(self, *words)
        used.append(self.trainer.learning_rate)

    monkeypatch.setattr(optimize.GroupOptimizer, "step", step)
    monkeypatch.setattr(
        engine.Monitor, "log", lambda *arguments: logged.append(arguments[3]["net"])
    )
    kind = dict(lr=0.1, warmup_epochs=1, lr_steps=(2, 3), lr_factor=0.5, log_interval=1)
    train_toy(epochs=4, **kind)
    warm, after = np.linspace(0.02, 0.1, 5), np.repeat([0.1, 0.05, 0.025], 5)
    np.testing.assert_allclose(used, [*warm, *after], rtol=1e-6)
    np.testing.assert_allclose(logged, used, rtol=1e-6)


@pytest.mark.parametrize("batch_size, images", [(8, 40), (12, 36)])  # of forty
def test_images_per_second_count_the_images_trained_on(
    train_toy: Any, tmp_path: Path, batch_size: int, images: int
) -> None:
    result = train_toy(epochs=2, batch_size=batch_size)
    with open(tmp_path / "toy" / "history.csv") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    speeds = [images / row["seconds"] for row in rows]
    np.testing.assert_allclose([row["images_per_second"] for row in rows], speeds, rtol=1e-4)
    assert result["images_per_second"] == pytest.approx(np.median(speeds), rel=1e-4)
    assert result["seconds"] == pytest.approx(sum(row["seconds"] for row in rows), rel=1e-4)


def test_a_network_is_initialised_by_its_own_initializer(train_toy: Any, monkeypatch: Any) -> None:
    started: List[np.ndarray] = []

    def ready(net: Any, *words: Any) -> None:
        net.initializer = mx.init.Constant(0.25)
        prepare(net, *words)
        started.append(dense(net))

    monkeypatch.setattr(engine, "prepare", ready)
    train_toy(epochs=1)
    assert (started[0] == 0.25).all()


def test_a_finished_run_is_not_trained_again(train_toy: Any, tmp_path: Path, capsys: Any) -> None:
    first = train_toy(epochs=1)
    files = {path: path.read_bytes() for path in (tmp_path / "toy").glob("*.*")}
    capsys.readouterr()
    again = train_toy(epochs=1, log_interval=7)
    message = f"{tmp_path / 'toy'} is done; --evaluate tests its best epoch again"
    assert capsys.readouterr().out.splitlines() == [message]
    assert again["test_error"] == first["test_error"]
    for name in ("result.json", "best.params", "last.npz", "history.csv", "config.json"):
        assert (tmp_path / "toy" / name).read_bytes() == files[tmp_path / "toy" / name]
    assert train_toy(epochs=1, evaluate=True)["test_error"] == first["test_error"]


def test_the_result_of_an_older_run_in_the_folder_is_replaced(
    train_toy: Any, tmp_path: Path, capsys: Any
) -> None:
    train_toy(epochs=1)
    path = tmp_path / "toy" / "result.json"
    whole = path.read_text()
    stale = dict(json.loads(whole), seconds=1e6)  # of a run whose checkpoints were removed
    for other in (json.dumps(stale), "{}", "[]", whole[:-9]):
        path.write_text(other)
        train_toy(epochs=1)
        assert "test error" in capsys.readouterr().out
        assert json.loads(path.read_text())["seconds"] == json.loads(whole)["seconds"]


def test_a_run_folder_is_locked_by_one_process(train_toy: Any, tmp_path: Path) -> None:
    script = "import sys\nfrom gluon_attention.storage.atomic import locked_folder\n"
    script += "with locked_folder(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(tmp_path / "toy")]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout.readline() == "locked\n"
        half = tmp_path / "toy" / ".aside-x-last.npz"  # which the other is writing
        half.write_text("half")
        with pytest.raises(UserError, match="another process is writing .*toy: wait for it, or ch"):
            train_toy(epochs=1)
        assert list((tmp_path / "toy").iterdir()) == [half]
        other.stdin.close()
    train_toy(epochs=1)
    train_toy(epochs=1)  # in one process, one after the other
    assert not half.exists()


def test_unreachable_learning_rates_print_a_note(train_toy: Any, capsys: Any) -> None:
    train_toy(epochs=2, warmup_epochs=2.0, lr_steps=(5, 3), swa_lr=0.1)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert notes == [
        "note: the learning rate never reaches --lr: --warmup-epochs 2 is no less than --epochs 2",
        "note: the learning rate never falls: no --lr-steps are below --epochs 2",
        "note: --swa-lr has no effect: no epochs are averaged by --swa",
    ]
    train_toy(epochs=2, run="other", warmup_epochs=1.0, lr_steps=(5, 1), swa=0.5, swa_lr=0.1)
    assert "note" not in capsys.readouterr().out


def test_a_single_epoch_is_a_point_in_the_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curves: None
) -> None:
    from matplotlib import pyplot

    drawn: List[Any] = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    history = [{"epoch": n, "train/loss": 1 / n, "images_per_second": 9.0} for n in (1, 2)]
    for count in (1, 2):
        monitor._draw_curves(str(tmp_path / "curves.png"), history[:count])
    figures = [figure for figure in drawn if figure != "all"]  # which older matplotlib closes first
    assert [figure.axes[0].lines[0].get_marker() for figure in figures] == ["o", ""]
