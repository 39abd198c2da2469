"""The losses of the glimpse network, which classifies after every glimpse."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from mxnet import nd

from ...errors import UserError
from ...tasks.losses import (
    Losses,
    is_top1,
    mean_cross_entropy,
    reinforce_terms,
    smooth_labels,
    top1_scores,
)
from ...tasks.task import Group, OneLoss
from .options import StepOptions

if TYPE_CHECKING:
    from .controller import Trace
    from .network import GlimpseNet

REINFORCE_WEIGHT = 0.1  # of the loss of sampled locations, next to the cross entropy


class StepClassification(OneLoss):
    """Cross entropy after every glimpse; for sampled locations, REINFORCE with a baseline."""

    def __init__(
        self, net: GlimpseNet, options: StepOptions = StepOptions(), smoothing: float = 0.0
    ) -> None:
        self.net, self.options, self.smoothing = net, options, smoothing

    def groups(self) -> List[Group]:
        if self.net.controller.mirrored:
            raise UserError("location='mirrored' is for converted weights and cannot be trained")
        return super().groups()

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, (noise,) = self.net.sample(images)
        targets = smooth_labels(labels, self.net.classes, self.smoothing)
        losses = {"classify": mean_cross_entropy(trace.step_logits, targets)}
        if self.net.controller.sampled:
            rewards = self.rewards(trace, labels)
            losses["baseline"], terms = reinforce_terms(
                nd, rewards, trace.baselines, trace.means, noise, self.net.std
            )
            losses["reinforce"] = REINFORCE_WEIGHT * terms.sum(axis=1)
        return losses

    def rewards(self, trace: Trace, labels: nd.NDArray) -> nd.NDArray:
        """Reward of each location, (N, T)."""
        steps = trace.baselines.shape[1]
        if self.options.reward == "likely":
            probabilities = nd.softmax(trace.step_logits.detach())
            return nd.pick(probabilities, nd.tile(labels.expand_dims(1), (1, steps)))
        return nd.broadcast_axis(is_top1(trace.logits, labels).expand_dims(1), axis=1, size=steps)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        random = self.net.controller.policy == "random"
        trace = self.net.sample(images)[0] if random else self.net.trace(images)
        labels = labels.astype("float32")
        scores = top1_scores(trace.logits, labels)
        for step in range(trace.step_logits.shape[1]):
            scores[f"accuracy_{step + 1}"] = is_top1(trace.step_logits[:, step], labels)
        scores["cross_entropy"] = -nd.log_softmax(trace.logits).pick(labels)
        return scores
