"""The losses of the glimpse network: their values, their gradients, and the mode of its parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention.zoo.glimpse.network import Trace
from gluon_attention.zoo.glimpse.task import StepClassification, StepOptions

import numpy as np
import pytest
from builders import images_of, small_glimpse
from mxnet import autograd, nd

CENTER = dict(policy="center", std=0.3)
DRAWN = [(dict(location=where), 0.2) for where in ("sampled", "mirrored")]


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_gradients_pass_through_locations() -> None:
    """The gradient of all logits in the weights that choose locations equals differences.

    Bilinear sampling has kinks, at which the differences to both sides are not the same: a step
    that crosses one is drawn again.
    """
    net, step = small_glimpse(1, glimpses=2, overlap=8), 5e-4
    features, weights = net.encode(images_of(2, 64)) * 5, nd.random.normal(shape=(2, 2, 5))
    scores = net.controller.first_score.weight
    start = scores.data().copy()

    def total() -> nd.NDArray:
        return (net.trace(features).step_logits * weights).sum()

    with autograd.record():
        loss = total()
    loss.backward()
    gradient, value = scores.grad().copy(), loss.asscalar()
    for _ in range(50):
        direction = nd.random.normal(shape=start.shape)
        slopes = []
        for sign in (1, -1):
            scores.set_data(start + sign * step * direction)
            slopes.append(sign * (total().asscalar() - value) / step)
        if abs(slopes[0] - slopes[1]) < 0.02 * abs(slopes[0]):
            break
    expected = np.mean(slopes)
    assert abs(expected) > 1e-3
    np.testing.assert_allclose((gradient * direction).sum().asscalar(), expected, rtol=0.05)


def test_gradients_reach_locations_through_pixels() -> None:
    net = small_glimpse(1)
    with autograd.record():
        total = net.trace(images_of(2, 64)).logits.square().sum()
    total.backward()
    for name in ("first_score", "score", "query", "key"):
        assert getattr(net.controller, name).weight.grad().norm().asscalar() > 0, name


def test_sampled_locations_have_the_gradient_of_their_log_probability() -> None:
    """Also where a location was outside of the image and was clipped."""
    net = SimpleNamespace(classes=2, std=0.5, controller=SimpleNamespace(sampled=True))
    means, noise = nd.array([[[0.2, 0.9], [0.0, 0.0]]]), nd.array([[[0.1, 0.8], [-0.3, 0.0]]])
    means.attach_grad()
    logits = nd.array([[[0.0, 2.0], [1.0, 0.0]]])
    task = StepClassification(net, smoothing=0.2)

    def sample(images: Any) -> Any:
        baselines = nd.array([[0.25, 0.5]])
        trace = Trace(logits[:, -1], logits, (means + noise).clip(-1, 1), means, baselines, 0, 0, 0)
        return trace, noise

    net.sample = sample
    with autograd.record():
        losses = task.loss(None, nd.array([1], dtype="int32"))
    losses["reinforce"].backward()
    advantage = np.array([sigmoid(2.0), sigmoid(-1.0)]) - [0.25, 0.5]
    expected = -0.1 * advantage[None, :, None] * noise.asnumpy() / 0.5**2
    np.testing.assert_allclose(means.grad.asnumpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(losses["baseline"].asnumpy(), [(advantage**2).mean()], rtol=1e-5)
    probability = np.array([sigmoid(2.0), sigmoid(-1.0)])
    cross_entropy = -(0.9 * np.log(probability) + 0.1 * np.log(1 - probability)).mean()
    np.testing.assert_allclose(losses["classify"].asnumpy(), [cross_entropy], rtol=1e-5)
    right, zero = StepClassification(net, StepOptions(reward="right")), nd.array([0], dtype="int32")
    assert right.rewards(sample(0)[0], zero).asnumpy().tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        ("classify", {"core", "head"}),
        ("baseline", {"baseline"}),
        ("reinforce", {"first_score", "key", "query", "score"}),
    ],
)
def test_each_loss_of_sampled_locations_trains_its_own_blocks(part: str, blocks: set) -> None:
    net, labels = small_glimpse(1, location="sampled"), nd.arange(4, dtype="int32")
    features = net.encode(images_of(4, 64))
    with autograd.record():
        loss = StepClassification(net).loss(features, labels)[part]
    loss.backward()
    named = net.controller._collect_params_with_prefix().items()
    assert {name.split(".")[0] for name, p in named if p.grad().norm().asscalar() > 0} == blocks


def test_reinforce_has_no_gradient_in_the_encoder() -> None:
    net, images = small_glimpse(1, location="sampled", frozen=False, glimpses=2), images_of(2, 64)
    with autograd.record():
        loss = StepClassification(net).loss(images, nd.array([0, 1], dtype="int32"))["reinforce"]
    loss.backward()
    weights = [p for p in net.encoder.collect_params().values() if p.grad_req != "null"]
    assert weights and not any(p.grad().norm().asscalar() for p in weights)
    assert net.controller.first_score.weight.grad().norm().asscalar() > 0


def test_a_baseline_depends_on_earlier_glimpses() -> None:
    net = small_glimpse(1, location="sampled")
    net.controller.baseline.bias.set_data(nd.array([0.25]))
    baselines = net.trace(net.encode(images_of(3, 64))).baselines.asnumpy()
    assert (baselines[:, 0] == 0.25).all() and (np.ptp(baselines[:, 1:], axis=0) > 0).all()


@pytest.mark.parametrize(
    ("options", "spread"),
    [*DRAWN, (dict(), 0), (dict(std=0.05), 0.05), (CENTER, 0)],
    ids=str,
)
def test_noise_of_locations(options: dict, spread: float) -> None:
    net = small_glimpse(1, **options)
    net.episode = lambda images, noise: None
    noise = net.sample(nd.zeros((2000, 128, 1)))[1][0].asnumpy()
    assert noise.shape == (2000, 3, 2)
    np.testing.assert_allclose(noise.std(axis=0), spread, rtol=0.1)


def test_predict_averages_probabilities_of_episodes() -> None:
    net, episodes = small_glimpse(1), nd.random.normal(scale=2, shape=(4, 3, 5))
    left = list(episodes)
    net.sample = lambda images: (SimpleNamespace(logits=left.pop()), None)
    expected = nd.softmax(episodes).mean(axis=0).asnumpy()
    np.testing.assert_allclose(net.predict(None, samples=4).asnumpy(), expected, rtol=1e-5)


def test_dropout_is_of_glimpse_features_and_before_the_head() -> None:
    net = small_glimpse(1, dropout=0.5, glimpses=2)
    features = net.encode(images_of(2, 64))

    def differ() -> dict:
        with autograd.train_mode():
            one, other = net.trace(features), net.trace(features)
        kinds = dict(seen=(one.baselines, other.baselines), answers=(one.logits, other.logits))
        return {name: (a != b).sum().asscalar() > 0 for name, (a, b) in kinds.items()}

    assert differ() == dict(seen=True, answers=True)
    one, other = net.trace(features), net.trace(features)
    np.testing.assert_array_equal(one.logits.asnumpy(), other.logits.asnumpy())
    step = net.controller.core.step  # that sees nothing and still has something to answer from
    step.weight.set_data(nd.zeros(step.weight.shape))
    step.bias.set_data(nd.ones(step.bias.shape))
    assert differ() == dict(seen=False, answers=True)


@pytest.mark.parametrize(
    ("options", "moving"),
    [
        (dict(), []),
        (dict(frozen=False), ["weight"]),
        (dict(frozen=False, frozen_bn=False), ["beta", "gamma", "weight"]),
    ],
    ids=str,
)
def test_parameters_that_are_not_frozen_have_gradients(options: dict, moving: list) -> None:
    named = small_glimpse(1, **options).encoder._collect_params_with_prefix().items()
    assert sorted({name.split(".")[-1] for name, p in named if p.grad_req != "null"}) == moving


@pytest.mark.parametrize("kind", [dict(location="sampled"), dict(policy="random")], ids=str)
def test_sampled_locations_have_no_gradient_of_the_logits(kind: dict) -> None:
    net, images = small_glimpse(1, **kind), images_of(4, 64)
    with autograd.record():
        trace, (noise,) = net.sample(images)
        total = trace.step_logits.square().sum()
    total.backward()
    assert net.controller.first_score.weight.grad().norm().asscalar() == 0
    expected = (trace.means + noise).clip(-1, 1).asnumpy()
    np.testing.assert_allclose(trace.locations.asnumpy(), expected, atol=1e-6)
    assert np.ptp(trace.locations.asnumpy()) > 0.1
    probabilities = net.predict(images, samples=2).asnumpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)


def test_center_and_random_policies() -> None:
    net = small_glimpse(1, policy="center")
    assert (net.trace(images_of(1, 64)).locations.asnumpy() == 0).all()
    random = small_glimpse(1, policy="random", reach=0.3)
    locations = random.sample(images_of(8, 64))[0].locations.asnumpy()
    assert 0.1 < abs(locations).max() <= 0.3 and locations.std() > 0.05
    task = random.objective(SimpleNamespace(label_smoothing=0.0, reward="right"))
    scores = task.scores(images_of(4, 64), nd.array([0, 1, 2, 3], dtype="int32"))
    assert list(scores)[:2] == ["accuracy", "predicted"]
    assert list(scores)[2:] == ["accuracy_1", "accuracy_2", "accuracy_3", "cross_entropy"]
    assert all(score.shape == (4,) for score in scores.values())


def test_a_frozen_encoder_stays_in_inference_mode(hybridize: bool) -> None:
    net, images = small_glimpse(1), images_of(4, 64)
    net.hybridize(hybridize)
    before = {n: p.data().asnumpy() for n, p in net.encoder.collect_params().items()}
    with autograd.record():
        training = net.trace(images)
        total = training.logits.sum()
    total.backward()
    nd.waitall()
    trace = net.trace(images)
    np.testing.assert_allclose(training.logits.asnumpy(), trace.logits.asnumpy(), atol=1e-5)
    for name, parameter in net.encoder.collect_params().items():
        assert parameter.grad_req == "null"
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name])


def test_the_centre_alone_can_be_cached() -> None:
    net, images = small_glimpse(1, policy="center", overlap=0), images_of(2, 64)
    features = net.encode(images)
    assert features.shape == (2, 128, 4 + 1 + 1)
    one, other = net.trace(images), net.trace(features)
    np.testing.assert_allclose(one.logits.asnumpy(), other.logits.asnumpy(), atol=1e-4)


def test_features_are_exact_on_the_grid_and_bilinear_between() -> None:
    net, images = small_glimpse(1, patches=1, policy="random", glimpses=1), images_of(1, 64)
    features, (_, grid) = net.encode(images), net.feature_specs()
    steps = np.linspace(-grid["reach"], grid["reach"], grid["shape"][1])

    def seen(noise: Any, at: nd.NDArray) -> np.ndarray:
        return net.episode(at, nd.array([[noise]])).step_logits.asnumpy()

    for noise in ([steps[0], steps[3]], [steps[4], steps[2]]):
        np.testing.assert_allclose(seen(noise, features), seen(noise, images), atol=1e-4)
    field = features[:, :, -(grid["shape"][1] ** 2) :].reshape((1, 128, 5, 5))
    place = [(steps[1] + steps[2]) / 2, steps[2]]
    between = (field[:, :, 2, 1] + field[:, :, 2, 2]) / 2
    copied = nd.broadcast_axis(between.expand_dims(2), axis=2, size=25)
    same = nd.concat(features[:, :, :-25], copied, dim=2)
    np.testing.assert_allclose(seen(place, features), seen(place, same), atol=1e-5)
