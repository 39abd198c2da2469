"""Look Closer to See Better: Recurrent Attention Convolutional Neural Network (RA-CNN).

Jianlong Fu, Heliang Zheng, Tao Mei. CVPR 2017.

A network that looks at an image, chooses a box in it, looks at what is in the box enlarged, and so
on; every scale answers, and so do all together. Attention proposal networks (APN) choose the boxes
and learn from nothing but whether the finer scale is surer of the true class.

Where this differs from the paper, and why:

- A box is bounded by construction: sigmoids keep it in the image and its side between two bounds,
  where implementations clamp outside of the gradient, push on past the clamp and end at the whole
  image. The paper's lower bound, a third, is kept.
- Every crop is cut from the image, not from the crop before it, so that no scale sees less than
  there is. Boxes are in coordinates of the image; a finer scale's loss moves the coarser boxes too.
- `boxes="pixels"` is what public PyTorch implementations do instead, for weights trained in them:
  clamps, whole pixels, a mask that halves the first row and column, crops of crops. It passes no
  gradient on. `apn="plain"` is the paper's without the pooling before it.
- `apn="light"` has no fully connected layer over the whole map: of the 266 M parameters of the
  paper's network 206 M are two of those. It finds a few places as means over softmax maps instead.
- `shrink` lets the first scale see the image made smaller, so that a closer look has more to see.
- The paper multiplies pooled features by 0.1 before a classifier (`descriptor="scaled"`), which
  fits VGG's. `normalised` gives them a root mean square of one, whatever the backbone, and makes
  scales that are told apart by one fused classifier weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from mxnet import gluon, init, nd
from mxnet.gluon import nn

from ...errors import UserError
from ...explain.painters import box_tiles
from ...fields import field
from ...ops.attention_crop import bounded_box, clamped_box, crop_box, inner_box, pixel_crop
from ...ops.safe import concat, detach
from ..attention_net import AttentionNet
from ..backbones import backbone as build_backbone
from ..registry import register
from .task import RankedScales

# Section 4.1 of the paper: VGG-19 at 448, 224 and 224 pixels. The other is of public ports.
SPECS = {
    "racnn_vgg19": ("vgg19", "scaled"),
    "racnn_mobilenet_v2": ("mobilenetv2_1.0", "normalised"),
}
APNS = ("light", "paper", "plain")
BOXES = ("bounded", "pixels")
DESCRIPTORS = ("scaled", "normalised")


@dataclass(frozen=True)
class RACNNOptions:
    """Options of RA-CNN."""

    backbone: str = field("vgg19", "feature extractor of every scale")
    crops: Tuple[int, ...] = field((224, 224), "sides of the finer scales", low=2, high=4096)
    shrink: int = field(1, "how much smaller than the image the first scale is", low=1, high=64)
    shared: bool = field(False, "one backbone for all scales")
    apn: str = field("light", "kind of the attention proposal networks", choices=APNS)
    descriptor: str = field("scaled", "scale of pooled features", choices=DESCRIPTORS)
    sides: Tuple[float, ...] = field(
        (1 / 3, 0.9),
        "smallest and largest side of the boxes; or the smallest of each, then the largest",
        low=0.001,
        high=2,
    )
    frozen_bn: bool = field(False, "keep the statistics of BatchNorm")
    boxes: str = field("bounded", "how boxes are kept in the image", choices=BOXES)

    def __post_init__(self) -> None:
        sides, count = self.sides, len(self.crops)
        if len(sides) not in (2, count + 1):
            raise UserError(f"sides must be 2 or {count + 1} numbers, not {len(sides)}")
        most = 2 if self.boxes == "pixels" else 1  # clamps take off what is over the whole
        if not all(smallest < sides[-1] <= most for smallest in sides[:-1][:count]):
            raise UserError(
                f"sides must be shares of a side, the last the largest of all boxes, from 0 to "
                f"{most}, not {sides}"
            )


class Trace(NamedTuple):
    """What a network of K scales saw and what it answered."""

    logits: Any  # (N, classes), of all scales together
    scale_logits: Any  # (N, K, classes)
    boxes: Any  # (N, K - 1, 3): x and y of the middle, half the side; in [-1, 1] of the image
    crops: List[Any]  # K - 1 of (N, 3, size, size)


class Head(gluon.HybridBlock):
    """Features of a scale (N, C, h, w) to its descriptor (N, C) and its answer (N, classes)."""

    def __init__(self, classes: int, channels: int, descriptor: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.descriptor, self.channels = descriptor, channels
        with self.name_scope():
            self.classifier = nn.Dense(
                classes, in_units=channels, weight_initializer=init.Normal(0.01)
            )

    def hybrid_forward(self, F: Any, features: Any) -> Tuple[Any, Any]:
        pooled = F.mean(features, axis=(2, 3))  # (N, C)
        if self.descriptor == "scaled":
            pooled = pooled * 0.1
        else:
            pooled = F.L2Normalization(pooled) * self.channels**0.5
        return pooled, self.classifier(pooled)


class PaperAPN(gluon.HybridBlock):
    """Two fully connected layers over the whole map make a box; they fix the size of the image."""

    def __init__(self, pooled: bool, place: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place  # (F, three numbers) to a box
        with self.name_scope():
            self.layers = nn.HybridSequential()
            if pooled:
                self.layers.add(nn.MaxPool2D())
            self.layers.add(nn.Flatten())
            self.layers.add(_dense(1024, activation="tanh"), _dense(3))

    def hybrid_forward(self, F: Any, features: Any) -> Any:
        return self.place(F, self.layers(features))


class LightAPN(gluon.HybridBlock):
    """Places of a few learned patterns, as means over softmax maps, make a box."""

    def __init__(self, place: Any, hidden: int = 64, maps: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place  # (F, three numbers) to a box
        with self.name_scope():
            self.conv = nn.Conv2D(hidden, 3, padding=1, activation="relu")
            self.heatmaps = nn.Conv2D(maps, 1)
            self.box = nn.Dense(3, weight_initializer=init.Normal(0.01))

    def hybrid_forward(self, F: Any, features: Any) -> Any:
        seen = self.conv(features)
        heat = self.heatmaps(seen)  # (N, maps, h, w)
        shares = F.reshape_like(F.softmax(F.reshape(heat, shape=(0, 0, -3)), axis=2), heat)
        places = [_mean_place(F, F.sum(shares, axis=a), heat, b) for a, b in ((2, 3), (3, 2))]
        found = concat(F, *places, F.mean(seen, axis=(2, 3)))
        return self.place(F, self.box(found))


def _mean_place(F: Any, shares: Any, like: Any, axis: int) -> Any:
    """Where shares (N, maps, length) lie on an axis from -1 to 1: (N, maps)."""
    steps = F.contrib.arange_like(like, axis=axis)
    places = F.broadcast_div(steps * 2, F.clip(F.max(steps, keepdims=True), 1, 1e9)) - 1
    return F.sum(F.broadcast_mul(shares, F.reshape(places, shape=(1, 1, -1))), axis=2)


def _dense(units: int, **options: Any) -> nn.Dense:
    return nn.Dense(units, weight_initializer=init.Normal(0.001), **options)


class Scales(gluon.HybridBlock):
    """Looks of growing closeness; their parts are called one by one to train them.

    Args:
        crops: sides of the finer scales in pixels.
        shrink: how much smaller than the image the first scale is.
        shared: one backbone for all scales.
        bounds: smallest and largest side of each box, as shares of the view before.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        crops: Tuple[int, ...],
        shrink: int,
        shared: bool,
        apn: str,
        descriptor: str,
        bounds: Sequence[Tuple[float, float]],
        frozen_bn: bool,
        boxes: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scales, self.crops, self.shrink, self.shared = len(crops) + 1, crops, shrink, shared
        self.pixels = boxes == "pixels"
        bound = clamped_box if self.pixels else bounded_box
        with self.name_scope():
            self.backbones = nn.HybridSequential()
            for _ in range(1 if shared else self.scales):
                self.backbones.add(build_backbone(backbone, frozen_bn))
            channels = self.backbones[0].channels
            self.heads, self.apns = nn.HybridSequential(), nn.HybridSequential()
            for _ in range(self.scales):
                self.heads.add(Head(classes, channels, descriptor))
            for scale, (smallest, largest) in enumerate(bounds):
                place = partial(bound, smallest=smallest, largest=largest)
                pooled = apn == "paper" and scale == 0
                self.apns.add(LightAPN(place) if apn == "light" else PaperAPN(pooled, place))
            self.fused = nn.Dense(
                classes, in_units=self.scales * channels, weight_initializer=init.Normal(0.01)
            )

    def features(self, view: Any, scale: int) -> Any:
        """Features of what a scale sees."""
        return self.backbones[0 if self.shared else scale](view)

    def whole(self, F: Any, images: Any) -> Any:
        """What the first scale sees."""
        if self.shrink == 1:
            return images
        pitch = (self.shrink, self.shrink)
        return F.Pooling(images, kernel=pitch, stride=pitch, pool_type="avg")

    def box(self, F: Any, features: Any, outer: Optional[Any], scale: int) -> Any:
        """The next box, in the image; `outer` is the box that the features are of."""
        inner = self.apns[scale](features)
        return inner if outer is None else inner_box(F, outer, inner)

    def hybrid_forward(self, F: Any, images: Any) -> Tuple[Any, ...]:
        view, box = self.whole(F, images), None
        descriptors, answers, boxes, crops = [], [], [], []
        for scale in range(self.scales):
            features = self.features(view, scale)
            descriptor, logits = self.heads[scale](features)
            descriptors.append(descriptor)
            answers.append(logits)
            if scale < len(self.crops):
                inner = self.apns[scale](detach(F, features))
                box = inner if box is None else inner_box(F, box, inner)
                if self.pixels:
                    view = pixel_crop(F, view, inner, self.crops[scale])
                else:
                    view = crop_box(F, images, box, self.crops[scale])
                boxes.append(box)
                crops.append(view)
        fused = self.fused(concat(F, *descriptors, chunk=self.heads[0].channels))
        return fused, F.stack(*answers, axis=1), F.stack(*boxes, axis=1) if boxes else [], crops


class RACNN(AttentionNet):
    """RA-CNN; `net(images)` is the answer of all scales together."""

    Trace = Trace
    painters = {"boxes": box_tiles}
    renamed = (  # parameters of files that older versions saved: (pattern, replacement)
        (r"^(body\.heads\.\d+)\.answer\.", r"\1.classifier."),
        (r"^(body\.apns\.\d+)\.look\.", r"\1.conv."),
        (r"^(body\.apns\.\d+)\.heat\.", r"\1.heatmaps."),
    )

    def __init__(self, body: Scales, classes: int, **kwargs: Any) -> None:
        super().__init__(body, **kwargs)
        self.classes, self.scales = classes, body.scales

    def attended_boxes(self, images: nd.NDArray) -> Optional[nd.NDArray]:
        boxes = self.trace(images).boxes
        return boxes if len(boxes) else None  # none at one scale

    def objective(self, config: Any) -> RankedScales:
        return RankedScales.from_config(self, config)


def build(classes: int, options: RACNNOptions) -> RACNN:
    """The network of `get_model`."""
    o = options
    *low, largest = o.sides  # one for all boxes, or one for each
    pairs = [(smallest, largest) for smallest in (low * len(o.crops))[: len(o.crops)]]
    scales = Scales(
        classes,
        o.backbone,
        o.crops,
        o.shrink,
        o.shared,
        apn=o.apn,
        descriptor=o.descriptor,
        bounds=pairs,
        frozen_bn=o.frozen_bn,
        boxes=o.boxes,
    )
    return RACNN(scales, classes)


for _name, (_backbone, _scaling) in SPECS.items():
    register(
        _name,
        build,
        options=RACNNOptions(backbone=_backbone, descriptor=_scaling),
        shape=(3, 448, 448),
        classes=200,
    )
