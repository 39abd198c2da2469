"""Residual attention: sizes of the papers, numbers of GluonCV, every option, any image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable

from gluon_attention import UserError, get_model, list_models, load_weights
from gluon_attention.zoo.residual_attention.module import (
    UNITS,
    AttentionModule,
    Depths,
    ResidualAttentionOptions,
    Stage,
)
from gluon_attention.zoo.residual_attention.network import (
    DEEP,
    IMAGENET,
    LARGE,
    Architecture,
    ResidualAttention,
)

import gluoncv
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

# Trainable parameters. Where a source states them, they are its numbers; the rest follows from
# the same rule.
COUNTS = {
    "residual_attention56": 31_810_728,
    "residual_attention92": 52_466_344,
    "residual_attention128": 57_467_048,
    "residual_attention164": 70_295_208,
    "residual_attention200": 83_123_368,
    "residual_attention236": 95_951_528,
    "residual_attention452": 176_499_368,
    "residual_attention56_448": 32_155_304,
    "residual_attention92_448": 52_810_920,
    "cifar_residual_attention56": 7_202_794,
    "cifar_residual_attention92": 12_170_730,
    "cifar_residual_attention128": 13_112_042,
    "cifar_residual_attention164": 16_066_666,
    "cifar_residual_attention236": 21_975_914,
    "cifar_residual_attention452": 40_079_210,
    "cifar_residual_attention56_deep": 7_467_370,
    "cifar_residual_attention92_deep": 12_646_506,
    "cifar_residual_attention128_deep": 13_905_770,
    "cifar_residual_attention164_deep": 17_124_970,
    "cifar_residual_attention236_deep": 23_563_370,
    "cifar_residual_attention452_deep": 43_783_274,
    "cifar_residual_attention56_slim": 1_030_394,
    "cifar_residual_attention92_slim": 1_841_274,
    "cifar_residual_attention128_slim": 2_652_154,
    "cifar_residual_attention164_slim": 3_463_034,
    "cifar_residual_attention236_slim": 5_084_794,
    "cifar_residual_attention452_slim": 10_181_242,
    "residualattentionnet56": 31_810_728,
    "residualattentionnet92": 52_466_344,
    "residualattentionnet128": 65_294_504,
    "residualattentionnet164": 78_122_664,
    "residualattentionnet200": 90_950_824,
    "residualattentionnet236": 103_778_984,
    "residualattentionnet452": 182_285_224,
    "cifar_residualattentionnet56": 7_202_794,
    "cifar_residualattentionnet92": 12_170_730,
    "cifar_residualattentionnet452": 41_647_722,
}
MANY = ("200", "236", "452")  # layers that take a second to build
GLUONCV = [name for name in COUNTS if "attentionnet" in name]
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


def count(net: gluon.HybridBlock, running: bool = False) -> int:
    parameters = net.collect_params().values()
    return sum(int(np.prod(p.shape)) for p in parameters if running or p.grad_req != "null")


def weighted_layers(net: ResidualAttention) -> int:
    """Convolutions and dense layers on the longest path that passes no mask and no shortcut."""
    names = [name for name in net._collect_params_with_prefix() if name.endswith(".weight")]
    return sum(not any(p in name for p in (".mask.", ".gate.", ".downsample.")) for name in names)


def test_every_name_is_counted() -> None:
    assert set(COUNTS) == set(list_models("*residual*attention*", aliases=True))


@pytest.mark.parametrize(
    "name",
    slow_but(
        COUNTS, "residual_attention200", *(n for n in COUNTS if not any(m in n for m in MANY))
    ),
)
def test_parameters_and_depth(name: str) -> None:
    net = shaped(get_model(name))
    assert count(net) == COUNTS[name]
    if name.endswith("_448"):
        return  # named after the net that it adds a stage to
    depth = int("".join(filter(str.isdigit, name.split("_slim")[0])))
    one_unit_after = "attentionnet452" in name
    assert weighted_layers(net) == (398 if one_unit_after else depth)


def test_published_sizes() -> None:
    assert count(shaped(get_model("residual_attention56")), running=True) == 31_883_432  # "31.9 M"
    assert count(shaped(get_model("residual_attention56", unit="next"))) == 31_318_824
    assert count(shaped(get_model("residual_attention92_448", classes=10))) == 50_782_410


@pytest.mark.parametrize("layout, side", [(IMAGENET, 7), (LARGE, 7), (DEEP, 4)])
def test_sides_of_the_last_features(layout: Architecture, side: int) -> None:
    stem = 1 if layout.shape[1] < 64 else 4
    assert layout.shape[1] // stem // np.prod([s.stride for s in layout.stages]) == side


def randomised(net: gluon.HybridBlock) -> gluon.HybridBlock:
    """Moving averages and affine parts of normalisation that matter, logits of ordinary size."""
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
def test_numbers_of_gluoncv(name: str, tmp_path: Path) -> None:
    side = 32 if name.startswith("cifar") else 224
    theirs = gluoncv.model_zoo.get_model(name)
    theirs.initialize(mx.init.Xavier())
    image = nd.random.normal(shape=(1, 3, side, side))
    theirs(image)
    randomised(theirs).save_parameters(str(tmp_path / "theirs.params"))
    ours = get_model(name)
    load_weights(ours, str(tmp_path / "theirs.params"))
    want, got = theirs(image), ours(image)
    assert (abs(got - want).max() / abs(want).max()).asscalar() < 1e-4
    # The additions that set it apart are not idle: without them the same weights say otherwise.
    if name == "cifar_residualattentionnet56":
        faithful = get_model("cifar_residual_attention56")
        ours.save_parameters(str(tmp_path / "ours.params"))
        load_weights(faithful, str(tmp_path / "ours.params"))
        assert (abs(faithful(image) - want).max() / abs(want).max()).asscalar() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_hybridized_net_takes_any_size(variant: str) -> None:
    net = tiny(**VARIANTS[variant])
    net(nd.zeros((1, 3, 32, 32)))
    randomised(net)
    sizes = [(33, 47), (5, 1), (32, 32)]  # each is a graph of its own, which takes its time
    if variant in ("default", "local"):
        sizes += [(40, 24), (64, 64), (9, 8)]
    sizes.append(sizes[0])
    images = [nd.random.normal(shape=(2, 3, *size)) for size in sizes]
    wanted = [net.trace(image) for image in images]
    net.hybridize(static_alloc=True, static_shape=True)
    for image, want in zip(images, wanted):
        got = net.trace(image)
        np.testing.assert_allclose(got.logits.asnumpy(), want.logits.asnumpy(), 1e-4, 1e-5)
        np.testing.assert_allclose(net(image).asnumpy(), want.logits.asnumpy(), 1e-4, 1e-5)
        height, width = image.shape[2:]
        for level, (mask, other) in enumerate(zip(got.masks, want.masks)):
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


def test_a_registered_net_runs_and_learns_everywhere() -> None:
    net = get_model("cifar_residual_attention92_slim", classes=7)
    net.initialize(mx.init.MSRAPrelu())
    net.hybridize(static_alloc=True, static_shape=True)
    with autograd.record():
        loss = (net(nd.random.normal(shape=(2, 3, 32, 32))) ** 2).sum()
    loss.backward()
    gradients = [p.grad() for p in net.collect_params().values() if p.grad_req != "null"]
    assert all(abs(g).sum().asscalar() > 0 for g in gradients)
    trace = net.trace(nd.random.normal(shape=(3, 3, 40, 24)))
    assert trace.logits.shape == (3, 7)
    sizes = [(64, 40, 24)] * 2 + [(128, 20, 12)] * 2 + [(256, 10, 6)] * 2
    assert [mask.shape for mask in trace.masks] == [(3, *size) for size in sizes]


@pytest.mark.filterwarnings("ignore:Cannot decide type for the following:UserWarning")  # of imports
@pytest.mark.parametrize("variant", VARIANTS)
def test_export_keeps_the_numbers_and_any_size(variant: str, tmp_path: Path) -> None:
    net = tiny(**VARIANTS[variant])
    net.hybridize()
    net(nd.zeros((1, 3, 32, 32)))
    net.export(str(tmp_path / "net"))
    parts = str(tmp_path / "net-symbol.json"), "data", str(tmp_path / "net-0000.params")
    loaded = gluon.SymbolBlock.imports(*parts)
    for size in ((32, 32), (21, 30)):
        image = nd.random.normal(shape=(2, 3, *size))
        np.testing.assert_allclose(loaded(image).asnumpy(), net(image).asnumpy(), 1e-5, 1e-6)


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
        want = (factor + mask) * trunk
        np.testing.assert_allclose(features.asnumpy(), want.asnumpy(), 1e-5, 1e-5)


def test_mask_activations() -> None:
    x = np.random.normal(size=(2, 6, 5, 4)).astype(np.float32)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    mean, std = x.mean(axis=(2, 3), keepdims=True), x.std(axis=(2, 3), keepdims=True)
    wanted = {
        "mixed": sigmoid(x),
        "channel": x / np.sqrt((x**2).sum(axis=1, keepdims=True)),
        "spatial": sigmoid((x - mean) / std),
    }
    for name, want in wanted.items():
        got = module(mask_activation=name)._activate(nd, nd.array(x)).asnumpy()
        np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def test_a_unit_of_attention_next_ends_with_its_relu() -> None:
    x = nd.random.normal(shape=(2, 64, 6, 5))
    for project in (False, True):
        unit = UNITS["next"](64, 1, project)
        unit.initialize(mx.init.Normal(0.3))
        want = np.maximum((unit.branch(x) + unit.shortcut(x)).asnumpy(), 0)
        np.testing.assert_allclose(unit(x).asnumpy(), want, 1e-5, 1e-6)


def test_a_local_mask_has_the_same_parameters_and_sees_less() -> None:
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


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="mask_activation must be one of mixed, chan"):
        get_model("residual_attention56", mask_activation="softmax")
    with pytest.raises(UserError, match="unit must be one of preact, next, not 'inception'"):
        get_model("cifar_residual_attention56", unit="inception")
