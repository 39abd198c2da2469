"""Residual bottleneck units, the bricks of residual attention networks."""

from __future__ import annotations

from typing import Any, Callable, Dict

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.model_zoo.vision.resnet import BottleneckV2

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
        return F.relu(self.branch(x) + self.shortcut(x))


def preact_unit(channels: int, stride: int = 1, project: bool = False) -> gluon.HybridBlock:
    """Pre-activation bottleneck; a projection sees the input after its BN and ReLU."""
    return BottleneckV2(channels, stride, downsample=project)


UNITS: Dict[str, Unit] = {"preact": preact_unit, "next": NextUnit}


def stack(unit: Unit, count: int, channels: int) -> nn.HybridSequential:
    """`count` units that keep the size and number of channels."""
    blocks = nn.HybridSequential()
    with blocks.name_scope():
        for _ in range(count):
            blocks.add(unit(channels))
    return blocks
