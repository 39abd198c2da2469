"""Attention for Fine-Grained Categorization: a few glimpses of an image, at high resolution.

Pierre Sermanet, Andrea Frome, Esteban Real. 2014, https://arxiv.org/abs/1412.7054
Attention over regions after Lu et al., Knowing When to Look, https://arxiv.org/abs/1612.01887

The whole image is encoded once, at low resolution: the context. A glimpse is a few square patches
around one location, each twice as wide as the one before, all resampled to the same number of
pixels and encoded by one pretrained CNN. An LSTM reads the features of a glimpse, and a head
classifies after each. Soft attention over regions of the context gives the next location: the
expected centre.

Where this differs from the paper, and why:

- Locations come from soft attention, so that gradients reach them (`location="differentiable"`)
  through bilinear sampling of the patches; training adds noise of standard deviation `std`.
  `"sampled"` draws them from a normal distribution and trains by REINFORCE. `"mirrored"` is what a
  public PyTorch implementation does, for weights trained in it: y points up, and a tanh bounds
  sampled locations.
- Patches are cropped from the input tensor. `start_size` is the side of the first one in quarters
  of the image's, and there are `patches` of them: 1 and 3 are the paper's three resolutions.
- Regions lie from `-reach` to `reach`, by default at their centres, and y points down.
- ResNet-50 or MobileNetV2 instead of Inception. As there, the first convolution has stride 1
  instead of 2, with the weights of ImageNet, so that small patches keep their feature map. A frozen
  encoder is more accurate with `patch=192, stem_stride=2`, at the same cost: its filters then see
  objects as large as those it was trained on.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from mxnet import gluon, init, nd

from ...explain.looks import patch_look
from ...tasks.task import options_from
from ..attention_net import AttentionNet
from ..classifier import Classifier
from ..freezing import freeze, freeze_bn
from .controller import GlimpseController, Trace
from .episode import Episode, EpisodeFromFeatures
from .options import GlimpseOptions, StepOptions
from .patch_encoder import PatchEncoder
from .task import StepClassification


class GlimpseNet(AttentionNet):
    """The network; its input is images (N, 3, H, W), or features (N, C, cells) from `encode`.

    `net(images)` adds no noise to locations: a random policy then attends to the centre.

    The feature cache holds patches of side s (a share of the image's side) at
    (2 * round(overlap / (4 * s)) + 1)**2 locations; with overlap 0, at the centre only.

    Attributes:
        std: standard deviation of the noise that training adds to locations.
    """

    Trace = Trace
    initializer = init.Xavier()
    samples = 7
    look = staticmethod(patch_look)
    shows = "patches"

    def __init__(self, classes: int, options: GlimpseOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, overlap = classes, options.overlap
        with self.name_scope():
            self.body = _episode(classes, options)
        self.std = options.std
        if self.std is None:
            self.std = 0.2 if self.controller.sampled else 0.0
        self.grids = tuple(  # locations per side of the feature grid, for each side of patches
            2 * max(1, round(overlap / (4 * side))) + 1 if overlap else 1
            for side in self.encoder.sides
        )
        # Not a child: its parameters are those of the body already.
        vars(self)["_from_features"] = EpisodeFromFeatures(
            self.controller, self.encoder, self.grids
        )

    @property
    def encoder(self) -> PatchEncoder:
        return self.body.encoder

    @property
    def controller(self) -> GlimpseController:
        return self.body.controller

    @property
    def classifier(self) -> Classifier:
        return self.controller.head

    def layers(self) -> List[gluon.HybridBlock]:
        """The layers of the encoder, which as a backbone reads whole images, not patches."""
        return list(self.encoder.backbone.layers)

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, self.controller.glimpses, 2)),)

    def hybridize(self, active: bool = True, *args: Any, **kwargs: Any) -> None:
        super().hybridize(active, *args, **kwargs)
        self._from_features.hybridize(active, *args, **kwargs)

    def episode(self, images: nd.NDArray, noise: nd.NDArray) -> Trace:
        """The trace of images, or of their cached features, with noise added to locations."""
        if images.ndim == 3:
            return Trace(*self._from_features(images, noise))
        return super().episode(images, noise)

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray]:
        """Noise that is added to the means of locations, (N, T, 2)."""
        controller, ctx = self.controller, images.context
        shape = (images.shape[0], controller.glimpses, 2)
        if controller.policy == "random":
            reach = controller.reach
            return (nd.random.uniform(-reach, reach, shape=shape, ctx=ctx),)
        if controller.policy == "learned" and self.std:
            return (nd.random.normal(scale=self.std, shape=shape, ctx=ctx),)
        return (nd.zeros(shape, ctx=ctx),)

    def feature_specs(self) -> List[Dict[str, Any]]:
        """The features that `encode` computes: of the context, and a grid of patches per side.

        Each lists what its features depend on, besides the image and the weights. The context has
        no "reach".
        """
        encoder, reach = self.encoder, self.controller.reach
        common = dict(
            backbone=encoder.backbone_name,
            patch=encoder.patch,
            stem=encoder.stem_stride,
            size=encoder.size,
        )
        context = dict(common, side=1.0, shape=(encoder.channels, *encoder.cells))
        grids = [
            dict(common, side=side, reach=reach, shape=(encoder.channels, grid, grid))
            for side, grid in zip(encoder.sides, self.grids)
        ]
        return [context, *grids]

    def encode(
        self,
        images: nd.NDArray,
        spec: Optional[Dict[str, Any]] = None,
        encoder: Optional[Callable[[nd.NDArray], nd.NDArray]] = None,
    ) -> nd.NDArray:
        """Features (N, C, cells), between whose locations `episode` interpolates.

        Args:
            images: (N, 3, H, W).
            spec: one of `feature_specs()`; all of them by default.
            encoder: a faster copy of the network's encoder.
        """
        if spec is None:
            features = [self.encode(images, each, encoder) for each in self.feature_specs()]
            return nd.concat(*features, dim=2)
        side, encode = spec["side"], encoder or self.encoder
        pixels = self.encoder.downscaled(nd, images, side)
        if "reach" not in spec:
            center = nd.zeros((len(images), 2), ctx=images.context)
            features = encode(self.encoder.crop_patch(nd, pixels, center, side))
            return features.reshape((0, 0, -1))
        cells = spec["shape"][1]
        steps = spec["reach"] * np.linspace(-1, 1, cells) if cells > 1 else [0.0]
        grid = []
        for x, y in ((x, y) for y in steps for x in steps):
            location = nd.tile(nd.array([[x, y]], ctx=images.context), (len(images), 1))
            features = encode(self.encoder.crop_patch(nd, pixels, location, side))
            grid.append(features.mean(axis=(2, 3)))
        return nd.stack(*grid, axis=2)

    def objective(self, config: Any) -> StepClassification:
        options = options_from(StepOptions(), config)
        return StepClassification(self, options, config.label_smoothing)


def _episode(classes: int, options: GlimpseOptions) -> Episode:
    encoder = PatchEncoder(options)
    if options.frozen:
        freeze(encoder)
    elif options.frozen_bn:  # statistics of contexts and of patches differ too much to share
        freeze_bn(encoder)
    return Episode(encoder, GlimpseController(classes, encoder.channels, options))
