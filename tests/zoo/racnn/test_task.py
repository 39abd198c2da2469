"""The task of RA-CNN: which parameters each loss trains, and the schedule."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, Set

from gluon_attention import UserError
from gluon_attention.zoo.racnn.task import RankedScales, RankingOptions, SummedScales, strongest

import numpy as np
import pytest
from builders import images_of, small_racnn
from mxnet import autograd, gluon, nd


def task_of(net: Any, **options: Any) -> RankedScales:
    return RankedScales(net, RankingOptions(**options))


def trained_blocks(net: Any, task: RankedScales, part: Any) -> Set[str]:
    """Blocks whose gradients a loss writes, zero or not."""
    for parameter in net.collect_params().values():
        if parameter.grad_req != "null":
            parameter.grad()[:] = 7
    before = {name: value.asnumpy() for name, value in _statistics(net).items()}
    with autograd.record():
        losses = part(task, images_of(4, 32), nd.arange(4, dtype="int32"))
        total = sum(loss.sum() for loss in losses.values())
    total.backward()
    nd.waitall()
    trained = set()
    for name, parameter in net._collect_params_with_prefix().items():
        if parameter.grad_req != "null" and (parameter.grad() != 7).sum().asscalar():
            trained.add(".".join(name.split(".")[1:3]) if "fused" not in name else "fused")
    if not trained & ALL:  # then the statistics of BatchNorm do not change either
        for name, value in _statistics(net).items():
            np.testing.assert_array_equal(value.asnumpy(), before[name])
    return trained


def _statistics(net: Any) -> Any:
    named = net._collect_params_with_prefix()
    return {name: p.data() for name, p in named.items() if "running" in name}


ALL = {f"{part}.{scale}" for part in ("backbones", "heads") for scale in range(3)} | {"fused"}
NESTED = {"backbones.0", "heads.0"}


@pytest.mark.parametrize(
    ("part", "epoch", "blocks"),
    [
        (partial(RankedScales.grow, scale=0), 0, NESTED),
        (partial(RankedScales.grow, scale=1), 2, {"backbones.1", "heads.1"}),
        (partial(RankedScales.locate, scale=0), 1, {"apns.0"}),
        (partial(RankedScales.rank, last=1), 3, {"apns.0"}),
        (partial(RankedScales.locate, scale=1), 4, {"apns.1"}),
        (partial(RankedScales.grow, scale=2), 5, {"backbones.2", "heads.2"}),
        (RankedScales.classify, 7, ALL),
        (RankedScales.rank, 8, {"apns.0", "apns.1"}),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_each_loss_trains_its_own_blocks(part: Any, epoch: int, blocks: set, shared: bool) -> None:
    net = small_racnn(smallest=(0.3,), shared=shared)
    net.hybridize(shared, static_alloc=True, static_shape=True)  # and imperative when it is not
    task = task_of(net, margin=1.0, stages=(1, 1, 1))
    if shared:
        blocks = blocks - {"backbones.1", "backbones.2"}
        blocks = blocks | NESTED if blocks & {"heads.1", "heads.2"} else blocks
        blocks = blocks | {"heads.1", "fused"} if "heads.2" in blocks else blocks
    assert trained_blocks(net, task, part) == blocks
    (update,) = task.updates(epoch)
    groups = {group.name: group.blocks for group in task.groups()}
    moved = [block for name in update.groups for block in groups[name]]
    owned = [id(p) for block in moved for p in block.collect_params().values()]
    assert len(owned) == len(set(owned))
    for name, parameter in net._collect_params_with_prefix().items():
        mine = any(name.startswith(f"body.{block}") for block in blocks)
        assert (id(parameter) in owned) == mine, name


def test_stages_are_a_function_of_the_epoch() -> None:
    def groups(stages: Any, count: Any, net: Any) -> list:
        task = task_of(net, stages=stages)
        return ["".join(name[0] + name[-1] for name in task.updates(e)[0].groups) for e in count]

    net, classifiers = small_racnn(), "s1s2s3fd"
    begun = ["s1", "s1", "l2", "s2", "s2", "a2", "a2", "l3", "s3", "s3"]
    turns = ["a2a3", "a2a3", *[classifiers] * 2, "a2a3", "a2a3", classifiers]
    assert groups((2, 1, 2), range(17), net) == begun + turns
    assert len(task_of(net, stages=(0, 0, 0)).updates(0)) == 2  # both for every batch
    assert groups((1, 1, 1), range(3), small_racnn(crops=())) == ["s1fd"] * 3


def test_losses_and_scores_are_per_sample() -> None:
    task = task_of(small_racnn())
    images, labels = images_of(3, 32), nd.arange(3, dtype="int32")
    grow, locate = partial(task.grow, scale=1), partial(task.locate, scale=1)
    for part in (grow, locate, task.classify, task.rank):
        with autograd.record():
            losses = part(images, labels)
        assert {loss.shape for loss in losses.values()} == {(3,)}
    scores = task.scores(images, labels)
    assert {score.shape for score in scores.values()} == {(3,)}
    assert list(scores)[:5] == ["accuracy", "predicted", "accuracy_1", "accuracy_2", "accuracy_3"]
    sides = task.net.trace(images).boxes[:, 1, 2]
    np.testing.assert_allclose(scores["side_3"].asnumpy(), sides.asnumpy(), rtol=1e-5)


def test_scores_are_of_the_fused_classifier_and_of_each_scale() -> None:
    scales = np.eye(5)[[[0, 1, 0], [2, 2, 2]]] * 4  # (N, K, classes)
    logits, labels = np.eye(5)[[1, 3]] * 3, nd.array([1, 2], dtype="int32")
    boxes = np.array([[[0, 0, 0.5], [0, 0, 0.25]], [[0, 0, 0.75], [0, 0, 0.5]]])
    task = task_of(small_racnn())
    parts = dict(logits=logits, scale_logits=scales, boxes=boxes)
    trace = SimpleNamespace(**{name: nd.array(part) for name, part in parts.items()})
    task.net = SimpleNamespace(trace=lambda images: trace)
    scores = {name: part.asnumpy().tolist() for name, part in task.scores(None, labels).items()}
    cross_entropy = np.log(np.exp(3) + 4) - np.array([3, 0])
    np.testing.assert_allclose(scores.pop("cross_entropy"), cross_entropy, rtol=1e-3)
    assert scores == dict(
        accuracy=[1, 0],
        predicted=[1, 3],
        accuracy_1=[0, 1],
        accuracy_2=[1, 1],
        accuracy_3=[0, 1],
        side_2=[0.5, 0.75],
        side_3=[0.25, 0.5],
    )


def test_classifiers_have_smoothed_targets() -> None:
    net, images, labels = small_racnn(), images_of(3, 32), nd.array([4, 0, 1], dtype="int32")
    trace, task = net.trace(images), RankedScales(net, smoothing=0.2)
    targets = np.full((3, 5), 0.04) + 0.8 * np.eye(5)[[4, 0, 1]]
    logits_of = {"classify_fused": trace.logits}
    logits_of.update({f"classify{k + 1}": trace.scale_logits[:, k] for k in range(3)})
    losses = {**task.classify(images, labels), **task.grow(images, labels, 2)}
    assert losses.keys() == logits_of.keys()
    for name, logits in logits_of.items():
        expected = -(nd.log_softmax(logits).asnumpy() * targets).sum(axis=1)
        np.testing.assert_allclose(losses[name].asnumpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("response", ["mean", "energy"])
def test_boxes_are_located_by_the_chosen_response(response: str) -> None:
    net, images = small_racnn(crops=(16,)), images_of(2, 32)
    task = task_of(net, response=response)
    target = strongest(net.body.maps(images, 0)[0], response)
    boxes = net.trace(images).boxes[:, 0]
    distance = nd.smooth_l1(boxes - target, scalar=1).sum(axis=1)
    loss = task.locate(images, None, 0)["locate2"]
    np.testing.assert_allclose(loss.asnumpy(), distance.asnumpy(), rtol=1e-4)


def test_strongest_response() -> None:
    features = np.random.rand(3, 4, 5, 9)
    for sample, (row, column) in enumerate([(2, 4), (0, 8), (3, 2)]):
        features[sample, :, row, column] += 1
    boxes = strongest(nd.array(features)).asnumpy()
    np.testing.assert_allclose(boxes, [[0, 0, 0.5], [0.5, -0.5, 0.5], [-0.5, 0.5, 0.5]], atol=1e-6)
    features[0, 0, 4, 0] = 3.3  # a high square, but a low mean
    boxes = [strongest(nd.array(features), kind)[0].asnumpy() for kind in ("mean", "energy")]
    np.testing.assert_allclose(boxes, [[0, 0, 0.5], [-0.5, 0.5, 0.5]], atol=1e-6)
    assert strongest(nd.ones((1, 4, 1, 1))).asnumpy().tolist() == [[0, 0, 0.5]]


@pytest.mark.parametrize("apn", ["light", "paper"])
def test_locating_learns_where_the_response_is(apn: str) -> None:
    net = small_racnn(crops=(16,), apn=apn)
    task, images = task_of(net), nd.zeros((16, 3, 32, 32))
    for sample in range(16):
        row, column = 4 + 8 * (sample // 4), 4 + 8 * (sample % 4)
        images[sample, :, row - 3 : row + 3, column - 3 : column + 3] = 3
    features = net.body.maps(images, 0)[0]
    net.body.features = lambda view, scale: features  # which took most of the time
    net.hybridize()
    trainer = gluon.Trainer(net.body.apns.collect_params(), "adam", {"learning_rate": 3e-3})
    means = []
    for _ in range(80):
        with autograd.record():
            loss = task.locate(images, None, 0)["locate2"]
        loss.backward()
        trainer.step(16)
        means.append(loss.mean().asscalar())
    assert means[-1] < means[0] / 4


def test_settings_make_the_task() -> None:
    config = SimpleNamespace(
        label_smoothing=0.1,
        margin=0.2,
        gradient="mask",
        response="energy",
        stages=(1, 2, 3),
        attend_lr=0.5,
        locate_lr=3.0,
    )
    task = small_racnn().objective(config)
    options = task.options
    assert (options.margin, task.stages, task.smoothing) == (0.2, (1, 2, 3), 0.1)
    assert {crop.gradient for crop in task.crops} == {"mask"} and options.response == "energy"
    rates = {group.name: group.lr_scale for group in task.groups()}
    assert (rates["attend3"], rates["locate3"], rates["scale1"]) == (0.5, 3.0, 1.0)
    for bad in (dict(response="loudest"), dict(stages=(1, -1, 1))):
        with pytest.raises(UserError, match=next(iter(bad))):
            small_racnn().objective(SimpleNamespace(label_smoothing=0.0, **bad))
    with pytest.raises(UserError, match="boxes='pixels' cannot be trained"):
        task_of(small_racnn(boxes="pixels", smallest=(2 / 3,), largest=2)).groups()
    for stages in ((1,), (1, 1, 1, 1)):
        with pytest.raises(UserError, match="three"):
            task_of(small_racnn(), stages=stages)


def test_without_apn_every_update_trains_all_scales_together() -> None:
    net = small_racnn(locate="activation", crops=(24,))
    task = net.objective(SimpleNamespace(label_smoothing=0.0))
    assert isinstance(task, SummedScales) and [group.name for group in task.groups()] == ["scales"]
    ((groups, loss),) = task.updates(0)
    assert groups == ["scales"] and task.updates(99) == [(groups, loss)]
    images, labels = images_of(4, 32), nd.array([0, 1, 2, 3])
    losses, logits = loss(images, labels), net.trace(images).scale_logits
    for scale, name in enumerate(("classify1", "classify2")):
        expected = -nd.log_softmax(logits[:, scale]).pick(labels)
        np.testing.assert_allclose(losses.pop(name).asnumpy(), expected.asnumpy(), 1e-4, 1e-5)
    assert not losses
    sides = net.trace(images).boxes[:, 0, 2:].mean(axis=1)
    np.testing.assert_array_equal(task.scores(images, labels)["side_2"].asnumpy(), sides.asnumpy())
