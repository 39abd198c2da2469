"""`gluon-attention convert`, backbones and RA-CNN from PyTorch's files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.__main__ import main
from gluon_attention.interop.checkpoints import layout_of
from gluon_attention.interop.load import fill, load_backbone
from gluon_attention.interop.tensor_table import TensorTable
from gluon_attention.interop.torchvision import backbone_arrays
from gluon_attention.ops.attention_crop import clamped_box, pixel_crop
from gluon_attention.training.config import Config
from gluon_attention.zoo.backbones import backbone

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd

State = Dict[str, np.ndarray]


def mobilenet_name(name: str) -> str:
    """Torchvision's name of a layer of GluonCV's, whose first bottleneck lacks an expansion too."""
    match = re.match(r"features\.(\d+)\.(?:out\.(\d)\.)?(\w+)", name)
    number, inner, kind = int(match[1]), match[2], match[3]
    if inner is None:
        block = f"0.{number}" if number < 2 else f"18.{number - 20}"
    else:
        first = number == 3
        steps = (
            ["0.0", "0.1", "", "1", "2"]
            if first
            else ["0.0", "0.1", "", "1.0", "1.1", "", "2", "3"]
        )
        block = f"{number - 2}.conv.{steps[int(inner)]}"
    return f"features.{block}.{dict(gamma='weight', beta='bias').get(kind, kind)}"


def mobilenet(multiplier: str) -> gluon.Block:
    """GluonCV's with statistics of its own."""
    import gluoncv

    net = gluoncv.model_zoo.get_model(f"mobilenetv2_{multiplier}")
    net.initialize(mx.init.MSRAPrelu())
    with mx.autograd.record():
        net.features(nd.random.normal(shape=(8, 3, 64, 64)))
    for parameter in net.collect_params(".*(beta|running_var)").values():
        parameter.set_data(parameter.data() + nd.random.uniform(0.1, 0.3, shape=parameter.shape))
    return net


def torch_state(net: gluon.Block, prefix: str = "") -> State:
    params = net._collect_params_with_prefix().items()
    state = {
        prefix + mobilenet_name(name): parameter.data().asnumpy()
        for name, parameter in params
        if name.startswith("features.")
    }
    return {**state, f"{prefix}classifier.1.weight": np.zeros((7, 1280), "f4")}


def test_torchvision_mobilenet(torch_files: Any, tmp_path: Path) -> None:
    theirs, images = mobilenet("0.25"), nd.random.normal(shape=(2, 3, 64, 64))
    file = torch_files.save(tmp_path / "mobilenet_v2.pth", torch_state(theirs))
    made = backbone("mobilenetv2_0.25")
    load_backbone(made, file)
    wanted = theirs.features(images).asnumpy()[:, :, 0, 0]
    assert wanted.std() > 0.1
    np.testing.assert_allclose(made(images).mean(axis=(2, 3)).asnumpy(), wanted, 1e-3, 1e-4)
    assert made.layers[3].out[0].weight.grad_req == "null"
    for name, said in (("resnet18_v1", "has no '"), ("mobilenetv2_1.0", "in the net; build")):
        with pytest.raises(UserError, match=said):
            load_backbone(backbone(name), file)
    other = torch_files.save(tmp_path / "x", {"rnn.weight": np.zeros((2, 2), "f4")})
    with pytest.raises(UserError, match="torchvision's ResNet-50, MobileNetV2"):
        load_backbone(backbone("mobilenetv2_0.25"), other)


def resnet_names() -> List[str]:
    norms = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{kind}" for kind in norms)]
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for number in range(count):
            block = f"layer{stage}.{number}"
            pairs = [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
            pairs += [("downsample.0", "downsample.1")] * (number == 0)
            for conv, norm in pairs:
                names += [f"{block}.{conv}.weight", *(f"{block}.{norm}.{kind}" for kind in norms)]
    return names


def test_names_of_torchvision_resnet50() -> None:
    made, supply = backbone("resnet50_v1.5"), TensorTable(dict.fromkeys(resnet_names()))
    arrays = backbone_arrays(made, supply)
    assert set(arrays) == set(made.layers._collect_params_with_prefix())
    left = [name for name in supply.left if not name.endswith("num_batches_tracked")]
    assert left == ["fc.weight", "fc.bias"]
    biases = [array for name, array in arrays.items() if array is not None]
    assert len(biases) == 2 * 16 and not any(array.any() for array in biases)
    with pytest.raises(UserError, match="take backbone 'resnet50_v1.5'"):
        backbone_arrays(backbone("resnet50_v1"), TensorTable(dict.fromkeys(resnet_names())))


def test_resnet50_v1_5_moves_in_its_3x3_convolutions() -> None:
    import gluoncv

    theirs = gluoncv.model_zoo.get_model("resnet50_v1b")
    blocks = [theirs.layer2[0], theirs.layer3[0], theirs.layer4[0]]
    strides = [[block.conv1._kwargs["stride"], block.conv2._kwargs["stride"]] for block in blocks]
    made = [stage[0].body for stage in backbone("resnet50_v1.5").layers[5:]]
    assert [[body[0]._kwargs["stride"], body[3]._kwargs["stride"]] for body in made] == strides


def racnn_state(backbones: List[gluon.Block], classes: int, cells: List[int]) -> State:
    state: State = {}
    for number, net in enumerate(backbones, 1):
        state.update(torch_state(net, f"b{number}."))
        state[f"classifier{number}.weight"] = np.random.randn(classes, 320).astype("f4") * 0.1
        state[f"classifier{number}.bias"] = np.random.randn(classes).astype("f4")
    for number, count in enumerate(cells, 1):
        for layer, shape in ((0, (1024, 320 * count)), (2, (3, 1024))):
            weight = np.random.randn(*shape).astype("f4") / shape[1] ** 0.5
            state[f"apn{number}.{layer}.weight"] = weight
            state[f"apn{number}.{layer}.bias"] = np.random.randn(shape[0]).astype("f4") * 0.3
    return state


def racnn_answers(state: State, backbones: List[gluon.Block], view: Any, size: int) -> np.ndarray:
    answers = []
    for number, net in enumerate(backbones, 1):
        features = view
        for layer in net.features[:20]:  # up to 320 channels
            features = layer(features)
        pooled = features.mean(axis=(2, 3)).asnumpy()
        weight, bias = (state[f"classifier{number}.{kind}"] for kind in ("weight", "bias"))
        answers.append(pooled @ weight.T + bias)
        if number < 3:
            x = features.reshape((0, -1)).asnumpy()
            w, b = (state[f"apn{number}.0.{kind}"] for kind in ("weight", "bias"))
            x = np.tanh(x @ w.T + b)
            w, b = (state[f"apn{number}.2.{kind}"] for kind in ("weight", "bias"))
            row_column_half = x @ w.T + b
            free = nd.array(row_column_half[:, [1, 0, 2]])
            view = pixel_crop(nd, view, clamped_box(nd, free, 2 / 3, 1.0), size)
    return np.stack(answers, 1)


def test_racnn(torch_files: Any, tmp_path: Path) -> None:
    images, nets = nd.random.normal(shape=(2, 3, 64, 64)), [mobilenet("1.0") for _ in range(3)]
    state = racnn_state(nets, 5, [4, 1])
    file = torch_files.save(tmp_path / "racnn.pt", state)
    options = layout_of(state).options(state)
    net = get_model("racnn_mobilenet_v2", crops=(32, 32), **options)
    fill(net, file)
    trace = net.trace(images.flip(axis=1))  # the source sees blue first
    wanted = racnn_answers(state, nets, images, 32)
    np.testing.assert_allclose(trace.scale_logits.asnumpy(), wanted, 1e-2, 1e-2)
    np.testing.assert_allclose(trace.logits.asnumpy(), wanted.mean(axis=1), 1e-2, 1e-2)
    with pytest.raises(UserError, match="cannot be trained"):
        net.objective(Config()).groups()
    with pytest.raises(UserError, match="only in a net with backbone='mobilenetv2_1.0_320'"):
        load_weights(get_model("racnn_mobilenet_v2", classes=5), file)
    state["apn2.2.weight"] = state["apn2.2.weight"][:2]
    with pytest.raises(UserError, match=r"'apn2.2.weight' is \(2, 1024\)"):
        load_weights(net, torch_files.save(tmp_path / "x", state))


def ram_state() -> State:
    shapes = {
        **{"sensor.fc1": (128, 64), "sensor.fc2": (128, 2), "sensor.fc3": (256, 128)},
        **{"sensor.fc4": (256, 128), "rnn.i2h": (256, 256), "rnn.h2h": (256, 256)},
        **{"locator.fc": (128, 256), "locator.fc_lt": (2, 128)},
        **{"classifier.fc": (7, 256), "baseliner.fc": (1, 256)},
    }
    state = {
        f"{name}.weight": np.random.randn(*shape).astype("f4") for name, shape in shapes.items()
    }
    return {**state, **{f"{n}.bias": np.ones(s[0], "f4") for n, s in shapes.items()}}


def call(capsys: Any, *words: Any) -> Any:
    """Exit status, lines of output and of errors."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out.splitlines(), shown.err.splitlines()


def test_convert_writes_what_a_network_is_made_from(
    torch_files: Any, tmp_path: Path, capsys: Any
) -> None:
    source = torch_files.save(tmp_path / "ckpt.pth.tar", {"model_state": ram_state()})
    target = tmp_path / "out" / "ram.params"
    words = ("convert", source, "RAM_28", "-o", target, "--options", "glimpses=4")
    status, out, err = call(capsys, *words)
    assert (status, err) == (0, []) and "all 18 parameters" in out[1] and "from 20" in out[1]
    about = json.loads(target.with_suffix(".json").read_text())
    assert about["network"]["name"] == "ram_28" and about["network"]["classes"] == 7
    assert about["data"] == dict(mean=[0.1307], std=[0.3081])  # what it was trained with
    assert "get_model('ram_28', classes=7" in out[2] and "glimpses=4" in out[2]
    net = get_model("ram_28", 7, retina="pixels", glimpses=4)
    load_weights(net, str(target))
    other = get_model("ram_28", 7, retina="pixels", glimpses=4)
    load_weights(other, source)
    images = nd.random.normal(shape=(3, 1, 28, 28))
    np.testing.assert_array_equal(net(images).asnumpy(), other(images).asnumpy())
    told = json.loads("".join(call(capsys, *words, "--json")[1]))
    assert told["tensors"] == 20 and told["unused"] == [] and told["parameters"] == 18


def test_what_gluoncv_trained_keeps_its_normalisation(tmp_path: Path, capsys: Any) -> None:
    import gluoncv

    source, target = tmp_path / "theirs.params", tmp_path / "ours.params"
    theirs = gluoncv.model_zoo.get_model("cifar_residualattentionnet56")
    theirs.initialize()
    theirs(nd.zeros((1, 3, 32, 32)))
    theirs.save_parameters(str(source))
    for name in ("cifar_residual_attention56", "cifar_residualattentionnet56"):
        assert call(capsys, "convert", source, name, "-o", target)[0] == 0
        data = json.loads(target.with_suffix(".json").read_text())["data"]
        assert data == dict(mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.2010])
        source, target = target, tmp_path / "again.params"  # the name alone tells, too


def spoiled(kind: str, torch_files: Any) -> State:
    """A checkpoint of RAM, or what is in its place."""
    state = ram_state()
    if kind == "lacking":
        del state["rnn.h2h.weight"]
    if kind == "folded":
        state["classifier.fc.weight"] = state["classifier.fc.weight"].ravel()
    others = {
        "code": {"a": torch_files.call("os.system", "rm")},
        "unknown": {"a.weight": np.ones((2, 2), "f4")},
    }
    return others.get(kind, state)


@pytest.mark.parametrize(
    "kind, sentence",
    [
        ("absent", "is not a file; name a file of weights"),
        ("itself", "choose another to write"),
        ("json", "must not end in .json"),
        ("other", "and cifar_residual_attention92 is no such network"),
        ("text", "of another kind; name a whole file of weights"),
        ("image", "holds no named parameters"),
        ("cut", "is cut off or damaged"),
        ("code", "holds code: to read it as Python does would call os.system('rm'); nothing"),
        ("unknown", "checkpoint of no network known here and begins with 'a.weight'"),
        ("lacking", "it has no 'rnn.h2h.weight'"),
        ("folded", "it has no matrix 'classifier.fc.weight'"),
        ("python", "could not be run by"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    kind: str, sentence: str, torch_files: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("GLUON_ATTENTION_TORCH", "/bin/false")
    source = tmp_path / "x"
    torch_files.save(source, spoiled(kind, torch_files))
    contents = {"text": b"two words\n" * 9, "image": b"\x89PNG\r\n\x1a\n" + bytes(99)}
    contents["cut"] = source.read_bytes()[:5000]
    source.write_bytes(contents.get(kind, source.read_bytes()))
    if kind == "absent":
        os.remove(source)
    name = "cifar_residual_attention92" if kind == "other" else "ram_28"
    target = source if kind == "itself" else tmp_path / ("y.json" if kind == "json" else "y")
    more = ["--compare", "a:b"] if kind == "python" else []
    status, out, err = call(capsys, "convert", source, name, "-o", target, *more)
    assert status == 2 and out == [] and len(err) == 1 and sentence in err[0]
    assert kind in ("python", "itself") or not target.exists()
