"""How a network that draws its locations is trained: one update of three losses."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
from mxnet import gluon, nd

from ...errors import check_choice
from ...ops.safe import detach
from ...tasks.task import Losses, OneLoss, right, settings_of, smoothed

PARTS = ("classify", "guess", "baseline", "reinforce")
REWARDS = ("gain", "right")


class EpisodeLoss(gluon.HybridBlock):
    """The `PARTS` of the loss of an episode, each (N,).

    One graph, because its sixty small operators would cost more time one by one.
    """

    def __init__(
        self, steps: int, first: int, std: float, reward: str, weight: float, discount: float
    ) -> None:
        super().__init__()
        self.steps, self.first, self.std = steps, first, std
        self.reward, self.weight, self.discount = reward, weight, discount

    def hybrid_forward(
        self,
        F: Any,
        logits: Any,
        step_logits: Any,
        means: Any,
        baselines: Any,
        noise: Any,
        targets: Any,
        labels: Any,
    ) -> Tuple[Any, ...]:
        guesses = F.log_softmax(F.slice_axis(step_logits, axis=1, begin=0, end=-1))  # (N, T, K)
        guesses = F.broadcast_mul(guesses, F.expand_dims(targets, axis=1))
        advantage = self.rewards(F, logits, step_logits, labels) - baselines  # (N, T)
        drawn = detach(F, means + noise)  # before they were clipped to the image
        # -log p of each location, but for a constant; descending it times the advantage makes those
        # that earned more than expected likelier.
        unlikely = F.sum(F.square((drawn - means) / self.std), axis=2) / 2
        # Nothing is learned about locations that no policy drew.
        drawn_by_policy = F.contrib.arange_like(unlikely, axis=1) >= self.first  # (T,)
        terms = F.broadcast_mul(unlikely * detach(F, advantage), F.expand_dims(drawn_by_policy, 0))
        return (
            -F.sum(F.log_softmax(logits) * targets, axis=1),
            -F.mean(F.sum(guesses, axis=2), axis=1),
            F.mean(F.square(advantage), axis=1),
            self.weight * F.sum(terms, axis=1),
        )

    def rewards(self, F: Any, logits: Any, step_logits: Any, labels: Any) -> Any:
        """What each location earned, (N, T)."""
        labels = F.expand_dims(labels, axis=1)  # (N, 1)
        if self.reward == "right":
            found = F.argmax(detach(F, logits), axis=1, keepdims=True)
            return F.tile(found == F.cast(labels, "float32"), (1, self.steps))
        known = F.log_softmax(detach(F, step_logits))  # (N, T + 1, classes)
        known = F.pick(known, F.tile(labels, (1, self.steps + 1)))
        known = F.clip(known, -4, 0)  # one bad guess must not outweigh the batch
        after = F.slice_axis(known, axis=1, begin=1, end=None)
        gains = F.split(
            after - F.slice_axis(known, axis=1, begin=0, end=-1), self.steps, squeeze_axis=True
        )
        gains = [gains] if self.steps == 1 else list(gains)
        for step in reversed(range(self.steps - 1)):
            gains[step] = gains[step] + self.discount * gains[step + 1]
        return F.stack(*gains, axis=1)


class Reinforce(OneLoss):
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
        check_choice("reward", reward, REWARDS)
        self.net, self.samples, self.smoothing = net, samples, smoothing
        first = 0 if net.start == "learned" else 1
        first = net.glimpses if net.policy == "random" else first
        self.episode_loss = EpisodeLoss(net.glimpses, first, net.std, reward, weight, discount)
        self.episode_loss.hybridize(static_alloc=True)

    @classmethod
    def from_config(cls, net: Any, config: Any) -> Reinforce:
        """The task that the settings ask for."""
        asked = settings_of(config, "samples", "reward")
        return cls(net, smoothing=config.label_smoothing, **asked)

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, noise = self.net.sample(images)
        parts = (trace.logits, trace.step_logits, trace.means, trace.baselines)
        targets = smoothed(labels, self.net.classes, self.smoothing)
        return dict(zip(PARTS, self.episode_loss(*parts, noise, targets, labels)))

    def rewards(self, trace: Any, labels: nd.NDArray) -> nd.NDArray:
        """What each location earned, (N, T)."""
        return self.episode_loss.rewards(nd, trace.logits, trace.step_logits, labels)

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


def entropy(locations: nd.NDArray) -> nd.NDArray:
    """Nats of a normal distribution as wide as these (N, T, 2) are over a batch, averaged: (1,).

    It falls when a policy looks at one place whatever the image.
    """
    away = nd.broadcast_sub(locations, locations.mean(axis=0, keepdims=True))
    (xx, yy), xy = away.square().mean(axis=0).T, away.prod(axis=2).mean(axis=0)  # (T,)
    area = nd.maximum(xx * yy - xy.square(), 1e-12)  # determinant of the covariance
    return (1 + float(np.log(2 * np.pi)) + area.log() / 2).mean()
