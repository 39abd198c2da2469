"""What RAM's task descends: the parts of its loss, what locations earn, and where that leads."""

from __future__ import annotations

from gluon_attention.zoo.ram.network import RamOptions, Trace
from gluon_attention.zoo.ram.task import Reinforce, ReinforceOptions, entropy

import numpy as np
import pytest
from builders import small_ram
from mxnet import autograd, gluon, nd


def test_parts_of_the_loss_are_what_they_are_defined_to_be() -> None:
    net = small_ram(std=0.2)
    task = Reinforce(net, ReinforceOptions("right"), smoothing=0.2)
    steps, labels = np.random.randn(4, 4, 10), np.array([0, 9, 3, 3])
    means, noise = np.random.randn(2, 4, 3, 2)
    baselines, earned = np.random.rand(4, 3), np.array([[1], [0], [1], [0]])
    steps[range(4), -1, labels] += 20 * (2 * earned[:, 0] - 1)
    parts = (steps[:, -1], means, means, baselines, steps, means)
    net.sample = lambda images: (net.Trace(*map(nd.array, parts)), (nd.array(noise),))
    likely = steps - np.log(np.exp(steps).sum(axis=2, keepdims=True))
    missed = -(likely * (0.02 + 0.8 * np.eye(10)[labels][:, None])).sum(axis=2)
    unlikely = ((noise / 0.2) ** 2).sum(axis=2) / 2
    unlikely[:, 0] = 0  # no policy chose the first location
    expected = dict(
        classify=missed[:, -1],
        classify_steps=missed[:, :-1].mean(axis=1),
        baseline=((earned - baselines) ** 2).mean(axis=1),
        reinforce=0.1 * ((earned - baselines) * unlikely).sum(axis=1),
    )
    losses = task.loss(None, nd.array(labels, dtype="int32"))
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        np.testing.assert_allclose(loss.asnumpy(), expected[name], rtol=1e-4, err_msg=name)


def test_entropy_is_that_of_a_normal_distribution() -> None:
    places = np.random.randn(50, 3, 2) @ np.array([[0.3, 0.1], [0.0, 0.5]])
    spreads = [np.cov(step.T, bias=True) for step in places.transpose(1, 0, 2)]
    expected = np.mean([np.linalg.slogdet(2 * np.pi * np.e * s)[1] / 2 for s in spreads])
    assert entropy(nd.array(places)).asscalar() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_single_glimpse_trains_no_policy(hybridize: bool) -> None:
    """Hybridized, too, Gluon does not warn of the locator, which nothing uses."""
    images, labels = nd.random.uniform(shape=(2, 1, 28, 28)), nd.zeros((2,), dtype="int32")
    net = small_ram(glimpses=1)
    net.hybridize(hybridize)
    assert not Reinforce(net).loss(images, labels)["reinforce"].asnumpy().any()
    assert {p.grad_req for p in net.body.locator.collect_params().values()} == {"null"}


class Bandit:
    """A net of one choice: its prediction is right where the second location is right of 0."""

    classes = 2
    options = RamOptions(glimpses=2, std=0.5)

    def __init__(self, count: int) -> None:
        self.count = count
        self.mean = gluon.Parameter("mean", shape=(1, 2, 2), init="zeros")
        self.mean.initialize()

    def sample(self, images: nd.NDArray) -> tuple:
        noise = nd.random.normal(scale=self.options.std, shape=(self.count, 2, 2))
        means = nd.broadcast_axis(self.mean.data(), axis=0, size=self.count)
        locations = (means + noise).detach()
        rewarded = locations[:, 1, 0] > 0
        logits = nd.stack(1 - rewarded, rewarded, axis=1)
        trace = Trace(
            logits,
            locations.clip(-1, 1),
            means,
            nd.full((self.count, 2), 0.5),
            nd.stack(logits, logits, logits, axis=1),
            None,
        )
        return trace, (noise,)


def test_gradient_of_a_choice_between_two_arms() -> None:
    count = 200_000
    bandit = Bandit(count)
    with autograd.record():
        task = Reinforce(bandit, ReinforceOptions("right"))
        loss = 10 * task.loss(None, nd.ones((count,), dtype="int32"))["reinforce"]  # of weight 0.1
    loss.backward()
    # The chance of a reward is P(x > 0): its slope at mean 0 is the density there.
    slope = 1 / (np.sqrt(2 * np.pi) * bandit.options.std)
    gradient = -bandit.mean.grad().asnumpy()[0] / count
    np.testing.assert_allclose(gradient, [[0, 0], [slope, 0]], atol=0.01)


def test_gains_reward_the_glimpse_that_made_them() -> None:
    net = small_ram()
    log_probs = np.log([[0.1, 0.2, 0.2, 0.8], [0.5, 0.001, 0.5, 0.5]])  # of the label, after each
    steps = np.stack([log_probs, np.log1p(-np.exp(log_probs))], axis=2)
    empty = nd.zeros((2, 3))
    trace = net.Trace(None, None, None, empty, nd.array(steps), None)
    actual = Reinforce(net).rewards(trace, nd.zeros((2,), dtype="int32"))
    gains = np.diff(np.maximum(log_probs, -4), axis=1)
    last, middle = gains[:, 2], gains[:, 1] + 0.7 * gains[:, 2]
    expected = np.stack([gains[:, 0] + 0.7 * middle, middle, last], axis=1)
    np.testing.assert_allclose(actual.asnumpy(), expected, rtol=1e-4)
