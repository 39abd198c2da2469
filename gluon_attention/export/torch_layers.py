"""Layers of backbones as lists, a kind and its arguments, for the modules for PyTorch."""

from __future__ import annotations

from typing import Any, List

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.model_zoo.vision import mobilenet, resnet

from ..errors import UserError


def describe_layer(block: gluon.Block) -> List[Any]:
    """The list of a layer for `torch_modules/torch_backbone.py`; unknown kinds are refused."""
    if type(block) is nn.HybridSequential:  # HybridConcurrent is one, too
        return ["sequence", *map(describe_layer, block)]
    for kinds, describe in _LAYERS:
        if isinstance(block, kinds):
            return describe(block)
    if type(block).__name__.lower() == "relu6":
        return ["relu6"]
    if isinstance(block, nn.Activation) and block._act_type == "relu":
        return ["relu"]
    raise UserError(
        f"--torch does not support the layer {type(block).__name__} of this backbone, only layers "
        "of VGG, MobileNet and ResNet in Gluon's model zoo; use --onnx"
    )


def _convolution(conv: nn.Conv2D) -> List[Any]:
    outputs, inputs = conv.weight.shape[:2]
    options = conv._kwargs
    groups, bias = options["num_group"], conv.bias is not None
    windows = [options[name] for name in ("kernel", "stride", "pad", "dilate")]
    return ["conv", inputs * groups, outputs, *windows, groups, bias]


def _pooling(pool: nn.MaxPool2D) -> List[Any]:
    if pool._kwargs["pooling_convention"] != "valid":
        raise UserError(
            "--torch does not support max pooling with ceil_mode, as in this backbone; use --onnx"
        )
    return ["max", *(pool._kwargs[name] for name in ("kernel", "stride", "pad"))]


def _projection(unit: gluon.Block) -> Any:
    return describe_layer(unit.downsample) if unit.downsample is not None else None


def _preact(unit: gluon.Block) -> List[Any]:
    layers = [
        [describe_layer(getattr(unit, f"{kind}{number}")) for kind in ("bn", "conv")]
        for number in (1, 2, 3)
        if hasattr(unit, f"bn{number}")
    ]
    return ["preact_residual", layers, _projection(unit)]


_LAYERS = (
    (nn.Conv2D, _convolution),
    (nn.BatchNorm, lambda norm: ["norm", norm.gamma.shape[0], norm._kwargs["eps"]]),
    (nn.MaxPool2D, _pooling),
    (
        (resnet.BasicBlockV1, resnet.BottleneckV1),
        lambda unit: ["residual", describe_layer(unit.body), _projection(unit)],
    ),
    ((resnet.BasicBlockV2, resnet.BottleneckV2), _preact),
    (
        mobilenet.LinearBottleneck,
        lambda unit: ["inverted_residual", describe_layer(unit.out), unit.use_shortcut],
    ),
)
