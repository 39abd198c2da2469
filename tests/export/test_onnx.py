"""ONNX: every operator and every name against MXNet, in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from gluon_attention import UserError, get_model, list_models
from gluon_attention.export import onnx_layers
from gluon_attention.export.graph import as_graph, compare_onnx, export_onnx
from gluon_attention.export.onnx_graph import translate
from gluon_attention.zoo.pretrained import all_weights
from gluon_attention.zoo.registry import entry

import mxnet as mx
import numpy as np
import pytest
from builders import small_racnn
from mxnet import autograd, gluon, nd

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SHAPE = (4, 6, 5)


def heights(F: Any, x: Any) -> Any:
    return F.cast(F.slice_axis(F.shape_array(x), axis=0, begin=2, end=3), "float32").reshape(
        (-1, 1)
    )


def pool(**options: Any) -> Callable[[Any, Any], Any]:
    return lambda F, x: F.Pooling(x, **options)


# name of the operator: a function of F and the images (N, 4, 6, 5)
OPERATORS: Dict[str, Callable[[Any, Any], Any]] = {
    "scalars": lambda F, x: 2 / (3 - (x * 2 + 1) / 4),
    "scalar bounds": lambda F, x: F.maximum(F.minimum(x, 0.5), -0.5),
    "broadcast bounds": lambda F, x: F.broadcast_maximum(x, F.broadcast_minimum(x * 2, F.tanh(x))),
    "broadcast arithmetic": lambda F, x: F.broadcast_div(x * x - x, F.sigmoid(x) + 1),
    "unary": lambda F, x: F.relu(x) + F.tanh(x) + F.abs(x) + F.sqrt(F.square(x) + 1) + F.floor(x),
    "sum": lambda F, x: F.sum(x, axis=(1, 3)),
    "mean": lambda F, x: F.mean(x, axis=-1, keepdims=True),
    "max": lambda F, x: F.max(x, axis=2),
    "reshape that splits an axis": lambda F, x: F.reshape(x, shape=(0, -4, 2, 2, -2)),
    "reshape that joins the batch": lambda F, x: F.reshape(x, shape=(-3, -2)),
    "reshape that joins axes": lambda F, x: F.reshape(x, shape=(0, 0, -3)),
    "reshape_like": lambda F, x: F.reshape_like(F.Flatten(x), x),
    "expand_dims": lambda F, x: F.squeeze(F.expand_dims(x, axis=-1), axis=4),
    "transpose": lambda F, x: F.transpose(x, axes=(0, 2, 3, 1)),
    "slice_axis": lambda F, x: F.slice_axis(x, axis=-1, begin=1, end=None),
    "slice_like": lambda F, x: F.slice_like(x, F.slice_axis(x, axis=2, begin=1, end=4), axes=(2,)),
    "reverse": lambda F, x: F.reverse(x, axis=(1, 3)),
    "stack": lambda F, x: F.concat(F.stack(x, x * 2, axis=1), F.stack(x, x, axis=1), dim=2),
    "split": lambda F, x: F.concat(*F.split(x, num_outputs=2, axis=1), dim=2),
    "split that squeezes": lambda F, x: F.split(x, num_outputs=4, axis=1, squeeze_axis=True)[2],
    "broadcast_axis": lambda F, x: F.broadcast_axis(
        F.mean(x, axis=1, keepdims=True), axis=1, size=3
    ),
    "constant pad": lambda F, x: F.pad(
        x, mode="constant", constant_value=2, pad_width=(0,) * 4 + (1, 2, 3, 0)
    ),
    "reflect pad": lambda F, x: F.pad(x, mode="reflect", pad_width=(0,) * 4 + (1, 2, 3, 0)),
    "shape_array": lambda F, x: F.broadcast_mul(x, heights(F, x)),
    "ones_like": lambda F, x: F.ones_like(x) - F.zeros_like(x) * 3,
    "zeros": lambda F, x: F.broadcast_add(x, F.zeros((1, 4, 6, 5))),
    "arange_like": lambda F, x: F.broadcast_mul(
        x, F.contrib.arange_like(x, axis=3, start=1, step=0.5)
    ),
    "clip": lambda F, x: F.clip(F.BlockGrad(x), -0.3, 0.2),
    "softmax": lambda F, x: F.softmax(x, axis=1) + F.softmax(x, axis=-1),
    "L2Normalization": lambda F, x: F.L2Normalization(x),
    "L2Normalization of channels": lambda F, x: F.L2Normalization(x, mode="channel"),
    "dot": lambda F, x: F.dot(x, F.zeros((5, 2)) + 0.5),
    "max pooling": pool(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max"),
    "pooling of odd sides": pool(
        kernel=(2, 2), stride=(2, 2), pool_type="max", pooling_convention="full"
    ),
    "mean pooling without padding": pool(
        kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", count_include_pad=False
    ),
    "mean pooling": pool(kernel=(3, 3), pad=(1, 1), pool_type="avg"),
    "global max pooling": pool(global_pool=True, pool_type="max", kernel=(1, 1)),
    "adaptive pooling": lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=(4, 3)),
    "adaptive pooling to one": lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=1),
    "crop": lambda F, x: F.BilinearSampler(
        x,
        F.GridGenerator(
            F.slice_axis(F.Flatten(x), axis=1, begin=0, end=6) * 2,
            transform_type="affine",
            target_shape=(7, 3),
        ),
    ),
}
LAYERS: Dict[str, Callable[[], gluon.HybridBlock]] = {
    "strides": lambda: gluon.nn.Conv2D(6, (3, 2), (2, 1), (1, 0), dilation=(1, 2), groups=2),
    "depthwise": lambda: gluon.nn.Conv2D(4, 3, groups=4, use_bias=False),
    "BatchNorm": lambda: gluon.nn.BatchNorm(epsilon=0.1),
    "BatchNorm without scale": lambda: gluon.nn.BatchNorm(scale=False),
    "Dense": lambda: gluon.nn.Dense(3),
    "Dense of the last axis": lambda: gluon.nn.Dense(3, flatten=False),
    "Dense without bias": lambda: gluon.nn.Dense(3, flatten=False, use_bias=False),
    "Dropout": lambda: gluon.nn.Dropout(0.5),
}


def in_onnxruntime(symbol: Any, arrays: Any, images: np.ndarray) -> np.ndarray:
    model = translate(symbol, arrays, images.shape[1:], ["output"])
    onnx.checker.check_model(model)
    return session_of(model).run(None, {"data": images})[0]


def session_of(model: Any) -> Any:
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name: str, batch: int) -> None:
    images = np.random.normal(size=(batch, *SHAPE)).astype("float32")
    expected = OPERATORS[name](nd, nd.array(images)).asnumpy()
    output = in_onnxruntime(OPERATORS[name](mx.sym, mx.sym.var("data")), {}, images)
    assert output.shape == expected.shape
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    layer, images = LAYERS[name](), np.random.normal(size=(3, *SHAPE)).astype("float32")
    layer.initialize(mx.init.Uniform(1))
    layer(nd.array(images))
    for kind in ("gamma", "beta", "running_mean", "running_var"):
        for parameter in layer.collect_params(f".*{kind}").values():
            parameter.set_data(nd.random.uniform(0.5, 2, shape=parameter.shape))
    arrays = {k: p.data().asnumpy() for k, p in layer.collect_params().items()}
    output = in_onnxruntime(layer(mx.sym.var("data")), arrays, images)
    expected = layer(nd.array(images)).asnumpy()
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def calibrated(name: str, side: int = 0, **options: Any) -> Tuple[Any, Tuple[int, int, int]]:
    """A network and the shape of its input; random weights get running statistics that fit."""
    shape = (entry(name).shape[0], side, side) if side else entry(name).shape
    pretrained = name in all_weights() and not options
    net = get_model(name, pretrained=pretrained, **options)
    if not pretrained:
        net.initialize(net.initializer)
    if not pretrained and options.get("boxes") != "pixels":  # which cannot be trained
        net.apply(shorten_statistics)
        with autograd.record():
            small = (shape[0], min(shape[1], 96), min(shape[2], 96))
            total = net(nd.random.uniform(shape=(2, *small))).sum()
        total.backward()  # only now are running statistics written
    net.trace(nd.zeros((1, *shape)))
    return net, shape


def shorten_statistics(block: Any) -> None:
    if isinstance(block, gluon.nn.BatchNorm):
        block._kwargs["momentum"] = 0.5  # with 0.9 variances would stay far from those of 2 images


TINY = dict(backbone="tiny", crops=(32, 24), shrink=2)
QUICK = [
    ("ram_28", 0, {}),
    ("ram_cluttered_60", 0, {}),
    ("ram_28", 0, dict(core="lstm")),
    ("ram_28", 0, dict(retina="pixels", move="relative")),
    ("cifar_residual_attention56_slim", 16, {}),
    ("cifar_residual_attention56_slim", 16, dict(mask_activation="spatial", unit="next")),
    ("cifar_residual_attention56_slim", 16, dict(mask_activation="channel", mask="local")),
    ("racnn_mobilenet_v2", 64, TINY),
    ("racnn_vgg19", 64, dict(TINY, apn="paper")),
    ("racnn_mobilenet_v2", 64, dict(TINY, crops=(24,), locate="activation")),
    ("racnn_vgg19", 64, dict(TINY, boxes="pixels", smallest=(0.3,))),
    ("glimpse_resnet50", 96, dict(backbone="tiny", patch=24, size=96)),
]


def test_outputs_of_a_trace_have_its_names() -> None:
    graph = as_graph(small_racnn(), trace=True)
    assert graph.names == ["logits", "scale_logits", "boxes", "crops_0", "crops_1"]
    _, shapes, _ = graph.symbol.infer_shape(data=(2, 3, 32, 32))
    assert shapes == [(2, 5), (2, 3, 5), (2, 2, 3), (2, 3, 16, 16), (2, 3, 24, 24)]


@pytest.mark.parametrize(
    ("name", "side", "options", "trace"),
    [*((*case, True) for case in QUICK), *((*QUICK[i], False) for i in (0, 7))],
)
def test_network(name: str, side: int, options: Any, trace: bool, tmp_path: Path) -> None:
    net, shape = calibrated(name, side, **options)
    parity = export_onnx(net, str(tmp_path / "net.onnx"), shape, trace, {"name": name})
    print(name, options, parity)
    assert parity.holds and parity.typical < 2e-4 and parity.largest < 1e-3
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert {p.key: p.value for p in model.metadata_props} == {"name": name}
    session = session_of(model)
    for batch in (1, 5):
        images = np.random.uniform(size=(batch, *shape)).astype("float32")
        assert all(len(part) == batch for part in session.run(None, {"data": images}))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_registered_name(name: str, tmp_path: Path) -> None:
    net, shape = calibrated(name)
    parity = export_onnx(net, str(tmp_path / "net.onnx"), shape)
    print(name, parity)
    assert parity.largest < 1e-4


def test_a_model_that_differs_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    net, shape = calibrated("ram_28")
    monkeypatch.setitem(onnx_layers.ACTIVATIONS, "relu", "Softplus")
    with pytest.raises(UserError, match="differs by .* not written"):
        export_onnx(net, str(tmp_path / "net.onnx"), shape)
    assert not list(tmp_path.iterdir())


def test_an_operator_without_translation_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sin 'sin0' .* no translation"):
        in_onnxruntime(mx.sym.sin(mx.sym.var("data"), name="sin0"), {}, np.zeros((1, *SHAPE), "f"))


def test_without_the_packages(tmp_path: Path, monkeypatch: Any) -> None:
    net, shape = calibrated("ram_28")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert export_onnx(net, str(tmp_path / "net.onnx"), shape) is None
    assert (tmp_path / "net.onnx").exists()
    monkeypatch.undo()
    assert compare_onnx(net, (tmp_path / "net.onnx").read_bytes(), shape).holds
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.setitem(__import__("sys").modules, "onnx.numpy_helper", None)
    with pytest.raises(UserError, match=r"pip install .*\[onnx\]"):
        export_onnx(net, str(tmp_path / "net.onnx"), shape)
