"""A backbone that returns two feature maps, by the library."""

from __future__ import annotations

from gluon_attention.native import Twin
from gluon_attention.zoo.backbones import backbone

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd


@pytest.mark.parametrize("name", ["mobilenetv2_1.0", "resnet18_v1", "vgg11_bn", "tiny"])
def test_two_maps_and_gradients_through_the_last(name: str) -> None:
    net, images, results = backbone(name, earlier=True), nd.random.normal(shape=(2, 3, 64, 64)), []
    net.initialize(mx.init.Xavier())
    net(images)
    weights = net.collect_params(".*weight").values()
    for forward in (net, Twin(net)):
        with autograd.record():
            features, earlier = forward(images)
            loss = (features * features).sum() + earlier.detach().sum()
        loss.backward()
        gradients = [weight.grad().asnumpy().ravel() for weight in weights]
        results.append(([features.asnumpy(), earlier.asnumpy()], gradients))
    (maps, gradients), (native_maps, native_gradients) = results
    assert maps[1].shape[2] == 2 * maps[0].shape[2]
    for actual, expected in zip(native_maps, maps):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())
    for one, other in zip(gradients, native_gradients):
        assert one @ other > 0.99 * np.linalg.norm(one) * np.linalg.norm(other)
