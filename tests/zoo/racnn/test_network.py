"""RA-CNN: views of its scales, bounds of its boxes, and its size."""

from __future__ import annotations

from typing import Any

from gluon_attention import UserError, get_model
from gluon_attention.ops.activation_box import activation_box
from gluon_attention.ops.attention_crop import crop_box
from gluon_attention.zoo.racnn.network import PaperAPN, View

import cv2
import numpy as np
import pytest
from builders import SMALL_RACNN, images_of, small_racnn
from mxnet import gluon, nd, sym

KINDS = (
    *(dict(), dict(shared=True, shrink=2), dict(apn="paper"), dict(crops=()), dict(crops=(16,))),
    *(dict(locate="activation"), dict(locate="activation", crops=(16,), shrink=2)),
)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_hybridized_equals_imperative(options: dict) -> None:
    net, images = small_racnn(**options), images_of(2, 32)
    plain = net.trace(images)
    net.hybridize(static_alloc=True, static_shape=True)
    graph, logits = net.trace(images), net(images)
    for one, other in zip(_flat(plain), _flat(graph)):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits.asnumpy(), plain.logits.asnumpy(), rtol=1e-4, atol=1e-5)


def _flat(parts: Any) -> Any:
    for part in parts:
        yield from (part if isinstance(part, list) else [part])


@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_of_a_trace(batch: int, hybridize: bool) -> None:
    net = small_racnn()
    net.hybridize(hybridize)
    trace = net.trace(images_of(batch, 40))
    assert trace.logits.shape == (batch, 5) and trace.scale_logits.shape == (batch, 3, 5)
    assert trace.boxes.shape == (batch, 2, 3)
    assert [crop.shape for crop in trace.crops] == [(batch, 3, 16, 16), (batch, 3, 24, 24)]


def test_features_of_a_view_are_computed_once() -> None:
    inputs: list = []
    view = View(3, None, lambda pixels: inputs.append(pixels) or [2 * pixels])
    assert not inputs and view.features == view.features == 6 and inputs == [3]


def test_boxes_are_nested_and_crops_show_them() -> None:
    net, images = small_racnn(smallest=(0.3,), largest=0.8), images_of(4, 32) * 3
    for parameter in net.body.apns.collect_params(".*weight").values():
        parameter.set_data(nd.random.normal(scale=3, shape=parameter.shape))
    trace = net.trace(images)
    boxes = trace.boxes.asnumpy()
    center, half = boxes[..., :2], boxes[..., 2:]
    low, high = center - half, center + half
    assert low.min() >= -1 - 1e-6 and high.max() <= 1 + 1e-6
    assert (low[:, 0] <= low[:, 1] + 1e-6).all() and (high[:, 1] <= high[:, 0] + 1e-6).all()
    assert (0.3 <= half[:, 0]).all() and (half[:, 0] <= 0.8).all()
    for scale, size in enumerate((16, 24)):
        expected = crop_box(nd, images, trace.boxes[:, scale], size)
        np.testing.assert_allclose(trace.crops[scale].asnumpy(), expected.asnumpy(), atol=1e-4)


def test_each_box_can_have_a_smallest_side_of_its_own() -> None:
    net = small_racnn(smallest=(0.8, 0.2))
    boxes = net.trace(images_of(3, 32)).boxes.asnumpy()
    inner = boxes[:, 1, 2] / boxes[:, 0, 2]
    assert (boxes[:, 0, 2] > 0.8).all() and (0.2 < inner).all() and (inner < 0.7).all()


def test_the_first_scale_sees_the_downscaled_image() -> None:
    net, images = small_racnn(shrink=2, crops=(16,)), images_of(2, 32)
    shrunk = images.reshape((2, 3, 16, 2, 16, 2)).mean(axis=(3, 5))
    _, logits = net.body.heads[0](net.body.maps(shrunk, 0)[0])
    traced = net.trace(images).scale_logits[:, 0]
    np.testing.assert_allclose(traced.asnumpy(), logits.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "descriptor"), [("racnn_vgg19", "scaled"), ("racnn_mobilenet_v2", "normalised")]
)
def test_logits_are_linear_in_descriptors(name: str, descriptor: str) -> None:
    net, images = get_model(name, **SMALL_RACNN), images_of(2, 32)
    net.initialize(net.initializer)
    trace, descriptors = net.trace(images), []
    for scale, view in enumerate([images, *trace.crops]):
        pooled = net.body.maps(view, scale)[0].asnumpy().mean(axis=(2, 3))
        rms = np.sqrt((pooled**2).mean(axis=1, keepdims=True))
        descriptors.append(pooled * 0.1 if descriptor == "scaled" else pooled / rms)
        classifier = net.body.heads[scale].classifier
        expected = descriptors[-1] @ classifier.weight.data().asnumpy().T
        np.testing.assert_allclose(trace.scale_logits[:, scale].asnumpy(), expected, 1e-3, 1e-5)
    expected = np.concatenate(descriptors, axis=1) @ net.body.fused.weight.data().asnumpy().T
    np.testing.assert_allclose(trace.logits.asnumpy(), expected, 1e-3, 1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_batchnorm_is_frozen_by_an_option(frozen: bool) -> None:
    named = small_racnn(frozen_bn=frozen).body.backbones._collect_params_with_prefix().items()
    affine = {p.grad_req for name, p in named if name.endswith(("gamma", "beta"))}
    assert affine == {"null" if frozen else "write"}


@pytest.mark.parametrize(("free", "half"), [(-30, 1 / 3), (30, 0.9)])
def test_boxes_are_a_third_of_the_image_at_least(free: float, half: float) -> None:
    net = small_racnn()
    for apn in net.body.apns:
        apn.box.bias.set_data(nd.array([0, 0, free]))
    sides = net.trace(images_of(2, 32)).boxes[:, :, 2].asnumpy()
    np.testing.assert_allclose(sides, [[half, half**2]] * 2, rtol=1e-4)


def test_heatmaps_have_expected_positions_on_both_axes(hybridize: bool) -> None:
    apn, features = small_racnn().body.apns[0], nd.zeros((1, 128, 4, 6))
    features[0, 0, 1, 4], features[0, 0, 2, 0] = 1, -1
    every = slice(None)
    for layer, ones in (
        (apn.conv, [(0, 0, 1, 1)]),
        (apn.heatmaps, [(every, 0, 0, 0)]),
        (apn.box, [(0, 0), (1, 8), (2, 16)]),  # x of eight maps, y, mean features
    ):
        weight = nd.zeros(layer.weight.shape)
        for one in ones:
            weight[one] = 9
        layer.weight.set_data(weight)
    apn.bound = lambda F, outputs: outputs / 9
    apn.hybridize(hybridize)
    np.testing.assert_allclose(apn(features).asnumpy(), [[0.6, -1 / 3, 9 / 24]], rtol=1e-4)


def test_a_feature_map_of_one_cell_has_a_position() -> None:
    apn = small_racnn().body.apns[0]
    assert np.isfinite(apn(nd.ones((2, 128, 1, 1))).asnumpy()).all()


def test_one_scale_attends_to_no_boxes() -> None:
    images = images_of(2, 32)
    assert small_racnn(crops=()).attended_boxes(images) is None
    assert small_racnn(crops=(16,)).attended_boxes(images).shape == (2, 1, 3)


@pytest.mark.parametrize("pooled", [False, True])
def test_the_apn_of_the_paper_is_two_dense_layers(pooled: bool, hybridize: bool) -> None:
    apn, features = (
        PaperAPN(pooled, lambda F, outputs: outputs),
        nd.random.normal(shape=(2, 3, 4, 6)),
    )
    apn.initialize()
    apn(features)
    for parameter in apn.collect_params().values():
        parameter.set_data(nd.random.normal(scale=0.2, shape=parameter.shape))
    apn.hybridize(hybridize)
    outputs, pixels = apn(features).asnumpy(), features.asnumpy()
    if pooled:
        pixels = pixels.reshape(2, 3, 2, 2, 3, 2).max(axis=(3, 5))
    one, two, three, four = (p.data().asnumpy() for p in apn.collect_params().values())
    expected = np.tanh(pixels.reshape(2, -1) @ one.T + two) @ three.T + four
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_sizes_of_the_paper() -> None:
    """VGG-19's convolutions, attention proposal networks and heads for 200 classes."""
    net = get_model("racnn_vgg19", apn="paper")
    outputs = sym.Group(list(net.body(sym.var("images"))[:2]))
    argument_shapes, _, _ = outputs.infer_shape(images=(1, 3, 448, 448))
    shapes = dict(zip(outputs.list_arguments(), argument_shapes))
    sizes = {
        part: sum(int(np.prod(shapes[name])) for name in getattr(net.body, part).collect_params())
        for part in ("backbones", "apns", "heads")
    }
    assert sizes["backbones"] == 3 * 20_024_384
    assert sizes["apns"] == 2 * (512 * 14 * 14 * 1024 + 1024 + 1024 * 3 + 3)
    assert sizes["heads"] == 3 * (512 * 200 + 200)


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # of the input, until it comes
def test_export_gives_the_same_numbers(tmp_path: Any) -> None:
    net, images = small_racnn(), images_of(2, 32)
    net.hybridize()
    expected = net(images).asnumpy()
    net.export(str(tmp_path / "racnn"))
    again = gluon.SymbolBlock.imports(
        str(tmp_path / "racnn-symbol.json"), ["data"], str(tmp_path / "racnn-0000.params")
    )
    np.testing.assert_allclose(again(images).asnumpy(), expected, rtol=1e-4, atol=1e-5)
    assert "Custom" not in (tmp_path / "racnn-symbol.json").read_text()


@pytest.mark.parametrize(
    "option",
    [
        {"apn": "x"},
        {"descriptor": "x"},
        {"shrink": 0},
        {"smallest": ()},
        {"smallest": (0.95,)},
        {"smallest": (0.2, 0.95)},
        {"smallest": (0.0,)},
        {"largest": 1.5},
        {"boxes": "x"},
        {"smallest": (0.1, 0.2, 0.3)},
    ],
)
def test_impossible_options_are_refused(option: dict) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        get_model("racnn_vgg19", **option)


def test_activation_shares_all_and_averages_logits(hybridize: bool) -> None:
    net, images = small_racnn(locate="activation"), images_of(3, 40)
    net.hybridize(hybridize)
    trace = net.trace(images)
    assert trace.boxes.shape == (3, 2, 4) and len(net.body.backbones) == len(net.body.heads) == 1
    mean = trace.scale_logits.mean(axis=1)
    np.testing.assert_allclose(trace.logits.asnumpy(), mean.asnumpy(), 1e-4, 1e-6)
    for view, logits in zip([images, *trace.crops], trace.scale_logits.swapaxes(0, 1)):
        _, expected = net.body.heads[0](net.body.maps(view, 0)[0])
        np.testing.assert_allclose(logits.asnumpy(), expected.asnumpy(), 1e-4, 1e-5)


def test_rectangles_are_nested_and_crops_show_them() -> None:
    net, images = small_racnn(locate="activation", crops=(16, 24)), images_of(4, 48)
    trace = net.trace(images)
    inner = activation_box(nd, *net.body.maps(trace.crops[0], 0)).asnumpy()
    outer, nested = trace.boxes.asnumpy().swapaxes(0, 1)
    center = outer[:, :2] + inner[:, :2] * outer[:, 2:]
    np.testing.assert_allclose(nested, np.concatenate([center, inner[:, 2:] * outer[:, 2:]], 1))
    x, y, width, height = outer[0]
    columns, rows = x + width * np.linspace(-1, 1, 16), y + height * np.linspace(-1, 1, 16)
    picture, side = images[0].asnumpy().transpose(1, 2, 0), np.float32(47)
    columns, rows = np.meshgrid(*((axis + 1) / 2 * side for axis in (columns, rows)))
    expected = cv2.remap(picture, columns.astype("f"), rows.astype("f"), cv2.INTER_LINEAR)
    np.testing.assert_allclose(trace.crops[0][0].asnumpy().transpose(1, 2, 0), expected, atol=0.1)


def test_boxes_by_the_feature_map_have_no_bounds() -> None:
    net = get_model("racnn_detail", locate="activation", crops=(16,))  # two bounds are its own
    assert len(net.body.apns) == 1 and not list(net.body.apns.collect_params())
    with pytest.raises(UserError, match="smallest must be one number, or one for each of the 1 cr"):
        get_model("racnn_detail", crops=(16,))


def test_whole_pixels_are_squares() -> None:
    with pytest.raises(UserError, match="boxes='pixels' are squares"):
        small_racnn(locate="activation", boxes="pixels")
