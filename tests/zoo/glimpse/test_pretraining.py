"""The first stage of training: heads on combinations of patches, at sampled locations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import List

import numpy as np
from builders import images_of, small_patch_classifier
from mxnet import autograd, nd


def test_every_combination_has_a_head(hybridize: bool) -> None:
    net = small_patch_classifier()
    images, labels = images_of(4, 64), nd.array([0, 1, 2, 3], dtype="int32")
    net.trace(images)
    net.hybridize(hybridize)
    assert net.body.combinations == [(0, 1, 2), (0, 1), (0, 2), (1, 2)]
    trace = net.trace(images)
    assert trace.head_logits.shape == (4, 4, 5)
    np.testing.assert_allclose(net(images).asnumpy(), trace.logits.asnumpy(), atol=1e-5)
    np.testing.assert_array_equal(trace.logits.asnumpy(), trace.head_logits[:, 0].asnumpy())
    task = net.objective(SimpleNamespace(label_smoothing=0.1))
    with autograd.record():
        total = task.loss(images, labels)["classify"].sum()
    total.backward()
    assert net.body.encoder.backbone.layers[0].weight.grad().norm().asscalar() > 0
    names = ["accuracy", "predicted", "accuracy_123", "accuracy_12", "accuracy_13", "accuracy_23"]
    scores = task.scores(images, labels)
    assert list(scores) == names
    right = (trace.head_logits.argmax(axis=2).T == labels.astype("float32")).asnumpy()
    np.testing.assert_array_equal([scores[name].asnumpy() for name in names[2:]], right)


def test_a_single_patch_has_one_head() -> None:
    net = small_patch_classifier(patches=1)
    assert net.body.combinations == [(0,)]
    assert net.trace(images_of(3, 64)).head_logits.shape == (3, 1, 5)


def test_the_loss_is_the_mean_of_all_heads_at_locations_within_reach() -> None:
    net = small_patch_classifier(reach=0.5)
    locations: List[np.ndarray] = []
    net.body.register_forward_pre_hook(lambda block, inputs: locations.append(inputs[1].asnumpy()))
    images, labels = images_of(30, 64), nd.arange(30, dtype="int32") % 5
    trace, _ = net.sample(images)
    low, high = locations[0].min(axis=0), locations[0].max(axis=0)
    assert (-0.5 <= low).all() and (low < -0.3).all()
    assert (0.3 < high).all() and (high <= 0.5).all()
    task = net.objective(SimpleNamespace(label_smoothing=0.2))
    net.sample = lambda images: (trace, ())
    log_probabilities = nd.log_softmax(trace.head_logits).asnumpy()
    targets = 0.04 + 0.8 * np.eye(5)[labels.asnumpy()][:, None]
    expected = -(log_probabilities * targets).sum(axis=2).mean(axis=1)
    loss = task.loss(images, labels)["classify"].asnumpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_evaluation_is_at_the_centre() -> None:
    net = small_patch_classifier()
    locations: List[np.ndarray] = []
    net.body.register_forward_pre_hook(lambda block, inputs: locations.append(inputs[1].asnumpy()))
    net.trace(images_of(2, 64))
    assert not locations[0].any()


def test_batchnorm_of_the_encoder_is_frozen_unless_it_is_trained_from_scratch() -> None:
    for frozen in (True, False):
        named = small_patch_classifier(frozen_bn=frozen).body.encoder.collect_params(".*gamma")
        assert {p.grad_req for p in named.values()} == {"null" if frozen else "write"}
