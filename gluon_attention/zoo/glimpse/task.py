"""How a network that answers after every glimpse is trained."""

from __future__ import annotations

from typing import Any, List

from mxnet import nd

from ...errors import UserError, check_choice
from ...tasks.task import Group, Losses, OneLoss, mean_cross_entropy, right, settings_of, smoothed

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
        trace, noise = self.net.sample(images)
        targets = smoothed(labels, self.net.classes, self.smoothing)
        losses = {"classify": mean_cross_entropy(trace.step_logits, targets)}
        if self.net.controller.drawn:
            advantage = self.rewards(trace, labels) - trace.baselines  # (N, T)
            drawn = (trace.means + noise).detach()  # before they were clipped to the image
            # -log p of each location, but for a constant
            unlikely = ((drawn - trace.means) / self.net.std).square().sum(axis=2) / 2
            losses["baseline"] = advantage.square().mean(axis=1)
            losses["reinforce"] = self.weight * (unlikely * advantage.detach()).sum(axis=1)
        return losses

    def rewards(self, trace: Any, labels: nd.NDArray) -> nd.NDArray:
        """What each location earned, (N, T)."""
        count, steps = trace.baselines.shape
        if self.reward == "likely":
            known = nd.softmax(trace.step_logits.detach())
            return nd.pick(known, nd.tile(labels.expand_dims(1), (1, steps)))
        earned = right(trace.logits, labels).expand_dims(1)
        return nd.broadcast_axis(earned, axis=1, size=steps)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        random = self.net.controller.policy == "random"
        trace = self.net.sample(images)[0] if random else self.net.trace(images)
        labels = labels.astype("float32")
        scores = {"accuracy": right(trace.logits, labels)}
        for step in range(trace.step_logits.shape[1]):
            scores[f"accuracy_{step + 1}"] = right(trace.step_logits[:, step], labels)
        scores["cross_entropy"] = -nd.log_softmax(trace.logits).pick(labels)
        return scores
