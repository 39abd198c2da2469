"""Contestants on PyTorch: `eager`, `compile`, and `product`, a large matrix product."""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Tuple

import torch

PACKAGE = Path(__file__).resolve().parents[2] / "gluon_attention"
sys.path.append(str(PACKAGE / "export" / "torch_modules"))  # what `export --torch` writes

import torch_ra_cnn  # noqa: E402
import torch_recurrent_attention  # noqa: E402
import torch_soft_glimpse  # noqa: E402
from protocol import Ready, serve  # noqa: E402
from torch_residual_attention import ResidualAttention  # noqa: E402

# Parameters of an optimizer, and the loss of (network, images, labels) that it minimises.
Update = Tuple[Iterable[torch.nn.Parameter], Callable[..., torch.Tensor]]


def build(network: str, classes: int) -> Tuple[torch.nn.Module, List[Update]]:
    """The counterpart of one of our networks, and its updates."""
    family, *sizes = network.split(":")
    if family == "residual_attention":
        net = residual_attention(*sizes, classes=classes)
        return net, [(net.parameters(), of_outputs(torch.nn.functional.cross_entropy))]
    (size,) = sizes
    if family == "recurrent_attention":
        net = torch_recurrent_attention.build(classes=classes)
        return net, [(net.parameters(), of_outputs(torch_recurrent_attention.loss))]
    if family == "glimpse":
        net = torch_soft_glimpse.build(int(size), classes)
        trainable = [p for p in net.parameters() if p.requires_grad]
        return net, [(trainable, of_outputs(torch_soft_glimpse.loss))]
    assert family == "ra_cnn", network
    net = torch_ra_cnn.build(int(size), classes)
    boxes = list(net.apns.parameters())
    classifiers = set(net.parameters()) - set(boxes)
    return net, [(classifiers, torch_ra_cnn.classify), (boxes, torch_ra_cnn.rank)]


def residual_attention(layers: str, kind: str = "32", classes: int = 10) -> torch.nn.Module:
    """A network for images of 32 or 224 pixels, or a slim one for 32, channels-last."""
    modules = {"56": (1, 1, 1), "92": (1, 2, 3)}[layers]
    stem, stages, last = {
        "32": (32, [(128, 1, 1, 2), (256, 2, 1, 1), (512, 2, 1, 0)], [(1024, 1, 3, 0, 0)]),
        "slim": (16, [(64, 1, 2, 3), (128, 2, 2, 2), (256, 2, 2, 1)], []),
        "224": (64, [(256, 1, 1, 3), (512, 2, 1, 2), (1024, 2, 1, 1)], [(2048, 2, 3, 0, 0)]),
    }[kind]
    stages = [(*stage, count) for stage, count in zip(stages, modules)]
    net = ResidualAttention(stem, kind != "224", [*stages, *last], classes=classes)
    return net.to(memory_format=torch.channels_last)


def of_outputs(loss: Callable[[Any, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A loss of the network's outputs."""
    return lambda net, images, labels: loss(net(images), labels)


def setup(case: Dict[str, Any], compiled: bool = False) -> Ready:
    """Build a case on random images."""
    torch.manual_seed(0)
    net, updates = build(case["network"], case["classes"])
    training = case["mode"] == "train"
    net.train(training)
    images = torch.randn(case["batch"], *case["shape"])
    if case["shape"][0] > 1:
        images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(case["batch"]) % case["classes"]
    forward = torch.compile(net) if compiled else net
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bfloat16")
    optimizers = [
        (torch.optim.SGD(list(trainable), lr=0.01, momentum=0.9, weight_decay=1e-4), loss)
        for trainable, loss in updates
    ]

    def train(steps: int) -> None:
        for _ in range(steps):
            for optimizer, loss in optimizers:
                optimizer.zero_grad(set_to_none=True)
                with autocast:
                    total = loss(forward, images, labels)
                total.backward()
                optimizer.step()

    @torch.inference_mode()
    def infer(steps: int) -> None:
        with autocast:
            for _ in range(steps):
                forward(images)

    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    version = f"torch {torch.__version__}" + (" compiled" if compiled else "")
    return Ready(train if training else infer, parameters, version)


def product(case: Dict[str, Any]) -> Ready:
    """A large matrix product instead of an image: an upper bound of what the processor computes."""
    sides = (2048, 1024, 1024)
    if case["dtype"] == "int8":
        one, other = (torch.randint(-99, 99, side, dtype=torch.int8) for side in _pairs(sides))
        multiply = torch._int_mm
    else:
        one, other = (
            torch.randn(side, dtype=getattr(torch, case["dtype"])) for side in _pairs(sides)
        )
        multiply = torch.matmul

    def run(steps: int) -> None:
        for _ in range(steps * case["batch"]):
            multiply(one, other)

    return Ready(run, 0, f"torch {torch.__version__}", math.prod(sides))


def _pairs(sides: Tuple[int, int, int]) -> List[Tuple[int, int]]:
    return [sides[:2], sides[1:]]


if __name__ == "__main__":
    roles = {"eager": setup, "compile": partial(setup, compiled=True), "product": product}
    serve(roles[sys.argv[1]])
