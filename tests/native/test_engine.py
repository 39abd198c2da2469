"""Training runs whose network the native library computes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict

from gluon_attention import get_model, native
from gluon_attention.training import accelerate, engine
from gluon_attention.training.config import MixupConfig
from gluon_attention.training.devices import bfloat16_pays

import mxnet as mx
import numpy as np
import pytest
from builders import Toy
from mxnet import autograd, nd


class Unknown(Toy):
    """One that the library does not know."""

    lower = property()  # as if it were not there


def weights(file: Path) -> Dict[str, np.ndarray]:
    return {name: array.asnumpy() for name, array in nd.load(str(file)).items()}


@pytest.fixture
def calls(monkeypatch: Any) -> Dict[str, int]:
    """How often twins computed."""
    count = {"native": 0}
    run = native.Twin.__call__

    def counted(twin: native.Twin, images: nd.NDArray) -> nd.NDArray:
        count["native"] += 1
        return run(twin, images)

    monkeypatch.setattr(native.Twin, "__call__", counted)
    return count


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ends_where_mxnet_ends(
    train_toy: Callable, tmp_path: Path, capsys: Any, calls: Dict[str, int], accumulate: int
) -> None:
    settings = dict(epochs=2, lr=0.01, accumulate=accumulate, keep="last")
    train_toy(Toy, "plain", native="0", **settings)
    assert calls["native"] == 0 and "native" not in capsys.readouterr().out
    train_toy(Toy, "native", **settings)
    assert calls["native"] > 0
    assert "training by the native library" in capsys.readouterr().out
    expected, actual = (weights(tmp_path / run / "best.params") for run in ("plain", "native"))
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_validates_by_the_weights_of_each_epoch(train_toy: Callable, monkeypatch: Any) -> None:
    """A predictor for each epoch, and one for the test; scores are those of MXNet."""
    predictors, init = [], native.Predictor.__init__
    monkeypatch.setattr(
        native.Predictor,
        "__init__",
        lambda self, *args: predictors.append(self) or init(self, *args),
    )
    plain = train_toy(Toy, "plain", native="0", epochs=2, lr=0.1)
    assert not predictors
    by_library = train_toy(Toy, "native", epochs=2, lr=0.1)
    assert len(predictors) == 3
    assert by_library["test"] == pytest.approx(plain["test"], rel=1e-3)


def test_resumes_bit_for_bit(train_toy: Callable, tmp_path: Path, monkeypatch: Any) -> None:
    train_toy(Toy, "whole", epochs=3, keep="last")

    def stop(run: Any, number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt("here")
        epoch(run, number)

    epoch = engine.Run.epoch
    monkeypatch.setattr(engine.Run, "epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train_toy(Toy, "parts", epochs=3, keep="last")
    monkeypatch.undo()
    train_toy(Toy, "parts", epochs=3, keep="last")
    expected, actual = (weights(tmp_path / run / "best.params") for run in ("whole", "parts"))
    assert all((array == actual[name]).all() for name, array in expected.items())


@pytest.mark.skipif(
    not (native.library() and native.library().has_bfloat16), reason="needs AVX-512"
)
def test_bfloat16_learns(train_toy: Callable, calls: Dict[str, int]) -> None:
    result = train_toy(Toy, dtype="bfloat16", epochs=6, lr=0.1)
    assert calls["native"] > 0 and result["test_error"] < 40


def test_auto_chooses_the_fastest_type(train_toy: Callable, capsys: Any, monkeypatch: Any) -> None:
    for pays, dtype in ((False, "float32"), (True, "bfloat16")):
        if pays and not native.library().has_bfloat16:
            continue
        monkeypatch.setattr(native.loader.Library, "bfloat16_pays", pays, raising=True)
        train_toy(Toy, f"run-{dtype}", dtype="auto", epochs=1)
        assert f"in {dtype}" in capsys.readouterr().out


def test_what_is_unknown_is_mxnets(
    train_toy: Callable, capsys: Any, calls: Dict[str, int], refused: Callable, monkeypatch: Any
) -> None:
    monkeypatch.setattr(accelerate, "bfloat16_pays", lambda: False)
    train_toy(Unknown, "auto", dtype="auto", epochs=1)
    assert calls["native"] == 0 and "training by MXNet in float32" in capsys.readouterr().out
    assert refused(lambda: train_toy(Unknown, "must", native="1", epochs=1))


def test_the_network_infers_by_mxnet(train_toy: Callable, monkeypatch: Any) -> None:
    """Outside `autograd.record` a network with a twin is what it was."""
    net = Toy(3)
    net.initialize()
    images = nd.ones((2, 1, 8, 8))
    before = net(images).asnumpy()
    net.native = native.Twin(net)
    assert (net(images).asnumpy() == before).all()


def test_gpus_and_shared_statistics_are_mxnets() -> None:
    class Settings:
        native, dtype, sync_bn = "auto", "float32", True

    assert accelerate.accelerate(Toy(3), Settings, [mx.cpu(0), mx.cpu(1)]) is None
    Settings.sync_bn = False
    assert accelerate.accelerate(Toy(3), Settings, [mx.gpu(0)]) is None


@pytest.mark.parametrize("choice", ["auto", "0"])
def test_the_library_also_computes_the_frozen_backbones_of_racnn(choice: str) -> None:
    net = get_model("racnn_mobilenet_v2", classes=3, crops=(32,))
    net.initialize()
    config = MixupConfig(num_gpus=0, native=choice)
    accelerate.accelerate(net, config, [mx.cpu()])
    twins = [backbone.native for backbone in net.body.backbones]
    frozen = [backbone.native for backbone in net.objective(config).frozen_backbones]
    assert [bool(twin) for twin in (*twins, *frozen)] == 4 * [choice == "auto"]
    assert choice == "0" or not any(twin.trained for twin in frozen)


@pytest.mark.parametrize("shared", [False, True])
def test_boxes_are_ranked_as_by_mxnet(shared: bool) -> None:
    """The ranking loss, the gradient of every box, and statistics that stay what they are."""
    net = get_model("racnn_mobilenet_v2", classes=3, backbone="tiny", crops=(16,), shared=shared)
    net.initialize(mx.init.Xavier())
    images, labels = nd.random.normal(shape=(4, 3, 64, 64)), nd.array([0, 2, 1, 1])
    for _ in range(10):  # statistics of these images
        with autograd.record():
            logits = net(images)
        logits.backward()
    statistics = {n: p for n, p in net.collect_params().items() if "running" in n}
    before = {name: p.data().asnumpy() for name, p in statistics.items()}
    parameters, results = list(net.body.apns.collect_params().values()), []
    for choice in ("0", "1"):
        config = MixupConfig(num_gpus=0, native=choice)
        accelerate.accelerate(net, config, [mx.cpu()])
        task = net.objective(config)
        with autograd.record():
            loss = task.rank(images, labels)["rank2"]
        loss.backward()
        gradient = np.concatenate([p.grad().asnumpy().ravel() for p in parameters])
        results.append((loss.asnumpy(), gradient))
    (expected, one), (actual, other) = results
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).any() and np.linalg.norm(one) > 0
    assert one @ other > 0.999 * np.linalg.norm(one) * np.linalg.norm(other)
    assert all((p.data().asnumpy() == before[name]).all() for name, p in statistics.items())


@pytest.mark.skipif(
    not (native.library() and native.library().has_bfloat16), reason="needs AVX-512"
)
def test_racnn_takes_bfloat16_with_the_library_only(refused: Callable) -> None:
    net = get_model("racnn_mobilenet_v2", classes=3, backbone="tiny", crops=(32,))
    net.initialize()
    config = MixupConfig(num_gpus=0, dtype="bfloat16")
    assert "in bfloat16" in accelerate.accelerate(net, config, [mx.cpu()])
    assert all(b.native.dtype == "float32" for b in net.objective(config).frozen_backbones)
    without = dataclasses.replace(config, native="0")
    assert refused(lambda: accelerate.accelerate(net, without, [mx.cpu()]))


PARTS = [
    ("racnn_vgg19", dict(backbone="vgg11", crops=(32,)), 64),
    ("racnn_mobilenet_v2", dict(frozen_bn=True, crops=(32,), shared=True), 64),
    ("racnn_mobilenet_v2_activation", dict(frozen_bn=True, crops=(32,)), 128),
    ("glimpse_resnet50_stage1", dict(backbone="resnet18_v1", patch=32), 128),
    ("glimpse_mobilenet_v2_stage1", dict(backbone="tiny", frozen_bn=False, patch=16), 64),
]


@pytest.mark.parametrize(("name", "options", "size"), PARTS, ids=lambda part: str(part))
def test_networks_with_native_parts_learn_as_by_mxnet(name: str, options: Any, size: int) -> None:
    """All losses of an update, and the gradient of every parameter that it trains."""
    net = get_model(name, classes=3, **options)
    net.initialize(mx.init.Xavier())
    images, labels = nd.random.normal(shape=(2, 3, size, size)), nd.array([0, 2])
    net.trace(images)
    config, results = MixupConfig(num_gpus=0), []
    task = net.objective(config)
    loss = task.classify if name.startswith("racnn") else task.updates(0)[0].loss  # of all scales
    parameters = [p for p in net.collect_params().values() if p.grad_req != "null"]
    for native_or_not in ("0", "1"):
        choice = dataclasses.replace(config, native=native_or_not)
        accelerate.accelerate(net, choice, [mx.cpu()])
        mx.random.seed(1)
        with autograd.record():
            losses = loss(images, labels)
        autograd.backward(list(losses.values()))
        gradients = np.concatenate([p.grad().asnumpy().ravel() for p in parameters])
        results.append(
            (sorted(losses), [v.asnumpy() for _, v in sorted(losses.items())], gradients)
        )
    (names, expected, one), (also, actual, other) = results
    assert names == also and all(part.native for part in net.native_parts)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert one @ other > 0.9999 * np.linalg.norm(one) * np.linalg.norm(other)


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel"])
def test_mxnet_gains_by_bfloat16_on_amd(tmp_path: Path, vendor: str) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu avx512bw avx512_bf16 sse\n")
    assert bfloat16_pays(str(info)) == (vendor == "AuthenticAMD")
    info.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu avx2\n")
    assert not bfloat16_pays(str(info)) and not bfloat16_pays(str(tmp_path / "none"))
