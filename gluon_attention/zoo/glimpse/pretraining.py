"""The first stage of training the glimpse network: its encoder learns to classify small patches.

A patch of every side is cropped around one location, and each head classifies from the features of
one combination of patches, so that the features serve any number of patches. The location is the
centre in evaluation, and uniformly random within reach in training, as those of glimpses vary.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, List, NamedTuple, Tuple

from mxnet import autograd, gluon, init, nd
from mxnet.gluon import nn

from ...ops.safe import concat
from ...tasks.losses import Losses, is_top1, mean_cross_entropy, smooth_labels, top1_scores
from ...tasks.task import OneLoss, Task
from ..attention_net import AttentionNet
from ..classifier import Classifier
from ..freezing import freeze_bn
from ..recurrent_core import zeros_like_batch
from .options import PretrainingOptions
from .patch_encoder import PatchEncoder


class Trace(NamedTuple):
    """Logits of H heads at one location."""

    logits: Any  # (N, classes), from patches of all sides
    head_logits: Any  # (N, H, classes)


class CombinationHeads(gluon.HybridBlock):
    """An encoder and a head for each combination of patches: (images, locations) to a `Trace`.

    Attributes:
        combinations: indices of the patches that each head reads: all, then smaller sets of at
            least two.
    """

    def __init__(self, encoder: PatchEncoder, classes: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        every = tuple(range(len(encoder.sides)))
        smaller = [subset for size in every[2:] for subset in combinations(every, size)]
        self.combinations = [every, *smaller]
        with self.name_scope():
            self.encoder, self.heads = encoder, nn.HybridSequential()
            for subset in self.combinations:
                head = nn.HybridSequential()
                head.add(nn.Dense(width, in_units=len(subset) * encoder.channels), nn.BatchNorm())
                head.add(nn.Activation("relu"), Classifier(classes, in_units=width))
                self.heads.add(head)

    def forward(self, images: Any, *args: Any) -> Trace:
        if self.encoder.native is None or not autograd.is_recording():
            return super().forward(images, *args)
        return self.hybrid_forward(nd, images, *args)  # a graph of MXNet would contain the encoder

    def hybrid_forward(self, F: Any, images: Any, locations: Any) -> Trace:
        encoder, patches = self.encoder, []
        locations = F.broadcast_add(zeros_like_batch(F, images, 2), locations)  # (N, 2)
        for side in encoder.sides:
            pixels = encoder.downscaled(F, images, side)
            patches.append(encoder.crop_patch(F, pixels, locations, side))
        # One batch, so that BatchNorm has the same statistics for all sides.
        features = F.mean(encoder(F.concat(*patches, dim=0)), axis=(2, 3))
        count = len(patches)
        features = F.split(features, num_outputs=count, axis=0) if count > 1 else [features]
        logits = [
            head(concat(F, *(features[number] for number in subset), chunk=encoder.channels))
            for head, subset in zip(self.heads, self.combinations)
        ]
        return Trace(logits[0], F.stack(*logits, axis=1))


class PatchClassifier(AttentionNet):
    """`net(images)` are the logits of the head that reads patches of all sides, at the centre."""

    Trace = Trace
    initializer = init.Xavier()

    def __init__(self, classes: int, options: PretrainingOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.reach = classes, options.reach
        with self.name_scope():
            encoder = PatchEncoder(options)
            self.body = CombinationHeads(encoder, classes, options.width)
        if options.frozen_bn:
            freeze_bn(encoder)

    @property
    def classifier(self) -> Classifier:
        return self.body.heads[0][-1]

    @property
    def native_parts(self) -> List[gluon.Block]:
        return [self.body.encoder]

    def layers(self) -> List[gluon.HybridBlock]:
        """The layers of the encoder, which as a backbone reads whole images, not patches."""
        return list(self.body.encoder.backbone.layers)

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, 2)),)

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray]:
        """Locations within reach, (N, 2)."""
        shape = (images.shape[0], 2)
        return (nd.random.uniform(-self.reach, self.reach, shape=shape, ctx=images.context),)

    def objective(self, config: Any) -> Task:
        return MeanOfHeads(self, config.label_smoothing)


class MeanOfHeads(OneLoss):
    """Mean cross entropy of all heads."""

    def __init__(self, net: PatchClassifier, smoothing: float) -> None:
        self.net, self.smoothing = net, smoothing

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        targets = smooth_labels(labels, self.net.classes, self.smoothing)
        trace, _ = self.net.sample(images)
        return {"classify": mean_cross_entropy(trace.head_logits, targets)}

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace = self.net.trace(images)
        scores = top1_scores(trace.logits, labels)
        for head, subset in enumerate(self.net.body.combinations):
            name = "accuracy_" + "".join(str(number + 1) for number in subset)
            scores[name] = is_top1(trace.head_logits[:, head], labels)
        return scores
