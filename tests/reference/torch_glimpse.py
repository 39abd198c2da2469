"""The same for the glimpse network of a few looks, over windows of the tensor that it is given."""

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
    """Quadrants of the context attract; up and down are mistaken for each other."""

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

    def window(self, images: Tensor, place: Tensor, side: float) -> Tensor:
        """96 x 96 pixels of squares of half a side, (0, 0) is the middle of the image."""
        steps = (torch.arange(96, device=place.device) * 2 + 1).to(images.dtype) / 96 - 1
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        grid = torch.stack((columns, rows), -1) * side + place[:, None, None]
        small = F.avg_pool2d(images, round(side * images.shape[-1] / 96))
        return F.grid_sample(small, grid, align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        see, empty = self.glimpse.resnet, images.new_zeros(len(images), self.hidden)
        whole = see(self.window(images, images.new_zeros(len(images), 2), 1.0))
        regions = F.avg_pool2d(whole, 3)  # (N, 2048, 2, 2)
        hidden, memory = empty, empty
        for step in range(self.glimpses):
            if step:
                known = self.location.W_v(regions.flatten(2).transpose(1, 2))  # (N, 4, width)
                asked = self.location.W_g(hidden)[:, None]
                scores = self.location.W_h(torch.tanh(known + asked)).squeeze(2)
            else:
                scores = self.location.fc1(regions).flatten(1)
            top_left, top_right, low_left, low_right = scores.softmax(1).unbind(1)
            right = top_right + low_right - top_left - low_left
            place = torch.tanh(torch.stack((right, top_left + top_right - low_left - low_right), 1))
            seen = [see(self.window(images, place, side)).mean((2, 3)) for side in self.sides]
            hidden, memory = self.core(torch.cat(seen, 1), (hidden, memory))
        return self.action.fc(hidden)
