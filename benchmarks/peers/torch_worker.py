"""Contestants on PyTorch: `eager` and `compile`."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Tuple

import torch
import torch_recurrent_attention
import torch_residual_attention
from protocol import Ready, serve

Loss = Callable[[Any, torch.Tensor], torch.Tensor]


def build(network: str, classes: int) -> Tuple[torch.nn.Module, Loss]:
    """The counterpart of a network of ours, and its loss."""
    family, _, size = network.partition(":")
    if family == "residual_attention":
        net = torch_residual_attention.build(int(size), classes)
        return net, torch.nn.functional.cross_entropy
    assert family == "recurrent_attention", network
    return torch_recurrent_attention.build(
        int(size), classes=classes
    ), torch_recurrent_attention.loss


def setup(case: Dict[str, Any], compiled: bool) -> Ready:
    """Build a case on random images."""
    torch.manual_seed(0)
    net, loss = build(case["network"], case["classes"])
    training = case["mode"] == "train"
    net.train(training)
    images = torch.randn(case["batch"], *case["shape"])
    if case["shape"][0] > 1:
        images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(case["batch"]) % case["classes"]
    look = torch.compile(net) if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss(look(images), labels).backward()
            optimizer.step()

    @torch.inference_mode()
    def infer(steps: int) -> None:
        for _ in range(steps):
            look(images)

    parameters = sum(p.numel() for p in net.parameters())
    version = f"torch {torch.__version__}" + (" compiled" if compiled else "")
    return Ready(train if training else infer, parameters, version)


if __name__ == "__main__":
    serve(lambda case: setup(case, compiled=sys.argv[1] == "compile"))
