"""Feature extractors by name: any network of Gluon's model zoo, or of GluonCV's, without its head.

What is kept is everything before the first fully connected layer, less the pooling in front of
it, so that features keep their places: (N, 3, H, W) to (N, channels, h, w). `tiny` is a small
network of this package, for small images. `resnet50_v1.5` moves by two pixels where PyTorch's does,
in the 3x3 convolutions; `resnet50_v1.5_5x5` has a smaller first convolution, which moves by one.
`mobilenetv2_1.0_320` ends before its last convolution.
"""

from __future__ import annotations

from typing import Any, Dict

from mxnet import gluon, sym
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision

from ..errors import UserError
from .fast_relu6 import replace_relu6
from .freezing import freeze_bn, walk_blocks

VARIANTS = {  # names of this package: the networks of Gluon or GluonCV that they change
    "resnet50_v1.5": "resnet50_v1",
    "resnet50_v1.5_5x5": "resnet50_v1",
    "mobilenetv2_1.0_320": "mobilenetv2_1.0",
}
_IMAGE = (1, 3, 224, 224)
_HEAD = (nn.Dense, nn.Flatten, nn.GlobalAvgPool2D)
_POOLING = (nn.MaxPool2D, nn.AvgPool2D, nn.Dropout)


class Backbone(gluon.HybridBlock):
    """Features of images: (N, 3, H, W) to (N, channels, h, w).

    Attributes:
        layers: the network, to its last map of features.
        channels: of the features.
        legacy: names that files of old versions of MXNet have, by those of the parameters.
    """

    def __init__(self, layers: nn.HybridSequential, legacy: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = layers
        self.channels = _channels(layers)
        self.legacy: Dict[str, str] = {
            name: parameter.name[len(legacy) :]
            for name, parameter in layers._collect_params_with_prefix().items()
        }

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.layers(images)


def backbone(name: str, frozen_bn: bool = False, stem_stride: int = 0) -> Backbone:
    """A backbone by name, without weights.

    Args:
        name: of a network of `mxnet.gluon.model_zoo.vision`, of GluonCV if that is installed, or
            `tiny`.
        frozen_bn: normalise by the statistics that were loaded and leave them and the scales as
            they are: batches of a few images have none worth learning from.
        stem_stride: of the first convolution, whose weights fit any; 0 for what it has.
    """
    made = Backbone(_tiny()) if name == "tiny" else _features_of(name)
    if stem_stride:
        stem = next(block for block in walk_blocks(made) if isinstance(block, nn.Conv2D))
        stem._kwargs["stride"] = (stem_stride, stem_stride)
    if frozen_bn:
        freeze_bn(made)
    return made


def _tiny() -> nn.HybridSequential:
    """Three strides of two, 128 channels."""
    layers = nn.HybridSequential()
    with layers.name_scope():
        for channels, stride in ((16, 1), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1)):
            layers.add(nn.Conv2D(channels, 3, stride, padding=1, use_bias=False))
            layers.add(nn.BatchNorm(), nn.Activation("relu"))
    return layers


def _features_of(name: str) -> Backbone:
    """A network of Gluon's zoo or GluonCV's without its head, changed as its name says."""
    whole = _full_network(VARIANTS.get(name, name))
    layers = getattr(whole, "features", None)
    if not isinstance(layers, nn.HybridSequential):
        raise UserError(
            f"'{name}' keeps no sequence of layers in .features; take another backbone, such as "
            "mobilenetv2_1.0, vgg19 or resnet50_v2"
        )
    kept = list(layers)
    ends = [index for index, layer in enumerate(kept) if isinstance(layer, _HEAD)]
    kept = kept[: ends[0]] if ends else kept
    while isinstance(kept[-1], _POOLING):
        kept.pop()
    if name == "mobilenetv2_1.0_320":
        kept = kept[:-3]
    elif name.startswith("resnet50_v1.5"):
        for stage in kept[5:]:
            entry, middle = stage[0].body[0], stage[0].body[3]
            entry._kwargs["stride"], middle._kwargs["stride"] = (1, 1), (2, 2)
    layers = layers[: len(kept)]
    replace_relu6(layers)
    if name == "resnet50_v1.5_5x5":
        layers = nn.HybridSequential()
        layers.add(nn.Conv2D(64, 5, 1, 2, use_bias=False), *kept[1:])
    return Backbone(layers, whole.prefix)


def _full_network(name: str) -> gluon.HybridBlock:
    """A network of Gluon's zoo, or of GluonCV's if that is installed, without weights."""
    try:
        return vision.get_model(name)
    except ValueError:
        known = "a network of mxnet.gluon.model_zoo.vision or tiny"
    try:
        from gluoncv.model_zoo import get_model
    except ImportError:
        raise UserError(f"backbone must be {known}, not '{name}'; GluonCV has more") from None
    try:
        return get_model(name)
    except (ValueError, OSError, TypeError):  # it has detectors too, which ask for downloads
        raise UserError(f"backbone must be {known}, or of GluonCV, not '{name}'") from None


def _channels(layers: nn.HybridSequential) -> int:
    return layers(sym.var("images")).infer_shape(images=_IMAGE)[1][0][1]
