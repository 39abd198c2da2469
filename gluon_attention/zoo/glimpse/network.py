"""Attention for Fine-Grained Categorization: a few looks at an image that is never seen whole.

Pierre Sermanet, Andrea Frome, Esteban Real. 2014, https://arxiv.org/abs/1412.7054
Attention over regions after Lu et al., Knowing When to Look, https://arxiv.org/abs/1612.01887

The whole image is seen small, as context. Every glimpse is a few square patches around one point,
each twice as wide as the one before, all sampled to one small size and read by one pre-trained
network; an LSTM takes them in and answers after each. Where to look next comes from attention over
regions of the context: the expectation of their middles.

Where this differs from the paper, and why:

- Locations come from soft attention, and so can be differentiated (`location="differentiable"`)
  through bilinear sampling of the patches, with noise of spread `std` while it trains; `"sampled"`
  draws them and learns by REINFORCE.
  `"mirrored"` is a public PyTorch implementation's, for weights trained in it: up is down, and what
  was drawn goes through a tanh.
- Patches are cut from the tensor that holds the image. `start_size` is the side of the first in
  quarters of the image's, `patches` of them follow: 1 and 3 are the paper's three resolutions.
  Images are `size` pixels a side, or `4 * patch`, so that a quarter of one fills a patch.
- Regions lie from `-reach` to `reach`, by default where their middles are, and up is up.
- ResNet-50 or MobileNetV2 instead of Inception; as there, the first convolution moves by one pixel
  instead of two, with the weights of ImageNet, so that small patches keep their features. A visual
  network that is not trained on does better with `patch=192, stem_stride=2`, at the same cost: it
  finds things as large as it knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from mxnet import init, nd

from ...errors import UserError
from ...explain.painters import patch_tiles
from ...fields import field
from ..attention_net import AttentionNet
from ..freezing import freeze, freeze_bn
from ..registry import register
from .controller import GlimpseController
from .episode import Episode, EpisodeFromFeatures
from .patch_encoder import PatchEncoder
from .task import StepClassification

# Section 4 of the paper: patches of 96 pixels a side. Both were trained on ImageNet.
SPECS = {"glimpse_resnet50": "resnet50_v1", "glimpse_mobilenet_v2": "mobilenetv2_1.0"}
LOCATIONS = ("differentiable", "sampled", "mirrored")
POLICIES = ("learned", "center", "random")


@dataclass(frozen=True)
class GlimpseOptions:
    """Options of the glimpse network."""

    backbone: str = field("resnet50_v1", "feature extractor of patches and context")
    patches: int = field(
        2, "patches of a glimpse, each twice as wide as the one before", low=1, high=3
    )
    start_size: int = field(
        2, "side of the first patch, in quarters of the image's", choices=(1, 2, 4)
    )
    glimpses: int = field(3, "glimpses of an episode", low=1, high=100)
    regions: int = field(2, "regions a side that attention is over", low=2, high=64)
    reach: Optional[float] = field(
        None,
        "distance of the outermost regions from the center; None for their middles",
        low=0.001,
        high=1,
    )
    patch: int = field(96, "side of the patches in pixels", low=16, high=1024)
    size: Optional[int] = field(
        None, "side of the images in pixels; None for four patches", low=16, high=4096
    )
    hidden: int = field(2048, "units of the LSTM", low=1, high=65536)
    attention: Optional[int] = field(
        None, "units of the attention; None for half of those of the LSTM", low=1, high=65536
    )
    location: str = field("differentiable", "how locations are learned", choices=LOCATIONS)
    policy: str = field("learned", "what chooses locations", choices=POLICIES)
    std: Optional[float] = field(
        None,
        "standard deviation of locations in training; None for 0.2 if sampled, else 0",
        low=0,
        high=100,
    )
    dropout: float = field(0.0, "dropout of glimpses and before the head", low=0, high=0.99)
    stem_stride: Optional[int] = field(
        1, "stride of the first convolution; None for the backbone's own", low=1, high=8
    )
    frozen: bool = field(True, "keep the backbone as it is")
    frozen_bn: bool = field(True, "keep the statistics of its BatchNorm, if it is not frozen")
    overlap: int = field(
        4, "cached positions per side of a patch; 0 for the center alone", low=0, high=64
    )

    def __post_init__(self) -> None:
        if self.location == "sampled" and self.std is not None and self.std < 0.001:
            raise UserError("std must be above 0 where locations are sampled")
        if self.overlap == 0 and self.policy != "center":
            raise UserError("overlap must be 1 or more: only policy='center' can do with 0")


class Trace(NamedTuple):
    """What an episode of T glimpses of K patches shows; R regions a side."""

    logits: Any  # (N, classes), after the last glimpse
    step_logits: Any  # (N, T, classes)
    locations: Any  # (N, T, 2), looked at: x before y, the image spans -1 to 1
    means: Any  # (N, T, 2), of what they were drawn from; where nothing is drawn, the same
    baselines: Any  # (N, T), the reward expected before each glimpse
    attention: Any  # (N, T, R, R), over the regions of the context, row by row
    glimpse_boxes: Any  # (N, T, K, 3): x and y of the middle of each patch, half its side
    patches: Any  # (N, T, K, 3, patch, patch); empty where features were remembered


RENAMED = (  # parameters of files that older versions saved: (pattern, replacement)
    (r"^body\.eye\.", "body.encoder."),
    (r"^body\.mind\.first\.", "body.controller.first_score."),
    (r"^body\.mind\.region\.", "body.controller.key."),
    (r"^body\.mind\.state\.", "body.controller.query."),
    (r"^body\.mind\.weigh\.", "body.controller.score."),
    (r"^body\.mind\.answer\.", "body.controller.head."),
    (r"^body\.mind\.", "body.controller."),
)


class GlimpseNet(AttentionNet):
    """The network; takes images (N, 3, H, W), or (N, C, cells) as `encode` gave them.

    `net(images)` draws nothing: a policy that is random then looks at the middle.

    Args:
        std: spread of the noise that training adds to locations.
        overlap: positions within the side of a window, where `reach` is a half, that features are
            remembered at, alike for windows of all sides; 0 for the middle of the image alone.
    """

    Trace = Trace
    initializer = init.Xavier()
    samples = 7
    painters = {"patches": patch_tiles}
    renamed = RENAMED

    def __init__(self, body: Episode, classes: int, std: float, overlap: int, **kw: Any) -> None:
        super().__init__(body, **kw)
        self.classes, self.std = classes, std
        # Positions a side that features are remembered at, for each side of windows.
        steps = (
            max(1, round(overlap / (4 * side))) if overlap else 0 for side in self.encoder.sides
        )
        self.grids = tuple(2 * count + 1 for count in steps)
        # Not a child: its parameters are those of the body already.
        vars(self)["_recall"] = EpisodeFromFeatures(self.controller, self.encoder, self.grids)

    @property
    def encoder(self) -> PatchEncoder:
        return self.body.encoder

    @property
    def controller(self) -> GlimpseController:
        return self.body.controller

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, self.controller.glimpses, 2)),)

    def hybridize(self, active: bool = True, *args: Any, **kwargs: Any) -> None:
        super().hybridize(active, *args, **kwargs)
        self._recall.hybridize(active, *args, **kwargs)

    def episode(self, images: nd.NDArray, noise: nd.NDArray) -> Trace:
        """The trace of images, or of what was remembered of them, with that noise in locations."""
        if images.ndim == 3:
            return Trace(*self._recall(images, noise), patches=[])
        return super().episode(images, noise)

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray]:
        """What is added to the means of locations, (N, T, 2)."""
        controller, ctx = self.controller, images.context
        shape = (images.shape[0], controller.glimpses, 2)
        if controller.policy == "random":
            reach = controller.reach
            return (nd.random.uniform(-reach, reach, shape=shape, ctx=ctx),)
        if controller.policy == "learned" and self.std:
            return (nd.random.normal(scale=self.std, shape=shape, ctx=ctx),)
        return (nd.zeros(shape, ctx=ctx),)

    def feature_specs(self) -> List[Dict[str, Any]]:
        """What `encode` takes one by one: the context, and the windows of each side on a grid.

        A memory says all that features depend on but the picture and the weights, because the
        files of features that are kept are named by it. That of the context has no `reach`.
        """
        encoder, reach = self.encoder, self.controller.reach
        same = dict(
            backbone=encoder.kind, patch=encoder.patch, stem=encoder.stem, size=encoder.size
        )
        context = dict(same, side=1.0, shape=(encoder.channels, *encoder.cells))
        grids = [
            dict(same, side=side, reach=reach, shape=(encoder.channels, grid, grid))
            for side, grid in zip(encoder.sides, self.grids)
        ]
        return [context, *grids]

    def encode(
        self,
        images: nd.NDArray,
        memory: Optional[Dict[str, Any]] = None,
        see: Optional[Callable[..., Any]] = None,
    ) -> nd.NDArray:
        """Features of images for `episode` to read in place of them: (N, C, cells).

        Between the positions of a grid it reads them bilinearly, which is near what the window
        there would give.

        Args:
            memory: one of `feature_specs()`; all of them, side by side, if it is None.
            see: a faster copy of the visual network.
        """
        if memory is None:
            return nd.concat(*(self.encode(images, m, see) for m in self.feature_specs()), dim=2)
        side, see, found = memory["side"], see or self.encoder, []
        level = self.encoder.downscaled(nd, images, side)
        if "reach" not in memory:
            middle = nd.zeros((len(images), 2), ctx=images.context)
            return see(self.encoder.crop_patch(nd, level, middle, side)).reshape((0, 0, -1))
        cells = memory["shape"][1]
        steps = memory["reach"] * np.linspace(-1, 1, cells) if cells > 1 else [0.0]
        for place in ((x, y) for y in steps for x in steps):
            where = nd.tile(nd.array([place], ctx=images.context), (len(images), 1))
            seen = see(self.encoder.crop_patch(nd, level, where, side))
            found.append(seen.mean(axis=(2, 3)))
        return nd.stack(*found, axis=2)

    def objective(self, config: Any) -> StepClassification:
        return StepClassification.from_config(self, config)


def _sides(patches: int, start_size: int) -> Tuple[float, ...]:
    """Sides of the patches of a glimpse, as shares of the image's side."""
    if start_size * 2 ** (patches - 1) > 4:
        raise UserError(
            f"start_size {start_size} with {patches} patches is impossible: the first side is "
            "start_size quarters of the image's (1, 2 or 4), each next twice as long, and the last "
            "the whole: 1 with 1 to 3 patches, 2 with 1 or 2, 4 with 1"
        )
    return tuple(start_size * 2**number / 4 for number in range(patches))


def build(classes: int, options: GlimpseOptions) -> GlimpseNet:
    """The network of `get_model`."""
    o = options
    sides = _sides(o.patches, o.start_size)
    drawn = o.location != "differentiable" and o.policy == "learned"
    encoder = PatchEncoder(o.backbone, o.patch, sides, o.stem_stride or 0, o.size or 4 * o.patch)
    if o.frozen:
        freeze(encoder)
    elif o.frozen_bn:  # batches of contexts and of patches differ too much for common statistics
        freeze_bn(encoder)
    controller = GlimpseController(
        classes,
        encoder.channels,
        o.patches,
        o.glimpses,
        o.regions,
        reach=o.reach or 1 - 1 / o.regions,
        hidden=o.hidden,
        attention=o.attention or max(o.hidden // 2, 1),
        dropout=o.dropout,
        policy=o.policy,
        drawn=drawn,
        mirrored=o.location == "mirrored",
    )
    spread = (0.2 if drawn else 0.0) if o.std is None else o.std
    return GlimpseNet(Episode(encoder, controller), classes, spread, o.overlap)


for _name, _backbone in SPECS.items():
    register(
        _name,
        build,
        options=GlimpseOptions(backbone=_backbone),
        shape=(3, 384, 384),
        classes=120,
    )
