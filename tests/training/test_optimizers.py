"""Optimizers of groups, and which stores are refused."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.tasks.task import Group
from gluon_attention.training.config import Config
from gluon_attention.training.optimizers import GroupOptimizer, make_optimizers, named_parameters
from gluon_attention.training.schedule import Schedule
from gluon_attention.training.workers import Workers, connect

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd


def _optimizer(block, optimizer="sgd", share=1.0, devices=None, **settings):
    config = Config(**{**dict(optimizer=optimizer, weight_decay=0.5), **settings})
    schedule = Schedule(replace(config, epochs=1, lr_steps=(1,)), steps=9)
    workers = Workers("device", devices or [mx.cpu()])
    return GroupOptimizer(Group("all", [block], share), config, schedule, workers)


@pytest.mark.parametrize("optimizer, way", [("sgd", 1 + 1.5), ("nag", 1.5 + 1.75)])
@pytest.mark.parametrize("clip", [None, 9.0])
def test_two_steps_have_momentum_and_the_learning_rate_of_their_group(optimizer, way, clip):
    block = gluon.nn.Dense(1, in_units=1, use_bias=False)
    block.initialize(mx.init.Zero())
    settings = dict(momentum=0.5, weight_decay=0.0, clip=clip)
    optimizer = _optimizer(block, optimizer, share=0.25, **settings)
    for step in range(2):
        with autograd.record():
            loss = block(nd.ones((8, 1))).sum()
        loss.backward()
        optimizer.step(step, samples=8)
    assert optimizer.learning_rate(0) == pytest.approx(0.1 * 0.25) and optimizer.count == 2
    assert block.weight.data().asscalar() == pytest.approx(-0.1 * 0.25 * way, rel=1e-5)


def test_weight_decay_spares_norms_and_biases():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=3), gluon.nn.BatchNorm(in_channels=2))
    net.initialize()
    for parameter in net.collect_params().values():
        parameter.set_data(nd.ones(parameter.shape))
    optimizer = _optimizer(net)
    assert len(optimizer.parameters) == 4  # statistics are not trained
    with autograd.record():
        loss = (net(nd.ones((4, 3))) * 0).sum()
    loss.backward()
    optimizer.step(0, samples=4)
    assert net[0].weight.data().asnumpy() == pytest.approx(1 - 0.1 * 0.5)
    for spared in (net[0].bias, net[1].gamma, net[1].beta):
        assert spared.data().asnumpy() == pytest.approx(1)


def test_parameters_of_equal_blocks_have_different_names():
    pair = [gluon.nn.Dense(1), gluon.nn.Dense(1)]
    assert list(named_parameters(pair)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(named_parameters(pair[:1])) == ["weight", "bias"]


@pytest.mark.parametrize("samples", [1, 4])
def test_clipping_scales_the_whole_gradient_of_a_mean(samples):
    block = gluon.nn.Dense(2, in_units=2)
    block.initialize(mx.init.Zero())
    optimizer = _optimizer(block, momentum=0.0, weight_decay=0.0, clip=0.5, lr=1.0)
    with autograd.record():
        loss = (block(nd.array([[3.0, 4.0]])) * nd.array([[1.0, 2.0]])).sum()
    loss.backward()
    gradient = np.array([[3, 4], [6, 8]]), np.array([1, 2])
    norm = math.sqrt(sum((part**2).sum() for part in gradient))
    optimizer.step(0, samples=samples)
    np.testing.assert_allclose(block.weight.data().asnumpy(), -gradient[0] * 0.5 / norm, rtol=1e-5)
    np.testing.assert_allclose(block.bias.data().asnumpy(), -gradient[1] * 0.5 / norm, rtol=1e-5)


def test_clipping_is_of_the_gradient_of_all_devices():
    block, devices = gluon.nn.Dense(1, in_units=2, use_bias=False), [mx.cpu(0), mx.cpu(1)]
    block.initialize(mx.init.Zero(), ctx=devices)
    optimizer = _optimizer(block, devices=devices, momentum=0.0, weight_decay=0.0, clip=0.5, lr=1.0)
    with autograd.record():
        losses = [block(nd.array([row], ctx=ctx)) for row, ctx in zip(([3, 0], [0, 4]), devices)]
    autograd.backward(losses)
    optimizer.reduce()
    optimizer.step(0, samples=1)
    for weight in block.weight.list_data():  # of the gradient (3, 4), whose norm is 5
        np.testing.assert_allclose(weight.asnumpy(), [[-0.3, -0.4]], rtol=1e-5)


def test_a_server_that_updates_has_one_optimizer_and_clips_nothing():
    workers, config = SimpleNamespace(server_updates=True, count=2), Config(clip=5.0)
    schedule, groups = Schedule(config, steps=9), [Group(name, []) for name in "ab"]
    with pytest.raises(UserError, match="--kvstore dist_async has one optimizer .* needs 2;"):
        make_optimizers(groups, config, schedule, workers)
    with pytest.raises(UserError, match="--clip needs summed gradients"):
        make_optimizers(groups[:1], config, schedule, workers)


@pytest.mark.parametrize(
    "kvstore, sentence",
    [("nccl", "needs GPUs"), ("dist_sync", "gluon-attention launch"), ("horovod", "Horovod")],
)
def test_a_store_this_machine_lacks_is_refused(kvstore, sentence):
    with pytest.raises(UserError, match=sentence):
        connect(Config(kvstore=kvstore), [mx.cpu(0)])


def test_skip_nonfinite_is_refused_with_compression():
    config = Config(compression="2bit", kvstore="dist_sync", skip_nonfinite=True)
    with pytest.raises(UserError, match="--skip-nonfinite needs exact sums"):
        connect(config, [mx.cpu(0)])


def test_compression_without_machines_is_refused():
    with pytest.raises(UserError, match="--kvstore dist_sync"):
        connect(Config(compression="2bit"), [mx.cpu(0)])
