"""RA-CNN from PyTorch's files: logits of each scale against numpy, in the colours of the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop.checkpoints import format_of
from gluon_attention.ops.attention_crop import clamped_box, pixel_crop
from gluon_attention.training.config import Config

import numpy as np
import pytest
from foreign_states import NORM, State, gluoncv_mobilenet, mobilenet_state
from mxnet import gluon, nd


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.randn(*shape) * scale).astype("f4")


def heads(classes: int, channels: int, cells: List[int]) -> State:
    """Classifiers and attention proposal networks over maps of so many cells."""
    state: State = {}
    for number in (1, 2, 3):
        state[f"classifier{number}.weight"] = normal(classes, channels, scale=0.1)
        state[f"classifier{number}.bias"] = normal(classes)
    for number, count in enumerate(cells, 1):
        for layer, (rows, columns) in ((0, (1024, channels * count)), (2, (3, 1024))):
            state[f"apn{number}.{layer}.weight"] = normal(rows, columns, scale=columns**-0.5)
            state[f"apn{number}.{layer}.bias"] = normal(rows, scale=0.3)
    return state


def klrc_state(backbones: List[gluon.Block], classes: int, cells: List[int]) -> State:
    state: State = {}
    for number, net in enumerate(backbones, 1):
        state.update(mobilenet_state(net, f"b{number}."))
    return {**state, **heads(classes, 320, cells)}


def scale_logits(state: State, backbones: List[gluon.Block], view: Any, size: int) -> np.ndarray:
    """Logits (N, 3, classes) of klrc's network, with its backbones in Gluon."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    logits = []
    for number, net in enumerate(backbones, 1):
        features = view
        for layer in net.features[:20]:  # up to 320 channels
            features = layer(features)
        logits.append(linear(f"classifier{number}", features.mean(axis=(2, 3)).asnumpy()))
        if number < 3:
            x = np.tanh(linear(f"apn{number}.0", features.reshape((0, -1)).asnumpy()))
            row_column_half = linear(f"apn{number}.2", x)
            box = clamped_box(nd, nd.array(row_column_half[:, [1, 0, 2]]), 2 / 3, 1.0)
            view = pixel_crop(nd, view, box, size)
    return np.stack(logits, 1)


def test_klrc_gives_the_same_logits(torch_files: Any, tmp_path: Path) -> None:
    images = nd.random.normal(shape=(2, 3, 64, 64))
    backbones = [gluoncv_mobilenet("1.0") for _ in range(3)]
    state = klrc_state(backbones, 5, [4, 1])
    for number, half in ((1, 9), (2, -9)):  # the largest box, then the smallest
        state[f"apn{number}.2.weight"] *= 0.1
        state[f"apn{number}.2.bias"] = np.array([0.2, -0.1, half], "f4")
    file = torch_files.save(tmp_path / "racnn.pt", state)
    form = format_of(state)
    assert form.bgr
    net = get_model("racnn_mobilenet_v2", crops=(32, 32), **form.options(state))
    load_weights(net, file)
    trace = net.trace(images.flip(axis=1))  # the source reads blue first
    expected = scale_logits(state, backbones, images, 32)
    assert expected.std(axis=0).min() > 0.01  # they are of these images
    np.testing.assert_allclose(trace.scale_logits.asnumpy(), expected, 1e-3, 1e-3)
    np.testing.assert_allclose(trace.logits.asnumpy(), expected.mean(axis=1), 1e-3, 1e-3)
    four = get_model("racnn_mobilenet_v2", crops=(32, 32, 32), **form.options(state))
    with pytest.raises(UserError, match="has three scales and the net has 4"):
        load_weights(four, file)
    with pytest.raises(UserError, match="cannot be trained"):
        net.objective(Config()).groups()
    with pytest.raises(UserError, match="need a net with backbone='mobilenetv2_1.0_320'"):
        load_weights(get_model("racnn_mobilenet_v2", classes=5), file)
    state["apn2.2.weight"] = state["apn2.2.weight"][:2]
    with pytest.raises(UserError, match=r"'apn2.2.weight' is \(2, 1024\)"):
        load_weights(net, torch_files.save(tmp_path / "x", state))


def vgg19_bn_state(prefix: str) -> State:
    """Torchvision's VGG-19 with BatchNorm, in which only the first convolution is not zero."""
    state, index, inputs = {}, 0, 3
    for count, channels in ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)):
        for _ in range(count):
            state[f"{prefix}features.{index}.weight"] = np.zeros((channels, inputs, 3, 3), "f4")
            state[f"{prefix}features.{index}.bias"] = np.zeros(channels, "f4")
            for kind in NORM:
                state[f"{prefix}features.{index + 1}.{kind}"] = np.zeros(channels, "f4")
            index, inputs = index + 3, channels
        index += 1
    state[f"{prefix}features.0.weight"] = normal(64, 3, 3, 3)
    return state


def test_jeong_tae_reads_red_first(torch_files: Any, tmp_path: Path) -> None:
    state = heads(5, 512, [1, 4])
    for number in (1, 2, 3):
        state.update(vgg19_bn_state(f"b{number}."))
    form = format_of(state)
    net = get_model("racnn_vgg19", crops=(32, 32), **form.options(state))
    load_weights(net, torch_files.save(tmp_path / "racnn.pt", state))
    for number, backbone in enumerate(net.body.backbones, 1):
        expected = state[f"b{number}.features.0.weight"]
        np.testing.assert_array_equal(backbone.layers[0].weight.data().asnumpy(), expected)
    assert form.options(state)["largest"] == 2.0  # no crop is smaller than its box
    assert not form.bgr and form.data(net)["mean"][0] == pytest.approx(109.97 / 255)
    assert form.data(net)["view"] == dict(size=448, short=448)
