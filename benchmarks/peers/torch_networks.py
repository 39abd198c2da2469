"""PyTorch counterparts of our networks, and the losses that train them.

The networks are the ones that `export --torch` writes: crops of a batch are one `grid_sample`, and
parameters outside an update take no gradient.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Callable, Iterable, List, NamedTuple, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PACKAGE = Path(__file__).resolve().parents[2] / "gluon_attention"
sys.path.append(str(PACKAGE / "export" / "torch_modules"))

import torch_glimpse  # noqa: E402
import torch_racnn  # noqa: E402
import torch_ram  # noqa: E402
from torch_residual_attention import ResidualAttention  # noqa: E402

# Parameters of an optimizer, and the loss of (network, images, labels) that it minimises.
Update = Tuple[Iterable[nn.Parameter], Callable[..., Tensor]]
MOBILENET_V2 = (  # expansion, channels, repeats, first stride: table 2 of arXiv 1801.04381
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, units, first stride
MARGIN = 0.05  # of the ranking loss


def build(network: str, classes: int) -> Tuple[nn.Module, List[Update]]:
    """The counterpart of one of our networks, and its updates."""
    family, *sizes = network.split(":")
    return _FAMILIES[family](*sizes, classes=classes)


def of_outputs(loss: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A loss of the network's outputs."""
    return lambda net, images, labels: loss(net(images), labels)


def residual_attention(
    layers: str, kind: str = "32", classes: int = 10
) -> Tuple[nn.Module, List[Update]]:
    """A network for images of 32 or 224 pixels, or a slim one for 32, channels-last."""
    modules = {"56": (1, 1, 1), "92": (1, 2, 3)}[layers]
    stem, stages, last = {
        "32": (32, [(128, 1, 1, 2), (256, 2, 1, 1), (512, 2, 1, 0)], [(1024, 1, 3, 0, 0)]),
        "slim": (16, [(64, 1, 2, 3), (128, 2, 2, 2), (256, 2, 2, 1)], []),
        "224": (64, [(256, 1, 1, 3), (512, 2, 1, 2), (1024, 2, 1, 1)], [(2048, 2, 3, 0, 0)]),
    }[kind]
    stages = [(*stage, count) for stage, count in zip(stages, modules)]
    net = ResidualAttention(stem, kind != "224", [*stages, *last], classes=classes)
    net.to(memory_format=torch.channels_last)
    return net, [(net.parameters(), of_outputs(F.cross_entropy))]


class SampledEpisode(NamedTuple):
    """T glimpses, at a random location first, then at drawn ones."""

    logits: Tensor  # (N, classes)
    step_logits: Tensor  # (N, T - 1, classes), before each location but the first is drawn
    log_probs: Tensor  # (N, T - 1) of those locations
    baselines: Tensor  # (N, T - 1)


class SampledRAM(torch_ram.RecurrentAttention):
    """RAM whose locations are Gaussian, with learned means."""

    std = 0.1

    def forward(self, images: Tensor) -> SampledEpisode:
        noise = self.std * torch.randn(len(images), self.glimpses, 2)
        noise[:, 0] = torch.rand(len(images), 2) * 2 - 1
        episode = self.episode(images, noise)
        means = episode.means[:, 1:]
        log_probs = self.log_prob((means + noise[:, 1:]).detach(), means)
        step_logits, baselines = episode.step_logits[:, 1:], episode.baselines[:, 1:]
        return SampledEpisode(episode.logits, step_logits, log_probs, baselines)

    def log_prob(self, sample: Tensor, mean: Tensor) -> Tensor:
        """Of isotropic Gaussians, (N, T - 1)."""
        distance = ((sample - mean) / self.std).square().sum(2)
        return -0.5 * distance - 2 * math.log(self.std) - math.log(2 * math.pi)


def reinforce(episode: SampledEpisode, labels: Tensor) -> Tensor:
    """Cross entropies, squared error of the baseline, and REINFORCE on what later glimpses add."""
    classify = F.cross_entropy(episode.logits, labels)
    steps = episode.step_logits.shape[1]
    log_likelihood = F.log_softmax(episode.step_logits, dim=2)  # (N, T - 1, classes)
    log_likelihood = log_likelihood.gather(2, labels[:, None, None].expand(-1, steps, 1)).squeeze(2)
    last = F.log_softmax(episode.logits, dim=1).gather(1, labels[:, None])  # (N, 1)
    advantage = (last - log_likelihood).detach() - episode.baselines
    policy = -(episode.log_probs * advantage.detach()).sum(1).mean()
    return classify - log_likelihood.mean() + advantage.square().mean() + 0.01 * policy


def recurrent_attention(size: str, classes: int) -> Tuple[nn.Module, List[Update]]:
    """The counterpart of `ram_28`."""
    net = SampledRAM(classes=classes)
    return net, [(net.parameters(), of_outputs(reinforce))]


def conv(inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1) -> List[Any]:
    """Convolution and BatchNorm, as `torch_backbone.layer` reads them."""
    return [
        ["conv", inputs, outputs, side, stride, side // 2, 1, groups, False],
        ["norm", outputs],
    ]


def mobilenet_v2() -> List[Any]:
    """Layers up to the last convolution; every unit has an expansion, as in Gluon's zoo."""
    layers, inputs = ["sequence", *conv(3, 32, 3, 2), ["relu6"]], 32
    for expansion, outputs, repeats, first_stride in MOBILENET_V2:
        for repeat in range(repeats):
            width, stride = inputs * expansion, 1 if repeat else first_stride
            unit = [*conv(inputs, width), ["relu6"], *conv(width, width, 3, stride, width)]
            unit = ["sequence", *unit, ["relu6"], *conv(width, outputs)]
            layers.append(["inverted_residual", unit, stride == 1 and inputs == outputs])
            inputs = outputs
    return [*layers, *conv(inputs, 1280), ["relu6"]]


def resnet50() -> List[Any]:
    """Layers of ResNet-50 v1 whose first convolution has stride 1."""
    layers, inputs = ["sequence", *conv(3, 64, 7), ["relu"], ["max", 3, 2, 1]], 64
    for width, units, first_stride in RESNET50:
        for number in range(units):
            stride = 1 if number else first_stride
            unit = [*conv(inputs, width, 1, stride), ["relu"], *conv(width, width, 3), ["relu"]]
            projection = None if number else ["sequence", *conv(inputs, 4 * width, 1, stride)]
            layers.append(["residual", ["sequence", *unit, *conv(width, 4 * width)], projection])
            inputs = 4 * width
    return layers


class RACNN(torch_racnn.RACNN):
    """RA-CNN whose outputs are the logits of all scales."""

    def forward(self, images: Tensor) -> List[Tensor]:
        trace = self.trace(images)
        return [trace.logits, *trace.scale_logits.unbind(1)]


def classify_scales(net: RACNN, images: Tensor, labels: Tensor) -> Tensor:
    """The sum of all cross entropies."""
    net.apns.requires_grad_(False)
    total = sum(F.cross_entropy(logits, labels) for logits in net(images))
    net.apns.requires_grad_(True)
    return total


def rank(net: RACNN, images: Tensor, labels: Tensor) -> Tensor:
    """Hinge loss: a finer scale must raise the probability of the true class by a margin."""

    def classify(view: Tensor, scale: int) -> Tuple[Tensor, Tensor]:
        features, head = net.backbones[scale](view), net.heads[scale]
        probabilities = head.classifier(head(features)).softmax(1)
        return features, probabilities.gather(1, labels[:, None])

    for part in (net.backbones, net.heads):
        part.eval().requires_grad_(False)
    features, coarse = classify(images, 0)
    box, total = None, 0.0
    for scale, size in enumerate(net.crops):
        box = net.box(features, box, scale)
        features, fine = classify(torch_racnn.crop(images, box, size), scale + 1)
        total = total + F.relu(coarse - fine + MARGIN).mean()
        coarse = fine.detach()
    for part in (net.backbones, net.heads):
        part.train().requires_grad_(True)
    return total


def ra_cnn(crop: str, classes: int) -> Tuple[nn.Module, List[Update]]:
    """The counterpart of `racnn_mobilenet_v2` with two crops of a size, channels-last."""
    crops, bounds = (int(crop),) * 2, [(1 / 3, 0.9)] * 2
    net = RACNN(mobilenet_v2(), 1280, crops, bounds, classes=classes, descriptor="normalised")
    net.to(memory_format=torch.channels_last)
    apns = list(net.apns.parameters())
    classifiers = set(net.parameters()) - set(apns)
    return net, [(classifiers, classify_scales), (apns, rank)]


class GlimpseNet(torch_glimpse.GlimpseNet):
    """The glimpse network on a frozen encoder; its outputs are a whole episode."""

    def train(self, mode: bool = True) -> GlimpseNet:
        """Switch the mode of all but the encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> torch_glimpse.Episode:
        return self.episode(images)


def classify_steps(episode: torch_glimpse.Episode, labels: Tensor) -> Tensor:
    """Mean cross entropy of all glimpses."""
    steps = episode.step_logits.shape[1]
    return F.cross_entropy(episode.step_logits.flatten(0, 1), labels.repeat_interleave(steps))


def glimpse(patch: str, classes: int) -> Tuple[nn.Module, List[Update]]:
    """The counterpart of `glimpse_resnet50` with patches of that side."""
    controller = dict(channels=2048, glimpses=3, regions=2, reach=0.5, hidden=2048, attention=1024)
    controller.update(policy="learned", mirrored=False, classes=classes)
    sides: Sequence[float] = (0.5, 1.0)
    net = GlimpseNet(resnet50(), int(patch), 4 * int(patch), sides, **controller)
    net.encoder.requires_grad_(False)
    trainable = [p for p in net.parameters() if p.requires_grad]
    return net, [(trainable, of_outputs(classify_steps))]


_FAMILIES = {
    "residual_attention": residual_attention,
    "recurrent_attention": recurrent_attention,
    "ra_cnn": ra_cnn,
    "glimpse": glimpse,
}
