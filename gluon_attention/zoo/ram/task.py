"""The task of RAM: one update on the losses of classification, baseline and REINFORCE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Tuple

import numpy as np
from mxnet import gluon, nd

from ...ops.safe import detach
from ...tasks.losses import Losses, is_top1, reinforce_terms, smooth_labels, top1_scores
from ...tasks.task import OneLoss
from .options import ReinforceOptions

if TYPE_CHECKING:
    from .network import RecurrentAttention, Trace

PARTS = ("classify", "classify_steps", "baseline", "reinforce")
REINFORCE_WEIGHT = 0.1  # of the loss of locations, next to the cross entropy
DISCOUNT = 0.7  # of the gain of the next glimpse, in the reward of a glimpse


class EpisodeLoss(gluon.HybridBlock):
    """The `PARTS` of the loss of an episode, each (N,).

    It is hybridized, because its sixty small operators are slow one by one.
    """

    def __init__(self, steps: int, first: int, std: float, reward: str) -> None:
        super().__init__()
        self.steps, self.first, self.std, self.reward = steps, first, std, reward

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
        steps = F.log_softmax(F.slice_axis(step_logits, axis=1, begin=0, end=-1))  # (N, T, classes)
        steps = F.broadcast_mul(steps, F.expand_dims(targets, axis=1))
        rewards = self.rewards(F, logits, step_logits, labels)  # (N, T)
        baseline, terms = reinforce_terms(F, rewards, baselines, means, noise, self.std)
        # Locations that no policy chose have no REINFORCE term.
        has_policy = F.contrib.arange_like(terms, axis=1) >= self.first  # (T,)
        terms = F.broadcast_mul(terms, F.expand_dims(has_policy, axis=0))
        return (
            -F.sum(F.log_softmax(logits) * targets, axis=1),
            -F.mean(F.sum(steps, axis=2), axis=1),
            baseline,
            REINFORCE_WEIGHT * F.sum(terms, axis=1),
        )

    def rewards(self, F: Any, logits: Any, step_logits: Any, labels: Any) -> Any:
        """The reward of each location, (N, T)."""
        labels = F.expand_dims(labels, axis=1)  # (N, 1)
        if self.reward == "right":
            predicted = F.argmax(detach(F, logits), axis=1, keepdims=True)
            return F.tile(predicted == F.cast(labels, "float32"), (1, self.steps))
        log_p = F.log_softmax(detach(F, step_logits))  # (N, T + 1, classes)
        log_p = F.pick(log_p, F.tile(labels, (1, self.steps + 1)))  # of the label, (N, T + 1)
        log_p = F.clip(log_p, -4, 0)  # one bad prediction must not outweigh the batch
        after = F.slice_axis(log_p, axis=1, begin=1, end=None)
        gains = F.split(
            after - F.slice_axis(log_p, axis=1, begin=0, end=-1), self.steps, squeeze_axis=True
        )
        gains = [gains] if self.steps == 1 else list(gains)
        for step in reversed(range(self.steps - 1)):
            gains[step] = gains[step] + DISCOUNT * gains[step + 1]
        return F.stack(*gains, axis=1)


class Reinforce(OneLoss):
    """Cross entropy for the prediction, REINFORCE with a learned baseline for the locations.

    Rewards:
        "right": 1 for every location of an episode whose prediction is right, as in the paper.
        "gain": what a glimpse and, discounted, later glimpses add to the log-probability of the
            label. It credits the glimpse that helped, even while predictions are wrong. The head
            between glimpses has a loss of its own, whose gradient reaches that head alone.
    """

    def __init__(
        self,
        net: RecurrentAttention,
        options: ReinforceOptions = ReinforceOptions(),
        smoothing: float = 0.0,
    ) -> None:
        self.net, self.samples, self.smoothing = net, options.samples, smoothing
        steps, std = net.options.glimpses, net.options.std
        first = steps if net.options.policy == "random" else 1  # no policy chose the first location
        self.episode_loss = EpisodeLoss(steps, first, std, options.reward)
        self.episode_loss.hybridize(static_alloc=True)

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, (noise,) = self.net.sample(images)
        parts = (trace.logits, trace.step_logits, trace.means, trace.baselines)
        targets = smooth_labels(labels, self.net.classes, self.smoothing)
        return dict(zip(PARTS, self.episode_loss(*parts, noise, targets, labels)))

    def rewards(self, trace: Trace, labels: nd.NDArray) -> nd.NDArray:
        """The reward of each location, (N, T)."""
        return self.episode_loss.rewards(nd, trace.logits, trace.step_logits, labels)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, _ = self.net.sample(nd.tile(images, (self.samples, 1, 1, 1)))
        probabilities = nd.softmax(trace.logits).reshape((self.samples, -1, self.net.classes))
        first = type(trace)(*(part[: len(images)] for part in trace))
        rewards = self.rewards(first, labels)
        return {
            **top1_scores(probabilities.mean(axis=0), labels),
            "accuracy_m1": is_top1(probabilities[0], labels),
            "reward": rewards.mean(axis=1),
            "baseline_error": (rewards - first.baselines).abs().mean(axis=1),
            "location_entropy": nd.broadcast_axis(
                entropy(trace.locations), axis=0, size=len(images)
            ),
        }


def entropy(locations: nd.NDArray) -> nd.NDArray:
    """Differential entropy of locations (N, T, 2) over a batch, averaged over steps: (1,).

    In nats, of the normal distribution with their covariance. It is low if a policy chooses the
    same location in every image.
    """
    centered = nd.broadcast_sub(locations, locations.mean(axis=0, keepdims=True))
    (xx, yy), xy = centered.square().mean(axis=0).T, centered.prod(axis=2).mean(axis=0)  # (T,)
    area = nd.maximum(xx * yy - xy.square(), 1e-12)  # determinant of the covariance
    return (1 + float(np.log(2 * np.pi)) + area.log() / 2).mean()
