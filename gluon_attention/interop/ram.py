"""Converter of kevinzakka's RAM in PyTorch and of its ports, such as RAM-Paddle.

Their network is `sensor` (glimpse network), `rnn`, `locator`, `classifier` and `baseliner`.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from ..zoo.ram.network import RecurrentAttention
from .tensor_table import Arrays, TensorTable, out_features

# Pairs of linear layers whose outputs are added; here they are one layer over both inputs.
SUMS = {
    ("sensor.fc3", "sensor.fc4"): "body.glimpse.both",
    ("rnn.i2h", "rnn.h2h"): "body.core.step",
}
LINEAR = {
    "sensor.fc1": "body.glimpse.what",
    "sensor.fc2": "body.glimpse.where",
    "locator.fc": "body.locator.hidden",
    "locator.fc_lt": "body.locator.mean",
    "baseliner.fc": "body.baseline",
    "classifier.fc": "body.head",
}
# A locator of one layer, as before 2019, becomes two layers: x = relu(x) - relu(-x).
LOCATOR_WIDTH = 4
DIFFERENCE = np.array([[1, 0, -1, 0], [0, 1, 0, -1]], "float32")


def options(tensors: Arrays) -> Dict[str, Any]:
    """Options of the equivalent network here."""
    widths = [out_features(tensors, f"sensor.fc{layer}.weight") for layer in (1, 2, 3)]
    widths.append(out_features(tensors, "rnn.i2h.weight"))
    two_layers = "locator.fc_lt.weight" in tensors
    locator = out_features(tensors, "locator.fc.weight")
    return dict(
        classes=out_features(tensors, "classifier.fc.weight"),
        retina="pixels",
        move="absolute",
        core="rnn",
        policy="learned",
        start="uniform",
        widths=(*widths, locator if two_layers else LOCATOR_WIDTH),
    )


def convert(net: RecurrentAttention, table: TensorTable) -> Arrays:
    """Arrays by the names of the net."""
    arrays: Arrays = {}
    for (one, other), ours in SUMS.items():
        length = out_features(table.remaining, f"{one}.weight")
        weights = [table.array(f"{name}.weight", length, None) for name in (one, other)]
        biases = [table.array(f"{name}.bias", length) for name in (one, other)]
        arrays[f"{ours}.weight"] = np.concatenate(weights, axis=1)
        arrays[f"{ours}.bias"] = biases[0] + biases[1]
    if "locator.fc_lt.weight" not in table.remaining:
        weight, bias = table.array("locator.fc.weight", 2, None), table.array("locator.fc.bias", 2)
        table.remaining["locator.fc.weight"] = np.concatenate([weight, -weight])
        table.remaining["locator.fc.bias"] = np.concatenate([bias, -bias])
        table.remaining["locator.fc_lt.weight"] = DIFFERENCE
        table.remaining["locator.fc_lt.bias"] = np.zeros(2, "float32")
    for theirs, ours in LINEAR.items():
        for kind in ("weight", "bias"):
            arrays[f"{ours}.{kind}"] = table.pop(f"{theirs}.{kind}")
    for kind in ("weight", "bias"):  # the classifier also reads the state before each glimpse
        arrays[f"body.step_head.{kind}"] = arrays[f"body.head.{kind}"]
    return arrays
