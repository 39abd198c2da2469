"""Weights in HDF5 files of Keras, and its ResNet50 and MobileNetV2 in the names of Gluon's layers.

A file holds groups by layer, and in each its arrays; files of a whole model have them in the group
`model_weights`, and a model inside a model is one group. HDF5 holds no code.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

import numpy as np

from ..errors import UserError
from ..zoo.backbones import KERAS, Backbone
from .tensor_table import Arrays, Supply, reading
from .torchvision import identity, leave_identity

HDF5 = b"\x89HDF"
_KINDS = {
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_BOTTLENECK = ("1_conv", "1_bn", "", "2_conv", "2_bn", "", "3_conv", "3_bn")  # by index in Gluon's


def read_keras(file: str) -> Dict[str, np.ndarray]:
    """Arrays by `layer/kind`, in the order of the layers."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file} is HDF5, which needs h5py: pip install -e '.[keras]'") from None
    with reading(file), h5py.File(file, "r") as store:
        return _arrays(store, os.path.getsize(file))


def _arrays(store: Any, size: int) -> Dict[str, np.ndarray]:
    root = store if "layer_names" in store.attrs else store.get("model_weights", store)
    if "layer_names" not in root.attrs:
        raise UserError("it is HDF5 without layer_names; save the model in Keras as 'name.h5'")
    found: Dict[str, np.ndarray] = {}
    for layer in _texts(root, "layer_names"):
        for weight in _texts(root[layer], "weight_names"):
            *_, holder, kind = [layer, *weight.split(":")[0].split("/")]
            name, array = f"{holder}/{kind}", root[layer][weight]
            if name in found:
                raise UserError(f"it has '{name}' twice")
            elsewhere = array.file != store or array.external or array.is_virtual
            if elsewhere or array.dtype.kind != "f" or array.nbytes > size:
                raise UserError(f"'{name}' is no array of real numbers in this file")
            found[name] = array[()].astype("float32")
    return found


def _texts(group: Any, name: str) -> List[str]:
    return [t.decode() if isinstance(t, bytes) else str(t) for t in group.attrs[name]]


def keras_arrays(backbone: Backbone, tensors: Arrays) -> Arrays:
    """Arrays for `backbone.layers`, of one that computes what Keras' does."""
    kind = "resnet50_v1_keras" if "conv1_conv/kernel" in tensors else "mobilenetv2_1.0_keras"
    resnet = kind == "resnet50_v1_keras"
    depthwise = any(name.endswith(("/depthwise_kernel", "depthwise/kernel")) for name in tensors)
    if not resnet and not depthwise:
        raise UserError("it is of Keras, but no MobileNetV2, and no ResNet50 of today's names")
    if backbone.conventions != KERAS[kind]:
        raise UserError(f"Keras pads or normalises otherwise than this: take backbone '{kind}'")
    parameters = backbone.layers._collect_params_with_prefix()
    blocks = list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
    layers = {b: _resnet(b) for b in blocks} if resnet else _mobilenet(blocks, tensors)
    supply, arrays = Supply(tensors), {}
    for name, parameter in parameters.items():
        block, _, kind = name.rpartition(".")
        layer = layers[block]
        if layer is None:
            arrays[name] = identity(kind, backbone)
        elif kind == "weight":
            arrays[name] = _kernel(layer, supply, backbone)
        elif kind == "bias":  # its mean makes up for it
            arrays[name] = np.zeros(parameter.shape, "float32")
        else:
            arrays[name] = supply.take(f"{layer}/{_KINDS[kind]}")
            if resnet and kind == "running_mean":
                arrays[name] = arrays[name] - supply.take(f"{layer[:-2]}conv/bias")
    over = [name for name, array in supply.left.items() if array.ndim == 4]
    if over:
        raise UserError(f"it has '{over[0]}', which the backbone has no place for")
    if not resnet:
        leave_identity(backbone)
    return arrays


def _resnet(block: str) -> str:
    match = re.fullmatch(r"(\d+)\.(\d+)\.(body|downsample)\.(\d+)", block)
    if not match:
        return {"0": "conv1_conv", "1": "conv1_bn"}[block]
    inner = int(match[4])
    step = _BOTTLENECK[inner] if match[3] == "body" else ("0_conv", "0_bn")[inner]
    return f"conv{int(match[1]) - 2}_block{int(match[2]) + 1}_{step}"


def _mobilenet(blocks: List[str], tensors: Arrays) -> Dict[str, Optional[str]]:
    """By order, as Keras does: the files that it fetches have other names than its layers."""
    flat = {name.partition("/")[0] for name, array in tensors.items() if array.ndim == 2}
    layers = dict.fromkeys(name.partition("/")[0] for name in tensors)
    layers = [layer for layer in layers if layer not in flat]  # those in front of the head
    ours = [block for block in blocks if block not in ("3.out.0", "3.out.1")]
    if len(layers) != len(ours):
        raise UserError(f"it has {len(layers)} layers where MobileNetV2 has {len(ours)}")
    return {**dict.fromkeys(blocks), **dict(zip(ours, layers))}


def _kernel(layer: str, supply: Supply, backbone: Backbone) -> np.ndarray:
    """A kernel (height, width, in, out), or (height, width, channels, 1), as Gluon has it."""
    depthwise = f"{layer}/depthwise_kernel"
    array = supply.take(depthwise if depthwise in supply.left else f"{layer}/kernel")
    if array.ndim != 4:
        raise UserError(f"'{layer}' is no convolution")
    if backbone.conventions.pads_ends:
        array = array[::-1, ::-1]
    elif layer == "conv1_conv":  # of blue, green and red there
        array = array[:, :, ::-1]
    array = array.transpose((2, 3, 0, 1) if array.shape[3] == 1 else (3, 2, 0, 1))
    return np.ascontiguousarray(array)
