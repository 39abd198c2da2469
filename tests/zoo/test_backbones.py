"""Backbones: features keep their places, and weights of whole networks fit."""

from __future__ import annotations

from typing import Any

from gluon_attention import UserError
from gluon_attention.interop.load import load_backbone
from gluon_attention.zoo.backbones import backbone
from gluon_attention.zoo.freezing import frozen_stats_twin

import numpy as np
import pytest
from foreign_states import import_gluoncv
from mxnet import autograd, gluon, nd
from mxnet.gluon.model_zoo import vision


def images_of(side: int = 64, count: int = 1) -> nd.NDArray:
    return nd.array(np.random.randn(count, 3, side, side))


def settled(net: gluon.Block) -> gluon.Block:
    """A network whose every parameter differs from its default, statistics too."""
    net.initialize()
    net(images_of())
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "beta", "mean", "var")):
            parameter.set_data(nd.random.uniform(0.5, 1.5, shape=parameter.shape))
    return net


@pytest.mark.parametrize(
    ("name", "channels", "stride"),
    [
        ("mobilenetv2_0.25", 1280, 32),
        ("vgg11", 512, 16),  # the last pooling is left out
        ("resnet18_v1", 512, 32),
        ("squeezenet1.1", 512, 16),
        ("tiny", 128, 8),
    ],
)
def test_features_keep_their_places(name: str, channels: int, stride: int) -> None:
    net = backbone(name)
    net.initialize()
    assert net.channels == channels
    shape = net(images_of(96)).shape
    assert shape[1] == channels and abs(shape[2] - 96 // stride) <= 1 and shape[2] == shape[3]


@pytest.mark.parametrize(
    ("name", "channels"),
    [("mobilenetv2_1.0", 96), ("resnet18_v2", 256), ("vgg11_bn", 512), ("tiny", 64)],
)
def test_an_earlier_map_of_twice_the_resolution(name: str, channels: int, hybridize: bool) -> None:
    net, images = settled(backbone(name, earlier=True)), images_of(96)
    net.hybridize(hybridize)
    features, earlier = net(images)
    _, _, height, width = features.shape
    assert earlier.shape == (1, channels, 2 * height, 2 * width)
    np.testing.assert_allclose(features.asnumpy(), net.layers(images).asnumpy(), rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenetv2_0.25", "resnet18_v2"])
def test_weights_of_a_whole_network_fit(name: str, tmp_path: Any) -> None:
    whole, images, file = settled(vision.get_model(name)), images_of(), str(tmp_path / "w.params")
    whole.save_parameters(file)
    net = backbone(name)
    load_backbone(net, file)
    expected = whole.features(images).asnumpy().reshape(1, -1)
    np.testing.assert_allclose(net(images).mean(axis=(2, 3)).asnumpy(), expected, rtol=1e-4)


def test_files_of_old_versions_fit(tmp_path: Any) -> None:
    whole, images, file = settled(vision.get_model("resnet18_v1")), images_of(), str(tmp_path / "w")
    named = whole.collect_params().items()
    nd.waitall()  # a forward pass changes the layout of weights, and nd.save does not wait for it
    nd.save(file, {name[len(whole.prefix) :]: parameter.data() for name, parameter in named})
    net = backbone("resnet18_v1")
    load_backbone(net, file)
    expected = whole.features(images).asnumpy().reshape(1, -1)
    np.testing.assert_allclose(net(images).mean(axis=(2, 3)).asnumpy(), expected, rtol=1e-4)


def test_mobilenet_v2_of_gluoncv_gives_its_features(tmp_path: Any) -> None:
    whole = settled(import_gluoncv().model_zoo.get_model("mobilenetv2_0.25"))
    images, file = images_of(), str(tmp_path / "w.params")
    whole.save_parameters(file)
    net = backbone("mobilenetv2_0.25")
    load_backbone(net, file)
    expected = whole.features(images).asnumpy()[:, :, 0, 0]
    assert expected.std() > 0.1
    np.testing.assert_allclose(net(images).mean(axis=(2, 3)).asnumpy(), expected, rtol=1e-3)
    first = net.layers[3].out
    assert first[0].weight.grad_req == first[1].gamma.grad_req == "null"


@pytest.mark.parametrize("content", ["another", "head", "nothing"])
def test_weights_that_do_not_fit_are_refused(content: str, tmp_path: Any) -> None:
    file = str(tmp_path / "w.params")
    whole = settled(vision.get_model("resnet18_v1"))
    if content == "another":
        whole.save_parameters(file)
    elif content == "head":
        whole.output.save_parameters(file)
    with pytest.raises(UserError, match="w.params"):
        load_backbone(backbone("mobilenetv2_0.25"), file)


def test_frozen_batchnorm_stays_as_it_was_loaded(hybridize: bool) -> None:
    net = settled(backbone("tiny", frozen_bn=True))
    net.hybridize(hybridize)
    named = net._collect_params_with_prefix()
    fixed = [n for n in named if n.endswith(("gamma", "beta", "mean", "var"))]
    assert len(fixed) == 4 * 6 and {named[n].grad_req for n in fixed} == {"null"}
    before, images = {n: named[n].data().asnumpy() for n in fixed}, images_of(count=4)
    with autograd.record():
        features = net(images)
    features.backward()
    nd.waitall()
    np.testing.assert_allclose(features.asnumpy(), net(images).asnumpy(), rtol=1e-4, atol=1e-5)
    for name in fixed:
        np.testing.assert_array_equal(named[name].data().asnumpy(), before[name])
    assert named["layers.0.weight"].grad().norm().asscalar() > 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18_v1b"])
def test_unknown_backbones_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=name):
        backbone(name)


@pytest.mark.parametrize("name", ["tiny", "mobilenetv2_0.25"])
def test_a_steady_twin_trains_as_the_network_predicts(name: str, hybridize: bool) -> None:
    net, images = settled(backbone(name)), images_of(count=2)
    net.hybridize(hybridize)
    twin, gradients = frozen_stats_twin(net), []
    before = {key: p.data().asnumpy() for key, p in net.collect_params().items()}
    for block, training in ((net, False), (twin, True)):
        images.attach_grad()
        with autograd.record(train_mode=training):
            features = block(images)
            loss = (features * nd.arange(features.shape[1]).reshape((1, -1, 1, 1))).sum()
        loss.backward(train_mode=training)
        gradients.append((features.asnumpy(), images.grad.asnumpy()))
    for one, other in zip(*gradients):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * abs(one).max())
    for key, parameter in twin.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[key])
    assert twin.collect_params().keys() == before.keys()
    assert not any(block is other for block in _batchnorms(net) for other in _batchnorms(twin))


def _batchnorms(block: gluon.Block) -> list:
    layers = [block] if isinstance(block, gluon.nn.BatchNorm) else []
    return layers + [b for child in block._children.values() for b in _batchnorms(child)]


def test_a_network_that_wants_a_download_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr(import_gluoncv().model_zoo, "get_model", offline)
    with pytest.raises(UserError, match="backbone must be .* not 'detector'"):
        backbone("detector")


def test_a_finer_stem_keeps_its_weights(tmp_path: Any) -> None:
    whole, file = vision.get_model("resnet18_v1"), str(tmp_path / "w.params")
    whole.initialize()
    whole(images_of(32))
    whole.save_parameters(file)
    fine, view = backbone("resnet18_v1", stem_stride=1), images_of(48)
    load_backbone(fine, file)
    assert fine(view).shape == (1, 512, 3, 3)
    stem = whole.features[0].weight.data()
    expected = nd.Convolution(view, stem, kernel=(7, 7), pad=(3, 3), num_filter=64, no_bias=True)
    np.testing.assert_allclose(fine.layers[0](view).asnumpy(), expected.asnumpy(), atol=1e-5)
