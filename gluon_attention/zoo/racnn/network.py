"""Look Closer to See Better: Recurrent Attention Convolutional Neural Network (RA-CNN).

Jianlong Fu, Heliang Zheng, Tao Mei. CVPR 2017.

The first scale is a CNN on the image. An attention proposal network (APN) reads its feature map and
proposes a box, whose crop, enlarged, is the input of the next scale, and so on. Every scale has a
classifier, and a fused one reads the concatenated features of all scales. No label has the position
of a box: a ranking loss trains it until the finer scale is more confident of the true class.

Where this differs from the paper, and why:

- A box is bounded by construction: sigmoids keep it in the image and its side between two bounds.
  With a clamp instead, which the gradient ignores, boxes grow past the clamp and end as the whole
  image. The lower bound is the paper's, a third.
- Every crop is taken from the image, not from the previous crop, so that no scale loses resolution.
  Boxes are in coordinates of the image; the loss of a finer scale moves the coarser boxes too.
- `boxes="pixels"` is for weights of public PyTorch implementations: clamps, whole pixels, a mask
  that halves the first row and column, crops of crops. No gradient passes through it.
  `apn="plain"` is the paper's APN without the pooling before it.
- `apn="light"` has no fully connected layer over the whole feature map: of the 266 M parameters of
  the paper's network, 206 M are two of those. It regresses the box from expected positions of a
  few softmax maps instead.
- `locate="activation"` has no APN and no fused classifier: boxes enclose what two feature maps
  respond to (`ops.activation_box`), rectangular and as large as the object, and crops are
  stretched to squares. All scales share one backbone and one classifier, and their logits are
  averaged. Public code reaches its published figures with this variant.
- `shrink` downscales the image for the first scale, so that finer scales add more detail.
- The paper multiplies pooled features by 0.1 before a classifier (`descriptor="scaled"`), which
  fits VGG's. `normalised` gives them a root mean square of one, whatever the backbone, so that all
  scales weigh the same in the fused classifier.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mxnet import autograd, gluon, init, nd
from mxnet.gluon import nn

from ...explain.looks import box_look
from ...ops.activation_box import activation_box
from ...ops.attention_crop import bounded_box, clamped_box, crop_box, inner_box, pixel_crop
from ...ops.safe import concat, detach
from ...tasks.task import options_from
from ..attention_net import AttentionNet
from ..backbones import backbone as build_backbone
from ..classifier import Classifier
from .options import RACNNOptions, RankingOptions
from .task import RankedScales, SummedScales


class Trace(NamedTuple):
    """Classification and attention at K scales."""

    logits: Any  # (N, classes), of the fused classifier
    scale_logits: Any  # (N, K, classes)
    boxes: Any  # (N, K - 1, 3 or 4), as `ops.attention_crop` defines them; empty if K is 1
    crops: List[Any]  # K - 1 of (N, 3, size, size)


class Head(gluon.HybridBlock):
    """Features of a scale (N, C, h, w) to its descriptor (N, C) and its logits (N, classes)."""

    def __init__(self, classes: int, channels: int, descriptor: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.descriptor, self.channels = descriptor, channels
        small = init.Normal(0.01)
        with self.name_scope():
            self.classifier = Classifier(classes, in_units=channels, weight_initializer=small)

    def hybrid_forward(self, F: Any, features: Any) -> Tuple[Any, Any]:
        pooled = F.mean(features, axis=(2, 3))  # (N, C)
        if self.descriptor == "scaled":
            pooled = pooled * 0.1
        else:
            pooled = F.L2Normalization(pooled) * self.channels**0.5
        return pooled, self.classifier(pooled)


class PaperAPN(gluon.HybridBlock):
    """The paper's: two fully connected layers over the feature map; they fix the image size."""

    def __init__(self, pooled: bool, bound: Callable[[Any, Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bound = bound  # (F, three numbers) to a box
        with self.name_scope():
            self.layers = nn.HybridSequential()
            if pooled:
                self.layers.add(nn.MaxPool2D())
            self.layers.add(nn.Flatten())
            self.layers.add(_dense(1024, activation="tanh"), _dense(3))

    def hybrid_forward(self, F: Any, features: Any) -> Any:
        return self.bound(F, self.layers(features))


class LightAPN(gluon.HybridBlock):
    """A linear layer over expected positions of a few softmax maps and over mean features."""

    def __init__(self, bound: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.bound = bound  # (F, three numbers) to a box
        with self.name_scope():
            self.conv = nn.Conv2D(64, 3, padding=1, activation="relu")
            self.heatmaps = nn.Conv2D(8, 1)
            self.box = nn.Dense(3, weight_initializer=init.Normal(0.01))

    def hybrid_forward(self, F: Any, features: Any) -> Any:
        hidden = self.conv(features)
        logits = self.heatmaps(hidden)  # (N, maps, h, w)
        weights = F.softmax(F.reshape(logits, shape=(0, 0, -3)), axis=2)
        weights = F.reshape_like(weights, logits)
        x = _expected_position(F, F.sum(weights, axis=2), logits, 3)
        y = _expected_position(F, F.sum(weights, axis=3), logits, 2)
        return self.bound(F, self.box(concat(F, x, y, F.mean(hidden, axis=(2, 3)))))


def _expected_position(F: Any, weights: Any, like: Any, axis: int) -> Any:
    """The mean under weights (N, maps, length) on an axis from -1 to 1: (N, maps)."""
    steps = F.contrib.arange_like(like, axis=axis)
    positions = F.broadcast_div(steps * 2, F.clip(F.max(steps, keepdims=True), 1, 1e9)) - 1
    return F.sum(F.broadcast_mul(weights, F.reshape(positions, shape=(1, 1, -1))), axis=2)


def _dense(units: int, **options: Any) -> nn.Dense:
    return nn.Dense(units, weight_initializer=init.Normal(0.001), **options)


class View:
    """Input of a scale; its features are computed on first use, in the autograd mode of that use.

    Attributes:
        pixels: (N, 3, h, w), the image or a crop of it.
        box: (N, 3), the part of the image that it shows; None for the whole image.
    """

    def __init__(self, pixels: Any, box: Optional[Any], encode: Callable[[Any], Any]) -> None:
        self.pixels, self.box, self._encode = pixels, box, encode
        self._maps: Optional[Sequence[Any]] = None

    @property
    def maps(self) -> Sequence[Any]:
        """The feature maps of the scale's backbone that the next box depends on, the last first."""
        if self._maps is None:
            self._maps = self._encode(self.pixels)
        return self._maps

    @property
    def features(self) -> Any:
        """The last feature map of the scale's backbone, (N, C, h, w)."""
        return self.maps[0]


class Scales(gluon.HybridBlock):
    """The body of RA-CNN: images to the fields of a `Trace`.

    Training uses `views`, too, so that only one method leads from a scale to the next.
    """

    def __init__(self, classes: int, options: RACNNOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.crops, self.scales = options.crops, len(options.crops) + 1
        averaged = options.locate == "activation"  # no fused classifier
        self.shrink, self.shared = options.shrink, options.shared or averaged
        self.pixels = options.boxes == "pixels"
        with self.name_scope():
            self.backbones = nn.HybridSequential()
            for _ in range(1 if self.shared else self.scales):
                self.backbones.add(
                    build_backbone(options.backbone, options.frozen_bn, earlier=averaged)
                )
            channels = self.backbones[0].channels
            self.heads, self.apns = nn.HybridSequential(), nn.HybridSequential()
            for _ in range(1 if averaged else self.scales):
                self.heads.add(Head(classes, channels, options.descriptor))
            for scale in range(len(self.crops)):
                self.apns.add(_apn(options, scale))
            self.fused: Optional[Classifier] = None
            if not averaged:
                self.fused = Classifier(
                    classes, in_units=self.scales * channels, weight_initializer=init.Normal(0.01)
                )

    def head(self, scale: int) -> Head:
        """The head that reads the features of a scale."""
        return self.heads[scale % len(self.heads)]

    def maps(self, pixels: Any, scale: int) -> Sequence[Any]:
        """The feature maps of the input of a scale that the next box depends on, the last first."""
        maps = self.backbones[0 if self.shared else scale](pixels)
        return maps if isinstance(maps, (list, tuple)) else [maps]

    def first_view(self, F: Any, images: Any) -> Any:
        """Input of the first scale."""
        if self.shrink == 1:
            return images
        factor = (self.shrink, self.shrink)
        return F.Pooling(images, kernel=factor, stride=factor, pool_type="avg")

    def views(
        self,
        F: Any,
        images: Any,
        *,
        maps: Optional[Callable[[Any, int], Sequence[Any]]] = None,
        crop: Optional[Callable[[Any, Any, int], Any]] = None,
        fixed_boxes: bool = False,
    ) -> Iterator[View]:
        """The view of every scale, from the image to the finest crop.

        Args:
            maps: a function (pixels, scale) to feature maps, in place of the body's backbones.
            crop: a function (images, boxes, scale) to pixels, in place of `crop_box`.
            fixed_boxes: whether boxes and crops are computed outside of the autograd graph.
        """
        maps = maps or self.maps
        view = View(self.first_view(F, images), None, partial(maps, scale=0))
        for scale, size in enumerate(self.crops):
            yield view
            with autograd.pause() if fixed_boxes else nullcontext():
                maps_of_view = [detach(F, feature_map) for feature_map in view.maps]
                box = self.apns[scale](*maps_of_view)  # in coordinates of the view
                nested = box if view.box is None else inner_box(F, view.box, box)
                if self.pixels:
                    pixels = pixel_crop(F, view.pixels, box, size)
                elif crop is None:
                    pixels = crop_box(F, images, nested, size)
                else:
                    pixels = crop(images, nested, scale)
            view = View(pixels, nested, partial(maps, scale=scale + 1))
        yield view

    def hybrid_forward(self, F: Any, images: Any) -> Trace:
        descriptors, logits, boxes, crops = [], [], [], []
        for scale, view in enumerate(self.views(F, images)):
            outputs = self.head(scale)(view.features)
            descriptors.append(outputs[0])
            logits.append(outputs[1])
            if view.box is not None:
                boxes.append(view.box)
                crops.append(view.pixels)
        return Trace(
            logits=self.together(F, descriptors),
            scale_logits=F.stack(*logits, axis=1),
            boxes=F.stack(*boxes, axis=1) if boxes else [],
            crops=crops,
        )

    def together(self, F: Any, descriptors: List[Any]) -> Any:
        """Logits of the fused classifier; without one, the mean of the logits of all scales."""
        if self.fused is None:
            return self.heads[0].classifier(F.mean(F.stack(*descriptors, axis=1), axis=1))
        return self.fused(concat(F, *descriptors, chunk=self.heads[0].channels))


def _apn(options: RACNNOptions, scale: int) -> gluon.HybridBlock:
    """The network that reads the features of a scale and proposes the box of the next."""
    if options.locate == "activation":
        return nn.HybridLambda(activation_box)
    box = clamped_box if options.boxes == "pixels" else bounded_box
    smallest, largest = options.bounds()[scale]
    bound = partial(box, smallest=smallest, largest=largest)
    if options.apn == "light":
        return LightAPN(bound)
    return PaperAPN(options.apn == "paper" and scale == 0, bound)


class RACNN(AttentionNet):
    """RA-CNN; `net(images)` are the logits of the fused classifier."""

    Trace = Trace
    look = staticmethod(box_look)
    shows = "boxes"

    def __init__(self, classes: int, options: RACNNOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.body = Scales(classes, options)
        self.classes, self.options, self.scales = classes, options, self.body.scales

    @property
    def native_parts(self) -> Sequence[gluon.Block]:
        return list(self.body.backbones)

    @property
    def classifier(self) -> Classifier:
        return self.body.fused or self.body.heads[0].classifier

    def layers(self) -> List[gluon.HybridBlock]:
        """The layers of the first scale."""
        shrink = self.body.shrink
        first = [nn.AvgPool2D(shrink)] if shrink > 1 else []
        return [*first, *self.body.backbones[0].layers]

    def backbones(self) -> List[List[gluon.HybridBlock]]:
        return [list(backbone.layers) for backbone in self.body.backbones]

    def attended_boxes(self, images: nd.NDArray) -> Optional[nd.NDArray]:
        boxes = self.trace(images).boxes
        return boxes if len(boxes) else None  # none at one scale

    def objective(self, config: Any) -> RankedScales:
        kind = RankedScales if self.body.fused else SummedScales
        return kind(self, options_from(RankingOptions(), config), config.label_smoothing)
