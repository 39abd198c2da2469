"""Each instruction of the native library: against MXNet, and against differences of its values."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from gluon_attention.native import Lowered, Predictor, Program, Twin, library

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
from mxnet.gluon.model_zoo.vision.mobilenet import LinearBottleneck
from mxnet.gluon.model_zoo.vision.resnet import BasicBlockV1, BottleneckV1, BottleneckV2


class Probe(gluon.HybridBlock):
    """A network of a few instructions: in MXNet, and as a program."""

    def __init__(self, layers: List[gluon.Block], plain: Callable, native: Callable) -> None:
        super().__init__()
        with self.name_scope():
            self.layers = nn.HybridSequential()
            self.layers.add(*layers)
        self.plain, self.native = plain, native

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        return self.plain(x, *self.layers)

    def lower(self, program: Program) -> Lowered:
        program.give(self.native(program, program.images(), *self.layers))
        return Lowered(nn.HybridSequential())


def mxnet_gate(z: nd.NDArray, trunk: nd.NDArray, kind: str, residual: bool) -> nd.NDArray:
    """Section 3.3 of the paper, in float32."""
    if kind == "channel":
        mask = nd.L2Normalization(z, mode="channel")
    else:
        if kind == "spatial":
            z = z - z.mean(axis=(2, 3), keepdims=True)
            z = z / nd.sqrt((z * z).mean(axis=(2, 3), keepdims=True) + 1e-5)
        mask = nd.sigmoid(z)
    return trunk * (mask + residual)


def one(layer: gluon.Block, act: bool = False) -> Probe:
    """A probe of a layer of Gluon."""
    return sequence(layer, *[nn.Activation("relu")] * act)


def sequence(*both: gluon.Block) -> Probe:
    """A probe of layers of Gluon, one after the other."""

    def native(program: Program, x: int, *layers: gluon.Block) -> int:
        chain = nn.HybridSequential()
        chain.add(*layers)
        return program.layers(x, chain)

    def plain(x: nd.NDArray, *layers: gluon.Block) -> nd.NDArray:
        for block in layers:
            x = block(x)
        return x

    return Probe(list(both), plain, native)


def resized(x: nd.NDArray, side: int) -> nd.NDArray:
    """Square features, resized bilinearly with aligned corners: two products with hat functions."""
    last = x.shape[3] - 1
    positions = np.linspace(0, last, side)
    hats = np.maximum(0, 1 - np.abs(np.arange(last + 1)[:, None] - positions))
    for _ in range(2):
        x = nd.dot(x, nd.array(hats, dtype=x.dtype)).transpose((0, 1, 3, 2))
    return x


def resizing(to: int) -> Probe:
    """Convolved images, resized to a square of padded ones."""
    grow = nn.Conv2D(6, 1, padding=(to - 5) // 2, use_bias=False)

    def native(program: Program, x: int, conv: gluon.Block, other: gluon.Block) -> int:
        return program.resize(program.convolution(x, conv), program.convolution(x, other))

    def plain(x: nd.NDArray, conv: gluon.Block, other: gluon.Block) -> nd.NDArray:
        return resized(conv(x), other(x).shape[3])

    return Probe([nn.Conv2D(6, 1, use_bias=False), grow], plain, native)


def gated(kind: str, residual: bool) -> Probe:
    def native(program: Program, x: int, conv: gluon.Block, other: gluon.Block) -> int:
        z, trunk = program.convolution(x, conv), program.convolution(x, other)
        return program.gate(z, trunk, kind, residual)[0]

    def plain(x: nd.NDArray, conv: gluon.Block, other: gluon.Block) -> nd.NDArray:
        return mxnet_gate(conv(x), other(x), kind, residual)

    return Probe([nn.Conv2D(20, 1, use_bias=False) for _ in range(2)], plain, native)


def shown_mask() -> Probe:
    """A mask that the loss sees, beside what it weighs."""

    def native(program: Program, x: int, conv: gluon.Block) -> int:
        z = program.convolution(x, conv)
        y, mask = program.gate(z, x, "mixed", True)
        return program.add(y, mask)

    def plain(x: nd.NDArray, conv: gluon.Block) -> nd.NDArray:
        mask = nd.sigmoid(conv(x))
        return x * (mask + 1) + mask

    return Probe([nn.Conv2D(4, 3, padding=1)], plain, native)


def shared() -> Probe:
    """One convolution and one normalization at two places, and a sum of a thing with itself."""

    def native(program: Program, x: int, conv: gluon.Block, norm: gluon.Block) -> int:
        for _ in range(2):
            x = program.norm(program.convolution(x, conv), norm, "relu")
        return program.add(program.add(x, x), x, act="relu")

    def plain(x: nd.NDArray, conv: gluon.Block, norm: gluon.Block) -> nd.NDArray:
        for _ in range(2):
            x = nd.relu(norm(conv(x)))
        return x + x + x

    return Probe([nn.Conv2D(4, 3, padding=1, use_bias=False), nn.BatchNorm()], plain, native)


PROBES: Dict[str, Callable[[], Probe]] = {
    "conv1": lambda: one(nn.Conv2D(8, 1, use_bias=False)),
    "conv1_wide": lambda: sequence(nn.Conv2D(32, 1), *[nn.Conv2D(32, 1, use_bias=False)] * 2),
    "conv3": lambda: one(nn.Conv2D(16, 3, padding=1)),
    "conv3_strided": lambda: one(nn.Conv2D(16, 3, 2, padding=1, use_bias=False)),
    "conv7_strided": lambda: one(nn.Conv2D(8, 7, 2, padding=3, use_bias=False)),
    "conv_groups": lambda: one(nn.Conv2D(8, 3, 2, padding=1, groups=2, use_bias=False)),
    "conv_depthwise": lambda: one(nn.Conv2D(4, 3, padding=1, groups=4, use_bias=False)),
    "norm": lambda: one(nn.BatchNorm()),
    "conv_relu": lambda: one(nn.Conv2D(16, 3, padding=1), act=True),
    "norm_fixed": lambda: one(nn.BatchNorm(use_global_stats=True), act=True),
    "norm_relu": lambda: one(nn.BatchNorm(momentum=0.7, epsilon=1e-3), act=True),
    "pool": lambda: one(nn.MaxPool2D(3, 2, padding=1)),
    "pool2": lambda: one(nn.MaxPool2D(2, 2)),
    "unit": lambda: one(BottleneckV2(4, 1, downsample=False)),
    "unit_projected": lambda: one(BottleneckV2(32, 1, downsample=True)),
    "unit_strided": lambda: one(BottleneckV2(32, 2, downsample=True)),
    "inverted": lambda: one(LinearBottleneck(4, 4, 6, 1)),
    "inverted_strided": lambda: one(LinearBottleneck(4, 8, 2, 2)),
    "resnet_basic": lambda: one(BasicBlockV1(8, 2, True, 4)),
    "resnet_bottleneck": lambda: one(BottleneckV1(32, 1, True, 4)),
    "resize_double": lambda: resizing(10),
    "resize_odd": lambda: resizing(13),
    "gate_mixed": lambda: gated("mixed", True),
    "gate_channel": lambda: gated("channel", True),
    "gate_spatial": lambda: gated("spatial", True),
    "gate_naive": lambda: gated("mixed", False),
    "gate_spatial_naive": lambda: gated("spatial", False),
    "mask_shown": shown_mask,
    "shared": shared,
}


def ready(probe: Probe, images: nd.NDArray) -> Probe:
    probe.initialize(mx.init.Normal(0.4))
    with autograd.record():
        probe(images)
    for parameter in probe.collect_params().values():
        if parameter.name.endswith(("gamma", "beta", "running_mean", "running_var")):
            parameter.set_data(nd.random.uniform(0.5, 1.5, parameter.shape))
    return probe


def gradients(probe: Probe, forward: Callable, images: nd.NDArray, weight: Any) -> Dict[str, Any]:
    """The output, gradients of a weighted sum of it, and statistics afterwards."""
    images = images.copy()
    images.attach_grad()
    with autograd.record():
        output = forward(images)
        loss = (output * weight(output)).sum()
    loss.backward()
    parameters = probe.collect_params().values()
    arrays = {"output": output, "images": images.grad}
    arrays.update((p.name, p.data() if p.grad_req == "null" else p.grad()) for p in parameters)
    return {name: array.asnumpy().copy() for name, array in arrays.items()}


class Weight:
    """Random weights of an output, the same for every call."""

    array: nd.NDArray = None

    def __call__(self, output: nd.NDArray) -> nd.NDArray:
        if self.array is None:
            self.array = nd.random.normal(shape=output.shape)
        return self.array


@pytest.fixture(params=sorted(PROBES))
def probe(request: Any) -> Probe:
    return PROBES[request.param]()


def snapshot(probe: Probe) -> Dict[str, nd.NDArray]:
    return {n: p.data().copy() for n, p in probe.collect_params().items() if p.grad_req == "null"}


def put_back(probe: Probe, arrays: Dict[str, nd.NDArray]) -> None:
    for name, array in arrays.items():
        probe.collect_params()[name].set_data(array)


def compare(actual: Dict[str, np.ndarray], expected: Dict[str, np.ndarray]) -> None:
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in expected.items():  # the gradient of a bias before BatchNorm is only rounding
        scale = max(np.abs(array).max(), 0.01 * largest)
        np.testing.assert_allclose(actual[name] / scale, array / scale, atol=1e-4, err_msg=name)


def test_equals_mxnet(probe: Probe) -> None:
    images = nd.random.normal(shape=(3, 4, 5, 5))
    ready(probe, images)
    weight, before = Weight(), snapshot(probe)
    expected = gradients(probe, probe, images, weight)
    put_back(probe, before)
    compare(gradients(probe, Twin(probe, image_gradient=True), images, weight), expected)


def test_predicts_as_mxnet(probe: Probe) -> None:
    """With BatchNorm folded into convolutions; in bfloat16, too."""
    images = nd.random.normal(shape=(3, 4, 5, 5))
    ready(probe, images)
    expected = probe(images).asnumpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        Predictor(probe)(images).asnumpy() / scale, expected / scale, atol=1e-5
    )
    if library().has_bfloat16:
        error = np.linalg.norm(Predictor(probe, "bfloat16")(images).asnumpy() - expected)
        assert error < 0.05 * np.linalg.norm(expected)


def test_gradient_is_that_of_values(probe: Probe) -> None:
    """Of differences of MXNet's in float64, along a random direction in parameters and images."""
    images = nd.random.normal(shape=(2, 4, 5, 5))
    ready(probe, images)
    weight, before = Weight(), snapshot(probe)
    along = gradients(probe, Twin(probe, image_gradient=True), images, weight)
    put_back(probe, before)
    probe.cast("float64")
    images, outer = images.astype("float64"), weight.array.astype("float64")
    trained = {n: p.data() for n, p in probe.collect_params().items() if p.grad_req != "null"}
    arrays = {"images": images, **trained}
    ways = {n: nd.array(np.random.randn(*a.shape), dtype="float64") for n, a in arrays.items()}

    def value(step: float) -> float:
        for name, array in arrays.items():
            array[:] += step * ways[name]
        with autograd.record():
            output = probe(images)
        for name, array in arrays.items():
            array[:] -= step * ways[name]
        return (output * outer).sum().asscalar()

    step = 1e-6
    slope = (value(step) - value(-step)) / (2 * step)
    directional = sum(float((along[name] * way.asnumpy()).sum()) for name, way in ways.items())
    size = np.sqrt(sum(float((along[name] ** 2).sum()) for name in ways))
    assert abs(slope - directional) < 1e-4 * size


@pytest.mark.parametrize("adds", [(), ("weight",), ("gamma", "beta", "weight", "images")])
def test_several_calls_of_a_step(adds: Tuple[str, ...]) -> None:
    """RA-CNN's backbone runs at every scale; `--accumulate` adds the gradients of several steps."""
    batches = nd.random.normal(shape=(3, 3, 4, 5, 5))
    probe = ready(PROBES["resnet_bottleneck"](), batches[0])
    trained = {n: p for n, p in probe.collect_params().items() if p.grad_req != "null"}
    for name, parameter in trained.items():
        parameter.grad_req = "add" if name.endswith(adds) else "write"
    before = snapshot(probe)

    def two_steps(forward: Callable) -> Dict[str, np.ndarray]:
        for parameter in trained.values():
            parameter.zero_grad()
        images = [batch.copy() for batch in batches]
        for array in images:
            array.attach_grad("add" if "images" in adds else "write")
        for _ in range(2):
            with autograd.record():
                loss = sum((forward(array) ** 2).sum() for array in images)
            loss.backward()
        arrays = {str(number): array.grad for number, array in enumerate(images)}
        arrays.update((n, p.grad()) for n, p in trained.items())
        arrays.update(snapshot(probe))
        return {name: array.asnumpy().copy() for name, array in arrays.items()}

    expected = two_steps(probe)
    put_back(probe, before)
    actual = two_steps(Twin(probe, image_gradient=True))
    compare(actual, expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(11, 32, 27, 26), (40, 32, 4, 4)])
def test_winograd_equals_mxnet(shape: Tuple[int, ...], bias: bool) -> None:
    """Tiles beyond the border, several portions of tiles, the last of which is not full."""
    probe = one(nn.Conv2D(48, 3, padding=1, use_bias=bias), act=bias)
    images = nd.random.normal(shape=shape)
    ready(probe, images)
    weight = Weight()
    expected = gradients(probe, probe, images, weight)
    library().profile(True)
    actual = gradients(probe, Twin(probe, image_gradient=True), images, weight)
    assert "winograd to data" in library().profiled()
    library().profile(False)
    for name, array in expected.items():
        np.testing.assert_allclose(
            actual[name], array, atol=1e-5 * np.abs(array).max(), err_msg=name
        )


@pytest.mark.skipif(not (library() and library().has_bfloat16), reason="needs AVX-512")
@pytest.mark.parametrize("name", sorted(set(PROBES) - {"shared"}))  # which is far from linear
def test_bfloat16_is_near_float32(name: str) -> None:
    probe, images = PROBES[name](), nd.random.normal(shape=(3, 4, 5, 5))
    ready(probe, images)
    weight, before = Weight(), snapshot(probe)
    expected = gradients(probe, Twin(probe, image_gradient=True), images, weight)
    put_back(probe, before)
    actual = gradients(probe, Twin(probe, "bfloat16", image_gradient=True), images, weight)
    largest = max(np.linalg.norm(array) for array in expected.values())
    for name, array in expected.items():
        distance = np.linalg.norm(actual[name] - array)
        assert distance < 0.35 * np.linalg.norm(array) + 0.01 * largest, name
