"""RA-CNN (CVPR 2017, Look Closer to See Better) in PyTorch, exported by gluon_attention.

    net = load("PREFIX-torch.safetensors")  # in eval mode
    logits = net(images)  # (N, 3, H, W), normalised as in the metadata of the file

Needs torch alone, and safetensors to load a file. A box is (x, y, half its side), or (x, y, half
its width, half its height), in coordinates in which the centres of the corner pixels of the image
are at -1 and 1.
"""

from __future__ import annotations

import json
from typing import Any, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_backbone import Backbone


class Trace(NamedTuple):
    """Classification and attention at K scales."""

    logits: Tensor  # (N, classes), of the fused classifier or the mean of all scales
    scale_logits: Tensor  # (N, K, classes)
    boxes: List[Tensor]  # K - 1 of (N, 3 or 4)
    crops: List[Tensor]  # K - 1 of (N, 3, size, size)


class Head(nn.Module):
    """Features of a scale (N, C, h, w) to its descriptor (N, C), the input of `classifier`."""

    def __init__(self, classes: int, channels: int, descriptor: str) -> None:
        super().__init__()
        self.scaled = descriptor == "scaled"
        self.classifier = nn.Linear(channels, classes) if classes else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3))
        if self.scaled:
            return pooled * 0.1
        return pooled * (pooled.shape[1] / (pooled.square().sum(1, keepdim=True) + 1e-10)).sqrt()


class PaperAPN(nn.Module):
    """Three numbers by two fully connected layers over the feature map, pooled or not."""

    def __init__(self, inputs: int, pooled: bool) -> None:
        super().__init__()
        pooling = [nn.MaxPool2d(2)] if pooled else []
        layers = [*pooling, nn.Flatten(), nn.Linear(inputs, 1024), nn.Linear(1024, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers[-1](torch.tanh(self.layers[:-1](features)))


class LightAPN(nn.Module):
    """Three numbers from expected positions of softmax maps and from mean features."""

    def __init__(self, channels: int, hidden: int = 64, maps: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.heatmaps = nn.Conv2d(hidden, maps, 1)
        self.box = nn.Linear(2 * maps + hidden, 3)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.relu(self.conv(features))
        maps = self.heatmaps(hidden)
        weights = maps.flatten(2).softmax(2).view_as(maps)
        rows, columns = (torch.linspace(-1, 1, side).to(maps) for side in maps.shape[2:])
        x, y = weights.sum(2) @ columns, weights.sum(3) @ rows
        return self.box(torch.cat((x, y, hidden.mean((2, 3))), 1))


class RACNN(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes), or with 0 classes to all descriptors.

    Args:
        layers: of a backbone.
        channels: of its feature maps.
        crops: side of the crop of each finer scale in pixels.
        earlier: number of layers up to the feature map with the outline of objects; 0 with an APN.
        bounds: smallest and largest side of each box, as shares of the view it is proposed in.
        flat: numbers that each fully connected APN reads; none of the light APN.
        classes: length of the logits.
        shrink, locate, shared, apn, descriptor: as the options of `gluon-attention info`.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        channels: int,
        crops: Sequence[int],
        bounds: Sequence[Sequence[float]],
        earlier: int = 0,
        flat: Sequence[int] = (),
        classes: int = 200,
        shrink: int = 1,
        locate: str = "apn",
        shared: bool = False,
        apn: str = "light",
        descriptor: str = "scaled",
    ) -> None:
        super().__init__()
        self.crops, self.bounds, self.shrink, self.earlier = crops, bounds, shrink, earlier
        self.averaged = locate == "activation"  # no APN, one head, no fused classifier
        scales = len(crops) + 1
        heads = 1 if self.averaged else scales
        count = heads if not shared else 1
        self.backbones = nn.ModuleList(Backbone(layers) for _ in range(count))
        self.heads = nn.ModuleList(Head(classes, channels, descriptor) for _ in range(heads))
        self.apns = nn.ModuleList(
            PaperAPN(flat[scale], apn == "paper" and scale == 0) if flat else LightAPN(channels)
            for scale in range(heads - 1)
        )
        if not self.averaged:
            self.fused = nn.Linear(scales * channels, classes) if classes else nn.Identity()

    def box(self, features: Tensor, earlier: Tensor, outer: Optional[Tensor], scale: int) -> Tensor:
        """The box that a scale proposes inside the outer box, or in the image if None."""
        if self.averaged:
            box = activation_box(features.detach(), earlier.detach())
        else:
            smallest, largest = self.bounds[scale]
            numbers = torch.sigmoid(self.apns[scale](features.detach()))
            half = smallest + (largest - smallest) * numbers[:, 2:]
            box = torch.cat(((2 * numbers[:, :2] - 1) * (1 - half), half), 1)
        if outer is None:
            return box
        center = outer[:, :2] + box[:, :2] * outer[:, 2:]
        return torch.cat((center, box[:, 2:] * outer[:, 2:]), 1)

    def trace(self, images: Tensor) -> Trace:
        """Logits, boxes and crops of all scales."""
        view = F.avg_pool2d(images, self.shrink) if self.shrink > 1 else images
        descriptors, logits, boxes, crops = [], [], [], []
        for scale in range(len(self.crops) + 1):
            layers = self.backbones[scale % len(self.backbones)].layers
            earlier = layers[: self.earlier](view)
            features = layers[self.earlier :](earlier)
            head = self.heads[scale % len(self.heads)]
            descriptors.append(head(features))
            logits.append(head.classifier(descriptors[-1]))
            if scale < len(self.crops):
                boxes.append(self.box(features, earlier, boxes[-1] if boxes else None, scale))
                view = crop(images, boxes[-1], self.crops[scale])
                crops.append(view)
        scale_logits = torch.stack(logits, 1)
        if self.averaged:
            return Trace(scale_logits.mean(1), scale_logits, boxes, crops)
        return Trace(self.fused(torch.cat(descriptors, 1)), scale_logits, boxes, crops)

    def forward(self, images: Tensor) -> Tensor:
        return self.trace(images).logits


def activation_box(
    features: Tensor, earlier: Tensor, level: float = 0.8, steps: int = 32
) -> Tensor:
    """The box (N, 4) of the largest group of strong positions.

    Args:
        features: the last feature map (N, C, h, w).
        earlier: a feature map (N, C', H, W), to whose cells the box is exact.
    """
    response, outline = (x.abs().sum(1, keepdim=True) for x in (features, earlier))
    outline = outline - outline.amin((2, 3), keepdim=True)
    size = outline.shape[2:]
    response = F.interpolate(response.sqrt(), size, mode="bilinear", align_corners=True)
    strength = response * outline
    mask = (strength > level * strength.mean((2, 3), keepdim=True)).to(strength)
    numbers = mask * torch.arange(1, mask[0].numel() + 1).to(mask).view(mask.shape[1:])
    for _ in range(steps):  # a position takes the largest number among its neighbours
        numbers = F.max_pool2d(numbers, 3, 1, 1) * mask
    flat = numbers.flatten(1)
    sizes = (flat[:, None] == flat[:, :, None]).sum(2) * mask.flatten(1)
    chosen = ((sizes == sizes.amax(1, keepdim=True)) * flat).amax(1)
    group = (numbers == chosen[:, None, None, None]).to(mask)
    middles, halves = [], []
    for axis in (3, 2):  # x, y
        occupied, length = group.amax((1, 5 - axis)), group.shape[axis]
        end = (occupied * torch.arange(1, length + 1).to(mask)).amax(1)
        begin = length - (occupied * torch.arange(length, 0, -1).to(mask)).amax(1)
        middles.append((begin + end) / length - 1)
        halves.append((end - begin) / length)
    return torch.stack((*middles, *halves), 1)


def crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The content of boxes (N, 3 or 4): (N, C, size, size)."""
    steps = torch.linspace(-1, 1, size).to(boxes)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    window = torch.stack((columns, rows), dim=-1)  # (size, size, 2)
    grid = boxes[:, None, None, :2] + window * boxes[:, None, None, 2:]
    return F.grid_sample(images, grid, align_corners=True)


def load(path: str) -> RACNN:
    """The network of a file, in eval mode."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        net = RACNN(**json.loads(file.metadata()["torch"]))
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return net.eval()
