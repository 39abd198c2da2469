"""The losses of RA-CNN, and the schedule in which classifiers and boxes are trained.

First the scales grow, one by one: a scale learns to classify, the ranking loss trains the boxes so
far, and the next APN learns to regress a box around the strongest response. Then classifiers are
trained with fixed boxes, and boxes with fixed classifiers, in turn. The paper initialises the boxes
of all scales at once, from features of ImageNet. If such features do not fit the data yet, a box
starts in a wrong place, and no gradient of its crop leads it to the right one.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Iterator, List, NamedTuple, Optional, Tuple

from mxnet import autograd, nd

from ...errors import UserError
from ...ops.attention_crop import AttentionCrop
from ...tasks.losses import Losses, cross_entropy, is_top1, smooth_labels, top1_scores
from ...tasks.task import Group, Task, Update
from ..freezing import frozen_stats_twin
from .options import RankingOptions

if TYPE_CHECKING:
    from .network import RACNN, View


class Stages(NamedTuple):
    """Epochs of each phase of the schedule."""

    grow: int  # a new scale learns to classify
    locate: int  # the next APN learns to regress the strongest response
    turn: int  # boxes are ranked; after growth, each turn of boxes or classifiers, 0: both a batch


class RankedScales(Task):
    """Cross entropy of all classifiers; for the boxes, a ranking loss between scales."""

    def __init__(
        self, net: RACNN, options: RankingOptions = RankingOptions(), smoothing: float = 0.0
    ) -> None:
        if len(options.stages) != 3:
            raise UserError(f"--stages takes three numbers of epochs, not {len(options.stages)}")
        self.net, self.body, self.options, self.smoothing = net, net.body, options, smoothing
        self.stages = Stages(*options.stages)
        self.frozen_backbones = [frozen_stats_twin(backbone) for backbone in net.body.backbones]
        for backbone in self.frozen_backbones:  # static buffers would keep their memory
            backbone.hybridize(static_alloc=False, static_shape=False)
        self.crops = [AttentionCrop(size, options.gradient) for size in net.body.crops]
        for crop in self.crops:
            crop.hybridize()

    def groups(self) -> List[Group]:
        body = self.body
        if body.pixels:
            raise UserError("boxes='pixels' cannot be trained: whole pixels pass no gradient on")
        blocks = [[head] for head in body.heads]
        for scale, backbone in enumerate(body.backbones):  # one, if it is shared
            blocks[scale].append(backbone)
        groups = [Group(f"scale{scale + 1}", owned) for scale, owned in enumerate(blocks)]
        groups.append(Group("fused", [body.fused]))
        rates = ("locate", self.options.locate_lr), ("attend", self.options.attend_lr)
        for name, lr_scale in rates:
            for scale, apn in enumerate(body.apns):  # the two have optimizer states of their own
                groups.append(Group(f"{name}{scale + 2}", [apn], lr_scale))
        return groups

    def updates(self, epoch: int) -> List[Update]:
        for epochs, update in self._growth():
            if epoch < epochs:
                return [update]
            epoch -= epochs
        scales, turn = self.body.scales, self.stages.turn
        names = [f"scale{scale + 1}" for scale in range(scales)]
        both = [Update([*names, "fused"], self.classify)]
        if self.crops:
            both.append(self._ranking(scales - 1))
        return [both[epoch // turn % len(both)]] if turn else both

    def _growth(self) -> Iterator[Tuple[int, Update]]:
        """The phases in which scales grow, each with its number of epochs."""
        for scale in range(self.body.scales):
            first = 0 if self.body.shared else scale
            names = [f"scale{trained + 1}" for trained in range(first, scale + 1)]
            if self._trains_all(scale):
                names.append("fused")
            yield self.stages.grow, Update(names, partial(self.grow, scale=scale))
            if scale:
                yield self.stages.turn, self._ranking(scale)
            if scale < self.body.scales - 1:
                update = Update([f"locate{scale + 2}"], partial(self.locate, scale=scale))
                yield self.stages.locate, update

    def _trains_all(self, scale: int) -> bool:
        """Whether all scales, and with them the fused head, are trained while this one grows."""
        return scale == self.body.scales - 1 and (self.body.shared or not scale)

    def _ranking(self, last: int) -> Update:
        """The update of all boxes up to that of a scale by the ranking loss."""
        names = [f"attend{scale + 1}" for scale in range(1, last + 1)]
        return Update(names, partial(self.rank, last=last))

    def classify(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        """Cross entropy of every classifier, with boxes that no gradient reaches."""
        return self._cross_entropies(images, labels, self.body.scales - 1, fused=True)

    def grow(self, images: nd.NDArray, labels: nd.NDArray, scale: int) -> Losses:
        """Cross entropy of a new scale, and of those before it if they share its backbone."""
        if self.body.shared or self._trains_all(scale):
            return self._cross_entropies(images, labels, scale, fused=self._trains_all(scale))
        view = self._view(images, scale)
        _, logits = self.body.head(scale)(view.features)
        return {f"classify{scale + 1}": cross_entropy(logits, self._targets(labels))}

    def _targets(self, labels: nd.NDArray) -> nd.NDArray:
        return smooth_labels(labels, self.net.classes, self.smoothing)

    def _crop(self, images: nd.NDArray, boxes: nd.NDArray, scale: int) -> nd.NDArray:
        return self.crops[scale](images, boxes)

    def _view(self, images: nd.NDArray, scale: int) -> View:
        """The view of a scale outside of the autograd graph, before its features are computed."""
        with autograd.pause():
            views = self.body.views(nd, images, crop=self._crop)
            return next(islice(views, scale, None))

    def _cross_entropies(
        self, images: nd.NDArray, labels: nd.NDArray, last: int, fused: bool
    ) -> Losses:
        """Cross entropy of all scales up to `last`, and, if `fused`, of the fused classifier."""
        body, targets, descriptors, losses = self.body, self._targets(labels), [], {}
        views = body.views(nd, images, crop=self._crop, fixed_boxes=True)
        for scale, view in enumerate(islice(views, last + 1)):
            descriptor, logits = body.head(scale)(view.features)
            descriptors.append(descriptor)
            losses[f"classify{scale + 1}"] = cross_entropy(logits, targets)
        if fused:
            logits = body.together(nd, descriptors)
            losses["classify_fused"] = cross_entropy(logits, targets)
        return losses

    def locate(self, images: nd.NDArray, labels: nd.NDArray, scale: int) -> Losses:
        """Distance of the next box from the box of half the side around the strongest response."""
        view = self._view(images, scale)
        with autograd.pause():
            features = view.features
            target = strongest(features, self.options.response)
        distance = nd.smooth_l1(self.body.apns[scale](features) - target, scalar=1)
        return {f"locate{scale + 2}": distance.sum(axis=1)}

    def rank(self, images: nd.NDArray, labels: nd.NDArray, last: Optional[int] = None) -> Losses:
        """The ranking loss of each pair of neighbouring scales, up to a scale.

        It is relu(p - p' + margin), with p and p' the true class's probability at a scale and at
        the next. The coarser scale is the reference and gets no gradient. Backbones and heads are
        not trained: the gradient of the loss with respect to the box is computed first, and the
        graph of the APN continues from the box.
        """
        losses: Losses = {}
        cropped: List[nd.NDArray] = []  # boxes as leaves of the graph

        def crop(images: nd.NDArray, boxes: nd.NDArray, scale: int) -> nd.NDArray:
            cropped.append(boxes.detach())
            cropped[-1].attach_grad()
            return self.crops[scale](images, cropped[-1])

        views = self.body.views(nd, images, maps=self._frozen_maps, crop=crop)
        count = self.body.scales if last is None else last + 1
        for scale, view in enumerate(islice(views, count)):
            if not scale:
                with autograd.pause():
                    reference = self._confidence(view, labels, scale)
                continue
            confidence = self._confidence(view, labels, scale)
            loss = nd.relu(reference - confidence + self.options.margin)
            (gradient,) = autograd.grad(loss, [cropped[-1]])
            surrogate = (view.box * gradient).sum(axis=1)  # has that gradient, but another value
            losses[f"rank{scale + 1}"] = surrogate + (loss - surrogate).detach()
            reference = confidence.detach()
        return losses

    def _frozen_maps(self, pixels: nd.NDArray, scale: int) -> List[nd.NDArray]:
        """The feature map of a backbone that keeps its BatchNorm statistics."""
        return [self.frozen_backbones[0 if self.body.shared else scale](pixels)]

    def _confidence(self, view: View, labels: nd.NDArray, scale: int) -> nd.NDArray:
        """Probability of the true class (N,)."""
        _, logits = self.body.head(scale)(view.features)
        return nd.softmax(logits.astype("float32")).pick(labels)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, labels = self.net.trace(images), labels.astype("float32")
        scores = top1_scores(trace.logits, labels)
        for scale in range(self.body.scales):
            scores[f"accuracy_{scale + 1}"] = is_top1(trace.scale_logits[:, scale], labels)
        for scale in range(len(self.crops)):
            scores[f"side_{scale + 2}"] = trace.boxes[:, scale, 2:].mean(axis=1)
        scores["cross_entropy"] = -nd.log_softmax(trace.logits.astype("float32")).pick(labels)
        return scores


class SummedScales(RankedScales):
    """Cross entropy of all scales, whose boxes are not trained."""

    def groups(self) -> List[Group]:
        return [Group("scales", [self.body])]

    def updates(self, epoch: int) -> List[Update]:
        return [Update(["scales"], self.classify)]

    def classify(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        return self._cross_entropies(images, labels, self.body.scales - 1, fused=False)


def strongest(features: nd.NDArray, response: str = "mean") -> nd.NDArray:
    """Boxes (N, 3), half as wide as the image, around the strongest response.

    The response is the mean of all channels, or of their squares for "energy".
    """
    height, width = features.shape[2:]
    strength = features.square() if response == "energy" else features
    peak = strength.mean(axis=1).reshape((0, -1)).argmax(axis=1)
    row = nd.floor(peak / width)
    x = (2 * (peak - row * width) - (width - 1)) / max(width - 1, 1)
    y = (2 * row - (height - 1)) / max(height - 1, 1)
    center = nd.stack(x, y, axis=1).clip(-0.5, 0.5)
    return nd.concat(center, nd.full((len(features), 1), 0.5, ctx=features.context), dim=1)
