"""PyTorch counterpart of the training of the recurrent attention model (arXiv 1406.6247).

The network is the one that `export --torch` writes, which crops a whole batch with one
`grid_sample`; here it draws where it looks, and gets the losses of `ram_28`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch_ram import RecurrentAttention


class Episode(NamedTuple):
    """What one look at a batch gives; T glimpses."""

    logits: torch.Tensor  # (N, classes)
    guesses: torch.Tensor  # (N, T - 1, classes), before each location but the first is drawn
    log_probs: torch.Tensor  # (N, T - 1) of those locations
    baselines: torch.Tensor  # (N, T - 1)


class Sampled(nn.Module):
    """A first location at chance, then Gaussian steps of a learned mean."""

    def __init__(self, net: RecurrentAttention, std: float = 0.1) -> None:
        super().__init__()
        self.net, self.std = net, std

    def forward(self, images: torch.Tensor) -> Episode:
        noise = self.std * torch.randn(len(images), self.net.glimpses, 2)
        noise[:, 0] = torch.rand(len(images), 2) * 2 - 1
        episode = self.net.episode(images, noise)
        means = episode.means[:, 1:]
        log_probs = self.log_prob((means + noise[:, 1:]).detach(), means)
        guesses, baselines = episode.step_logits[:, 1:], episode.baselines[:, 1:]
        return Episode(episode.logits, guesses, log_probs, baselines)

    def log_prob(self, sample: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Of isotropic Gaussians, (N, T - 1)."""
        distance = ((sample - mean) / self.std).square().sum(2)
        return -0.5 * distance - 2 * math.log(self.std) - math.log(2 * math.pi)


def loss(episode: Episode, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropies, squared error of the baseline, and REINFORCE on what later glimpses add."""
    classify = F.cross_entropy(episode.logits, labels)
    steps = episode.guesses.shape[1]
    likely = F.log_softmax(episode.guesses, dim=2)  # (N, T - 1, classes)
    likely = likely.gather(2, labels[:, None, None].expand(-1, steps, 1)).squeeze(2)
    last = F.log_softmax(episode.logits, dim=1).gather(1, labels[:, None])  # (N, 1)
    surprise = (last - likely).detach() - episode.baselines
    reinforce = -(episode.log_probs * surprise.detach()).sum(1).mean()
    return classify - likely.mean() + surprise.square().mean() + 0.01 * reinforce


def build(glimpses: int = 6, classes: int = 10) -> nn.Module:
    """The counterpart of `ram_28`."""
    return Sampled(RecurrentAttention(glimpses=glimpses, classes=classes))
