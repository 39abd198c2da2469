"""The glimpse network (arXiv 1412.7054) in PyTorch, exported by gluon_attention.

    net = load("PREFIX-torch.safetensors")  # in eval mode
    logits = net(images)  # (N, 3, H, W), normalised as in the metadata of the file

Needs torch alone, and safetensors to load a file. Locations are (x, y); the edges of the image are
at -1 and 1.
"""

from __future__ import annotations

import json
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_backbone import Backbone


class Episode(NamedTuple):
    """All of T glimpses of K patches, with R x R regions."""

    logits: Tensor  # (N, classes), after the last glimpse
    step_logits: Tensor  # (N, T, classes)
    locations: Tensor  # (N, T, 2)
    means: Tensor  # (N, T, 2), of the distributions that locations are drawn from
    baselines: Tensor  # (N, T), the reward expected before each glimpse
    attention: Tensor  # (N, T, R, R)
    patches: Tensor  # (N, T, K, 3, patch, patch)


class Encoder(nn.Module):
    """A backbone on square patches of an image.

    Args:
        layers: of the backbone.
        patch: side of a patch in pixels.
        size: usual side of an image.
    """

    def __init__(self, layers: Sequence[Any], patch: int, size: int) -> None:
        super().__init__()
        self.backbone, self.patch, self.size = Backbone(layers), patch, size

    def forward(self, patches: Tensor) -> Tensor:
        return self.backbone(patches)

    def downscaled(self, images: Tensor, side: float) -> Tensor:
        """Images averaged down to the resolution of a patch of that side."""
        factor = max(1, round(side * self.size / self.patch))
        return F.avg_pool2d(images, factor) if factor > 1 else images

    def crop(self, images: Tensor, location: Tensor, side: float) -> Tensor:
        """Squares around locations (N, 2); the side is a share of that of the image."""
        steps = (torch.arange(self.patch).to(location) + 0.5) * 2 / self.patch - 1
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        window = torch.stack((columns, rows), dim=-1)  # (patch, patch, 2)
        grid = location[:, None, None] + side * window
        return F.grid_sample(images, grid, align_corners=False)


class Core(nn.Module):
    """One step of an LSTM whose state is one tensor: the hidden state comes first."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width, self.step = width, nn.Linear(inputs + width, 4 * width)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        gates = self.step(torch.cat((inputs, state[:, : self.width]), dim=1))
        take, keep, show, candidate = gates.chunk(4, dim=1)
        cell = torch.sigmoid(keep + 1) * state[:, self.width :]
        cell = cell + torch.sigmoid(take) * torch.tanh(candidate)
        return torch.cat((torch.sigmoid(show) * torch.tanh(cell), cell), dim=1)


class Controller(nn.Module):
    """Chooses locations by soft attention over the context, reads glimpses and classifies."""

    def __init__(
        self,
        channels: int,
        patches: int,
        classes: int,
        glimpses: int,
        regions: int,
        reach: float,
        hidden: int,
        attention: int,
        policy: str,
        mirrored: bool,
    ) -> None:
        super().__init__()
        self.glimpses, self.regions, self.reach = glimpses, regions, reach
        self.learned, self.mirrored = policy == "learned", mirrored
        self.core = Core(patches * channels, hidden)
        self.first_score = nn.Conv2d(channels, 1, 1, bias=False)
        if glimpses > 1:
            self.key = nn.Conv2d(channels, attention, 1, bias=False)
            self.query = nn.Linear(hidden, attention, bias=False)
            self.score = nn.Conv2d(attention, 1, 1, bias=False)
        self.head = nn.Linear(hidden, classes) if classes else nn.Identity()
        self.baseline = nn.Linear(hidden, 1)

    def attend(self, context: Tensor, hidden: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Weights of the regions (N, R, R), and the mean of their centres (N, 2)."""
        if hidden is None:
            scores = self.first_score(context)
        else:
            query = self.query(hidden)[:, :, None, None]
            scores = self.score(torch.tanh(self.key(context) + query))
        weights = scores.flatten(1).softmax(1).unflatten(1, (self.regions, self.regions))
        centres = torch.linspace(-self.reach, self.reach, self.regions).to(weights)
        return weights, torch.stack((weights.sum(1) @ centres, weights.sum(2) @ centres), 1)

    def forward(
        self, context: Tensor, encode: Callable[[Tensor], Tensor], noise: Optional[Tensor]
    ) -> Tuple[Tensor, ...]:
        """The first fields of an `Episode`; `encode` maps locations to features of glimpses."""
        context = F.adaptive_avg_pool2d(context, self.regions)
        state = context.new_zeros(len(context), 2 * self.core.width)
        hiddens, locations, means, attention = [state[:, : self.core.width]], [], [], []
        for step in range(self.glimpses):
            weights, mean = self.attend(context, hiddens[-1] if step else None)
            mean = mean if self.learned else torch.zeros_like(mean)
            location = mean if noise is None else mean + noise[:, step]
            if self.mirrored:
                location = torch.tanh(location * location.new_tensor([1, -1]))
            locations.append(location.clamp(-1, 1))
            state = self.core(encode(locations[-1]), state)
            hiddens.append(state[:, : self.core.width])
            means.append(mean)
            attention.append(weights)
        logits = self.head(torch.stack(hiddens[1:], 1))
        baselines = self.baseline(torch.stack(hiddens[:-1], 1).detach()).squeeze(2)
        steps = (torch.stack(parts, 1) for parts in (locations, means))
        return (logits[:, -1], logits, *steps, baselines, torch.stack(attention, 1))


class GlimpseNet(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes), or with 0 classes to the last hidden state.

    Args:
        layers, patch, size: see `Encoder`.
        sides: of the patches of a glimpse, as shares of the image's side.
        controller: arguments of `Controller`.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        patch: int,
        size: int,
        sides: Sequence[float],
        **controller: Any,
    ) -> None:
        super().__init__()
        self.sides, self.encoder = sides, Encoder(layers, patch, size)
        self.controller = Controller(patches=len(sides), **controller)

    def episode(self, images: Tensor, noise: Optional[Tensor] = None) -> Episode:
        """All glimpses, at the means of locations, plus noise (N, T, 2) if given."""
        encoder, glimpses = self.encoder, []
        levels = [(encoder.downscaled(images, side), side) for side in self.sides]

        def encode(location: Tensor) -> Tensor:
            patches = [encoder.crop(level, location, side) for level, side in levels]
            glimpses.append(torch.stack(patches, 1))
            features = encoder(glimpses[-1].flatten(0, 1)).mean((2, 3))
            return features.view(len(location), -1)

        center = images.new_zeros(len(images), 2)
        context = encoder(encoder.crop(encoder.downscaled(images, 1), center, 1))
        steps = self.controller(context, encode, noise)
        return Episode(*steps, torch.stack(glimpses, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.episode(images).logits


def load(path: str) -> GlimpseNet:
    """The network of a file, in eval mode."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        net = GlimpseNet(**json.loads(file.metadata()["torch"]))
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return net.eval()
