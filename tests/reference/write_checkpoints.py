"""Write checkpoints of the networks in `torch_*.py`, and their outputs, for parity tests.

    python write_checkpoints.py KIND FOLDER

puts `state.pt` (a state_dict), `parallel.pt` (of a DataParallel, among other things),
`whole.pt` and `old.pt` (the module; in the format before PyTorch 1.6), `images.npy` and
`outputs.npy` into the folder. Weights are random.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np
import torch
from torch import nn
from torch_attention import RecurrentAttention, ResidualAttention
from torch_glimpse import Glimpses
from torch_racnn import RACNN, VGG, MobileNetV2, ResNet50

A, B, C = (256, 3), (512, 2), (1024, 1)
KINDS: Dict[str, Tuple[Callable[[], nn.Module], Tuple[int, ...]]] = {
    "residual56": (
        lambda: ResidualAttention(((*A, 1), (*B, 1), (*C, 1)), False, 10),
        (2, 3, 96, 96),
    ),
    "residual92": (
        lambda: ResidualAttention(((*A, 1), (*B, 2), (*C, 3)), False, 10),
        (2, 3, 64, 96),
    ),
    "residual92_448": (
        lambda: ResidualAttention(((128, 4, 1), (*A, 1), (*B, 2), (*C, 3)), False, 10),
        (2, 3, 224, 224),
    ),
    "residual92_32": (
        lambda: ResidualAttention(((128, 2, 1), (256, 1, 2), (512, 0, 3)), True, 10),
        (3, 3, 32, 32),
    ),
    "ram": (lambda: RecurrentAttention(8, 1, 6, 10), (64, 1, 28, 28)),
    "ram_scales": (lambda: RecurrentAttention(12, 3, 6, 10), (64, 1, 60, 60)),
    "racnn_mobilenet": (lambda: RACNN(True, 448, 224, 200), (2, 3, 448, 448)),
    "racnn_mobilenet_small": (lambda: RACNN(True, 128, 64, 5), (4, 3, 128, 128)),
    "racnn_vgg_small": (lambda: RACNN(False, 64, 32, 5), (4, 3, 64, 64)),
    "glimpse": (lambda: Glimpses([0.5, 1.0], 3, 256, 7), (2, 3, 384, 384)),
    "resnet50": (lambda: ResNet50(7), (2, 3, 96, 96)),
    "mobilenet": (lambda: MobileNetV2(7), (2, 3, 96, 96)),
    "vgg19_bn": (lambda: VGG(7), (2, 3, 96, 96)),
}


def set_statistics(net: nn.Module, images: torch.Tensor) -> None:
    """Give BatchNorm statistics that keep the activations of random weights moderate."""
    net.train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # a plain mean
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.normal_(module.bias, 0, 0.1)
            elif isinstance(module, nn.Linear) and module.out_features in (1, 2, 3):
                module.weight.mul_({1: 3, 2: 20, 3: 5}[module.out_features])
        for name, parameter in net.named_parameters():
            if name.endswith("bn3.weight"):  # as in a trained network, where units change little
                parameter.mul_(0.2)
        for _ in range(2):
            net(images)
    net.eval()


def random_images(shape: Tuple[int, ...]) -> torch.Tensor:
    """Smooth images, as photographs are: in noise the rounding of locations would show."""
    if shape[1] == 1:
        return torch.randn(shape)
    coarse = torch.randn(*shape[:2], *(max(side // 12, 2) for side in shape[2:]))
    return nn.functional.interpolate(coarse, shape[2:], mode="bicubic", align_corners=True)


def outputs_of(net: nn.Module, images: torch.Tensor) -> np.ndarray:
    """Outputs in double precision, which both computations in single precision are near."""
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        outputs = net.double()(images.double())
    torch.set_default_dtype(torch.float32)
    net.float()
    return (torch.stack(outputs, 1) if isinstance(outputs, list) else outputs).numpy()


def main(kind: str, folder: str) -> None:
    torch.manual_seed(0)
    build, shape = KINDS[kind]
    net, images, path = build(), random_images(shape), Path(folder)
    set_statistics(net, images)
    np.save(path / "images.npy", images.numpy())
    np.save(path / "outputs.npy", outputs_of(net, images))
    parallel = nn.DataParallel(net)
    torch.save(net.state_dict(), path / "state.pt")
    torch.save(net, path / "whole.pt")
    torch.save(parallel, path / "old.pt", _use_new_zipfile_serialization=False)
    optimizer = torch.optim.SGD(net.parameters(), 0.1).state_dict()
    checkpoint = {"epoch": 3, "optim_state": optimizer, "model_state": parallel.state_dict()}
    torch.save(checkpoint, path / "parallel.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
