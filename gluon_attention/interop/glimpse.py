"""Converter of rohithreddy024's glimpse network in PyTorch.

Its network is `glimpse.resnet` (the same as `context.resnet`), `core` (an LSTM cell), `location`
(attention over regions of the context), `action` and `baseline`.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from ..zoo.glimpse.network import GlimpseNet
from .tensor_table import Arrays, TensorTable, as_numpy, out_features
from .torchvision import backbone_arrays

CHANNELS = 2048  # of the features of ResNet-50
FIRST = {"fc1": "first_score"}  # attention of the first glimpse
NEXT = {"W_v": "key", "W_g": "query", "W_h": "score"}  # of those that follow
HEADS = {"action": "head", "baseline": "baseline"}


def options(tensors: Arrays) -> Dict[str, Any]:
    """Options of the equivalent network here."""
    inputs = tensors["core.weight_ih"].shape
    patches = inputs[-1] // CHANNELS
    hidden = out_features(tensors, "core.weight_hh") // 4
    attention = out_features(tensors, "location.W_v.weight")
    return dict(
        classes=out_features(tensors, "action.fc.weight"),
        backbone="resnet50_v1.5_5x5",
        patches=patches,
        start_size=1 if patches > 2 else 2,
        regions=2,
        reach=1.0,
        stem_stride=1,
        hidden=hidden,
        attention=None if attention == hidden // 2 else attention,
        location="mirrored",
        policy="learned",
    )


def convert(net: GlimpseNet, table: TensorTable) -> Arrays:
    """Arrays by the names of the net."""
    controller = net.controller
    backbone = backbone_arrays(net.encoder.backbone, table, "glimpse.resnet.")
    arrays = {f"body.encoder.backbone.layers.{name}": array for name, array in backbone.items()}
    arrays.update(_lstm(table, controller.core.width, "body.controller.core.step"))
    for theirs, ours in {**FIRST, **(NEXT if controller.glimpses > 1 else {})}.items():
        array = as_numpy(table.pop(f"location.{theirs}.weight"))
        matrix = array.reshape(len(array), -1)
        # All but one are 1x1 convolutions here.
        matrix = matrix if ours == "query" else matrix[:, :, None, None]
        arrays[f"body.controller.{ours}.weight"] = matrix
    for theirs, ours in HEADS.items():
        for kind in ("weight", "bias"):
            arrays[f"body.controller.{ours}.{kind}"] = table.pop(f"{theirs}.fc.{kind}")
    return arrays


def _lstm(table: TensorTable, width: int, ours: str) -> Arrays:
    """The LSTM cell as one linear layer of input and hidden state."""
    rows = 4 * width
    weights = [table.array(f"core.weight_{kind}", rows, None) for kind in ("ih", "hh")]
    bias = table.array("core.bias_ih", rows) + table.array("core.bias_hh", rows)
    in_gate, forget_gate, cell, out_gate = np.arange(rows).reshape(4, width)  # PyTorch's order
    order = np.concatenate([in_gate, forget_gate, out_gate, cell])
    bias[forget_gate] -= 1  # the core adds it
    return {f"{ours}.weight": np.concatenate(weights, axis=1)[order], f"{ours}.bias": bias[order]}
