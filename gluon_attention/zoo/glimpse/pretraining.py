"""The first stage of the glimpse network: its visual network learns small patches.

A patch of every side is cut around one point, and heads on combinations of their features answer,
so that features are good for whatever the glimpses will show together. The point is the middle to
evaluate, and anywhere in reach to train: glimpses will not only look at the middle.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple, Tuple

from mxnet import gluon, init, nd
from mxnet.gluon import nn

from ...ops.safe import concat
from ...tasks.losses import Losses, is_top1, mean_cross_entropy, smoothed
from ...tasks.task import OneLoss, Task
from ..attention_net import AttentionNet


class Trace(NamedTuple):
    """Answers of H heads about one place."""

    logits: Any  # (N, classes), of all resolutions together
    head_logits: Any  # (N, H, classes)


class Heads(gluon.HybridBlock):
    """(images, places) to the parts of a `Trace`."""

    def __init__(self, encoder: gluon.HybridBlock, classes: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        every = tuple(range(len(encoder.sides)))
        # All together, then any that are at least two: high and medium, high and low, ...
        self.sets = [every] + [s for n in every[2:] for s in combinations(every, n)]
        with self.name_scope():
            self.encoder, self.heads = encoder, nn.HybridSequential()
            for chosen in self.sets:
                head = nn.HybridSequential()
                head.add(nn.Dense(width, in_units=len(chosen) * encoder.channels), nn.BatchNorm())
                head.add(nn.Activation("relu"), nn.Dense(classes, in_units=width))
                self.heads.add(head)

    def hybrid_forward(self, F: Any, images: Any, places: Any) -> Tuple[Any, ...]:
        encoder, views = self.encoder, []
        where = F.mean(images, axis=(2, 3))  # (N, 3), for its shape
        where = F.broadcast_add(F.slice_axis(where, axis=1, begin=0, end=2) * 0, places)
        for side in encoder.sides:
            views.append(encoder.crop_patch(F, encoder.downscaled(F, images, side), where, side))
        # In one batch, so that all resolutions have the same statistics.
        seen = F.mean(encoder(F.concat(*views, dim=0)), axis=(2, 3))
        seen = F.split(seen, num_outputs=len(views), axis=0) if len(views) > 1 else [seen]
        answers = [
            head(concat(F, *(seen[index] for index in chosen), chunk=encoder.channels))
            for head, chosen in zip(self.heads, self.sets)
        ]
        return answers[0], F.stack(*answers, axis=1)


class PatchClassifier(AttentionNet):
    """`net(images)` is what all resolutions answer about the middle."""

    Trace = Trace
    initializer = init.Xavier()
    renamed = ((r"^body\.eye\.", "body.encoder."),)

    def __init__(
        self,
        encoder: gluon.HybridBlock,
        classes: int,
        reach: float,
        width: int = 1024,
        **kwargs: Any,
    ) -> None:
        super().__init__(Heads(encoder, classes, width), **kwargs)
        self.classes, self.reach = classes, reach

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, 2)),)

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray]:
        """Places within reach, (N, 2)."""
        shape = (images.shape[0], 2)
        return (nd.random.uniform(-self.reach, self.reach, shape=shape, ctx=images.context),)

    def objective(self, config: Any) -> Task:
        return HeadsClassification(self, config.label_smoothing)


class HeadsClassification(OneLoss):
    """Mean cross entropy of all heads."""

    def __init__(self, net: PatchClassifier, smoothing: float) -> None:
        self.net, self.smoothing = net, smoothing

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        targets = smoothed(labels, self.net.classes, self.smoothing)
        answers = self.net.sample(images)[0].head_logits
        return {"classify": mean_cross_entropy(answers, targets)}

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace = self.net.trace(images)
        scores = {"accuracy": is_top1(trace.logits, labels)}
        for head, chosen in enumerate(self.net.body.sets):
            name = "accuracy_" + "".join(str(index + 1) for index in chosen)
            scores[name] = is_top1(trace.head_logits[:, head], labels)
        return scores
