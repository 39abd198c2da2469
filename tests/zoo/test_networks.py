"""The contract of AttentionNet, by one small network of each family."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from gluon_attention import UserError, get_model

import mxnet as mx
import numpy as np
import pytest
from builders import SMALL
from mxnet import nd


@pytest.fixture(params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def build(name: str, ctx: mx.Context = mx.cpu()) -> Any:  # noqa: B008
    net = get_model(name, **SMALL[name][0])
    net.initialize(net.initializer, ctx=ctx)
    return net


def images_for(name: str, count: int = 2) -> nd.NDArray:
    return nd.random.uniform(-1, 1, shape=(count, *SMALL[name][1]))


def test_a_fresh_network_can_be_hybridized_at_once(name: str) -> None:
    net, images = build(name), images_for(name)
    net.hybridize()
    logits = net(images).asnumpy()
    np.testing.assert_allclose(net.trace(images).logits.asnumpy(), logits, rtol=1e-4, atol=1e-5)


def test_trace_on_another_device(name: str, hybridize: bool) -> None:
    net, images = build(name, ctx=mx.cpu(1)), images_for(name).as_in_context(mx.cpu(1))
    net.hybridize(hybridize)
    trace = net.trace(images)
    assert trace.logits.context == mx.cpu(1)
    expected = net(images).asnumpy()
    np.testing.assert_allclose(trace.logits.asnumpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["copied", "pickled"])
def test_a_copy_shares_no_parameters(name: str, way: str) -> None:
    net, images = build(name), images_for(name)
    views = [images, net.encode(images)] if hasattr(net, "encode") else [images]
    before = [net.trace(view).logits.asnumpy() for view in views]
    twin = copy.deepcopy(net) if way == "copied" else pickle.loads(pickle.dumps(net))
    for view, logits in zip(views, before):
        np.testing.assert_allclose(twin.trace(view).logits.asnumpy(), logits, rtol=1e-5, atol=1e-6)
    for parameter in twin.collect_params().values():
        parameter.set_data(nd.full(parameter.shape, 0.01))
    for view, logits in zip(views, before):
        np.testing.assert_allclose(net.trace(view).logits.asnumpy(), logits, rtol=1e-5, atol=1e-6)
        assert (
            np.ptp(twin.trace(view).logits.asnumpy(), axis=1).max() < 1e-5
        )  # all weights are alike


def test_predict_of_a_network_that_draws_nothing() -> None:
    net, images = build("racnn_mobilenet_v2"), images_for("racnn_mobilenet_v2")
    probabilities = net.predict(images).asnumpy()
    np.testing.assert_allclose(probabilities, nd.softmax(net(images)).asnumpy(), rtol=1e-5)
    trace, noise = net.sample(images)
    np.testing.assert_array_equal(trace.logits.asnumpy(), net.trace(images).logits.asnumpy())
    assert noise == ()
    with pytest.raises(UserError, match="samples"):
        net.predict(images, samples=2)


@pytest.mark.parametrize("predicts", ["ram_28", "glimpse_mobilenet_v2"])
def test_predict_averages_drawn_episodes(predicts: str) -> None:
    net, images = build(predicts), images_for(predicts)
    np.testing.assert_allclose(net.predict(images, samples=2).asnumpy().sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(UserError, match="samples must be a whole number above 0, not 0"):
        net.predict(images, samples=0)


@pytest.mark.parametrize(
    "name, fuse",
    [("cifar_residual_attention56_slim", "hybridize"), ("glimpse_mobilenet_v2", "optimize_for")],
)
def test_a_fused_network_refuses_training(name: str, fuse: str) -> None:
    net, images = build(name), images_for(name)
    before = net(images).asnumpy()
    getattr(net, fuse)(*([images] if fuse == "optimize_for" else []), backend="MKLDNN")
    np.testing.assert_allclose(net(images).asnumpy(), before, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="a fused network cannot be trained"):
        with mx.autograd.record():
            net(images)


def test_two_networks_fit_into_one_block(name: str) -> None:
    both = mx.gluon.nn.HybridSequential()
    both.add(build(name), build(name))
    assert len(both.collect_params().keys()) == 2 * len(both[0].collect_params().keys())


def test_unsupported_dtypes_and_inputs_are_refused(name: str) -> None:
    net = build(name)
    for dtype in ("float64", np.float64, "bfloat16", "int8"):
        with pytest.raises(UserError, match="can be cast to float32( or float16)?, not "):
            net.cast(dtype)
    if "float16" not in net.dtypes:
        with pytest.raises(UserError, match="can be cast to float32, not float16"):
            net.cast("float16")
    net.cast("float32")
    with pytest.raises(UserError, match="images must be an NDArray .*, not ndarray"):
        net.trace(images_for(name).asnumpy())
