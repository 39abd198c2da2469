"""ONNX: every operator and every name against MXNet, in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Tuple

from gluon_attention import UserError, get_model, list_models
from gluon_attention.export import graph as export  # noqa: F401 - translations
from gluon_attention.export import onnx_layers
from gluon_attention.export.graph import check, export_onnx
from gluon_attention.export.onnx_graph import translate
from gluon_attention.zoo.pretrained import all_weights
from gluon_attention.zoo.registry import entry

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

SHAPE = (4, 6, 5)


def height(F: Any, x: Any) -> Any:
    return F.cast(F.slice_axis(F.shape_array(x), axis=0, begin=2, end=3), "float32").reshape(
        (-1, 1)
    )


# name of the operator: a function of F and the images (N, 4, 6, 5)
CASES: List[Tuple[str, Callable[[Any, Any], Any]]] = [
    ("scalars", lambda F, x: 2 / (3 - (x * 2 + 1) / 4) ** 2 + 2 ** (x - 1)),
    ("pairs", lambda F, x: F.broadcast_maximum(x, F.broadcast_minimum(x * 2, F.exp(x)))),
    ("extremes", lambda F, x: F.maximum(F.minimum(x, 0.5), -0.5)),
    ("binary", lambda F, x: F.broadcast_div(x * x - x, F.exp(x) + 1)),
    ("unary", lambda F, x: F.relu(x) + F.tanh(x) + F.abs(x) + F.sqrt(F.square(x) + 1)),
    ("rsqrt", lambda F, x: F.rsqrt(F.square(x) + 1) + F.erf(x) + F.floor(x) - F.softsign(x)),
    ("sum", lambda F, x: F.sum(x, axis=(1, 3))),
    ("sum of all but", lambda F, x: F.sum(x, axis=1, exclude=True)),
    ("mean", lambda F, x: F.mean(x, axis=-1, keepdims=True)),
    ("max", lambda F, x: F.max(x, axis=2) + F.min(x, axis=2)),
    ("split a side", lambda F, x: F.reshape(x, shape=(0, -4, 2, 2, -2))),
    ("join with the batch", lambda F, x: F.reshape(x, shape=(-3, -2))),
    ("join and flatten", lambda F, x: F.reshape(x, shape=(0, 0, -3))),
    ("like", lambda F, x: F.reshape_like(F.Flatten(x), x)),
    ("axes", lambda F, x: F.squeeze(F.expand_dims(F.swapaxes(x, 1, 3), axis=-1), axis=4)),
    ("transpose", lambda F, x: F.transpose(x, axes=(0, 2, 3, 1))),
    ("slices", lambda F, x: F.slice_axis(x, axis=-1, begin=1, end=None)),
    ("a block", lambda F, x: F.slice(x, begin=(None, 1, 0), end=(None, 3, -1))),
    (
        "slice like",
        lambda F, x: F.slice_like(x, F.slice_axis(x, axis=2, begin=1, end=4), axes=(2,)),
    ),
    ("reverse", lambda F, x: F.reverse(x, axis=(1, 3))),
    ("stack", lambda F, x: F.concat(F.stack(x, x * 2, axis=1), F.stack(x, x, axis=1), dim=2)),
    ("parts", lambda F, x: F.concat(*F.split(x, num_outputs=2, axis=1), dim=2)),
    ("squeezed parts", lambda F, x: F.split(x, num_outputs=4, axis=1, squeeze_axis=True)[2]),
    ("broadcast", lambda F, x: F.broadcast_axis(F.mean(x, axis=1, keepdims=True), axis=1, size=3)),
    ("broadcast like", lambda F, x: F.broadcast_like(F.zeros((1, 4, 6, 5)) + 2, x) * x),
    ("tile", lambda F, x: F.tile(x, reps=(1, 1, 2, 3))),
    (
        "pad",
        lambda F, x: F.pad(x, mode="constant", constant_value=2, pad_width=(0,) * 4 + (1, 2, 3, 0)),
    ),
    ("mirror", lambda F, x: F.pad(x, mode="reflect", pad_width=(0,) * 4 + (1, 2, 3, 0))),
    ("shapes", lambda F, x: F.broadcast_mul(x, height(F, x))),
    ("ones like", lambda F, x: F.ones_like(x) - F.zeros_like(x) * 3),
    ("count", lambda F, x: F.broadcast_mul(x, F.contrib.arange_like(x, axis=3, start=1, step=0.5))),
    ("clip", lambda F, x: F.clip(F.BlockGrad(x), -0.3, 0.2)),
    ("softmax", lambda F, x: F.softmax(x, axis=1) + F.log_softmax(x, axis=-1)),
    ("l2 of a sample", lambda F, x: F.L2Normalization(x)),
    ("l2 of channels", lambda F, x: F.L2Normalization(x, mode="channel")),
    ("l2 of places", lambda F, x: F.L2Normalization(x, mode="spatial")),
    ("dot", lambda F, x: F.dot(x, F.ones((5, 2)) * 0.5)),
    (
        "batch dot",
        lambda F, x: F.batch_dot(
            F.reshape(x, shape=(0, 4, -1)), F.reshape(x, shape=(0, 4, -1)), transpose_b=True
        ),
    ),
    (
        "max pooling",
        lambda F, x: F.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max"),
    ),
    (
        "ceiled pooling",
        lambda F, x: F.Pooling(
            x, kernel=(2, 2), stride=(2, 2), pool_type="max", pooling_convention="full"
        ),
    ),
    (
        "mean pooling",
        lambda F, x: F.Pooling(
            x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", count_include_pad=False
        ),
    ),
    ("padded pooling", lambda F, x: F.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type="avg")),
    ("global pooling", lambda F, x: F.Pooling(x, global_pool=True, pool_type="max", kernel=(1, 1))),
    ("adaptive", lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=(4, 3))),
    ("adaptive to one", lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=1)),
    (
        "crop",
        lambda F, x: F.BilinearSampler(
            x,
            F.GridGenerator(
                F.slice_axis(F.Flatten(x), axis=1, begin=0, end=6) * 2,
                transform_type="affine",
                target_shape=(7, 3),
            ),
        ),
    ),
]
LAYERS: List[Tuple[str, Callable[[], gluon.HybridBlock]]] = [
    ("strides", lambda: gluon.nn.Conv2D(6, (3, 2), (2, 1), (1, 0), dilation=(1, 2), groups=2)),
    ("depthwise", lambda: gluon.nn.Conv2D(4, 3, groups=4, use_bias=False)),
    ("norm", lambda: gluon.nn.BatchNorm(epsilon=0.1)),
    ("norm without scale", lambda: gluon.nn.BatchNorm(scale=False)),
    ("layer norm", lambda: gluon.nn.LayerNorm(epsilon=0.01)),
    ("dense", lambda: gluon.nn.Dense(3)),
    ("dense of places", lambda: gluon.nn.Dense(3, flatten=False)),
    ("dense without bias", lambda: gluon.nn.Dense(3, flatten=False, use_bias=False)),
    ("leaky", lambda: gluon.nn.LeakyReLU(0.3)),
    ("prelu", lambda: gluon.nn.PReLU()),
    ("elu", lambda: gluon.nn.ELU(0.7)),
    ("selu", lambda: gluon.nn.SELU()),
    ("softrelu", lambda: gluon.nn.Activation("softrelu")),
]


def in_onnxruntime(symbol: Any, arrays: Any, images: np.ndarray) -> np.ndarray:
    model = translate(symbol, arrays, images.shape[1:], ["found"])
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"data": images})[0]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("name", "compute"), CASES, ids=[name for name, _ in CASES])
def test_operator(name: str, compute: Any, batch: int) -> None:
    images = np.random.normal(size=(batch, *SHAPE)).astype("float32")
    expected = compute(nd, nd.array(images)).asnumpy()
    found = in_onnxruntime(compute(mx.sym, mx.sym.var("data")), {}, images)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "make"), LAYERS, ids=[name for name, _ in LAYERS])
def test_layer(name: str, make: Any) -> None:
    layer, images = make(), np.random.normal(size=(3, *SHAPE)).astype("float32")
    layer.initialize(mx.init.Uniform(1))
    layer(nd.array(images))
    for kind in ("gamma", "beta", "running_mean", "running_var"):
        for parameter in layer.collect_params(f".*{kind}").values():
            parameter.set_data(nd.random.uniform(0.5, 2, shape=parameter.shape))
    arrays = {k: p.data().asnumpy() for k, p in layer.collect_params().items()}
    found = in_onnxruntime(layer(mx.sym.var("data")), arrays, images)
    expected = layer(nd.array(images)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def settled(name: str, side: int = 0, **options: Any) -> Tuple[Any, Tuple[int, int, int]]:
    """A network with its weights, or random ones and statistics that fit them, and its input."""
    shape = (entry(name).shape[0], side, side) if side else entry(name).shape
    pretrained = name in all_weights() and not options
    net = get_model(name, pretrained=pretrained, **options)
    if not pretrained:
        net.initialize(net.initializer)
    if not pretrained and options.get("boxes") != "pixels":  # which are not made to be trained
        net.apply(forgetful)
        with autograd.record():
            few = (shape[0], min(shape[1], 96), min(shape[2], 96))
            total = net(nd.random.uniform(shape=(2, *few))).sum()
        total.backward()  # only now are statistics written
    net.trace(nd.zeros((1, *shape)))
    return net, shape


def forgetful(block: Any) -> None:
    if isinstance(block, gluon.nn.BatchNorm):
        block._kwargs["momentum"] = 0.5  # of so few images no variance may be near 0


TINY = dict(backbone="tiny", crops=(32, 24), shrink=2)
QUICK = [
    ("ram_28", 0, {}),
    ("ram_cluttered_60", 0, {}),
    ("ram_28", 0, dict(core="lstm", mean="clip", start="learned")),
    ("ram_28", 0, dict(retina="pixels", move="relative")),
    ("cifar_residual_attention56_slim", 16, {}),
    ("cifar_residual_attention56_slim", 16, dict(mask_activation="spatial", unit="next")),
    ("cifar_residual_attention56_slim", 16, dict(mask_activation="channel", mask="local")),
    ("racnn_mobilenet_v2", 64, TINY),
    ("racnn_vgg19", 64, dict(TINY, apn="paper")),
    ("racnn_vgg19", 64, dict(TINY, boxes="pixels", sides=(0.3, 0.9))),
    ("glimpse_resnet50", 96, dict(backbone="tiny", patch=24, size=96)),
]


@pytest.mark.parametrize(
    ("name", "side", "options", "trace"),
    [*((*case, True) for case in QUICK), *((*QUICK[i], False) for i in (0, 7))],
)
def test_network(name: str, side: int, options: Any, trace: bool, tmp_path: Path) -> None:
    net, shape = settled(name, side, **options)
    parity = export_onnx(net, str(tmp_path / "net.onnx"), shape, trace, {"name": name})
    print(name, options, parity)
    assert parity.holds and parity.typical < 2e-4 and parity.largest < 1e-3
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert {p.key: p.value for p in model.metadata_props} == {"name": name}
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 5):
        images = np.random.uniform(size=(batch, *shape)).astype("float32")
        assert all(len(part) == batch for part in session.run(None, {"data": images}))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_name(name: str, tmp_path: Path) -> None:
    net, shape = settled(name)
    parity = export_onnx(net, str(tmp_path / "net.onnx"), shape)
    print(name, parity)
    assert parity.largest < 1e-4


def test_a_wrong_translation_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    net, shape = settled("ram_28")
    monkeypatch.setitem(onnx_layers.ACTIVATIONS, "relu", "Softplus")
    with pytest.raises(UserError, match="so it was not written"):
        export_onnx(net, str(tmp_path / "net.onnx"), shape)
    assert not list(tmp_path.iterdir())


def test_an_operator_without_translation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sin 'sin0' cannot be exported to ONNX: .* no translation"):
        in_onnxruntime(mx.sym.sin(mx.sym.var("data"), name="sin0"), {}, np.zeros((1, *SHAPE), "f"))


def test_without_the_packages(tmp_path: Path, monkeypatch: Any) -> None:
    net, shape = settled("ram_28")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert export_onnx(net, str(tmp_path / "net.onnx"), shape) is None
    assert (tmp_path / "net.onnx").exists()
    monkeypatch.undo()
    assert check(net, (tmp_path / "net.onnx").read_bytes(), shape).holds
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.setitem(__import__("sys").modules, "onnx.numpy_helper", None)
    with pytest.raises(UserError, match="ONNX needs its package"):
        export_onnx(net, str(tmp_path / "net.onnx"), shape)
