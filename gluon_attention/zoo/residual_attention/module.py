"""Residual units and attention modules of residual attention networks."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.model_zoo.vision.resnet import BottleneckV2

from ...ops.onednn import blocked
from ...ops.resize import resize_like
from .options import Depths, ResidualAttentionOptions, Stage

Unit = Callable[..., gluon.HybridBlock]  # (channels, stride, project) -> block


class NextUnit(gluon.HybridBlock):
    """Post-activation bottleneck with 32 groups, half as wide as its output (ResNeXt)."""

    def __init__(self, channels: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        width = channels // 2
        with self.name_scope():
            self.branch = nn.HybridSequential()
            self.branch.add(
                nn.Conv2D(width, 1, use_bias=False),
                nn.BatchNorm(),
                nn.Activation("relu"),
                nn.Conv2D(width, 3, stride, padding=1, groups=32, use_bias=False),
                nn.BatchNorm(),
                nn.Activation("relu"),
                nn.Conv2D(channels, 1, use_bias=False),
                nn.BatchNorm(),
            )
            self.shortcut = nn.HybridSequential()
            if project:
                self.shortcut.add(nn.Conv2D(channels, 1, stride, use_bias=False), nn.BatchNorm())

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Activation(self.branch(x) + self.shortcut(x), act_type="relu")


def preact_unit(channels: int, stride: int = 1, project: bool = False) -> gluon.HybridBlock:
    """Pre-activation bottleneck; a projection takes the input after its BN and ReLU."""
    return BottleneckV2(channels, stride, downsample=project)


UNITS: Dict[str, Unit] = {"preact": preact_unit, "next": NextUnit}


def stack(unit: Unit, count: int, channels: int) -> nn.HybridSequential:
    """`count` units that keep the size and number of channels."""
    blocks = nn.HybridSequential()
    with blocks.name_scope():
        for _ in range(count):
            blocks.add(unit(channels))
    return blocks


def activate(after: str = "preact") -> List[gluon.HybridBlock]:
    """BN and ReLU, unless the unit before ends with them."""
    return [] if after == "next" else [nn.BatchNorm(), nn.Activation("relu")]


class MaskLevel(gluon.HybridBlock):
    """Pool the input to half its size, run units (and smaller levels) on it, resize it back.

    With `mask="local"` it neither pools nor resizes: an ablation of the wider context.
    """

    def __init__(
        self,
        unit: Unit,
        channels: int,
        depth: int,
        units: int,
        options: ResidualAttentionOptions,
    ) -> None:
        super().__init__()
        self._fuse = options.mask_fusion == "gluoncv"
        self._local = options.mask == "local"
        with self.name_scope():
            self.down = stack(unit, units if depth > 1 else 2 * units, channels)
            self.skip = self.inner = self.up = None
            if depth > 1:
                self.skip = unit(channels)
                self.inner = MaskLevel(unit, channels, depth - 1, units, options)
                self.up = stack(unit, units, channels)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        pooled = x
        if not self._local:
            pooled = F.Pooling(x, pool_type="max", kernel=(3, 3), stride=(2, 2), pad=(1, 1))
        y = self.down(pooled)
        if self.inner is not None:
            context = self.inner(y) + self.skip(y)
            y = self.up(context + y if self._fuse else context)
        return y if self._local else resize_like(F, y, x)


class AttentionModule(gluon.HybridBlock):
    """A trunk of units, weighted by a mask of its shape; returns features and mask."""

    def __init__(
        self, unit: Unit, stage: Stage, depths: Depths, options: ResidualAttentionOptions
    ) -> None:
        super().__init__()
        channels, depth = stage.channels, stage.depth
        self._options, self._channels = options, channels
        self._fuse = options.mask_fusion == "gluoncv" and depth > 0
        with self.name_scope():
            self.before = stack(unit, depths.before, channels)
            self.trunk = stack(unit, depths.trunk, channels)
            if depth > 0:
                self.mask = MaskLevel(unit, channels, depth, depths.mask, options)
            else:
                self.mask = stack(unit, 2 * depths.mask, channels)
            self.gate = nn.HybridSequential()
            with self.gate.name_scope():
                self.gate.add(*activate(options.unit), nn.Conv2D(channels, 1, use_bias=False))
                self.gate.add(*activate(), nn.Conv2D(channels, 1, use_bias=False))
            self.after = stack(unit, depths.after, channels)

    def hybrid_forward(self, F: Any, x: Any) -> Tuple[Any, Any]:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        if isinstance(self.mask, MaskLevel) and self._options.mask != "local":  # it was resized
            mask = blocked(F, mask, self._channels)
        mask = self.gate(mask + trunk if self._fuse else mask)
        mask = self._activate(F, mask)  # (N, C, H, W)
        weighted = blocked(F, F.elemwise_mul(mask, trunk), self._channels)
        if self._options.attention == "residual":
            weighted = trunk + weighted
        return self.after(weighted), mask

    def _activate(self, F: Any, x: Any) -> Any:
        """Section 3.3 of the paper."""
        if self._options.mask_activation == "channel":
            return F.L2Normalization(x, mode="channel")
        if self._options.mask_activation == "spatial":
            x = F.broadcast_sub(x, F.mean(x, axis=(2, 3), keepdims=True))
            variance = F.mean(F.square(x), axis=(2, 3), keepdims=True)
            x = F.broadcast_mul(x, 1 / F.sqrt(variance + 1e-5))
        return F.Activation(x, act_type="sigmoid")  # oneDNN's; F.sigmoid is ten times slower
