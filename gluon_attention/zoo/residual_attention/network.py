"""Residual Attention Network for Image Classification.

Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang (2017), https://arxiv.org/abs/1704.06904

Attention modules multiply the features of a trunk by a mask, the output of an hourglass branch:
`T + M * T`. A network is a stem, stages of units and modules, and global average pooling,
so it takes images of any size.

Where this differs from the paper, and the source it follows where sources disagree:

- Masks add the skip units, as the authors' network definition does, and nothing else. GluonCV also
  adds the down-path and the trunk: `mask_fusion="gluoncv"`.
- ImageNet nets have the modules per stage of the authors' Attention-56 and -92 (1, 2, 3); deeper
  ones have equal stages, depth = 36 m + 20. GluonCV's names have its uneven table and its single
  unit after each module, which makes its "452" 398 layers deep.
- The paper defines no CIFAR network. `cifar_residual_attention*` is the wide one most
  implementations settled on: masks of depth 2, 1, 0 and an 8x8 tail. `_deep` has masks of depth
  3, 2, 1 and a 4x4 tail. Both have the modules per stage of the ImageNet nets, so that the wide
  452 has 40.1 M parameters (GluonCV's table and single unit make 41.6 M). `_slim` is the one whose
  size agrees with the paper's 1.9 M (92) and 5.1 M (236); no network here has its 8.6 M (452).
- `unit="next"` is AttentionNeXt: post-activation units, and no BN-ReLU where they end.
- Max pooling pads by one pixel, as every port but the authors' Caffe layer does.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Tuple

from mxnet import gluon
from mxnet.gluon import nn

from ...explain.looks import mask_look
from ..attention_net import AttentionNet, LastMap
from ..classifier import Classifier
from .lowering import Lowered, Program, lower
from .module import (
    UNITS,
    AttentionModule,
    activate,
)
from .options import Architecture, Depths, ResidualAttentionOptions


class ResidualAttentionBody(gluon.HybridBlock):
    """Logits, and the masks of all modules in order."""

    def __init__(
        self,
        architecture: Architecture,
        depths: Depths,
        classes: int,
        options: ResidualAttentionOptions,
    ) -> None:
        super().__init__()
        unit = UNITS[options.unit]
        with self.name_scope():
            self.stem = _stem(architecture.stem, small=architecture.shape[1] < 64)
            self.steps = nn.HybridSequential()  # units and modules, in order
            with self.steps.name_scope():
                for stage, modules in zip(architecture.stages, (*depths.modules, 0)):
                    self.steps.add(unit(stage.channels, stage.stride, True))
                    for _ in range(stage.units - 1):
                        self.steps.add(unit(stage.channels))
                    for _ in range(modules):
                        self.steps.add(AttentionModule(unit, stage, depths, options))
            self.head = nn.HybridSequential()
            with self.head.name_scope():
                self.head.add(*activate(options.unit), nn.GlobalAvgPool2D(), Classifier(classes))

    def hybrid_forward(self, F: Any, images: Any) -> Tuple[Any, List[Any]]:
        x, masks = self.stem(images), []
        for step in self.steps:
            if isinstance(step, AttentionModule):
                x, mask = step(x)
                masks.append(mask)
            else:
                x = step(x)
        return self.head(x), masks


def _stem(channels: int, small: bool) -> nn.HybridSequential:
    """The first convolution; for large images with pooling, of stride 4 together."""
    stem = nn.HybridSequential()
    with stem.name_scope():
        if small:
            stem.add(nn.Conv2D(channels, 3, padding=1, use_bias=False))
        else:
            stem.add(nn.Conv2D(channels, 7, 2, padding=3, use_bias=False))
        stem.add(nn.BatchNorm(), nn.Activation("relu"))
        if not small:
            stem.add(nn.MaxPool2D(3, 2, padding=1))
    return stem


class Trace(NamedTuple):
    """Logits and masks."""

    logits: Any  # (N, classes)
    masks: List[Any]  # of each module, (N, C, H, W)


class ResidualAttention(AttentionNet):
    """Residual attention network for images of any size."""

    Trace = Trace
    dtypes = ("float32", "bfloat16", "float16")
    look = staticmethod(mask_look)
    shows = "masks"

    def __init__(
        self,
        architecture: Architecture,
        depths: Depths,
        classes: int,
        options: ResidualAttentionOptions,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.options = classes, options
        self.architecture, self.depths = architecture, depths
        with self.name_scope():
            self.body = ResidualAttentionBody(architecture, depths, classes, options)

    @property
    def classifier(self) -> Classifier:
        return self.body.head[-1]

    def layers(self) -> List[gluon.HybridBlock]:
        return [*self.body.stem, *self.body.steps, *list(self.body.head)[:-2]]

    def _feature_block(self) -> LastMap:
        block = LastMap(self.layers())
        block.hybridize()
        return block

    def lower(self, program: Program) -> Lowered:
        """Add the network to a program of the native library."""
        return lower(program, self.body)
