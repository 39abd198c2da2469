"""Torchvision's ResNet-50, MobileNetV2 and VGG in the names of Gluon's layers."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

import numpy as np

from ..errors import UserError
from ..zoo.backbones import Backbone
from ..zoo.freezing import freeze_bn

_KINDS = {"gamma": "weight", "beta": "bias"}
_BOTTLENECK = ("conv1", "bn1", "", "conv2", "bn2", "", "conv3", "bn3")  # by index in Gluon's body
# Convolution and BatchNorm of each step, by index in Gluon's block; the first has no expansion.
_INVERTED = {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1", 6: "2", 7: "3"}
_FIRST = {3: "0.0", 4: "0.1", 6: "1", 7: "2"}


def is_torchvision(names: Any) -> bool:
    """Whether these are names of one of the three."""
    return any(
        mark in names
        for mark in ("layer1.0.conv3.weight", "features.1.conv.0.0.weight", "features.0.weight")
    )


def backbone_arrays(backbone: Backbone, supply: Any, prefix: str = "") -> Dict[str, Any]:
    """Arrays for `backbone.layers`, taken from a supply; what PyTorch lacks does nothing there."""
    names = supply.left
    if f"{prefix}layer1.0.conv3.weight" in names or f"{prefix}4.0.conv3.weight" in names:
        _check_strides(backbone)
        theirs = _resnet if f"{prefix}conv1.weight" in names else _numbered
    elif f"{prefix}features.1.conv.0.0.weight" in names:
        theirs = _mobilenet
    else:
        theirs = lambda block: f"features.{block}"
    arrays: Dict[str, Any] = {}
    for name, parameter in backbone.layers._collect_params_with_prefix().items():
        block, _, kind = name.rpartition(".")
        source = theirs(block)
        if source is None:
            arrays[name] = identity(kind, backbone)
        elif (
            theirs in (_resnet, _numbered) and kind == "bias"
        ):  # Gluon's convolutions of 1x1 pixels have one
            arrays[name] = np.zeros(parameter.shape, "float32")
        else:
            arrays[name] = supply.take(f"{prefix}{source}.{_KINDS.get(kind, kind)}")
    if theirs is _mobilenet:
        leave_identity(backbone)
    return arrays


def _resnet(block: str) -> str:
    if block in ("0", "1"):
        return ("conv1", "bn1")[int(block)]
    match = re.fullmatch(r"(\d+)\.(\d+)\.(body|downsample)\.(\d+)", block)
    if not match or not 4 <= int(match[1]) <= 7:
        return f"(a place for {block})"
    stage = f"layer{int(match[1]) - 3}.{match[2]}"
    inner = int(match[4])
    return (
        f"{stage}.downsample.{inner}"
        if match[3] == "downsample"
        else (f"{stage}.{_BOTTLENECK[inner]}")
    )


def _numbered(block: str) -> str:
    """The same where its children were put into a sequence."""
    if block in ("0", "1"):
        return block
    return re.sub(r"^layer(\d)", lambda match: str(int(match[1]) + 3), _resnet(block))


def _mobilenet(block: str) -> Optional[str]:
    if block in ("0", "1", "20", "21"):
        number = int(block)
        return f"features.{0 if number < 2 else 18}.{number % 2 if number < 2 else number - 20}"
    match = re.fullmatch(r"(\d+)\.out\.(\d)", block)
    if not match:
        return f"(a place for {block})"
    number, inner = int(match[1]), int(match[2])
    if number > 3:
        return f"features.{number - 2}.conv.{_INVERTED[inner]}"
    return f"features.1.conv.{_FIRST[inner]}" if inner in _FIRST else None


def identity(kind: str, backbone: Backbone) -> np.ndarray:
    """An expansion that changes nothing, in front of what PyTorch's first bottleneck has."""
    norm = backbone.layers[3].out[1]
    channels = backbone.layers[0]._channels
    if kind == "weight":
        return np.eye(channels, dtype="float32").reshape(channels, channels, 1, 1)
    value = {"gamma": 1, "running_var": 1 - norm._kwargs["eps"]}.get(kind, 0)
    return np.full((channels,), value, "float32")


def leave_identity(backbone: Backbone) -> None:
    """What changes nothing is not trained: what it is given has been through a ReLU6."""
    convolution, norm = backbone.layers[3].out[:2]
    convolution.weight.grad_req = "null"
    freeze_bn(norm)


def _check_strides(backbone: Backbone) -> None:
    try:
        block = backbone.layers[5][0].body[0]
    except (IndexError, TypeError, AttributeError):
        return  # it will lack names
    if tuple(block._kwargs["stride"]) != (1, 1):
        raise UserError(
            "PyTorch's ResNet moves by two pixels in its 3x3 convolutions and this backbone in the "
            "1x1 before them: take backbone 'resnet50_v1.5'"
        )
