"""Converter of klrc's and jeong-tae's RA-CNN in PyTorch.

Their network is three backbones `b1` to `b3`, each with a classifier, and two attention proposal
networks, `apn1` and `apn2`.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from ..errors import UserError
from ..zoo.racnn.network import RACNN
from .tensor_table import Arrays, TensorTable, as_numpy, out_features
from .torchvision import backbone_arrays

MOBILENET = "b1.features.18.0.weight"  # a name in klrc's files and not in jeong-tae's
STEM = "0.weight"
ROWS_BEFORE_COLUMNS = [1, 0, 2]  # order of their box: row, column, half the side


def klrc_options(tensors: Arrays) -> Dict[str, Any]:
    """MobileNetV2, whose second box is at most as large as the first crop."""
    return _options(tensors, backbone="mobilenetv2_1.0_320", apn="plain", largest=1.0)


def jeong_tae_options(tensors: Arrays) -> Dict[str, Any]:
    """VGG-19 with BatchNorm, as in the paper."""
    return _options(tensors, backbone="vgg19_bn", apn="paper", largest=2.0)


def _options(tensors: Arrays, **own: Any) -> Dict[str, Any]:
    classes = out_features(tensors, "classifier1.weight")
    same = dict(descriptor="scaled", boxes="pixels", smallest=(2 / 3,), shrink=1, shared=False)
    return dict(classes=classes, **own, **same)


def klrc(net: RACNN, table: TensorTable) -> Arrays:
    """Arrays of a network that reads blue before red, by the names of the net."""
    arrays = jeong_tae(net, table)
    for scale in range(3):
        name = f"body.backbones.{scale}.layers.{STEM}"
        arrays[name] = as_numpy(arrays[name])[:, ::-1]
    return arrays


def jeong_tae(net: RACNN, table: TensorTable) -> Arrays:
    """Arrays by the names of the net."""
    body = net.body
    if body.scales != 3:
        raise UserError(f"PyTorch's RACNN has three scales and the net has {body.scales}")
    arrays: Arrays = {}
    weights, biases = [], []
    for scale in range(3):
        backbone = backbone_arrays(body.backbones[scale], table, f"b{scale + 1}.")
        for name, array in backbone.items():
            arrays[f"body.backbones.{scale}.layers.{name}"] = array
        channels = body.heads[scale].channels
        # Our descriptor is a tenth of theirs.
        weights.append(10 * table.array(f"classifier{scale + 1}.weight", net.classes, channels))
        biases.append(table.array(f"classifier{scale + 1}.bias", net.classes))
        arrays[f"body.heads.{scale}.classifier.weight"] = weights[-1]
        arrays[f"body.heads.{scale}.classifier.bias"] = biases[-1]
    # Their network has no fused classifier: this one averages the logits of all scales.
    arrays["body.fused.weight"] = np.concatenate(weights, axis=1) / 3
    arrays["body.fused.bias"] = sum(biases) / 3
    for number, apn in enumerate(body.apns):
        last = len(apn.layers) - 1
        theirs, ours = f"apn{number + 1}", f"body.apns.{number}.layers"
        for kind, shape in (("weight", (3, None)), ("bias", (3,))):
            arrays[f"{ours}.{last - 1}.{kind}"] = table.pop(f"{theirs}.0.{kind}")
            box = table.array(f"{theirs}.2.{kind}", *shape)
            arrays[f"{ours}.{last}.{kind}"] = box[ROWS_BEFORE_COLUMNS]
    return arrays
