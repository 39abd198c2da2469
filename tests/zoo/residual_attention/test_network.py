"""Residual attention: sizes of the papers, numbers of GluonCV, every option, any image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable

from gluon_attention import get_model, list_models, load_weights
from gluon_attention.zoo.residual_attention.module import (
    UNITS,
    AttentionModule,
    Depths,
    ResidualAttentionOptions,
    Stage,
)
from gluon_attention.zoo.residual_attention.network import ResidualAttention
from gluon_attention.zoo.residual_attention.options import Architecture

import mxnet as mx
import numpy as np
import pytest
from foreign_states import import_gluoncv
from mxnet import autograd, gluon, nd

NAMES = list_models("*residual*attention*", aliases=True)
GLUONCV = list_models("*attentionnet*", aliases=True)
VARIANTS: Dict[str, Dict[str, str]] = {
    "default": {},
    "fused": {"mask_fusion": "gluoncv"},
    "channel": {"mask_activation": "channel"},
    "spatial": {"mask_activation": "spatial"},
    "naive": {"attention": "naive"},
    "local": {"mask": "local"},
    "next": {"unit": "next"},
}
TINY = Architecture((3, 32, 32), 5, 8, (Stage(64, 1, 1, 2), Stage(64, 2, 2, 1), Stage(64, 2, 1, 0)))


def tiny(**options: str) -> ResidualAttention:
    """Three modules with masks of depth 2, 1 and 0, few channels."""
    net = ResidualAttention(TINY, Depths((1, 1, 1)), 5, ResidualAttentionOptions(**options))
    net.initialize(mx.init.MSRAPrelu())
    return net


def slow_but(names: Iterable[str], *quick: str) -> Any:
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


def shaped(net: gluon.HybridBlock) -> gluon.HybridBlock:
    """The net with the shapes of all parameters known; nothing is computed or allocated."""
    net.infer_shape(nd.zeros((1, 3, 32, 32)))
    return net


def count(net: gluon.HybridBlock, statistics: bool = False) -> int:
    parameters = net.collect_params().values()
    return sum(int(np.prod(p.shape)) for p in parameters if statistics or p.grad_req != "null")


def weighted_layers(net: ResidualAttention) -> int:
    """Convolutions and dense layers on the longest path that passes no mask and no shortcut."""
    names = [name for name in net._collect_params_with_prefix() if name.endswith(".weight")]
    return sum(not any(p in name for p in (".mask.", ".gate.", ".downsample.")) for name in names)


@pytest.mark.parametrize("name", slow_but(NAMES, *(n for n in NAMES if "452" not in n)))
def test_depth(name: str) -> None:
    if name.endswith("_448"):
        return  # named after the net that it adds a stage to
    depth = int("".join(filter(str.isdigit, name.split("_slim")[0])))
    one_unit_after = "attentionnet452" in name
    assert weighted_layers(get_model(name)) == (398 if one_unit_after else depth)


def test_published_sizes() -> None:
    net = shaped(get_model("residual_attention56"))
    assert count(net, statistics=True) == 31_883_432  # "31.9 M"
    assert count(shaped(get_model("residual_attention56", unit="next"))) == 31_318_824
    assert count(shaped(get_model("residual_attention92_448", classes=10))) == 50_782_410


def randomised(net: gluon.HybridBlock) -> gluon.HybridBlock:
    """The net with random statistics and affine parameters of BatchNorm, and logits near 1."""
    for name, parameter in net.collect_params().items():
        if name.endswith("gamma"):
            parameter.set_data(nd.random.uniform(0.2, 0.8, shape=parameter.shape))
        elif name.endswith("running_var"):
            parameter.set_data(nd.random.uniform(0.8, 1.6, shape=parameter.shape))
        elif name.endswith(("beta", "running_mean", "bias")):
            parameter.set_data(nd.random.normal(0, 0.2, shape=parameter.shape))
    return net


@pytest.mark.parametrize(
    "name",
    slow_but(GLUONCV, "residualattentionnet56", "cifar_residualattentionnet56"),
)
def test_equals_gluoncv(name: str, tmp_path: Path) -> None:
    side = 32 if name.startswith("cifar") else 224
    theirs = import_gluoncv().model_zoo.get_model(name)
    theirs.initialize(mx.init.Xavier())
    image = nd.random.normal(shape=(1, 3, side, side))
    theirs(image)
    randomised(theirs).save_parameters(str(tmp_path / "theirs.params"))
    ours = get_model(name)
    load_weights(ours, str(tmp_path / "theirs.params"))
    reference, actual = theirs(image), ours(image)
    assert (abs(actual - reference).max() / abs(reference).max()).asscalar() < 1e-4
    # Its additions inside the masks matter: without them the same weights give other logits.
    if name == "cifar_residualattentionnet56":
        faithful = get_model("cifar_residual_attention56")
        ours.save_parameters(str(tmp_path / "ours.params"))
        load_weights(faithful, str(tmp_path / "ours.params"))
        assert (abs(faithful(image) - reference).max() / abs(reference).max()).asscalar() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_hybridized_net_takes_any_size(variant: str) -> None:
    net = tiny(**VARIANTS[variant])
    net(nd.zeros((1, 3, 32, 32)))
    randomised(net)
    sizes = [(33, 47), (5, 1), (32, 32)]  # each is a graph of its own, which takes time to build
    if variant in ("default", "local"):
        sizes += [(40, 24), (64, 64), (9, 8)]
    sizes.append(sizes[0])
    images = [nd.random.normal(shape=(2, 3, *size)) for size in sizes]
    expected = [net.trace(image) for image in images]
    net.hybridize(static_alloc=True, static_shape=True)
    for image, reference in zip(images, expected):
        actual = net.trace(image)
        np.testing.assert_allclose(actual.logits.asnumpy(), reference.logits.asnumpy(), 1e-4, 1e-5)
        np.testing.assert_allclose(net(image).asnumpy(), reference.logits.asnumpy(), 1e-4, 1e-5)
        height, width = image.shape[2:]
        for level, (mask, other) in enumerate(zip(actual.masks, reference.masks)):
            assert mask.shape == (2, 64, -(-height // 2**level), -(-width // 2**level))
            np.testing.assert_allclose(mask.asnumpy(), other.asnumpy(), 1e-4, 1e-5)


@pytest.mark.parametrize("variant", ["imperative", *VARIANTS])
def test_every_parameter_gets_a_gradient(variant: str) -> None:
    net = tiny(**VARIANTS.get(variant, {}))
    net.hybridize(variant != "imperative")
    with autograd.record():
        loss = (net(nd.random.normal(shape=(4, 3, 33, 29))) ** 2).sum()
    loss.backward()
    for name, parameter in net.collect_params().items():
        if parameter.grad_req != "null":
            assert abs(parameter.grad()).sum().asscalar() > 0, f"{name} gets no gradient"


@pytest.mark.filterwarnings("ignore:Cannot decide type for the following:UserWarning")  # of imports
@pytest.mark.parametrize("variant", VARIANTS)
def test_export_keeps_the_numbers_and_any_size(variant: str, tmp_path: Path) -> None:
    net = tiny(**VARIANTS[variant])
    net.hybridize()
    net(nd.zeros((1, 3, 32, 32)))
    net.export(str(tmp_path / "net"))
    parts = str(tmp_path / "net-symbol.json"), "data", str(tmp_path / "net-0000.params")
    block = gluon.SymbolBlock.imports(*parts)
    for size in ((32, 32), (21, 30)):
        image = nd.random.normal(shape=(2, 3, *size))
        np.testing.assert_allclose(block(image).asnumpy(), net(image).asnumpy(), 1e-5, 1e-6)


def module(depth: int = 1, **options: str) -> AttentionModule:
    """A module without units after it, so that its result is the weighted trunk."""
    chosen = ResidualAttentionOptions(**options)
    block = AttentionModule(
        UNITS[chosen.unit], Stage(64, 1, 1, depth), Depths((1,), after=0), chosen
    )
    block.initialize(mx.init.Normal(0.05))
    return block


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_attention_residual_learning(depth: int) -> None:
    x = nd.random.normal(shape=(2, 64, 12, 10))
    for attention, factor in (("residual", 1), ("naive", 0)):
        block = module(depth, attention=attention)
        features, mask = block(x)
        trunk = block.trunk(block.before(x))
        assert 0 < mask.min().asscalar() and mask.max().asscalar() < 1
        reference = (factor + mask) * trunk
        np.testing.assert_allclose(features.asnumpy(), reference.asnumpy(), 1e-5, 1e-5)


def test_mask_activations() -> None:
    x = np.random.normal(size=(2, 6, 5, 4)).astype(np.float32)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    mean, std = x.mean(axis=(2, 3), keepdims=True), x.std(axis=(2, 3), keepdims=True)
    expected = {
        "mixed": sigmoid(x),
        "channel": x / np.sqrt((x**2).sum(axis=1, keepdims=True)),
        "spatial": sigmoid((x - mean) / std),
    }
    for name, reference in expected.items():
        actual = module(mask_activation=name)._activate(nd, nd.array(x)).asnumpy()
        np.testing.assert_allclose(actual, reference, 1e-4, 1e-5)


def test_a_unit_of_attention_next_ends_with_its_relu() -> None:
    x = nd.random.normal(shape=(2, 64, 6, 5))
    for project in (False, True):
        unit = UNITS["next"](64, 1, project)
        unit.initialize(mx.init.Normal(0.3))
        reference = np.maximum((unit.branch(x) + unit.shortcut(x)).asnumpy(), 0)
        np.testing.assert_allclose(unit(x).asnumpy(), reference, 1e-5, 1e-6)


def test_a_local_mask_has_the_same_parameters_and_a_smaller_receptive_field() -> None:
    shapes = []
    for mask in ("encoder_decoder", "local"):
        block = module(depth=3, mask=mask)
        image = nd.random.normal(shape=(1, 64, 32, 32))
        other = image.copy()
        other[:, :, 0, 0] += 10
        changed = (block(image)[1] != block(other)[1]).max(axis=1)[0].asnumpy()
        assert changed[:8, :8].any()
        assert changed[20:, 20:].any() == (mask == "encoder_decoder")
        shapes.append([p.shape for p in block.collect_params().values()])
    assert shapes[0] == shapes[1]
