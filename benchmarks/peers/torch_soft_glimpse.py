"""PyTorch counterpart of the glimpse network on a frozen ResNet-50, with soft attention.

It is the peer of `glimpse_resnet50` in sizes, crops and losses, and shares no code with it: the
patches of a batch at one scale are one `grid_sample`, all scales of a glimpse one forward pass.
"""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import nn

LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, first stride
CHANNELS, STEPS, PATCHES, START, HIDDEN = 2048, 3, 2, 2, 2048


def conv(inputs: int, outputs: int, side: int, stride: int = 1) -> List[nn.Module]:
    """Convolution and BatchNorm."""
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    """Narrow, filter, widen; the stride is in the first convolution, as in the first ResNets."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        relu, outputs = nn.ReLU(True), 4 * width
        self.path = nn.Sequential(
            *conv(inputs, width, 1, stride), relu, *conv(width, width, 3), relu
        )
        self.path.extend(conv(width, outputs, 1))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.path(x) + self.shortcut(x), True)


def resnet50() -> nn.Sequential:
    """Features of ResNet-50 whose first convolution moves by one pixel; fixed."""
    layers = [*conv(3, 64, 7), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks, stride in LAYERS:
        for number in range(blocks):
            layers.append(Bottleneck(inputs, width, 1 if number else stride))
            inputs = 4 * width
    return nn.Sequential(*layers).requires_grad_(False)


class Episode(NamedTuple):
    """Outputs of T glimpses at a batch."""

    logits: torch.Tensor  # (N, classes)
    step_logits: torch.Tensor  # (N, T, classes)


class Glimpses(nn.Module):
    """Context, then patches around the expectation of attention over 2 x 2 regions."""

    def __init__(self, patch: int, classes: int) -> None:
        super().__init__()
        self.patch, self.encoder = patch, resnet50()
        self.core = nn.LSTMCell(PATCHES * CHANNELS, HIDDEN)
        self.first = nn.Conv2d(CHANNELS, 1, 1, bias=False)
        self.region = nn.Conv2d(CHANNELS, HIDDEN // 2, 1, bias=False)
        self.state = nn.Linear(HIDDEN, HIDDEN // 2, bias=False)
        self.weigh = nn.Conv2d(HIDDEN // 2, 1, 1, bias=False)
        self.head = nn.Linear(HIDDEN, classes)
        centres = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])
        self.register_buffer("centres", centres)
        steps = (torch.arange(patch) + 0.5) * 2 / patch - 1
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("window", torch.stack((columns, rows), dim=-1))  # (patch, patch, 2)

    def train(self, mode: bool = True) -> Glimpses:
        """Switch the mode of all but the frozen encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def encode(
        self, levels: List[Tuple[torch.Tensor, float]], locations: torch.Tensor
    ) -> torch.Tensor:
        """Features of the patches around locations, (N, patches * CHANNELS)."""
        views = []
        for level, side in levels:
            grid = self.window * side + locations[:, None, None]  # (N, patch, patch, 2)
            views.append(F.grid_sample(level, grid, align_corners=False))
        features = self.encoder(torch.cat(views)).mean(dim=(2, 3))  # patches sorted by side
        return torch.cat(features.chunk(len(views)), dim=1)

    def forward(self, images: torch.Tensor) -> Episode:
        sides = [START * 2**number / 4 for number in range(PATCHES)]
        levels = [(F.avg_pool2d(images, round(4 * side)), side) for side in sides]
        context = self.encoder(F.avg_pool2d(images, 4))
        areas = F.adaptive_avg_pool2d(context, 2)
        keys, state, logits = self.region(areas), None, []
        for step in range(STEPS):
            scores = self.first(areas)
            if step:
                query = self.state(state[0])[:, :, None, None]
                scores = self.weigh(torch.tanh(keys + query))
            locations = F.softmax(scores.flatten(1), dim=1) @ self.centres  # (N, 2)
            state = self.core(self.encode(levels, locations), state)
            logits.append(self.head(state[0]))
        return Episode(logits[-1], torch.stack(logits, 1))


def loss(episode: Episode, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of all steps."""
    steps = episode.step_logits.shape[1]
    return F.cross_entropy(episode.step_logits.flatten(0, 1), labels.repeat_interleave(steps))


def build(patch: int, classes: int) -> nn.Module:
    """The counterpart of `glimpse_resnet50` with patches of that side."""
    return Glimpses(patch, classes)
