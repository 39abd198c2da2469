"""How a network that draws its locations is trained: one update of three losses."""

from __future__ import annotations

from typing import Any, List

import numpy as np
from mxnet import nd

from ..training.task import Classification, Group, Losses, Task, Update, cross_entropy


class Reinforce(Task):
    """Cross entropy for the answer, REINFORCE with a learned baseline for the locations.

    Rewards:
        "right": 1 for every location of an episode whose answer is right; the paper's.
        "gain": what a glimpse and, discounted, those after it add to the log-probability of the
            label, as guessed on the way. It says which glimpse helped, long before answers are
            right. Guesses are trained on the side: they move nothing but themselves.
    """

    def __init__(
        self,
        net: Any,
        samples: int = 10,
        smoothing: float = 0.0,
        reward: str = "gain",
        weight: float = 0.1,
        discount: float = 0.7,
    ) -> None:
        self.net, self.samples, self.reward = net, samples, reward
        self.weight, self.discount = weight, discount
        self.answers = Classification(net, net.classes, smoothing)
        # Nothing is learned about locations that no policy drew.
        self.first = 0 if net.start == "learned" else 1
        self.first = net.glimpses if net.policy == "random" else self.first

    @classmethod
    def of(cls, net: Any, config: Any) -> Reinforce:
        """The task that the settings ask for."""
        asked = {k: v for k, v in vars(config).items() if k in ("samples", "reward")}
        return cls(net, smoothing=config.label_smoothing, **asked)

    def groups(self) -> List[Group]:
        return [Group("net", [self.net])]

    def updates(self, epoch: int) -> List[Update]:
        return [Update("net", self.loss)]

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, noise = self.net.sample(images)
        targets = self.answers.targets(labels)
        guesses = nd.log_softmax(trace.step_logits[:, :-1]) * targets.expand_dims(1)
        missed = self.rewards(trace, labels) - trace.baselines  # (N, T)
        drawn = (trace.means + noise).detach()  # before they were clipped to the image
        # -log p of each location; descending it makes those that earned more than expected likelier
        surprise = ((drawn - trace.means) / self.net.std).square().sum(axis=2) / 2
        policy = nd.arange(surprise.shape[1], ctx=noise.context) >= self.first  # (T,)
        terms = nd.broadcast_mul(surprise * missed.detach(), policy.expand_dims(0))
        return {
            "classify": cross_entropy(trace.logits, targets),
            "guess": -guesses.sum(axis=2).mean(axis=1),
            "baseline": missed.square().mean(axis=1),
            "reinforce": self.weight * terms.sum(axis=1),
        }

    def rewards(self, trace: Any, labels: nd.NDArray) -> nd.NDArray:
        """What each location earned, (N, T)."""
        steps = trace.baselines.shape[1]
        if self.reward == "right":
            return nd.tile(right(trace.logits, labels).expand_dims(1), (1, steps))
        known = nd.log_softmax(trace.step_logits.detach())  # (N, T + 1, classes)
        known = nd.pick(known, nd.tile(labels.expand_dims(1), (1, steps + 1)))
        known = nd.maximum(known, -4)  # one bad guess must not outweigh the batch
        gains = known[:, 1:] - known[:, :-1]  # (N, T)
        earned = [gains[:, -1]]
        for step in reversed(range(steps - 1)):
            earned.append(gains[:, step] + self.discount * earned[-1])
        return nd.stack(*earned[::-1], axis=1)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, _ = self.net.sample(nd.tile(images, (self.samples, 1, 1, 1)))
        answers = nd.softmax(trace.logits).reshape((self.samples, -1, self.net.classes))
        first = type(trace)(*(part[: len(images)] for part in trace))
        rewards = self.rewards(first, labels)
        return {
            "accuracy": right(answers.mean(axis=0), labels),
            "accuracy_m1": right(answers[0], labels),
            "reward": rewards.mean(axis=1),
            "baseline_error": (rewards - first.baselines).abs().mean(axis=1),
            "location_entropy": nd.broadcast_axis(
                entropy(trace.locations), axis=0, size=len(images)
            ),
        }


def right(answers: nd.NDArray, labels: nd.NDArray) -> nd.NDArray:
    """1 where the largest of the answers (N, classes) is the label, else 0: (N,)."""
    return answers.detach().argmax(axis=1) == labels.astype("float32")


def entropy(locations: nd.NDArray) -> nd.NDArray:
    """Nats of a normal distribution as wide as these (N, T, 2) are over a batch, averaged: (1,).

    It falls when a policy looks at one place whatever the image.
    """
    away = nd.broadcast_sub(locations, locations.mean(axis=0, keepdims=True))
    (xx, yy), xy = away.square().mean(axis=0).T, away.prod(axis=2).mean(axis=0)  # (T,)
    area = nd.maximum(xx * yy - xy.square(), 1e-12)  # determinant of the covariance
    return (1 + float(np.log(2 * np.pi)) + area.log() / 2).mean()
