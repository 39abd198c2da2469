"""Features of every registered name: maps, pooled vectors, new heads, frozen stages."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from gluon_attention import UserError, get_model, list_models, load_weights
from gluon_attention.zoo.attention_net import AttentionNet
from gluon_attention.zoo.registry import entry

import mxnet as mx
import numpy as np
import pytest
from builders import images_of, small_glimpse, small_patch_classifier, small_racnn, small_ram
from mxnet import autograd, gluon, nd

SLIM = "cifar_residual_attention56_slim"
CIFAR_STRIDES = {"deep": [1, 2, 4, 8], "slim": [1, 2, 4]}
STRIDES = {  # others: 2 to 32
    "glimpse_detail": [1, 2, 4, 8],
    "glimpse": [1, 2, 4, 8, 16],
    "racnn_vgg19": [1, 2, 4, 8, 16],
    "racnn_detail": [3, 6, 12, 24],
    "racnn_mobilenet_v2_activation": [2, 4, 8, 16, 32, 64],
}


def slim() -> AttentionNet:
    return get_model(SLIM, pretrained=True)


SMALL: Dict[str, Any] = {
    "residual attention": (slim, (32, 3), 256),
    "RAM": (small_ram, (28, 1), 16),
    "RA-CNN": (small_racnn, (32, 3), 3 * 128),
    "RA-CNN, activation": (lambda: small_racnn(locate="activation"), (32, 3), 128),
    "glimpse": (lambda: small_glimpse(1), (64, 3), 8),
    "glimpse, first stage": (lambda: small_patch_classifier(patches=2), (64, 3), 8),
}


def expected_strides(name: str) -> List[int]:
    if name.startswith("cifar"):
        return CIFAR_STRIDES.get(name.split("_")[-1], [1, 2, 4])
    if name.endswith("_448"):
        return [2, 4, 8, 16, 32, 64]
    return next(
        (strides for start, strides in STRIDES.items() if name.startswith(start)), None
    ) or [2**k for k in range(1, 6)]


@pytest.mark.parametrize("name", list_models(aliases=True))
def test_feature_maps_of_every_name(name: str) -> None:
    if name.startswith("ram"):
        with pytest.raises(UserError, match="has no feature maps"):
            get_model(name, features_only=True)
        return
    maps = get_model(name, features_only=True)
    assert maps.strides == expected_strides(name) and len(maps.channels) == len(maps.strides)
    side = 192  # by shapes alone
    shapes = mx.sym.Group(maps(mx.sym.var("data"))).infer_shape(data=(2, 3, side, side))[1]
    sides = [side // stride for stride in maps.strides]
    assert shapes == [(2, c, s, s) for c, s in zip(maps.channels, sides)]
    assert maps.arguments["name"] == name


@pytest.mark.parametrize("name", list_models())
def test_no_classes_give_a_vector(name: str) -> None:
    shape = entry(name).shape
    net = get_model(name, classes=0)
    graph = net(mx.sym.var("data"))
    features = graph.infer_shape(data=(2, *shape))[1][0]
    assert len(features) == 2 and features[1] >= 128
    net.reset_classifier(3)
    assert net(mx.sym.var("data")).infer_shape(data=(2, *shape))[1] == [(2, 3)]


@pytest.mark.parametrize("family", SMALL)
def test_logits_are_of_the_features(family: str, hybridize: bool) -> None:
    build, (side, channels), width = SMALL[family]
    net, images = build(), images_of(2, side, channels)
    if hybridize:
        net.hybridize()
    logits, features = net(images), net.forward_features(images)
    pooled = features.mean(axis=(2, 3)) if features.ndim == 4 else features
    assert pooled.shape == (2, width)
    near(net.classifier(pooled), logits)
    near(net(images), logits)  # the features have left the network as it was
    if not hybridize:  # a map needs no parameter of the head
        net.hybridize()
        near(net.forward_features(images), features)


@pytest.mark.parametrize("family", SMALL)
def test_a_new_classifier(family: str, hybridize: bool) -> None:
    build, (side, channels), _ = SMALL[family]
    net, images = build(), images_of(2, side, channels)
    if hybridize:
        net.hybridize()
    net(images)
    features = net.forward_features(images)
    net.reset_classifier(7)
    near(net.forward_features(images), features)
    with autograd.record():
        trace = net.trace(images)
        trace.logits.sum().backward()
    assert trace.logits.shape == (2, 7) and net.classes == net.arguments["classes"] == 7
    assert net.classifier.weight.grad().norm().asscalar() > 0
    with pytest.raises(UserError, match="whole number above 0"):
        net.reset_classifier(0)


@pytest.mark.parametrize("family", SMALL)
def test_weights_without_their_classifier(family: str, tmp_path: Any) -> None:
    build, (side, channels), _ = SMALL[family]
    net, images = build(), images_of(2, side, channels)
    net(images)
    net.save_parameters(str(tmp_path / "net.params"))
    arguments = net.arguments
    headless = get_model(arguments["name"], classes=0, **arguments["options"])
    load_weights(headless, str(tmp_path / "net.params"))
    features = net.forward_features(images)
    pooled = features.mean(axis=(2, 3)) if features.ndim == 4 else features
    near(headless(images), pooled)
    with pytest.raises(UserError, match="classes=0 returns features"):
        headless.predict(images)


def test_pretrained_maps_are_those_of_the_network(hybridize: bool, tmp_path: Any) -> None:
    net, images = slim(), images_of(2, 32)
    maps = get_model(SLIM, pretrained=True, features_only=True, out_indices=[-1, 0])
    assert (maps.channels, maps.strides) == ([256, 64], [4, 1])
    if hybridize:
        maps.hybridize()
    last, first = maps(images)
    near(last, net.forward_features(images))
    assert first.shape == (2, 64, 32, 32)
    if hybridize:
        maps.export(str(tmp_path / "maps"))
        files = str(tmp_path / "maps-symbol.json"), str(tmp_path / "maps-0000.params")
        with pytest.warns(UserWarning, match="Cannot decide type"):
            block = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
        near(block(images)[0], last)


def test_maps_are_trained_with_what_reads_them() -> None:
    maps = get_model(
        "glimpse_mobilenet_v2", features_only=True, backbone="tiny", frozen_bn=False, frozen=False
    )
    maps.initialize()
    with autograd.record():
        loss = sum(each.square().mean() for each in maps(images_of(2, 32)))
    loss.backward()
    trained = [p for p in maps.collect_params().values() if p.grad_req != "null"]
    assert trained and all(p.grad().norm().asscalar() > 0 for p in trained)


def test_stages_are_frozen() -> None:
    net, images = slim(), images_of(4, 32)
    net.freeze(2)
    before = {name: p.data().copy() for name, p in net._collect_params_with_prefix().items()}
    trainer = gluon.Trainer(net.collect_params(), "sgd", dict(learning_rate=0.1))
    with autograd.record():
        loss = net(images).square().sum()
    loss.backward()
    trainer.step(4)
    nd.waitall()
    moved = {
        name
        for name, p in net._collect_params_with_prefix().items()
        if (p.data() != before[name]).max().asscalar()
    }
    frozen = [name for name in before if name not in moved]
    assert "body.stem.0.weight" in frozen and "body.head.3.weight" in moved
    steps = {int(name.split(".")[2]) for name in moved if name.startswith("body.steps.")}
    assert min(steps) == 6  # three a stage
    net.freeze()
    free = [n for n, p in net._collect_params_with_prefix().items() if p.grad_req != "null"]
    assert free == ["body.head.3.weight", "body.head.3.bias"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: get_model(SLIM, features_only=True, out_indices=[3]),
            "no feature map 3: there are",
        ),
        (lambda: get_model(SLIM, features_only=True, out_indices=2), "must be a list of whole"),
        (lambda: get_model(SLIM, features_only=True, out_indices=[]), "must be a list of whole"),
        (lambda: get_model(SLIM, out_indices=[1]), "add that, or leave it out"),
        (lambda: get_model(SLIM, classes=-1), "or 0 for features"),
        (lambda: get_model(SLIM).freeze(4), "from 0 to 3, not 4: the strides are 1, 2, 4"),
        (lambda: get_model("ram_28").freeze(1), "has no feature maps"),
    ],
)
def test_a_wrong_request_is_refused(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        act()


def near(one: nd.NDArray, other: nd.NDArray) -> None:
    np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-4, atol=1e-4)
