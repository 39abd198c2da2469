"""The ranking loss of RA-CNN: its value, its gradient, and where it moves the boxes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention.ops.attention_crop import bounded_box
from gluon_attention.zoo.racnn.network import Scales
from gluon_attention.zoo.racnn.task import RankedScales, RankingOptions

import numpy as np
import pytest
from builders import images_of, small_racnn
from mxnet import autograd, gluon, nd


def test_rank_is_the_loss_of_the_paper() -> None:
    """On softmax probabilities of the true class, of each sample by itself."""
    net, images, labels = small_racnn(), images_of(3, 32), nd.array([4, 0, 1], dtype="int32")
    confidence = nd.softmax(net.trace(images).scale_logits).asnumpy()[range(3), :, [4, 0, 1]]
    with autograd.record():
        losses = RankedScales(net).rank(images, labels)
    for scale in (0, 1):
        expected = np.maximum(0, confidence[:, scale] - confidence[:, scale + 1] + 0.05)
        np.testing.assert_allclose(losses[f"rank{scale + 2}"].asnumpy(), expected, atol=1e-5)


def test_a_satisfied_rank_has_no_gradient() -> None:
    net = small_racnn()
    task = RankedScales(net, RankingOptions(margin=-1.0))
    with autograd.record():
        total = sum(loss.sum() for loss in task.rank(images_of(2, 32), nd.zeros((2,))).values())
    total.backward()
    for parameter in net.body.apns.collect_params().values():
        assert not parameter.grad().asnumpy().any()


class Spot:
    """The body of a network more confident of class 1 the more bright pixels a view has."""

    scales, crops, shared, pixels = 2, (24,), True, False
    views = Scales.views

    def __init__(self, count: int) -> None:
        self.free = gluon.Parameter("free", shape=(count, 3), init="zeros")
        self.free.initialize()
        self.backbones = [gluon.nn.HybridLambda("identity")]
        self.apns = [self.box]

    def first_view(self, F: Any, images: nd.NDArray) -> nd.NDArray:
        return images

    def features(self, pixels: nd.NDArray, scale: int) -> nd.NDArray:
        return pixels

    def head(self, scale: int) -> Any:
        return self.classify

    def classify(self, features: nd.NDArray) -> Any:
        logits = 6 * features.square().mean(axis=(1, 2, 3))
        return None, nd.stack(logits * 0, logits, axis=1)

    def box(self, *_: Any) -> nd.NDArray:
        return bounded_box(nd, self.free.data(), 0.2, 0.9)


def test_the_gradient_of_a_rank_equals_differences() -> None:
    down, across = np.linspace(-1, 1, 12)[:, None], np.linspace(-1, 1, 15)
    a, b, c = np.random.randn(3, 2, 3, 1, 1) / 3
    images, body = nd.array(a * down + b * across + c * down * across), Spot(2)
    body.free.set_data(nd.random.normal(scale=0.5, shape=(2, 3)))
    start, step = body.free.data().copy(), 1e-2
    task = RankedScales(SimpleNamespace(body=body, classes=2), RankingOptions(margin=1.0))

    def rank() -> nd.NDArray:
        with autograd.record():
            return task.rank(images, nd.ones((2,)))["rank2"]

    rank().backward()
    gradient, slopes = body.free.grad().asnumpy(), np.zeros((2, 3))
    for index in np.ndindex(2, 3):
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            body.free.set_data(moved)
            slopes[index] += sign * rank().sum().asscalar() / (2 * step)
    np.testing.assert_allclose(gradient, slopes, rtol=0.05, atol=1e-3)
    assert abs(slopes).max() > 0.01


def test_a_finer_scale_has_a_gradient_in_the_coarser_box() -> None:
    net = small_racnn()
    with autograd.record():
        loss = RankedScales(net, RankingOptions(margin=1.0)).rank(images_of(2, 32), nd.zeros((2,)))[
            "rank3"
        ]
    loss.backward()
    for apn in net.body.apns:
        assert apn.box.weight.grad().norm().asscalar() > 0


@pytest.mark.parametrize("gradient", ["sampler", "mask", "both"])
def test_ranking_moves_boxes_onto_the_bright_spot(gradient: str) -> None:
    """And they stay there, instead of growing back to the whole image."""
    places = [(14, 14), (14, 32), (32, 14), (32, 32)]
    images = np.zeros((4, 3, 48, 48))
    for image, (row, column) in zip(images, places):
        image[:, row - 4 : row + 5, column - 4 : column + 5] = 1
    body, images = Spot(4), nd.array(images)
    options = RankingOptions(gradient=gradient, margin=1.0)
    task = RankedScales(SimpleNamespace(body=body, classes=2), options)
    trainer = gluon.Trainer([body.free], "adam", {"learning_rate": 0.1})
    for _ in range(120):
        with autograd.record():
            loss = task.rank(images, nd.ones((4,)))["rank2"]
        loss.backward()
        trainer.step(4)
    boxes = body.box().asnumpy()
    spots = (np.array(places)[:, ::-1]) / 47 * 2 - 1
    assert abs(boxes[:, :2] - spots).max() < 0.15
    assert boxes[:, 2].max() < 0.4
