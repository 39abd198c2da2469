"""Backbones by name: any network of Gluon's model zoo, or of GluonCV's, without its head.

A backbone ends before the global pooling and the fully connected layers, so that its output is a
feature map: (N, 3, H, W) to (N, channels, h, w). `tiny` is a small network of this package, for
small images. `resnet50_v1.5` has its strides in the 3x3 convolutions, like PyTorch's ResNet-50;
`resnet50_v1.5_5x5` also has a 5x5 first convolution of stride 1. `mobilenetv2_1.0_320` ends before
its last convolution, with 320 channels.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any, Dict, Optional

from mxnet import gluon, sym
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision

from .. import native
from ..errors import UserError
from .fast_relu6 import replace_relu6
from .feature_maps import stages_of
from .freezing import freeze_bn, walk_blocks

VARIANTS = {  # names of this package: the networks of Gluon that they modify
    "resnet50_v1.5": "resnet50_v1",
    "resnet50_v1.5_5x5": "resnet50_v1",
    "mobilenetv2_1.0_320": "mobilenetv2_1.0",
}
_IMAGE = (1, 3, 224, 224)
_HEAD = (nn.Dense, nn.Flatten, nn.GlobalAvgPool2D)
_POOLING = (nn.MaxPool2D, nn.AvgPool2D, nn.Dropout)


class Backbone(native.NativeBlock, gluon.HybridBlock):
    """Images (N, 3, H, W) to feature maps (N, channels, h, w).

    Attributes:
        layers: the network up to its last feature map.
        channels: of the last feature map.
        earlier: number of layers up to an earlier feature map, which is the second output; 0 if
            there is one output.
        legacy: by the name of a parameter, its name in files of old versions of MXNet.
    """

    def __init__(self, layers: nn.HybridSequential, legacy: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers, self.earlier = layers, 0
        self.channels = _channels(layers)
        self.legacy: Dict[str, str] = {
            name: parameter.name[len(legacy) :]
            for name, parameter in layers._collect_params_with_prefix().items()
        }

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        x, earlier = images, None
        for number, layer in enumerate(self.layers, 1):
            x = layer(x)
            if number == self.earlier:
                earlier = x
        return (x, earlier) if self.earlier else x

    def lower(self, program: native.Program) -> native.Lowered:
        """Add the layers to a program of the native library."""
        x = program.images()
        if self.earlier:
            x = earlier = program.layers(x, self.layers[: self.earlier])
        program.give(program.layers(x, self.layers[self.earlier :]))
        if self.earlier:
            program.give(earlier)
        return native.Lowered(nn.HybridSequential())  # nothing follows


def backbone(
    name: str, frozen_bn: bool = False, stem_stride: Optional[int] = None, earlier: bool = False
) -> Backbone:
    """A backbone by name, without weights.

    Args:
        name: of a network of `mxnet.gluon.model_zoo.vision`, of GluonCV if that is installed, or
            of this module.
        frozen_bn: keep the loaded statistics and scales of BatchNorm, as the statistics of small
            batches are too noisy.
        stem_stride: stride of the first convolution, whose weights fit any stride; None for the
            backbone's own.
        earlier: return the last map of the next finer resolution, too.
    """
    network = Backbone(_tiny()) if name == "tiny" else _features_of(name)
    if stem_stride:
        stem = next(block for block in walk_blocks(network) if isinstance(block, nn.Conv2D))
        stem._kwargs["stride"] = (stem_stride, stem_stride)
    if frozen_bn:
        freeze_bn(network)
    if earlier:
        network.earlier = sum(len(stage.layers) for stage in stages_of(list(network.layers))[:-1])
    return network


def _tiny() -> nn.HybridSequential:
    """Six convolutions, three of them of stride 2, to 128 channels."""
    layers = nn.HybridSequential()
    with layers.name_scope():
        for channels, stride in ((16, 1), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1)):
            layers.add(nn.Conv2D(channels, 3, stride, padding=1, use_bias=False))
            layers.add(nn.BatchNorm(), nn.Activation("relu"))
    return layers


def _features_of(name: str) -> Backbone:
    """A network of Gluon's zoo or GluonCV's without its head, in the variant of the name."""
    network = _full_network(VARIANTS.get(name, name))
    layers = getattr(network, "features", None)
    if not isinstance(layers, nn.HybridSequential):
        raise UserError(
            f"'{name}' has no sequence of layers .features; take another backbone, such as "
            "mobilenetv2_1.0, vgg19 or resnet50_v2"
        )
    body = list(takewhile(lambda layer: not isinstance(layer, _HEAD), layers))
    while isinstance(body[-1], _POOLING):
        body.pop()
    if name == "mobilenetv2_1.0_320":
        body = body[:-3]
    elif name.startswith("resnet50_v1.5"):
        for stage in body[5:]:
            conv1x1, conv3x3 = stage[0].body[0], stage[0].body[3]
            conv1x1._kwargs["stride"], conv3x3._kwargs["stride"] = (1, 1), (2, 2)
    layers = layers[: len(body)]
    replace_relu6(layers)
    if name == "resnet50_v1.5_5x5":
        layers = nn.HybridSequential()
        layers.add(nn.Conv2D(64, 5, 1, 2, use_bias=False), *body[1:])
    return Backbone(layers, network.prefix)


def _full_network(name: str) -> gluon.HybridBlock:
    """A network of Gluon's zoo, or of GluonCV's if that is installed, without weights."""
    try:
        return vision.get_model(name)
    except ValueError:
        names = "a network of mxnet.gluon.model_zoo.vision or tiny"
    try:
        from gluoncv.model_zoo import get_model
    except ImportError:
        raise UserError(f"backbone must be {names}, not '{name}'; GluonCV has more") from None
    try:
        return get_model(name)
    except (ValueError, OSError, TypeError):  # GluonCV also has detectors, which download weights
        raise UserError(f"backbone must be {names}, or of GluonCV, not '{name}'") from None


def _channels(layers: nn.HybridSequential) -> int:
    return layers(sym.var("images")).infer_shape(images=_IMAGE)[1][0][1]
