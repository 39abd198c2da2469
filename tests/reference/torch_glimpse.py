"""Reference of the glimpse network in PyTorch, with the parameter names of a public repository.

It crops patches from the tensor of images, where the public one crops them from the picture's file.
"""

from __future__ import annotations

from typing import List

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_racnn import ResNet50


def trunk() -> nn.Sequential:
    """ResNet-50's features in a sequence, behind a smaller first convolution."""
    net = ResNet50(1)
    stem = nn.Conv2d(3, 64, 5, padding=2, bias=False)
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    return nn.Sequential(stem, net.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1), *stages)


class Glimpses(nn.Module):
    """Attention over quadrants of the context chooses locations; up and down are exchanged."""

    def __init__(self, sides: List[float], glimpses: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.sides, self.glimpses, self.hidden = sides, glimpses, hidden
        self.glimpse, self.context = nn.Module(), nn.Module()
        self.glimpse.resnet = self.context.resnet = trunk()
        self.core = nn.LSTMCell(len(sides) * 2048, hidden)
        self.location, self.action, self.baseline = nn.Module(), nn.Module(), nn.Module()
        self.location.fc1 = nn.Conv2d(2048, 1, 1, bias=False)
        for name, (inputs, outputs) in dict(
            W_v=(2048, hidden // 2), W_g=(hidden, hidden // 2), W_h=(hidden // 2, 1)
        ).items():
            self.location.add_module(name, nn.Linear(inputs, outputs, bias=False))
        self.action.fc, self.baseline.fc = nn.Linear(hidden, classes), nn.Linear(hidden, 1)

    def patch(self, images: Tensor, location: Tensor, side: float) -> Tensor:
        """96 x 96 pixels of a square of twice `side`; the image spans -1 to 1."""
        steps = (torch.arange(96, device=location.device) * 2 + 1).to(images.dtype) / 96 - 1
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        grid = torch.stack((columns, rows), -1) * side + location[:, None, None]
        small = F.avg_pool2d(images, round(side * images.shape[-1] / 96))
        return F.grid_sample(small, grid, align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        encode, zeros = self.glimpse.resnet, images.new_zeros(len(images), self.hidden)
        context = encode(self.patch(images, images.new_zeros(len(images), 2), 1.0))
        regions = F.avg_pool2d(context, 3)  # (N, 2048, 2, 2)
        hidden, cell = zeros, zeros
        for step in range(self.glimpses):
            if step:
                keys = self.location.W_v(regions.flatten(2).transpose(1, 2))  # (N, 4, width)
                query = self.location.W_g(hidden)[:, None]
                scores = self.location.W_h(torch.tanh(keys + query)).squeeze(2)
            else:
                scores = self.location.fc1(regions).flatten(1)
            top_left, top_right, low_left, low_right = scores.softmax(1).unbind(1)
            right = top_right + low_right - top_left - low_left
            up = top_left + top_right - low_left - low_right
            location = torch.tanh(torch.stack((right, up), 1))
            patches = [self.patch(images, location, side) for side in self.sides]
            features = torch.cat([encode(patch).mean((2, 3)) for patch in patches], 1)
            hidden, cell = self.core(features, (hidden, cell))
        return self.action.fc(hidden)
