"""How a network that answers after every glimpse is trained."""

from __future__ import annotations

from typing import Any, List

from mxnet import nd

from ...errors import UserError, check_choice
from ...tasks.losses import Losses, is_top1, mean_cross_entropy, reinforce_terms, smoothed
from ...tasks.task import Group, OneLoss, settings_of

REWARDS = ("likely", "right")


class StepClassification(OneLoss):
    """Cross entropy of every answer; where locations are drawn, REINFORCE and its baseline.

    Rewards:
        "right": 1 for every location of an episode whose last answer is right.
        "likely": the probability that the answer after a glimpse gives the label.
    """

    def __init__(
        self,
        net: Any,
        smoothing: float = 0.0,
        reward: str = "likely",
        weight: float = 0.1,
    ) -> None:
        check_choice("reward", reward, REWARDS)
        self.net, self.reward, self.weight = net, reward, weight
        self.smoothing = smoothing

    @classmethod
    def from_config(cls, net: Any, config: Any) -> StepClassification:
        """The task that the settings ask for."""
        return cls(net, config.label_smoothing, **settings_of(config, "reward"))

    def groups(self) -> List[Group]:
        if self.net.controller.mirrored:
            raise UserError("location='mirrored' is for weights from elsewhere, not for training")
        return super().groups()

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, (noise,) = self.net.sample(images)
        targets = smoothed(labels, self.net.classes, self.smoothing)
        losses = {"classify": mean_cross_entropy(trace.step_logits, targets)}
        if self.net.controller.drawn:
            rewards = self.rewards(trace, labels)
            losses["baseline"], terms = reinforce_terms(
                nd, rewards, trace.baselines, trace.means, noise, self.net.std
            )
            losses["reinforce"] = self.weight * terms.sum(axis=1)
        return losses

    def rewards(self, trace: Any, labels: nd.NDArray) -> nd.NDArray:
        """What each location earned, (N, T)."""
        count, steps = trace.baselines.shape
        if self.reward == "likely":
            known = nd.softmax(trace.step_logits.detach())
            return nd.pick(known, nd.tile(labels.expand_dims(1), (1, steps)))
        earned = is_top1(trace.logits, labels).expand_dims(1)
        return nd.broadcast_axis(earned, axis=1, size=steps)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        random = self.net.controller.policy == "random"
        trace = self.net.sample(images)[0] if random else self.net.trace(images)
        labels = labels.astype("float32")
        scores = {"accuracy": is_top1(trace.logits, labels)}
        for step in range(trace.step_logits.shape[1]):
            scores[f"accuracy_{step + 1}"] = is_top1(trace.step_logits[:, step], labels)
        scores["cross_entropy"] = -nd.log_softmax(trace.logits).pick(labels)
        return scores
