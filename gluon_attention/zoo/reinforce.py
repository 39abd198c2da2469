"""How a network that draws its locations is trained: one update of three losses."""

from __future__ import annotations

from typing import Any, List

import numpy as np
from mxnet import nd

from ..training.task import Classification, Group, Losses, Task, Update, cross_entropy


class Reinforce(Task):
    """Cross entropy for the answer, REINFORCE with a learned baseline for the locations.

    The reward of an episode is 1 if its last answer is right, and counts for each of its locations.
    """

    def __init__(
        self, net: Any, samples: int = 10, smoothing: float = 0.0, weight: float = 0.01
    ) -> None:
        self.net, self.samples, self.weight = net, samples, weight
        self.answers = Classification(net, net.classes, smoothing)
        # Nothing is learned about locations that no policy drew.
        self.first = 0 if net.start == "learned" else 1
        self.first = net.glimpses if net.policy == "random" else self.first

    @classmethod
    def of(cls, net: Any, config: Any) -> Reinforce:
        """The task that the settings ask for."""
        return cls(net, getattr(config, "samples", 10), config.label_smoothing)

    def groups(self) -> List[Group]:
        return [Group("net", [self.net])]

    def updates(self, epoch: int) -> List[Update]:
        return [Update("net", self.loss)]

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, noise = self.net.sample(images)
        reward = right(trace.logits, labels).expand_dims(1)  # (N, 1)
        missed = nd.broadcast_sub(reward, trace.baselines)  # (N, T)
        drawn = (trace.means + noise).detach()  # before they were clipped to the image
        # -log p of each location; descending it makes those that earned more than expected likelier
        surprise = ((drawn - trace.means) / self.net.std).square().sum(axis=2) / 2
        policy = nd.arange(surprise.shape[1], ctx=noise.context) >= self.first  # (T,)
        return {
            "classify": cross_entropy(trace.logits, self.answers.targets(labels)),
            "baseline": missed.square().mean(axis=1),
            "reinforce": self.weight
            * nd.broadcast_mul(surprise * missed.detach(), policy.expand_dims(0)).sum(axis=1),
        }

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, _ = self.net.sample(nd.tile(images, (self.samples, 1, 1, 1)))
        answers = nd.softmax(trace.logits).reshape((self.samples, -1, self.net.classes))
        once = right(answers[0], labels)
        missed = nd.broadcast_sub(trace.baselines[: len(images)], once.expand_dims(1))
        return {
            "accuracy": right(answers.mean(axis=0), labels),
            "accuracy_m1": once,
            "reward": once,
            "baseline_error": missed.abs().mean(axis=1),
            "location_entropy": entropy(trace.locations) * nd.ones_like(once),
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
