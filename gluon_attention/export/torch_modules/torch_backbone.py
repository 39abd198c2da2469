"""Layers from lists of a kind and its arguments.

`export --torch` inserts the code after the imports into the modules that import it.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A unit of ResNet v1: layers added to their input or to its projection, then a ReLU."""

    def __init__(self, body: Sequence[Any], downsample: Optional[Sequence[Any]]) -> None:
        super().__init__()
        self.body, self.downsample = layer(body), shortcut(downsample)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x), inplace=True)


class PreactResidual(nn.Module):
    """A unit of ResNet v2: norm, ReLU and convolution two or three times; `bn1`, `conv1`, ..."""

    def __init__(
        self, layers: Sequence[Sequence[Any]], downsample: Optional[Sequence[Any]]
    ) -> None:
        super().__init__()
        self.count, self.downsample = len(layers), shortcut(downsample)
        self.projects = downsample is not None
        for number, (norm, conv) in enumerate(layers, 1):
            self.add_module(f"bn{number}", layer(norm))
            self.add_module(f"conv{number}", layer(conv))

    def forward(self, x: Tensor) -> Tensor:
        y = shared = x
        for number in range(1, self.count + 1):
            y = F.relu(getattr(self, f"bn{number}")(y), inplace=True)
            shared = y if number == 1 and self.projects else shared
            y = getattr(self, f"conv{number}")(y)
        return y + self.downsample(shared)


class InvertedResidual(nn.Module):
    """A unit of MobileNetV2: layers, added to their input if it has the same shape."""

    def __init__(self, out: Sequence[Any], add: bool) -> None:
        super().__init__()
        self.out, self.add = layer(out), add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(x) if self.add else self.out(x)


def sequence(*layers: Sequence[Any]) -> nn.Sequential:
    """Layers one after the other."""
    return nn.Sequential(*map(layer, layers))


def shortcut(projection: Optional[Sequence[Any]]) -> nn.Module:
    """The layer on the shortcut of a unit."""
    return nn.Identity() if projection is None else layer(projection)


def layer(description: Sequence[Any]) -> nn.Module:
    """A layer from its kind and its arguments."""
    kind, *arguments = description
    return KINDS[kind](*arguments)


KINDS = {
    "sequence": sequence,
    "conv": nn.Conv2d,  # inputs, outputs, kernel, stride, padding, dilation, groups, bias
    "norm": nn.BatchNorm2d,  # channels, epsilon
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "max": nn.MaxPool2d,  # kernel, stride, padding
    "residual": Residual,
    "preact_residual": PreactResidual,
    "inverted_residual": InvertedResidual,
}


class Backbone(nn.Module):
    """Images (N, 3, H, W) to feature maps (N, channels, h, w)."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.layers = layer(layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
