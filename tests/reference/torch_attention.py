"""References of residual attention networks and RAM in PyTorch.

Their parameters are named as in public repositories, to have files to convert and outputs to
compare with; the code is written from descriptions of those networks.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Pre-activation bottleneck that has a projection whether it uses one or not."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        width, self.projects = outputs // 4, stride != 1 or inputs != outputs
        sizes = ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
        for number, (before, after, kernel, step) in enumerate(sizes, 1):
            conv = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            self.add_module(f"bn{number}", nn.BatchNorm2d(before))
            self.add_module(f"conv{number}", conv)
        self.conv4 = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return self.conv3(F.relu(self.bn3(y))) + (self.conv4(first) if self.projects else x)


def gate(channels: int) -> nn.Sequential:
    layers: List[nn.Module] = []
    for _ in range(2):
        conv = nn.Conv2d(channels, channels, 1, bias=False)
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), conv]
    return nn.Sequential(*layers, nn.Sigmoid())


class AttentionModule(nn.Module):
    """Trunk and mask; the mask adds its way down and the trunk once more."""

    def __init__(self, channels: int, depth: int, small: bool) -> None:
        super().__init__()
        self.depth, self.small = depth, small

        def unit() -> ResidualBlock:
            return ResidualBlock(channels, channels)

        self.first_residual_blocks, self.last_blocks = unit(), unit()
        self.trunk_branches = nn.Sequential(unit(), unit())
        self.down, self.up, self.gate = self.names()
        for level, name in enumerate(self.down):
            lowest = level == len(self.down) - 1
            self.add_module(name, nn.Sequential(unit(), unit()) if lowest else unit())
            if not lowest:
                self.add_module(f"skip{level + 1}_connection_residual_block", unit())
        for name in self.up:
            self.add_module(name, unit())
        self.add_module(self.gate, gate(channels))

    def names(self) -> Tuple[List[str], List[str], str]:
        if self.small:
            between = range(1, self.depth)
            down = [f"down_residual_blocks{n}" for n in between] + ["middle_2r_blocks"]
            return down, [f"up_residual_blocks{n}" for n in between], "conv1_1_blocks"
        count = 2 * self.depth
        numbered = [f"softmax{n}_blocks" for n in range(1, count + 1)]
        return numbered[: self.depth], numbered[self.depth : -1], numbered[-1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_residual_blocks(x)
        trunk = self.trunk_branches(x)
        y, outer = x, []
        for name in self.down:
            outer.append(y)
            y = getattr(self, name)(F.max_pool2d(y, 3, 2, 1) if self.depth else y)
        for level in range(self.depth - 1, -1, -1):
            upsampled = F.interpolate(
                y, outer[level].shape[2:], mode="bilinear", align_corners=True
            )
            if level == 0:
                y = upsampled + trunk
            else:
                skip = getattr(self, f"skip{level}_connection_residual_block")
                name = self.up[self.depth - 1 - level]
                y = getattr(self, name)(upsampled + outer[level] + skip(outer[level]))
        return self.last_blocks((1 + getattr(self, self.gate)(y)) * trunk)


class ResidualAttention(nn.Module):
    """The stages are (channels, depth of masks, modules)."""

    def __init__(self, stages: Sequence[Tuple[int, int, int]], small: bool, classes: int) -> None:
        super().__init__()
        first, last = (32, 1024) if small else (64, 2048)
        kernel, stride = (3, 1) if small else (7, 2)
        stem = nn.Conv2d(3, first, kernel, stride, kernel // 2, bias=False)
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(first), nn.ReLU())
        self.steps, before, number = [], first, 4 - len(stages)
        for channels, depth, modules in stages:
            step = 1 if before == first else 2
            self.add(f"residual_block{number}", ResidualBlock(before, channels, step))
            for which in range(1, modules + 1):
                name = f"attention_module{number}" + (f"_{which}" if which > 1 else "")
                self.add(name, AttentionModule(channels, depth, small))
            before, number = channels, number + 1
        for _ in range(3):
            self.add(
                f"residual_block{number}", ResidualBlock(before, last, self.halves(before, small))
            )
            before, number = last, number + 1
        self.mpool2 = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.fc, self.small = nn.Linear(last, classes), small

    @staticmethod
    def halves(channels: int, small: bool) -> int:
        return 2 if channels == 1024 and not small else 1

    def add(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.steps.append(name)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = x if self.small else F.max_pool2d(x, 3, 2, 1)
        for name in self.steps:
            x = getattr(self, name)(x)
        return self.fc(self.mpool2(x).flatten(1))


def branch(**layers: Tuple[int, int]) -> nn.Module:
    module = nn.Module()
    for name, (inputs, outputs) in layers.items():
        module.add_module(name, nn.Linear(inputs, outputs))
    return module


class RecurrentAttention(nn.Module):
    """RAM over patches of whole pixels, from the centre, along the means of its locations."""

    def __init__(self, patch: int, scales: int, glimpses: int, classes: int) -> None:
        super().__init__()
        self.patch, self.scales, self.glimpses = patch, scales, glimpses
        self.sensor = branch(
            fc1=(scales * patch**2, 128), fc2=(2, 128), fc3=(128, 256), fc4=(128, 256)
        )
        self.rnn = branch(i2h=(256, 256), h2h=(256, 256))
        self.locator = branch(fc=(256, 128), fc_lt=(128, 2))
        self.classifier, self.baseliner = branch(fc=(256, classes)), branch(fc=(256, 1))

    def retina(self, image: Tensor, location: Tensor) -> Tensor:
        """Patches of one image (C, S, S), all resized to the first, in one vector."""
        patches, size = [], self.patch
        for _ in range(self.scales):
            column, row = (0.5 * ((location + 1) * image.shape[1])).long().tolist()
            padded = F.pad(image, (size // 2,) * 4)
            pixels = padded[:, row : row + size, column : column + size]
            patches.append(F.avg_pool2d(pixels[None], size // self.patch)[0])
            size *= 2
        return torch.cat(patches).flatten()

    def forward(self, images: Tensor) -> Tensor:
        location, hidden = torch.zeros(len(images), 2), torch.zeros(len(images), 256)
        for _ in range(self.glimpses):
            patches = torch.stack([self.retina(*pair) for pair in zip(images, location)])
            what, where = F.relu(self.sensor.fc1(patches)), F.relu(self.sensor.fc2(location))
            glimpse = F.relu(self.sensor.fc3(what) + self.sensor.fc4(where))
            hidden = F.relu(self.rnn.i2h(glimpse) + self.rnn.h2h(hidden))
            location = torch.tanh(self.locator.fc_lt(F.relu(self.locator.fc(hidden))))
        return self.classifier.fc(hidden)
