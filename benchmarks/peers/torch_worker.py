"""Contestants on PyTorch: `eager`, `compile`, and `product`, a large matrix product."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any, Dict, List, Tuple

import torch
import torch_networks
from protocol import Ready, serve


def setup(case: Dict[str, Any], compiled: bool = False) -> Ready:
    """Build a case on random images."""
    torch.manual_seed(0)
    net, updates = torch_networks.build(case["network"], case["classes"])
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
