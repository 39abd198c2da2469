"""RAM: episodes and their noise, the loss that trains each part, and a policy that learns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gluon_attention import UserError, get_model
from gluon_attention.interop.load import load_weights
from gluon_attention.zoo.ram.task import Reinforce, ReinforceOptions

import numpy as np
import pytest
from builders import SMALL_RAM, images_of, small_ram
from mxnet import autograd, gluon, nd


def test_the_locator_has_a_smaller_learning_rate() -> None:
    net = get_model("ram_28")
    slow = {name: p.lr_mult for name, p in net.collect_params().items() if p.lr_mult != 1}
    assert slow == dict.fromkeys(net.body.locator.collect_params(), 0.3)


@pytest.mark.parametrize("core", ["rnn", "lstm"])
@pytest.mark.parametrize("start", ["uniform", "center"])
def test_hybridized_equals_imperative(core: str, start: str) -> None:
    net = small_ram(core=core, start=start, scales=2)
    images = images_of(2, 28, 1)
    (noise,) = net.draw_noise(images)
    plain = [*net.body(images, noise), net(images), *net.trace(images)]
    net.hybridize()
    graph = [*net.body(images, noise), net(images), *net.trace(images)]
    for one, other in zip(plain, graph):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (2, 3, 40, 40), (3, 1, 28, 36)])
def test_any_batch_colour_and_size(shape: tuple, hybridize: bool) -> None:
    net = small_ram("ram_cluttered_60", scales=3, channels=shape[1])
    net.hybridize(active=hybridize)
    images = nd.array(np.random.rand(*shape))
    trace = net.trace(images)
    batch = shape[0]
    assert [part.shape for part in trace] == [
        (batch, 10), (batch, 3, 2), (batch, 3, 2), (batch, 3), (batch, 4, 10),
        (batch, 3, 3, shape[1], 4, 4),
    ]  # fmt: skip
    np.testing.assert_array_equal(trace.logits.asnumpy(), trace.step_logits.asnumpy()[:, -1])
    assert abs(trace.locations.asnumpy()).max() <= 1
    assert not trace.locations[:, 0].asnumpy().any()  # at rest it starts in the middle
    np.testing.assert_allclose(net(images).asnumpy(), trace.logits.asnumpy(), rtol=1e-5)


@pytest.mark.parametrize("move", ["relative", "absolute"])
def test_the_locator_gives_steps_or_locations(move: str) -> None:
    net = small_ram(move=move)
    net.body.locator.mean.weight.set_data(nd.zeros((2, 8)))
    net.body.locator.mean.bias.set_data(nd.array([0.3, -1.2]))
    noise = nd.random.uniform(-0.5, 0.5, shape=(2, 3, 2))
    trace = net.Trace(*net.body(images_of(2, 28, 1), noise))
    output = np.tanh([0.3, -1.2])
    origin = trace.locations.asnumpy()[:, :-1] * (move == "relative")
    np.testing.assert_allclose(trace.means.asnumpy()[:, 1:], origin + output, rtol=1e-5, atol=1e-6)
    assert not trace.means[:, 0].asnumpy().any()


def test_an_episode_is_a_function_of_images_and_noise() -> None:
    net = small_ram()
    images = images_of(2, 28, 1)
    noise = nd.random.uniform(-3, 3, shape=(2, 3, 2))
    first, again = net.Trace(*net.body(images, noise)), net.Trace(*net.body(images, noise))
    np.testing.assert_array_equal(first.logits.asnumpy(), again.logits.asnumpy())
    expected = np.clip((first.means + noise).asnumpy(), -1, 1)
    np.testing.assert_allclose(first.locations.asnumpy(), expected, rtol=1e-6)
    assert (net.body(images, noise + 0.5)[0] != first.logits).sum().asscalar() > 0


def test_predict_averages_probabilities_of_episodes() -> None:
    net = small_ram()
    images = images_of(3, 28, 1)
    noise = [net.draw_noise(images)[0] for _ in range(4)]
    expected = np.mean([nd.softmax(net.body(images, n)[0]).asnumpy() for n in noise], axis=0)
    net.draw_noise = lambda repeated: (nd.concat(*noise, dim=0),)
    actual = net.predict(images, samples=4)
    np.testing.assert_allclose(actual.asnumpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("start", ["uniform", "center"])
def test_noise(start: str) -> None:
    net = small_ram(start=start, std=0.2)
    noise = net.draw_noise(nd.zeros((4000, 1, 1, 1)))[0].asnumpy()
    spread = {"uniform": 3**-0.5, "center": 0}[start]
    np.testing.assert_allclose(noise.std(axis=0)[0], spread, rtol=0.05)
    np.testing.assert_allclose(noise.std(axis=0)[1:], 0.2, rtol=0.05)
    assert abs(noise[:, 0]).max() <= 1


def test_baseline_and_step_head_read_the_state_before_a_glimpse() -> None:
    net = small_ram()
    net.body.baseline.bias.set_data(nd.array([0.25]))
    net.body.step_head.bias.set_data(nd.arange(10))
    trace = net.trace(images_of(3, 28, 1))
    assert (trace.baselines[:, 0].asnumpy() == 0.25).all()
    assert (trace.step_logits[:, 0].asnumpy() == np.arange(10)).all()
    for part in (trace.baselines, trace.step_logits):
        assert (np.ptp(part.asnumpy()[:, 1:], axis=0) > 0).all()


def trained(net: Any, part: str) -> set:
    """Names of the blocks that get a gradient from one part of the loss."""
    task = Reinforce(net)
    images, labels = images_of(8, 28, 1), nd.arange(8, dtype="int32")
    with autograd.record():
        loss = task.loss(images, labels)[part]
    loss.backward()
    grads = {name: p.grad() for name, p in net._collect_params_with_prefix().items()}
    return {name.split(".")[1] for name, g in grads.items() if g.norm() > 0}  # after "body"


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        ("classify", {"glimpse", "core", "head"}),
        ("classify_steps", {"step_head"}),
        ("baseline", {"baseline"}),
        ("reinforce", {"locator", "glimpse", "core"}),
    ],
)
def test_each_loss_trains_its_own_blocks(part: str, blocks: set) -> None:
    assert trained(small_ram(), part) == blocks


def test_random_locations_train_no_policy() -> None:
    net = small_ram(policy="random")
    noise = net.draw_noise(nd.zeros((4000, 1, 1, 1)))[0].asnumpy()
    np.testing.assert_allclose(noise.std(axis=0), 3**-0.5, rtol=0.05)
    assert trained(net, "reinforce") == set()
    net.body.locator.mean.bias.set_data(nd.array([0.3, -0.2]))
    assert not net.trace(images_of(2, 28, 1)).means.asnumpy().any()


def test_losses_and_scores_are_per_sample() -> None:
    task = Reinforce(small_ram(), ReinforceOptions(samples=3))
    images, labels = images_of(5, 28, 1), nd.arange(5, dtype="int32")
    for parts in (task.loss(images, labels), task.scores(images, labels)):
        assert {part.shape for part in parts.values()} == {(5,)}
    assert next(iter(task.scores(images, labels))) == "accuracy"


def test_scores_average_over_the_configured_episodes() -> None:
    net = small_ram()
    config = SimpleNamespace(label_smoothing=0.2, samples=3, reward="right")
    task = net.objective(config)
    assert (task.samples, task.smoothing, task.episode_loss.reward) == (3, 0.2, "right")
    logits = np.eye(10)[[0, 0, 1, 0, 1, 0]] * 9  # of two images, three times
    places, baselines = np.random.randn(6, 3, 2), np.random.rand(6, 3)
    parts = (logits, places, places, baselines, np.zeros((6, 4, 10)), np.zeros((6, 3, 1)))
    net.sample = lambda images: (net.Trace(*map(nd.array, parts)), (None,))
    actual = task.scores(images_of(2, 28, 1), nd.array([1, 0], dtype="int32"))
    actual = {name: part.asnumpy() for name, part in actual.items()}
    assert actual["accuracy"].tolist() == [1, 1] and actual["accuracy_m1"].tolist() == [0, 1]
    assert actual["predicted"].tolist() == [1, 0] and actual["reward"].tolist() == [0, 1]
    away = abs(np.array([[0], [1]]) - baselines[:2]).mean(axis=1)
    np.testing.assert_allclose(actual["baseline_error"], away, rtol=1e-5)


def test_a_policy_learns_to_look_at_the_informative_place() -> None:
    """One bright dot among four places says the class: episodes that look there are rewarded."""
    count = 64
    net = small_ram(patch=4, glimpses=2, start="center", std=0.3, classes=2)
    places, labels = nd.zeros((count, 1, 12, 12)), nd.array(np.arange(count) % 2, dtype="int32")
    places[::2, :, 1:3, 1:3] = 1
    places[1::2, :, 9:11, 9:11] = 1
    net.hybridize()
    net(places)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-2})
    task = Reinforce(net)
    before = task.scores(places, labels)["accuracy_m1"].mean().asscalar()
    for _ in range(150):
        with autograd.record():
            loss = sum(task.loss(places, labels).values())
        loss.backward()
        trainer.step(count)
    after = task.scores(places, labels)["accuracy_m1"].mean().asscalar()
    assert after > max(0.95, before)


def test_more_scales_start_from_weights_of_fewer(tmp_path: Any) -> None:
    narrow, wide = small_ram(scales=2), get_model("ram_28", **SMALL_RAM, scales=3)
    narrow.save_parameters(str(tmp_path / "narrow.params"))
    load_weights(wide, str(tmp_path / "narrow.params"), new_head=True)
    arrays = [net._collect_params_with_prefix() for net in (narrow, wide)]
    for name, parameter in arrays[0].items():
        fewer, more = parameter.data().asnumpy(), arrays[1][name].data().asnumpy()
        np.testing.assert_array_equal(more[..., : fewer.shape[-1]], fewer)
        assert not more[..., fewer.shape[-1] :].any()  # of the new scale
    images = images_of(2, 28, 1)
    logits = narrow(images).asnumpy()
    np.testing.assert_allclose(wide(images).asnumpy(), logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="what.weight"):
        load_weights(small_ram(scales=1), str(tmp_path / "narrow.params"), new_head=True)
    with pytest.raises(UserError, match="what.weight"):  # unless it is to be trained on
        load_weights(small_ram(scales=3), str(tmp_path / "narrow.params"))


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # of the input, until it comes
def test_export_gives_the_same_numbers(tmp_path: Any) -> None:
    net = small_ram("ram_cluttered_60", scales=2)
    net.hybridize()
    images = images_of(2, 28, 1)
    expected = net(images).asnumpy()
    net.export(str(tmp_path / "ram"))
    again = gluon.SymbolBlock.imports(
        str(tmp_path / "ram-symbol.json"), ["data"], str(tmp_path / "ram-0000.params")
    )
    np.testing.assert_allclose(again(images).asnumpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "option", [{"core": "gru"}, {"start": "x"}, {"std": 0}, {"widths": (8, 8)}]
)
def test_invalid_options_are_refused(option: dict) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        get_model("ram_28", **option)
