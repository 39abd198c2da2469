"""The recurrent attention model, RAM (arXiv 1406.6247), in PyTorch, exported by gluon_attention.

    net = load("PREFIX-torch.safetensors")  # in eval mode
    logits = net(images)  # (N, C, H, W), normalised as in the metadata of the file

Needs torch alone, and safetensors to load a file. Locations are (x, y) in [-1, 1], the
centres of the corner pixels of an image.
"""

from __future__ import annotations

import json
from typing import List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Episode(NamedTuple):
    """All of T glimpses."""

    logits: Tensor  # (N, classes), after the last glimpse
    step_logits: Tensor  # (N, T, classes), before each glimpse
    locations: Tensor  # (N, T, 2)
    means: Tensor  # (N, T, 2), of the distributions that locations are drawn from
    baselines: Tensor  # (N, T)


class GlimpseNetwork(nn.Module):
    """Patches of a glimpse and their location (what and where) as one vector."""

    def __init__(self, pixels: int, what: int, where: int, both: int) -> None:
        super().__init__()
        self.what, self.where = nn.Linear(pixels, what), nn.Linear(2, where)
        self.both = nn.Linear(what + where, both)

    def forward(self, patches: Tensor, location: Tensor) -> Tensor:
        parts = F.relu(self.what(patches)), F.relu(self.where(location))
        return F.relu(self.both(torch.cat(parts, dim=1)))


class Core(nn.Module):
    """One step of an RNN or LSTM whose state is one tensor: the hidden state comes first."""

    def __init__(self, kind: str, inputs: int, width: int) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        self.step = nn.Linear(inputs + width, width if kind == "rnn" else 4 * width)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        gates = self.step(torch.cat((inputs, state[:, : self.width]), dim=1))
        if self.kind == "rnn":
            return F.relu(gates)
        take, keep, show, candidate = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep + 1) * state[:, self.width :]
        cell = cell + torch.sigmoid(take) * torch.tanh(candidate)
        return torch.cat((torch.sigmoid(show) * torch.tanh(cell), cell), dim=1)


class Locator(nn.Module):
    """The mean of the next location."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.hidden, self.mean = nn.Linear(inputs, width), nn.Linear(width, 2)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.mean(F.relu(self.hidden(hidden))))


class RecurrentAttention(nn.Module):
    """Images (N, C, H, W) to logits (N, classes), or with 0 classes to the last hidden state.

    Args:
        patch: side of a patch in pixels.
        scales: patches of a glimpse, each twice as wide as the one before.
        widths: units of five layers: what, where, both, core, locator.
        core, move, policy, retina: as the options of `gluon-attention info`.
    """

    def __init__(
        self,
        patch: int = 8,
        scales: int = 1,
        glimpses: int = 6,
        channels: int = 1,
        widths: Sequence[int] = (128, 128, 256, 256, 128),
        classes: int = 10,
        core: str = "rnn",
        move: str = "absolute",
        policy: str = "learned",
        retina: str = "bilinear",
    ) -> None:
        super().__init__()
        self.patch, self.scales, self.glimpses = patch, scales, glimpses
        self.relative, self.random = move == "relative", policy == "random"
        self.whole_pixels = retina == "pixels"
        what, where, both, hidden, locate = widths
        self.glimpse = GlimpseNetwork(scales * channels * patch**2, what, where, both)
        self.core = Core(core, both, hidden)
        self.locator, self.baseline = Locator(hidden, locate), nn.Linear(hidden, 1)
        self.step_head = nn.Linear(hidden, classes) if classes else nn.Identity()
        self.head = nn.Linear(hidden, classes) if classes else nn.Identity()

    def pyramid(self, images: Tensor) -> List[Tensor]:
        """Means over every 2**k x 2**k pixels; windows begin before the edge of the image."""
        margin = 2 ** (self.scales - 1) - 1
        padded = F.pad(images, (margin,) * 4) if margin else images
        height, width = (side + margin for side in images.shape[2:])
        levels = [F.avg_pool2d(padded, 2**k, 1) if k else padded for k in range(self.scales)]
        return [level[:, :, :height, :width] for level in levels]

    def retina(self, levels: List[Tensor], location: Tensor) -> Tensor:
        """Patches around locations, the finest first, flat (N, scales * C * patch * patch)."""
        last = location.new_tensor([side - 1 for side in levels[0].shape[:1:-1]])  # x, y
        widest = 2 ** (self.scales - 1)
        if self.whole_pixels:
            sides = last + 2 - widest
            location = (2 * torch.floor((location + 1) * sides * 0.5) - 1) / (sides - 1) - 1
        steps = torch.linspace(-1, 1, self.patch, device=location.device)
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        window = torch.stack((columns, rows), dim=-1)  # (patch, patch, 2)
        patches = []
        for k, level in enumerate(levels):
            center = location * (1 - (widest - 1) / last) + (widest - 2**k) / last
            grid = center[:, None, None] + window * ((self.patch - 1) * 2**k / last)
            patches.append(F.grid_sample(level, grid, align_corners=True).flatten(1))
        return patches[0] if len(patches) == 1 else torch.cat(patches, dim=1)

    def episode(self, images: Tensor, noise: Optional[Tensor] = None) -> Episode:
        """All glimpses, at the means of locations, plus noise (N, T, 2) if given."""
        levels = self.pyramid(images)
        location = mean = images.new_zeros(len(images), 2)
        state = images.new_zeros(len(images), self.core.width * (1 + (self.core.kind == "lstm")))
        hiddens, locations, means = [state[:, : self.core.width]], [], []
        for step in range(self.glimpses):
            if step and not self.random:
                mean = self.locator(hiddens[-1])
                mean = mean + location if self.relative else mean
            sample = mean if noise is None else mean + noise[:, step]
            location = sample.detach().clamp(-1, 1)
            state = self.core(self.glimpse(self.retina(levels, location), location), state)
            hiddens.append(state[:, : self.core.width])
            locations.append(location)
            means.append(mean)
        before = torch.stack(hiddens[:-1], 1).detach()  # (N, T, width)
        return Episode(
            self.head(hiddens[-1]),
            self.step_head(before),
            torch.stack(locations, 1),
            torch.stack(means, 1),
            self.baseline(before).squeeze(2),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.episode(images).logits


def load(path: str) -> RecurrentAttention:
    """The network of a file, in eval mode."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        net = RecurrentAttention(**json.loads(file.metadata()["torch"]))
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return net.eval()
