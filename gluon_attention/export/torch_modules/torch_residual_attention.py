"""Residual attention networks (arXiv 1704.06904) in PyTorch, exported by gluon_attention.

    net = load("PREFIX-torch.safetensors")  # in eval mode
    logits = net(images)  # (N, 3, H, W), normalised as in the metadata of the file

Needs torch alone, and safetensors to load a file. Activations are in place, and residual attention
is one fused multiply-add, for speed on a CPU.
"""

from __future__ import annotations

import json
from typing import Any, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Options(NamedTuple):
    """Variants of attention modules and units."""

    mask_fusion: str = "none"  # gluoncv: add the down path and the trunk to the mask, too
    mask_activation: str = "mixed"
    attention: str = "residual"
    mask: str = "encoder_decoder"
    unit: str = "preact"


class PreactUnit(nn.Module):
    """Pre-activation bottleneck; a projection takes the input after its norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        width = outputs // 4
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.downsample is None else self.downsample(active)
        y = F.relu(self.bn2(self.conv1(active)), inplace=True)
        y = F.relu(self.bn3(self.conv2(y)), inplace=True)
        return self.conv3(y) + shortcut


class NextUnit(nn.Module):
    """Post-activation bottleneck with 32 groups, half as wide as its output (ResNeXt)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        width = outputs // 2
        layers: List[nn.Module] = [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(True), nn.Conv2d(width, width, 3, stride, 1, groups=32, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.Conv2d(width, outputs, 1, bias=False)]
        self.branch = nn.Sequential(*layers, nn.BatchNorm2d(outputs))
        projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*(projection if project else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


UNITS = {"preact": PreactUnit, "next": NextUnit}


def stack(unit: Any, channels: int, count: int) -> nn.Sequential:
    """A chain of units of one shape."""
    return nn.Sequential(*(unit(channels, channels) for _ in range(count)))


def activate(channels: int, after: str = "preact") -> List[nn.Module]:
    """Norm and ReLU, unless the unit before ends with them."""
    return [] if after == "next" else [nn.BatchNorm2d(channels), nn.ReLU(True)]


class MaskLevel(nn.Module):
    """One level of a mask and, inside it, all deeper ones."""

    def __init__(self, channels: int, depth: int, units: int, options: Options) -> None:
        super().__init__()
        unit = UNITS[options.unit]
        self.options = options
        self.down = stack(unit, channels, units if depth > 1 else 2 * units)
        self.inner: Optional[nn.Module] = None
        if depth > 1:
            self.skip = unit(channels, channels)
            self.inner = MaskLevel(channels, depth - 1, units, options)
            self.up = stack(unit, channels, units)

    def forward(self, x: Tensor) -> Tensor:
        local = self.options.mask == "local"
        y = self.down(x if local else F.max_pool2d(x, 3, 2, 1))
        if self.inner is not None:
            context = self.inner(y) + self.skip(y)
            y = self.up(context + y if self.options.mask_fusion == "gluoncv" else context)
        if local:
            return y
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)


class AttentionModule(nn.Module):
    """A trunk of units, weighted by a mask of its shape."""

    def __init__(self, channels: int, depth: int, sizes: Sequence[int], options: Options) -> None:
        super().__init__()
        before, trunk, mask, after = sizes
        unit = UNITS[options.unit]
        self.options, self.fuses = options, options.mask_fusion == "gluoncv" and depth > 0
        self.before = stack(unit, channels, before)
        self.trunk = stack(unit, channels, trunk)
        self.mask = (
            MaskLevel(channels, depth, mask, options) if depth else stack(unit, channels, 2 * mask)
        )
        gate = [*activate(channels, options.unit), nn.Conv2d(channels, channels, 1, bias=False)]
        gate += [*activate(channels), nn.Conv2d(channels, channels, 1, bias=False)]
        self.gate = nn.Sequential(*gate)
        self.after = stack(unit, channels, after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        mask = self.activated(self.gate(mask + trunk if self.fuses else mask))
        if self.options.attention == "residual":
            return self.after(torch.addcmul(trunk, mask, trunk))
        return self.after(mask * trunk)

    def activated(self, x: Tensor) -> Tensor:
        """Section 3.3 of the paper."""
        if self.options.mask_activation == "channel":
            return x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()
        if self.options.mask_activation == "spatial":
            x = x - x.mean((2, 3), keepdim=True)
            x = x / (x.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return torch.sigmoid(x)


class MeanOfPositions(nn.Module):
    """Global average pooling: (N, C, h, w) to (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class ResidualAttention(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes), or with 0 classes to pooled features.

    Args:
        stem: channels of the first convolution.
        small: whether that is 3x3 with stride 1, for small images.
        stages: channels, stride, units, depth of masks and number of modules of each.
        sizes: units of a module: before, trunk, mask, after.
        options: see `Options`.
    """

    def __init__(
        self,
        stem: int,
        small: bool,
        stages: Sequence[Sequence[int]],
        sizes: Sequence[int] = (1, 2, 1, 1),
        classes: int = 10,
        **options: str,
    ) -> None:
        super().__init__()
        variants = Options(**options)
        unit = UNITS[variants.unit]
        kernel, stride = (3, 1) if small else (7, 2)
        first = nn.Conv2d(3, stem, kernel, stride, kernel // 2, bias=False)
        pooling = [] if small else [nn.MaxPool2d(3, 2, 1)]
        self.stem = nn.Sequential(first, nn.BatchNorm2d(stem), nn.ReLU(True), *pooling)
        steps, inputs = [], stem
        for channels, stride, units, depth, modules in stages:
            steps.append(unit(inputs, channels, stride, True))
            steps += [unit(channels, channels) for _ in range(units - 1)]
            steps += [AttentionModule(channels, depth, sizes, variants) for _ in range(modules)]
            inputs = channels
        self.steps = nn.Sequential(*steps)
        last = [nn.Linear(inputs, classes)] if classes else []
        self.head = nn.Sequential(*activate(inputs, variants.unit), MeanOfPositions(), *last)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.steps(self.stem(images)))


def load(path: str) -> ResidualAttention:
    """The network of a file, in eval mode."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        net = ResidualAttention(**json.loads(file.metadata()["torch"]))
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return net.eval()
