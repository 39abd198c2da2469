"""Mixup, targets, losses and scores, against their definitions."""

from __future__ import annotations

from types import SimpleNamespace

from gluon_attention.tasks.task import (
    Classification,
    Mixup,
    cross_entropy,
    smooth_labels,
    top_scores,
)
from gluon_attention.training.config import MixupConfig

import numpy as np
import pytest
from mxnet import gluon, nd


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_mixes_images_and_labels_with_the_same_share(alpha):
    images = nd.arange(6).reshape((6, 1, 1, 1))
    targets = nd.one_hot(nd.arange(6), 6)
    state = np.random.get_state()
    mixed, labels = Mixup(alpha)(images, targets)
    np.random.set_state(state)
    order = np.random.permutation(6)
    share = np.random.beta(alpha, alpha)
    expected = share * np.arange(6) + (1 - share) * order
    np.testing.assert_allclose(mixed.asnumpy().ravel(), expected, rtol=1e-5)
    # The label of an image is the mean of its own class and its partner's, as its value is.
    np.testing.assert_allclose((labels * nd.arange(6)).sum(axis=1).asnumpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=1).asnumpy(), 1, rtol=1e-6)


def test_mixup_keeps_float16():
    mixed, _ = Mixup(1.0)(nd.ones((4, 1, 2, 2), dtype="float16"), nd.ones((4, 3)))
    assert mixed.dtype == np.float16 and (mixed == 1).asnumpy().all()


def test_mixup_ends_before_the_last_epochs():
    config = SimpleNamespace(mix_up=True, alpha=1.0, epochs=200, mix_up_off=0.1)
    mixup = Mixup.from_config(config)
    assert mixup.active(179) and not mixup.active(180)
    config.epochs, config.mix_up_off = 10, 0.9  # 10 * (1 - 0.9) is a little less than one
    assert Mixup.from_config(config).active(0)
    config.mix_up = False
    assert Mixup.from_config(config) is None
    task = Classification(None, 10, mixup=Mixup(1.0, until=2))
    assert [task.updates(e)[0].loss == task.mixed_loss for e in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_smoothed_targets_sum_to_one():
    targets = smooth_labels(nd.array([1, 3]), 4, 0.2).asnumpy()
    np.testing.assert_allclose(targets, [[0.05, 0.85, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]])


class IdentityNet:
    """A network that returns its images as logits."""

    classes = 4

    def __call__(self, images):
        return images


@pytest.mark.parametrize("epoch, mixed", [(0, True), (1, False)])
def test_settings_smooth_the_targets_of_plain_and_of_mixed_images(monkeypatch, epoch, mixed):
    monkeypatch.setattr(np.random, "permutation", lambda count: np.array([1, 0]))
    monkeypatch.setattr(np.random, "beta", lambda a, b: {(0.3, 0.3): 0.25}[a, b])
    config = MixupConfig(label_smoothing=0.2, mix_up=True, alpha=0.3, epochs=2, mix_up_off=0.5)
    (update,) = Classification.from_config(IdentityNet(), config).updates(epoch)
    logits = np.array([[1, 2, 3, 5], [0, 4, 1, 1]], "f4")
    targets = smooth_labels(nd.array([3, 0]), 4, 0.2).asnumpy()
    if mixed:
        logits, targets = (0.25 * a + 0.75 * a[::-1] for a in (logits, targets))
    losses = update.loss(nd.array([[1, 2, 3, 5], [0, 4, 1, 1]]), nd.array([3, 0]))["cross_entropy"]
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(losses.asnumpy(), -(targets * np.log(likely)).sum(axis=1), rtol=1e-5)


def test_cross_entropy_equals_gluons():
    logits, labels = nd.random.normal(shape=(5, 7)), nd.array([0, 6, 3, 3, 1])
    expected = gluon.loss.SoftmaxCELoss()(logits, labels)
    losses = cross_entropy(logits, nd.one_hot(labels, 7))
    np.testing.assert_allclose(losses.asnumpy(), expected.asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(
        top_scores(logits, labels)["cross_entropy"].asnumpy(), expected.asnumpy(), rtol=1e-5
    )


def test_losses_and_scores_of_float16_logits_are_computed_in_float32():
    logits, labels = nd.random.normal(scale=9, shape=(20, 7)).astype("float16"), nd.arange(20) % 7
    half, whole = (
        [cross_entropy(x, nd.one_hot(labels, 7)), top_scores(x, labels)["cross_entropy"]]
        for x in (logits, logits.astype("float32"))
    )
    for one, other in zip(half, whole):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-6)


def test_top_scores_against_numpy():
    logits, labels = np.random.randn(200, 12).astype("float32"), np.random.randint(12, size=200)
    scores = top_scores(nd.array(logits), nd.array(labels))
    rank = (logits > logits[np.arange(200), labels][:, None]).sum(axis=1)
    np.testing.assert_array_equal(scores["accuracy"].asnumpy(), rank == 0)
    np.testing.assert_array_equal(scores["top5"].asnumpy(), rank < 5)
    assert "top5" not in top_scores(nd.ones((2, 5)), nd.array([0, 1]))
