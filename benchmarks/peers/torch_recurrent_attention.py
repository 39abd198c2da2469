"""PyTorch counterpart of the recurrent attention model (arXiv 1406.6247).

The usual loop over glimpses, but each glimpse crops the whole batch with one `grid_sample`.
It is the peer of `ram_28` in sizes and losses, and shares no code with it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Episode(NamedTuple):
    """Outputs of T glimpses at a batch."""

    logits: torch.Tensor  # (N, classes)
    step_logits: torch.Tensor  # (N, T - 1, classes), before each location but the first is drawn
    log_probs: torch.Tensor  # (N, T - 1) of those locations
    baselines: torch.Tensor  # (N, T - 1)


class RecurrentAttention(nn.Module):
    """A retina of one patch, a ReLU core, and Gaussian locations with a learned mean."""

    def __init__(
        self,
        size: int = 28,
        patch: int = 8,
        glimpses: int = 6,
        std: float = 0.1,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.glimpses, self.std = glimpses, std
        self.what = nn.Linear(patch * patch, 128)
        self.where = nn.Linear(2, 128)
        self.merge, self.core = nn.Linear(256, 256), nn.Linear(512, 256)
        self.locate = nn.Sequential(nn.Linear(256, 128), nn.ReLU(True), nn.Linear(128, 2))
        self.head, self.step_head = nn.Linear(256, classes), nn.Linear(256, classes)
        self.baseline = nn.Linear(256, 1)
        steps = torch.linspace(-1, 1, patch) * (patch - 1) / (size - 1)
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("window", torch.stack((columns, rows), dim=-1))  # (patch, patch, 2)

    def retina(self, images: torch.Tensor, location: torch.Tensor) -> torch.Tensor:
        """Patches around the locations, flat (N, patch * patch)."""
        grid = self.window + location[:, None, None]  # (N, patch, patch, 2)
        return F.grid_sample(images, grid, align_corners=True).flatten(1)

    def forward(self, images: torch.Tensor) -> Episode:
        location = torch.rand(len(images), 2) * 2 - 1
        hidden = images.new_zeros(len(images), 256)
        hiddens, log_probs = [], []
        for step in range(self.glimpses):
            what, where = self.what(self.retina(images, location)), self.where(location)
            glimpse = F.relu(self.merge(F.relu(torch.cat((what, where), dim=1))))
            hidden = F.relu(self.core(torch.cat((glimpse, hidden), dim=1)))
            if step == self.glimpses - 1:
                break
            hiddens.append(hidden)
            mean = torch.tanh(self.locate(hidden))
            sample = (mean + self.std * torch.randn_like(mean)).detach()
            log_probs.append(self.log_prob(sample, mean))
            location = sample.clamp(-1, 1)
        before = torch.stack(hiddens, 1).detach()  # (N, T - 1, 256)
        baselines = self.baseline(before).squeeze(2)
        log_probs = torch.stack(log_probs, 1)
        return Episode(self.head(hidden), self.step_head(before), log_probs, baselines)

    def log_prob(self, sample: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Log-density of isotropic Gaussians (N,)."""
        distance = ((sample - mean) / self.std).square().sum(1)
        return -0.5 * distance - 2 * math.log(self.std) - math.log(2 * math.pi)


def loss(episode: Episode, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropies, squared error of the baseline, and REINFORCE on later gains."""
    classify = F.cross_entropy(episode.logits, labels)
    steps = episode.step_logits.shape[1]
    log_likelihood = F.log_softmax(episode.step_logits, dim=2)  # (N, T - 1, classes)
    log_likelihood = log_likelihood.gather(2, labels[:, None, None].expand(-1, steps, 1)).squeeze(2)
    last = F.log_softmax(episode.logits, dim=1).gather(1, labels[:, None])  # (N, 1)
    advantage = (last - log_likelihood).detach() - episode.baselines
    reinforce = -(episode.log_probs * advantage.detach()).sum(1).mean()
    return classify - log_likelihood.mean() + advantage.square().mean() + 0.01 * reinforce


def build(size: int = 28, patch: int = 8, glimpses: int = 6, classes: int = 10) -> nn.Module:
    """The counterpart of `ram_28`."""
    return RecurrentAttention(size, patch, glimpses, classes=classes)
