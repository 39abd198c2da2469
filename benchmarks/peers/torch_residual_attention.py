"""PyTorch counterpart of residual attention networks (arXiv 1704.06904), wide CIFAR and ImageNet.

Written from the paper for speed on a CPU: channels-last, in-place activations, one fused
multiply-add for the residual attention. It is the peer of `cifar_residual_attention*` and of
`residual_attention56`, parameter for parameter, and shares no code with them.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn


class Layout(NamedTuple):
    """Channels of the stages, the poolings inside the masks of each, and what follows them."""

    channels: Tuple[int, ...]
    depths: Tuple[int, ...]
    tail: int  # channels of the last three units
    tail_stride: int


CIFAR = Layout((128, 256, 512), (2, 1, 0), 1024, 1)  # 32, 16 and 8 pixels
IMAGENET = Layout((256, 512, 1024), (3, 2, 1), 2048, 2)  # 56, 28, 14 and 7 pixels
MODULES = {56: (1, 1, 1), 92: (1, 2, 3), 128: (2, 3, 4), 164: (3, 4, 5), 236: (5, 6, 7)}


class Unit(nn.Module):
    """Pre-activation bottleneck; the shortcut is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        width = outputs // 4
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.project = None
        if stride != 1 or inputs != outputs:
            self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(active)
        y = F.relu(self.norm2(self.conv1(active)), inplace=True)
        y = F.relu(self.norm3(self.conv2(y)), inplace=True)
        return self.conv3(y) + shortcut


def units(channels: int, count: int) -> nn.Sequential:
    """A chain of units of one shape."""
    return nn.Sequential(*(Unit(channels, channels) for _ in range(count)))


class Hourglass(nn.Module):
    """One level of the mask and, inside it, all deeper ones."""

    def __init__(self, channels: int, depth: int, r: int) -> None:
        super().__init__()
        self.down = units(channels, r)
        self.skip = Unit(channels, channels) if depth > 1 else None
        self.inner = Hourglass(channels, depth - 1, r) if depth > 1 else None
        self.up = units(channels, r)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(F.max_pool2d(x, 3, 2, 1))
        if self.inner is not None:
            y = self.skip(y) + self.inner(y)
        return F.interpolate(self.up(y), size=x.shape[2:], mode="bilinear", align_corners=True)


class AttentionModule(nn.Module):
    """Trunk T and mask M between pre- and post-units: (1 + M) T."""

    def __init__(self, channels: int, depth: int, ptr: Tuple[int, int, int]) -> None:
        super().__init__()
        p, t, r = ptr
        self.before, self.after = units(channels, p), units(channels, p)
        self.trunk = units(channels, t)
        self.mask = Hourglass(channels, depth, r) if depth else units(channels, 2 * r)
        self.gate = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        return self.after(torch.addcmul(trunk, self.gate(self.mask(x)), trunk))


def stem(small: bool) -> List[nn.Module]:
    """The first convolution; large images are downscaled by 4."""
    if small:
        return [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True)]
    first = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
    return [first, nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]


class ResidualAttention(nn.Module):
    """Images (N, 3, 32, 32) or (N, 3, 224, 224) to logits (N, classes)."""

    def __init__(
        self,
        layout: Layout,
        modules: Sequence[int] = (1, 2, 3),
        ptr: Tuple[int, int, int] = (1, 2, 1),
        classes: int = 10,
    ) -> None:
        super().__init__()
        layers = stem(layout is CIFAR)
        inputs = layers[0].out_channels
        for stage, (channels, depth) in enumerate(zip(layout.channels, layout.depths)):
            layers.append(Unit(inputs, channels, stride=1 if stage == 0 else 2))
            layers += [AttentionModule(channels, depth, ptr) for _ in range(modules[stage])]
            inputs = channels
        tail = layout.tail
        layers += [Unit(inputs, tail, layout.tail_stride), *units(tail, 2)]
        layers += [nn.BatchNorm2d(tail), nn.ReLU(True)]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(tail, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(images).mean((2, 3)))


def build(layers: int, pixels: int = 32, classes: int = 10) -> nn.Module:
    """The counterpart of a network of `layers` layers for images of 32 or 224, channels-last."""
    net = ResidualAttention(CIFAR if pixels == 32 else IMAGENET, MODULES[layers], classes=classes)
    return net.to(memory_format=torch.channels_last)
