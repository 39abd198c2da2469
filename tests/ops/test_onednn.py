"""Blocked layouts: same numbers, same training, and none of it in exported graphs."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, List

from gluon_attention import get_model
from gluon_attention.ops.onednn import blocked, for_onednn, portable, relu6
from gluon_attention.zoo.fast_relu6 import ReflectedNorm, replace_relu6
from gluon_attention.zoo.residual_attention.module import (
    UNITS,
    AttentionModule,
    Depths,
    ResidualAttentionOptions,
    Stage,
)

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon.model_zoo import vision


class Blocked(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return blocked(F, x, 20)


def test_identity(hybridize: bool) -> None:
    net = Blocked()
    net.hybridize(hybridize)
    x, head = nd.random.normal(shape=(2, 20, 3, 5)), nd.random.normal(shape=(2, 20, 3, 5))
    x.attach_grad()
    with autograd.record():
        y = net(x)
    y.backward(head)
    assert (y == x).asnumpy().all() and (x.grad == head).asnumpy().all()


class Clipped(gluon.HybridBlock):
    def __init__(self, reflected: bool) -> None:
        super().__init__()
        self.reflected = reflected

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        reflects = self.reflected and F is mx.sym
        return relu6(F, 6 - x if reflects else x, 32, self.reflected)


@pytest.mark.parametrize("reflected", [False, True])
def test_relu6(hybridize: bool, reflected: bool) -> None:
    net = Clipped(reflected)
    net.hybridize(hybridize)
    x, head = nd.random.uniform(-9, 15, shape=(2, 32, 3, 5)), nd.random.normal(shape=(2, 32, 3, 5))
    x.attach_grad()
    with autograd.record():
        y = net(x)
    y.backward(head)
    assert abs(y - x.clip(0, 6)).max().asscalar() <= 2e-6  # 6 - (6 - x)
    assert (x.grad == head * (x > 0) * (x < 6)).asnumpy().all()


def test_relu6_is_a_clip_in_portable_graphs() -> None:
    with portable():
        assert "clip" in relu6(mx.sym, mx.sym.var("x"), 32).tojson()


def test_portable_ends_even_after_an_error() -> None:
    before = for_onednn(mx.sym)
    with suppress(KeyError), portable():
        assert not for_onednn(mx.sym)
        raise KeyError
    assert for_onednn(mx.sym) == before


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtype_of_the_input_is_kept(dtype: str) -> None:
    _, types, _ = blocked(mx.sym, mx.sym.var("x"), 20).infer_type(x=dtype)
    assert types == [np.dtype(dtype).type]


def gradients(plain: bool) -> List[np.ndarray]:
    """Of the parameters of a hybridized module, the same each time."""
    mx.random.seed(1)
    block = AttentionModule(
        UNITS["preact"], Stage(64, 1, 1, 2), Depths((1,)), ResidualAttentionOptions()
    )
    block.initialize(mx.init.MSRAPrelu())
    x, head = (nd.random.normal(shape=(4, 64, 12, 8)) for _ in range(2))
    block(x)
    block.hybridize(static_alloc=True, static_shape=True)
    with portable() if plain else nullcontext():
        with autograd.record():
            y = block(x)[0]
        y.backward(head)
    trainable = [p for p in block.collect_params().values() if p.grad_req != "null"]
    return [y.asnumpy(), *(p.grad().asnumpy() for p in trainable)]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """A ReLU whose input is nearly 0 may be open in one of them and shut in the other."""
    return np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(a) + 1e-4


def test_training_gives_the_same_gradients() -> None:
    assert all(map(close, gradients(plain=True), gradients(plain=False)))


def bottlenecks(plain: bool, untouched: bool = False) -> List[np.ndarray]:
    """Of layers like the first of MobileNetV2: what they give, their gradients and statistics."""
    mx.random.seed(1)
    layers = gluon.nn.HybridSequential()
    for channels, kernel, groups in ((32, 3, 1), (32, 3, 32), (24, 1, 1), (144, 1, 1), (16, 1, 1)):
        same = dict(padding=kernel // 2, groups=groups, use_bias=False)
        layers.add(gluon.nn.Conv2D(channels, kernel, **same))
        layers.add(gluon.nn.BatchNorm(beta_initializer=mx.init.Uniform(3), scale=channels != 16))
        layers.add(vision.mobilenet.RELU6())
    replace_relu6(layers)
    assert [type(norm) for norm in list(layers)[1::3]] == [
        *[ReflectedNorm] * 2, gluon.nn.BatchNorm, ReflectedNorm, gluon.nn.BatchNorm
    ]  # fmt: skip
    if untouched:  # as --sync-bn changes them
        for norm in list(layers)[1::3]:
            norm.__class__ = gluon.nn.BatchNorm
    layers.initialize(mx.init.MSRAPrelu())
    x, head = nd.random.normal(shape=(2, 3, 12, 8)), nd.random.normal(shape=(2, 16, 12, 8))
    layers(x)
    layers.hybridize(static_alloc=True, static_shape=True)
    with portable() if plain else nullcontext():
        with autograd.record():
            y = layers(x)
        y.backward(head)
        nd.waitall()
        still = layers(x)
    parameters = layers.collect_params().values()
    gradients = [p.grad() if p.grad_req != "null" else p.data() for p in parameters]
    return [a.asnumpy() for a in (y, still, *gradients)]


@pytest.mark.parametrize("untouched", [False, True])
def test_fast_relu6_trains_the_same(untouched: bool) -> None:
    assert all(map(close, bottlenecks(plain=True), bottlenecks(False, untouched)))


def network() -> Any:
    net = get_model("cifar_residual_attention56_slim")
    net.initialize(mx.init.MSRAPrelu())
    net.hybridize()
    return net


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # of the input, until it comes
def test_exported_graphs_are_portable(tmp_path: Path) -> None:
    net, image = network(), nd.random.normal(shape=(1, 3, 32, 32))
    logits = net(image)
    net.export(str(tmp_path / "net"))
    assert "ones_like" not in (tmp_path / "net-symbol.json").read_text()
    files = str(tmp_path / "net-symbol.json"), "data", str(tmp_path / "net-0000.params")
    block = gluon.SymbolBlock.imports(*files)
    np.testing.assert_allclose(block(image).asnumpy(), logits.asnumpy(), 1e-4, 1e-5)
    assert (net(image) == logits).asnumpy().all()


def test_fused_network_gives_the_same_numbers(tmp_path: Path) -> None:
    net, image = network(), nd.random.normal(shape=(2, 3, 32, 32))
    logits = net(image).asnumpy()
    net.optimize_for(image, backend="MKLDNN", static_alloc=True, static_shape=True)
    np.testing.assert_allclose(net(image).asnumpy(), logits, 1e-4, 1e-5)
    net.export(str(tmp_path / "fused"))
    assert "_sg_mkldnn_conv" in (tmp_path / "fused-symbol.json").read_text()
