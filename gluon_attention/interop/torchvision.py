"""Converter of torchvision's ResNet-50, MobileNetV2 and VGG, as backbones of Gluon."""

from __future__ import annotations

import re
from typing import Any, Callable, Container, Dict, Optional

import numpy as np

from ..errors import UserError
from ..zoo.backbones import Backbone
from ..zoo.freezing import freeze_bn
from .tensor_table import Arrays, TensorTable

# A name of each network; the second is a ResNet-50 whose children were put into a sequence.
RESNET, NUMBERED_RESNET = "layer1.0.conv3.weight", "4.0.conv3.weight"
MOBILENET, VGG = "features.1.conv.0.0.weight", "features.0.weight"

KINDS = {"gamma": "weight", "beta": "bias"}
BOTTLENECK = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3"}  # Gluon's `body`
# Layers of an inverted residual: Gluon's index in `out`, torchvision's in `conv`.
INVERTED = {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1", 6: "2", 7: "3"}
FIRST_INVERTED = {3: "0.0", 4: "0.1", 6: "1", 7: "2"}  # without an expansion
MOBILENET_ENDS = {
    "0": "features.0.0",
    "1": "features.0.1",
    "20": "features.18.0",
    "21": "features.18.1",
}


def is_torchvision(names: Container[str]) -> bool:
    """Whether these are names of one of the networks."""
    return any(mark in names for mark in (RESNET, NUMBERED_RESNET, MOBILENET, VGG))


def backbone_arrays(backbone: Backbone, table: TensorTable, prefix: str = "") -> Arrays:
    """Arrays for `backbone.layers`; layers that torchvision lacks become identities."""
    layer_name = _layer_names(backbone, table.remaining, prefix)
    arrays: Dict[str, Any] = {}
    for name, parameter in backbone.layers._collect_params_with_prefix().items():
        layer, _, kind = name.rpartition(".")
        source = layer_name(layer)
        if source is None:
            arrays[name] = identity(kind, backbone)
        elif kind == "bias" and layer_name in (_resnet, _numbered_resnet):
            # Gluon's 1x1 convolutions of ResNet v1 have a bias in front of their BatchNorm.
            arrays[name] = np.zeros(parameter.shape, "float32")
        else:
            arrays[name] = table.pop(f"{prefix}{source}.{KINDS.get(kind, kind)}")
    if layer_name is _mobilenet:
        freeze_identity(backbone)
    return arrays


def _layer_names(
    backbone: Backbone, names: Container[str], prefix: str
) -> Callable[[str], Optional[str]]:
    """A function from Gluon's name of a layer to torchvision's; None for one that it lacks."""
    if f"{prefix}{RESNET}" in names or f"{prefix}{NUMBERED_RESNET}" in names:
        _check_strides(backbone)
        return _resnet if f"{prefix}{RESNET}" in names else _numbered_resnet
    return _mobilenet if f"{prefix}{MOBILENET}" in names else _vgg


def _vgg(layer: str) -> str:
    return f"features.{layer}"


def _resnet(layer: str) -> str:
    """From `4.0.body.3` to `layer1.0.conv2`."""
    if layer in ("0", "1"):
        return ("conv1", "bn1")[int(layer)]
    match = re.fullmatch(r"([4-7])\.(\d+)\.(body|downsample)\.(\d+)", layer)
    if not match:
        return f"(a place for {layer})"
    block = f"layer{int(match[1]) - 3}.{match[2]}"
    if match[3] == "downsample":
        return f"{block}.downsample.{match[4]}"
    return f"{block}.{BOTTLENECK[int(match[4])]}"


def _numbered_resnet(layer: str) -> str:
    """From `4.0.body.3` to `4.0.conv2`."""
    if layer in ("0", "1"):
        return layer
    return re.sub(r"^layer(\d)", lambda match: str(int(match[1]) + 3), _resnet(layer))


def _mobilenet(layer: str) -> Optional[str]:
    """From `4.out.3` to `features.2.conv.1.0`."""
    if layer in MOBILENET_ENDS:
        return MOBILENET_ENDS[layer]
    match = re.fullmatch(r"(\d+)\.out\.(\d)", layer)
    if not match:
        return f"(a place for {layer})"
    block, index = int(match[1]) - 2, int(match[2])
    if block > 1:
        return f"features.{block}.conv.{INVERTED[index]}"
    return f"features.1.conv.{FIRST_INVERTED[index]}" if index in FIRST_INVERTED else None


def identity(kind: str, backbone: Backbone) -> np.ndarray:
    """A parameter of the expansion in the first bottleneck of Gluon's MobileNetV2.

    PyTorch's has none. With these values it is the identity, as its input and its output are both
    outputs of a ReLU6.
    """
    norm = backbone.layers[3].out[1]
    channels = backbone.layers[0]._channels
    if kind == "weight":
        return np.eye(channels, dtype="float32").reshape(channels, channels, 1, 1)
    value = {"gamma": 1, "running_var": 1 - norm._kwargs["eps"]}.get(kind, 0)
    return np.full((channels,), value, "float32")


def freeze_identity(backbone: Backbone) -> None:
    """Freeze the expansion that `identity` fills."""
    convolution, norm = backbone.layers[3].out[:2]
    convolution.weight.grad_req = "null"
    freeze_bn(norm)


def _check_strides(backbone: Backbone) -> None:
    """Refuse a ResNet-50 whose stride of 2 is in another convolution than torchvision's."""
    try:
        first = backbone.layers[5][0].body[0]
    except (IndexError, TypeError, AttributeError):
        return  # no ResNet-50: it will lack names
    if tuple(first._kwargs["stride"]) != (1, 1):
        raise UserError(
            "PyTorch's ResNet has stride 2 in its 3x3 convolutions, and this backbone in the 1x1 "
            "convolutions before them: use backbone 'resnet50_v1.5'"
        )
