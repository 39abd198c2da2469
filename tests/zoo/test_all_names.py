"""Every registered name: its size and trace, by shapes alone; a gradient for every parameter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict, Tuple

from gluon_attention import get_model, list_models
from gluon_attention.zoo.attention_net import AttentionNet
from gluon_attention.zoo.registry import entry

import mxnet as mx
import numpy as np
import pytest
from builders import images_of, small_glimpse, small_racnn, small_ram
from mxnet import autograd, nd

# Numbers of weights, BatchNorm's statistics excluded. Where a source states the size of a network,
# it is that; the rest follows from the same rule.
PARAMETERS = {
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
    "ram_28": 244_375,
    "ram_translated_60": 291_479,
    "ram_cluttered_60": 513_559,
    "ram_cluttered_100": 309_911,
    "racnn_vgg19": 61_279_830,
    "racnn_mobilenet_v2": 9_687_894,
    "racnn_mobilenet_v2_activation": 2_481_160,
    "racnn_detail": 1_008_614,
    "glimpse_resnet50": 78_312_057,
    "glimpse_mobilenet_v2": 43_639_993,
    "glimpse_detail": 498_273,
    "glimpse_resnet50_stage1": 27_847_288,
    "glimpse_mobilenet_v2_stage1": 4_972_472,
    "glimpse_detail_stage1": 564_000,
}
Shapes = Dict[str, Any]  # field of a trace: the shape of an array, or a list of shapes


def shapes_of(net: AttentionNet, image: Tuple[int, int, int]) -> Tuple[int, Shapes]:
    """Number of weights, and shapes of the trace of one image; no array is allocated."""
    outputs = net.body(mx.sym.var("data"), *net.zero_noise(mx.sym))
    lists = [part if isinstance(part, list) else [part] for part in outputs]
    graph = mx.sym.Group([symbol for part in lists for symbol in part])
    inputs, results, _ = graph.infer_shape(data=(1, *image))
    weights = dict(zip(graph.list_arguments(), inputs))
    del weights["data"]
    results, shapes = list(results), []
    for part in outputs:
        count = len(part) if isinstance(part, list) else 1
        shapes.append(results[:count] if isinstance(part, list) else results[0])
        del results[:count]
    fields = net.Trace(*shapes)._asdict()
    return sum(int(np.prod(shape)) for shape in weights.values()), fields


def expected_trace(name: str, options: Any, classes: int) -> Shapes:
    """The shapes that the papers' traces have for one image."""
    logits, o = (1, classes), options
    if name.startswith("ram"):
        steps, patch = o.glimpses, o.patch
        return dict(
            logits=logits,
            locations=(1, steps, 2),
            means=(1, steps, 2),
            baselines=(1, steps),
            step_logits=(1, steps + 1, classes),
            windows=(1, steps, o.scales, o.channels, patch, patch),
        )
    if name.endswith("stage1"):
        return dict(logits=logits, head_logits=(1, 1, classes))  # of two patches together
    if name.startswith("glimpse"):
        steps, patch = o.glimpses, o.patch
        return dict(
            logits=logits,
            step_logits=(1, steps, classes),
            locations=(1, steps, 2),
            means=(1, steps, 2),
            baselines=(1, steps),
            attention=(1, steps, o.regions, o.regions),
            glimpse_boxes=(1, steps, o.patches, 3),
            patches=(1, steps, o.patches, 3, patch, patch),
        )
    scales = len(o.crops) + 1
    return dict(
        logits=logits,
        scale_logits=(1, scales, classes),
        boxes=(1, scales - 1, 4 if o.locate == "activation" else 3),
        crops=[(1, 3, side, side) for side in o.crops],
    )


def test_the_table_has_every_name() -> None:
    assert set(PARAMETERS) == set(list_models(aliases=True))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_trace(name: str) -> None:
    network = entry(name)
    net = get_model(name)
    parameters, trace = shapes_of(net, network.shape)
    assert parameters == PARAMETERS[name]
    if "residual" not in name:
        assert trace == expected_trace(name, network.options, network.classes)
        return
    side = network.shape[1] if name.startswith("cifar") else network.shape[1] // 4
    sides = [shape[2] for shape in trace.pop("masks")]  # each stage halves the one before
    assert trace == dict(logits=(1, network.classes))
    assert sides == sorted(sides, reverse=True) and set(sides) >= {side, side // 2, side // 4}


def build(name: str, **options: Any) -> AttentionNet:
    net = get_model(name, classes=5, **options)
    net.initialize(net.initializer)
    return net


STAGE1 = dict(backbone="tiny", patch=16, width=8)


SMALL = {
    "residual attention": (lambda: build("cifar_residual_attention56_slim"), (32, 3)),
    "RAM": (lambda: small_ram(classes=5), (28, 1)),
    "RA-CNN": (small_racnn, (32, 3)),
    "RA-CNN, activation": (lambda: small_racnn(locate="activation"), (32, 3)),
    "stage 1": (lambda: build("glimpse_resnet50_stage1", **STAGE1), (64, 3)),
    "glimpse": (lambda: small_glimpse(1, frozen=False, frozen_bn=False), (64, 3)),
    "glimpse, sampled": (lambda: small_glimpse(1, location="sampled", frozen=False), (64, 3)),
}


@pytest.mark.parametrize("family", SMALL)
def test_a_gradient_reaches_every_parameter(family: str) -> None:
    build_small, (side, channels) = SMALL[family]
    net = build_small()
    images, labels = images_of(8, side, channels), nd.arange(8, dtype="int32") % 5
    task = net.objective(SimpleNamespace(label_smoothing=0.1, mix_up=False, stages=(1, 1, 1)))
    untouched = {n for n, p in net._collect_params_with_prefix().items() if p.grad_req != "null"}
    if family == "glimpse":  # no location is drawn
        untouched -= {"body.controller.baseline.weight", "body.controller.baseline.bias"}
    parameters = net._collect_params_with_prefix()
    for epoch in range(12):
        for update in task.updates(epoch):
            with autograd.record():
                loss = sum(part.sum() for part in update.loss(images, labels).values())
            loss.backward()
            untouched -= {n for n in untouched if parameters[n].grad().norm().asscalar() > 0}
        if not untouched:
            break
    assert not untouched
