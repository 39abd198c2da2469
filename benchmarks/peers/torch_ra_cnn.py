"""PyTorch counterpart of RA-CNN on MobileNetV2, with the light attention proposal network.

It is the peer of `racnn_mobilenet_v2` in parameters, sizes, crops and losses, and shares no code
with it. Crops of a batch are one `grid_sample`; what a step does not move takes no gradient.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

# Expansion, channels, repeats and first stride: table 2 of MobileNetV2 (arXiv 1801.04381).
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
CHANNELS = 1280
SMALLEST, LARGEST, MARGIN = 1 / 3, 0.9, 0.05


def conv(inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1) -> List:
    """Convolution and BatchNorm."""
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        layers = [*conv(inputs, width), nn.ReLU6(True)]  # even by one, as Gluon's zoo has it
        layers += [*conv(width, width, 3, stride, width), nn.ReLU6(True), *conv(width, outputs)]
        self.layers, self.add = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.add else self.layers(x)


def mobilenet() -> nn.Sequential:
    """MobileNetV2 up to its last convolution."""
    layers, inputs = [*conv(3, 32, 3, 2), nn.ReLU6(True)], 32
    for expansion, outputs, repeats, stride in ROWS:
        for repeat in range(repeats):
            layers.append(Bottleneck(inputs, outputs, expansion, 1 if repeat else stride))
            inputs = outputs
    return nn.Sequential(*layers, *conv(inputs, CHANNELS), nn.ReLU6(True))


class Propose(nn.Module):
    """A box (N, 3) from mean coordinates of a few softmax maps and from pooled features."""

    def __init__(self, hidden: int = 64, maps: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, hidden, 3, padding=1)
        self.heat, self.box = nn.Conv2d(hidden, maps, 1), nn.Linear(2 * maps + hidden, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.conv(features))
        heat = self.heat(hidden)
        shares = heat.flatten(2).softmax(2).view_as(heat)
        xs, ys = (torch.linspace(-1, 1, side) for side in (heat.shape[3], heat.shape[2]))
        places = torch.cat((shares.sum(2) @ xs, shares.sum(3) @ ys), 1)
        logits = self.box(torch.cat((places, hidden.mean((2, 3))), 1))
        half = SMALLEST + (LARGEST - SMALLEST) * logits[:, 2:].sigmoid()
        return torch.cat(((2 * logits[:, :2].sigmoid() - 1) * (1 - half), half), 1)


def inner_box(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """A box in the coordinates of another one, in those of the image."""
    half = outer[:, 2:]
    return torch.cat((outer[:, :2] + inner[:, :2] * half, inner[:, 2:] * half), 1)


def crop(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Crops of the boxes (N, 3, size, size)."""
    steps = torch.linspace(-1, 1, size)
    x, y = (boxes[:, axis, None] + boxes[:, 2, None] * steps for axis in (0, 1))  # (N, size)
    grid = torch.stack(
        (x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)), dim=3
    )
    return F.grid_sample(images, grid, align_corners=True)


class RACNN(nn.Module):
    """Images to logits of all scales together."""

    def __init__(self, crops: Sequence[int], classes: int) -> None:
        super().__init__()
        self.crops, scales = tuple(crops), len(crops) + 1
        self.backbones = nn.ModuleList(mobilenet() for _ in range(scales))
        self.heads = nn.ModuleList(nn.Linear(CHANNELS, classes) for _ in range(scales))
        self.apns = nn.ModuleList(Propose() for _ in self.crops)
        self.fused = nn.Linear(scales * CHANNELS, classes)

    def classify_scale(self, view: torch.Tensor, scale: int) -> Tuple[torch.Tensor, ...]:
        """Feature map, descriptor and logits of a scale."""
        features = self.backbones[scale](view)
        descriptor = F.normalize(features.mean((2, 3))) * CHANNELS**0.5
        return features, descriptor, self.heads[scale](descriptor)

    def next(self, features: torch.Tensor, outer: torch.Tensor, scale: int) -> torch.Tensor:
        """The box that a scale proposes, in the image."""
        inner = self.apns[scale](features)
        return inner_box(outer, inner) if scale else inner

    def all_logits(self, images: torch.Tensor) -> List[torch.Tensor]:
        """Logits of every scale, then of all together; no gradient reaches the boxes."""
        view, box, descriptors, outputs = images, None, [], []
        for scale in range(len(self.backbones)):
            features, descriptor, logits = self.classify_scale(view, scale)
            descriptors.append(descriptor)
            outputs.append(logits)
            if scale < len(self.crops):
                with torch.no_grad():
                    box = self.next(features, box, scale)
                    view = crop(images, box, self.crops[scale])
        return [*outputs, self.fused(torch.cat(descriptors, 1))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.all_logits(images)[-1]


def classify(net: RACNN, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum of all cross entropies."""
    return sum(F.cross_entropy(logits, labels) for logits in net.all_logits(images))


def rank(net: RACNN, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Hinge loss: a finer scale must raise the probability of the true class by a margin."""
    for part in (net.backbones, net.heads):
        part.eval().requires_grad_(False)
    with torch.no_grad():
        features, _, logits = net.classify_scale(images, 0)
        before = logits.softmax(1).gather(1, labels[:, None])
    box, total = None, 0.0
    for scale, size in enumerate(net.crops):
        box = net.next(features.detach(), box, scale)
        features, _, logits = net.classify_scale(crop(images, box, size), scale + 1)
        after = logits.softmax(1).gather(1, labels[:, None])
        total = total + F.relu(before - after + MARGIN).mean()
        before = after.detach()
    for part in (net.backbones, net.heads):
        part.train().requires_grad_(True)
    return total


def build(size: int, classes: int = 200) -> nn.Module:
    """The counterpart of `racnn_mobilenet_v2` with two crops of a size, channels-last."""
    return RACNN((size, size), classes).to(memory_format=torch.channels_last)
