"""How a network that looks closer and closer learns what to answer and where to look.

First the scales grow, one by one: a scale learns to answer, the boxes so far are ranked, and the
next APN learns to point at the strongest response. Then answers are trained with boxes held
still, and boxes with everything else held still, in turn. The paper points with features of
ImageNet at every scale at once; where the response means nothing yet, a box that starts in the
wrong place has nothing in it that could pull it to the right one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from mxnet import autograd, nd

from ...errors import UserError, check_choice
from ...ops.attention_crop import AttentionCrop
from ...ops.safe import concat
from ...tasks.losses import Losses, cross_entropy, is_top1, smoothed
from ...tasks.task import Group, Task, Update, settings_of
from ..freezing import frozen_stats_twin

RESPONSES = ("mean", "energy")  # over channels: of features, or of their squares


class Stages(NamedTuple):
    """Epochs of the schedule."""

    grow: int = 5  # each scale learns to answer
    locate: int = 2  # between two scales, the next box moves to the strongest response
    turn: int = 1  # boxes are ranked; at the end in turn with answers, or if 0 both for every batch


class RankedScales(Task):
    """Cross entropy for every answer; for the boxes, a finer scale that is surer by a margin."""

    def __init__(
        self,
        net: Any,
        smoothing: float = 0.0,
        margin: float = 0.05,
        gradient: str = "sampler",
        response: str = "mean",
        stages: Stages = Stages(),  # noqa: B008 - it cannot change
        attend_lr: float = 0.1,
        locate_lr: float = 1.0,
    ) -> None:
        if min(stages) < 0:
            raise UserError(f"epochs of stages must be whole numbers from 0, not {tuple(stages)}")
        self.net, self.body, self.margin, self.stages = net, net.body, margin, stages
        check_choice("response", response, RESPONSES)
        self.attend_lr, self.locate_lr, self.response = attend_lr, locate_lr, response
        self.smoothing = smoothing
        self.steady = [frozen_stats_twin(backbone) for backbone in net.body.backbones]
        for backbone in self.steady:  # memory of its own it would keep while answers are trained
            backbone.hybridize(static_alloc=False, static_shape=False)
        self.crops = [AttentionCrop(size, gradient) for size in net.body.crops]
        for crop in self.crops:
            crop.hybridize()

    @classmethod
    def from_config(cls, net: Any, config: Any) -> RankedScales:
        """The task that the settings ask for."""
        names = "margin", "gradient", "response", "attend_lr", "locate_lr"
        stages = getattr(config, "stages", Stages())
        if len(stages) != 3:
            raise UserError(f"--stages takes three numbers of epochs, not {len(stages)}")
        asked = settings_of(config, *names)
        return cls(net, config.label_smoothing, stages=Stages(*stages), **asked)

    def groups(self) -> List[Group]:
        body = self.body
        if body.pixels:
            raise UserError("boxes='pixels' cannot be trained: whole pixels pass no gradient on")
        eyes = [[head] for head in body.heads]
        for scale, backbone in enumerate(body.backbones):  # one, if it is shared
            eyes[scale].append(backbone)
        found = [Group(f"scale{scale + 1}", blocks) for scale, blocks in enumerate(eyes)]
        found.append(Group("fused", [body.fused]))
        for rate, name in ((self.locate_lr, "locate"), (self.attend_lr, "attend")):
            for scale, apn in enumerate(body.apns):  # each with momenta of its own
                found.append(Group(f"{name}{scale + 2}", [apn], rate))
        return found

    def updates(self, epoch: int) -> List[Update]:
        turn, scales = self.stages.turn, self.body.scales
        for length, update in self._growth():
            if epoch < length:
                return [update]
            epoch -= length
        names = [f"scale{scale + 1}" for scale in range(scales)]
        both = [Update([*names, "fused"], self.classify)]
        if self.crops:
            both.append(self._ranked(scales - 1))
        return [both[epoch // turn % len(both)]] if turn else both

    def _growth(self) -> Iterator[Tuple[int, Update]]:
        """The stages in which scales grow, each with its epochs."""
        (grow, locate, turn), scales = self.stages, self.body.scales
        for scale in range(scales):
            first = 0 if self.body.shared else scale
            names = [f"scale{moved + 1}" for moved in range(first, scale + 1)]
            if self._completes(scale):
                names.append("fused")
            yield grow, Update(names, partial(self.grow, scale=scale))
            if scale:
                yield turn, self._ranked(scale)
            if scale < scales - 1:
                yield locate, Update(f"locate{scale + 2}", partial(self.locate, scale=scale))

    def _completes(self, scale: int) -> bool:
        """Whether all scales are trained while this one grows: then all together can be as well."""
        return scale == self.body.scales - 1 and (self.body.shared or not scale)

    def _ranked(self, last: int) -> Update:
        """The move of all boxes up to that of a scale, so that closer looks are surer."""
        names = [f"attend{scale + 1}" for scale in range(1, last + 1)]
        return Update(names, partial(self.rank, last=last))

    def classify(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        """Every answer, with boxes that no gradient reaches."""
        return self._answers(images, labels, self.body.scales - 1, fused=True)

    def grow(self, images: nd.NDArray, labels: nd.NDArray, scale: int) -> Losses:
        """The answer of a new scale; those before stand still if they have their own backbones."""
        if self.body.shared or self._completes(scale):
            return self._answers(images, labels, scale, fused=self._completes(scale))
        with autograd.pause():
            view = self._zoom(images, scale)
        _, logits = self.body.heads[scale](self.body.features(view, scale))
        return {f"classify{scale + 1}": cross_entropy(logits, self._targets(labels))}

    def _targets(self, labels: nd.NDArray) -> nd.NDArray:
        return smoothed(labels, self.net.classes, self.smoothing)

    def _zoom(self, images: nd.NDArray, scale: int) -> nd.NDArray:
        """What a scale sees: the image made smaller, or a crop of it."""
        body, view, box = self.body, self.body.whole(nd, images), None
        for coarser in range(scale):
            box = body.box(nd, body.features(view, coarser), box, coarser)
            view = self.crops[coarser](images, box)
        return view

    def _answers(self, images: nd.NDArray, labels: nd.NDArray, last: int, fused: bool) -> Losses:
        """Cross entropy of all scales up to `last`, and, if `fused`, of all together."""
        body, targets = self.body, self._targets(labels)
        view, box, descriptors, losses = body.whole(nd, images), None, [], {}
        for scale in range(last + 1):
            features = body.features(view, scale)
            descriptor, logits = body.heads[scale](features)
            descriptors.append(descriptor)
            losses[f"classify{scale + 1}"] = cross_entropy(logits, targets)
            if scale < last:
                with autograd.pause():
                    box = body.box(nd, features, box, scale)
                    view = self.crops[scale](images, box)
        if fused:
            answer = body.fused(concat(nd, *descriptors, chunk=body.heads[0].channels))
            losses["classify_fused"] = cross_entropy(answer, targets)
        return losses

    def locate(self, images: nd.NDArray, labels: nd.NDArray, scale: int) -> Losses:
        """The distance to a box of half the side around the strongest response of a scale."""
        body = self.body
        with autograd.predict_mode():
            with autograd.pause():
                features = body.features(self._zoom(images, scale), scale)
                wanted = strongest(features, self.response)
            missed = nd.smooth_l1(body.apns[scale](features) - wanted, scalar=1)
        return {f"locate{scale + 2}": missed.sum(axis=1)}

    def rank(self, images: nd.NDArray, labels: nd.NDArray, last: Optional[int] = None) -> Losses:
        """How much less than a margin a closer look is surer of the true class, up to a scale.

        The look before is the standard and gets no gradient. Backbones and heads are neither moved
        nor even differentiated: the gradient is taken in the boxes, and goes on from there.
        """
        body, losses, box = self.body, {}, None
        with autograd.pause():
            features, before = self._look(body.whole(nd, images), labels, 0)
        for scale, crop in enumerate(self.crops[:last]):
            box = body.box(nd, features.detach(), box, scale)
            here = box.detach()
            here.attach_grad()
            features, sure = self._look(crop(images, here), labels, scale + 1)
            missing = nd.relu(before - sure + self.margin)
            (pull,) = autograd.grad(missing, [here])
            moved = (box * pull).sum(axis=1)  # has that gradient; the value is of no interest
            losses[f"rank{scale + 2}"] = moved + (missing - moved).detach()
            before = sure.detach()
        return losses

    def _look(self, view: nd.NDArray, labels: nd.NDArray, scale: int) -> Tuple[Any, Any]:
        """Features, and the probability of the true class (N,), of a network that stands still."""
        features = self.steady[0 if len(self.steady) == 1 else scale](view)
        _, logits = self.body.heads[scale](features)
        return features, nd.softmax(logits.astype("float32")).pick(labels)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        trace, labels = self.net.trace(images), labels.astype("float32")
        scores = {"accuracy": is_top1(trace.logits, labels)}
        for scale in range(self.body.scales):
            scores[f"accuracy_{scale + 1}"] = is_top1(trace.scale_logits[:, scale], labels)
        for scale in range(len(self.crops)):
            scores[f"side_{scale + 2}"] = trace.boxes[:, scale, 2]
        scores["cross_entropy"] = -nd.log_softmax(trace.logits.astype("float32")).pick(labels)
        return scores


def strongest(features: nd.NDArray, response: str = "mean", half: float = 0.5) -> nd.NDArray:
    """The box of a side around the largest mean of channels, or of squares: (N, 3)."""
    height, width = features.shape[2:]
    strength = features.square() if response == "energy" else features
    peak = strength.mean(axis=1).reshape((0, -1)).argmax(axis=1)
    row = nd.floor(peak / width)
    x = (2 * (peak - row * width) - (width - 1)) / max(width - 1, 1)
    y = (2 * row - (height - 1)) / max(height - 1, 1)
    inside = nd.stack(x, y, axis=1).clip(half - 1, 1 - half)
    return nd.concat(inside, nd.full((len(features), 1), half, ctx=features.context), dim=1)
