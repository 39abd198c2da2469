"""The rate, mixup, targets and scores, against what they are defined to be."""

from __future__ import annotations

import math
from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.tasks.mixup import Mixing
from gluon_attention.tasks.task import Classification, Group, cross_entropy, smoothed, top_scores
from gluon_attention.training.config import Config, MixupConfig
from gluon_attention.training.optimizers import GroupOptimizer, WeightAverage, named_parameters
from gluon_attention.training.schedule import Schedule
from gluon_attention.training.workers import Workers, connect

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd


def test_cosine_after_a_linear_warm_up():
    rate = Schedule(0.4, epochs=10, steps=100, warmup_epochs=2)
    assert [rate(i) for i in (0, 99, 199)] == pytest.approx([0.002, 0.2, 0.4])
    assert rate(600) == pytest.approx(0.2) and 0 < rate(999) < 1e-5
    assert all(rate(i) >= rate(i + 1) for i in range(200, 999))
    assert rate(1000) == rate(1500) == 0  # a server may count on while its workers end
    assert Schedule(0.4, epochs=2, steps=5, warmup_epochs=2)(10) == 0.4


def test_milestones_are_epochs():
    rate = Schedule(1.0, epochs=10, steps=5, milestones=(4, 8), factor=0.1)
    assert [rate(i) for i in (0, 19, 20, 39, 40, 49)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_warm_up_of_less_than_a_step_has_no_effect():
    assert Schedule(1.0, epochs=1, steps=10, warmup_epochs=0.05)(0) == 1.0
    part = Schedule(1.0, epochs=1, steps=10, warmup_epochs=0.11)  # one step and a tenth of one
    assert [part(0), part(1)] == [pytest.approx(1 / 1.1), 1.0]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("each", [False, True])
def test_mixup_mixes_images_and_labels_with_the_same_shares(each, alpha):
    images = nd.arange(6).reshape((6, 1, 1, 1))
    targets = nd.one_hot(nd.arange(6), 6)
    state = np.random.get_state()
    mixed, labels = Mixing(alpha, each)(images, targets)
    np.random.set_state(state)
    order = np.random.permutation(6)
    share = np.broadcast_to(np.random.beta(alpha, alpha, size=6 if each else 1), 6)
    expected = share * np.arange(6) + (1 - share) * order
    np.testing.assert_allclose(mixed.asnumpy().ravel(), expected, rtol=1e-5)
    # The label of an image is the mean of its own class and its partner's, as its value is.
    np.testing.assert_allclose((labels * nd.arange(6)).sum(axis=1).asnumpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=1).asnumpy(), 1, rtol=1e-6)


def test_mixup_keeps_float16():
    mixed, _ = Mixing(1.0)(nd.ones((4, 1, 2, 2), dtype="float16"), nd.ones((4, 3)))
    assert mixed.dtype == np.float16 and (mixed == 1).asnumpy().all()


def test_mixup_ends_before_the_last_epochs():
    config = SimpleNamespace(mix_up=True, alpha=1.0, mix_up_each=False, epochs=200, mix_up_off=0.1)
    mixing = Mixing.from_config(config)
    assert mixing.active(179) and not mixing.active(180)
    config.epochs, config.mix_up_off = 10, 0.9  # 10 * (1 - 0.9) is a little less than one
    assert Mixing.from_config(config).active(0)
    config.mix_up = False
    assert Mixing.from_config(config) is None
    task = Classification(None, 10, mixing=Mixing(1.0, until=2))
    assert [task.updates(e)[0].loss == task.mixed_loss for e in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_smoothed_targets_sum_to_one():
    targets = smoothed(nd.array([1, 3]), 4, 0.2).asnumpy()
    np.testing.assert_allclose(targets, [[0.05, 0.85, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]])


class Given:
    """A network whose images are logits already."""

    classes = 4

    def __call__(self, images):
        return images


@pytest.mark.parametrize("epoch, mixed", [(0, True), (1, False)])
def test_settings_smooth_the_targets_of_plain_and_of_mixed_images(monkeypatch, epoch, mixed):
    monkeypatch.setattr(np.random, "permutation", lambda count: np.array([1, 0]))
    shares = {(0.3, 0.3, 1): np.array([0.25])}
    monkeypatch.setattr(np.random, "beta", lambda a, b, size: shares[a, b, size])
    config = MixupConfig(label_smoothing=0.2, mix_up=True, alpha=0.3, epochs=2, mix_up_off=0.5)
    (update,) = Classification.from_config(Given(), config).updates(epoch)
    logits = np.array([[1, 2, 3, 5], [0, 4, 1, 1]], "f4")
    targets = smoothed(nd.array([3, 0]), 4, 0.2).asnumpy()
    if mixed:
        logits, targets = (0.25 * a + 0.75 * a[::-1] for a in (logits, targets))
    found = update.loss(nd.array([[1, 2, 3, 5], [0, 4, 1, 1]]), nd.array([3, 0]))["cross_entropy"]
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.asnumpy(), -(targets * np.log(likely)).sum(axis=1), rtol=1e-5)


def test_cross_entropy_equals_gluons():
    logits, labels = nd.random.normal(shape=(5, 7)), nd.array([0, 6, 3, 3, 1])
    expected = gluon.loss.SoftmaxCELoss()(logits, labels)
    found = cross_entropy(logits, nd.one_hot(labels, 7))
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5)
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
    found = top_scores(nd.array(logits), nd.array(labels))
    rank = (logits > logits[np.arange(200), labels][:, None]).sum(axis=1)
    np.testing.assert_array_equal(found["accuracy"].asnumpy(), rank == 0)
    np.testing.assert_array_equal(found["top5"].asnumpy(), rank < 5)
    assert "top5" not in top_scores(nd.ones((2, 5)), nd.array([0, 1]))


def _optimizer(block, optimizer="sgd", share=1.0, **settings):
    config = Config(**{**dict(optimizer=optimizer, weight_decay=0.5), **settings})
    schedule = Schedule(config.lr, epochs=1, steps=9, milestones=(1,))
    workers = Workers("device", [mx.cpu()])
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
    assert optimizer.learning_rate(0) == pytest.approx(0.1 * 0.25)
    assert block.weight.data().asscalar() == pytest.approx(-0.1 * 0.25 * way, rel=1e-5)


def test_weight_decay_spares_norms_and_biases():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=3), gluon.nn.BatchNorm(in_channels=2))
    net.initialize()
    for parameter in net.collect_params().values():
        parameter.set_data(nd.ones(parameter.shape))
    optimizer = _optimizer(net)
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


def test_the_average_follows_its_formula_and_restores_the_weights():
    block = gluon.nn.Dense(1, in_units=1, use_bias=False)
    block.initialize(mx.init.Zero())
    average, expected = WeightAverage(block, 0.5), 0.0
    for step in range(30):
        block.weight.set_data(nd.array([[step]]))
        average.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    with average.applied():
        assert block.weight.data().asscalar() == pytest.approx(expected, rel=1e-5)
    assert block.weight.data().asscalar() == 29


@pytest.mark.parametrize(
    "kvstore, sentence",
    [("nccl", "needs GPUs"), ("dist_sync", "gluon-attention launch"), ("horovod", "Horovod")],
)
def test_a_store_this_machine_lacks_is_refused(kvstore, sentence):
    with pytest.raises(UserError, match=sentence):
        connect(Config(kvstore=kvstore), [mx.cpu(0)])


def test_skip_nonfinite_is_refused_with_compression():
    config = Config(compression="2bit", kvstore="dist_sync", skip_nonfinite=True)
    with pytest.raises(UserError, match="--skip-nonfinite asks all workers"):
        connect(config, [mx.cpu(0)])


def test_compression_without_machines_is_refused():
    with pytest.raises(UserError, match="--kvstore dist_sync"):
        connect(Config(compression="2bit"), [mx.cpu(0)])
