"""Weights from files: this package's own, GluonCV's and PyTorch's, told apart by what they hold."""

from __future__ import annotations

import os
import re
from typing import Any, List, NamedTuple

from mxnet import gluon, nd

from ..errors import UserError
from ..storage.params import read_parameters
from ..zoo.backbones import Backbone
from ..zoo.freezing import walk_blocks
from ..zoo.loading import check_arrays, load_arrays, set_parameters
from ..zoo.residual_attention.network import ResidualAttention
from .checkpoints import from_layout, layout_of
from .tensor_table import Arrays, TensorTable, fitting
from .tensors import Tensor
from .torch_file import is_torch, read_torch
from .torch_networks import residual_place, residual_places
from .torchvision import backbone_arrays, is_torchvision, leave_identity


class Filled(NamedTuple):
    """What became of a file."""

    origin: str
    tensors: int  # in the file
    unused: List[str]  # those of them that its own network keeps for nothing
    parameters: int  # of the net


def load_weights(net: gluon.Block, file: str, ctx: Any = None, new_head: bool = False) -> None:
    """Load a file of this package, GluonCV or PyTorch into a net that it fits exactly.

    Args:
        net: gets arrays of its parameters' types, whatever those of the file are.
        file: told apart by what it holds; docs/weights.md lists what is read.
        ctx: device or devices of parameters that have none yet.
        new_head: accept a file for another number of classes, and initialise the head anew: to
            fine-tune a network that was trained on another data set. RAM accepts weights of fewer
            scales too.
    """
    fill(net, file, ctx, new_head)


def fill(net: gluon.Block, file: str, ctx: Any = None, new_head: bool = False) -> Filled:
    """The same; tells what was used."""
    arrays = saved = read(file)
    _refuse_backbone(net, file, saved)
    origin, unused = "gluon_attention", []
    if isinstance(next(iter(arrays.values())), Tensor):
        origin, arrays, unused = _from_torch(net, file, saved)
    elif is_gluoncv_attention(arrays):
        origin, arrays = "GluonCV", _from_gluoncv_attention(net, arrays)
    arrays = {name: _untensored(array) for name, array in arrays.items()}
    load_arrays(net, arrays, file, origin, ctx, new_head)
    return Filled(origin, len(saved), unused, len(net._collect_params_with_prefix()))


def _refuse_backbone(net: gluon.Block, file: str, arrays: Arrays) -> None:
    """Say where a file belongs that holds what a net begins with, and nothing of the rest."""
    inside = [block for block in walk_blocks(net) if isinstance(block, Backbone)]
    if not inside or layout_of(arrays):
        return
    numbered = any(re.match(r"(features\.)?\d+\.", name) for name in arrays)
    if numbered or is_torchvision(arrays) or set(arrays) >= set(inside[0].legacy.values()):
        raise UserError(
            f"{file} holds a backbone alone, and {type(net).__name__} is more than that; give it "
            "to a training script as --backbone-weights, or to load_backbone"
        )


def _from_torch(net: gluon.Block, file: str, tensors: Arrays) -> Any:
    """Origin, arrays in the names of the net, and names without a use."""
    layout = layout_of(tensors)
    with fitting(file):
        if layout is None:
            raise UserError(
                "it is a PyTorch checkpoint of no network known here and begins with "
                f"{ascii(next(iter(tensors)))[:60]}; docs/weights.md lists those that are"
            )
        arrays, unused = from_layout(layout, net, tensors)
    return layout.origin, arrays, unused


def _untensored(array: Any) -> Any:
    return array.array() if isinstance(array, Tensor) else array


def load_backbone(backbone: Backbone, file: str, ctx: Any = None) -> None:
    """Load the features of a whole network of Gluon's zoo, GluonCV's or torchvision's.

    GluonCV's MobileNetV2 has no expansion in its first bottleneck and Gluon's has: there, what the
    file lacks becomes an identity that is not trained. What it is given has been through a ReLU6,
    and so has what it gives.
    """
    parameters = backbone.layers._collect_params_with_prefix()
    arrays = read(file)
    if isinstance(next(iter(arrays.values())), Tensor):
        arrays = _from_torchvision(backbone, file, arrays)
    elif not any("." in name for name in arrays):  # saved by an old version of MXNet
        arrays = {key: arrays[old] for key, old in backbone.legacy.items() if old in arrays}
    else:
        prefix = "features." if any(name.startswith("features.") for name in arrays) else ""
        arrays = {n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)}
    longer = "3.out.7.gamma" in parameters and "3.out.7.gamma" not in arrays
    if longer and "3.out.4.gamma" in arrays:
        arrays = _with_identity(arrays)
        leave_identity(backbone)
    arrays = {name: _untensored(arrays[name]) for name in parameters if name in arrays}
    check_arrays(arrays, parameters, file, "a backbone")
    set_parameters(parameters, arrays, ctx)


def _from_torchvision(backbone: Backbone, file: str, tensors: Arrays) -> Arrays:
    if not is_torchvision(tensors):
        raise UserError(
            f"{file} is a PyTorch checkpoint, but of none of torchvision's ResNet-50, MobileNetV2 "
            "and VGG"
        )
    with fitting(file):
        return backbone_arrays(backbone, TensorTable(tensors))


def _with_identity(arrays: Arrays) -> Arrays:
    """The first bottleneck behind a 1x1 convolution and a BatchNorm that do nothing."""
    moved = {}
    for name, array in arrays.items():
        match = re.match(r"3\.out\.(\d+)\.(.*)", name)
        moved[f"3.out.{int(match[1]) + 3}.{match[2]}" if match else name] = array
    channels = arrays["3.out.0.weight"].shape[0]
    moved["3.out.0.weight"] = nd.eye(channels).reshape((channels, channels, 1, 1))
    for name, value in (("gamma", 1), ("beta", 0), ("running_mean", 0), ("running_var", 1 - 1e-5)):
        moved[f"3.out.1.{name}"] = nd.full((channels,), value)
    return moved


def read(file: str) -> Arrays:
    """What a file holds by name: NDArrays, or tensors where it is PyTorch's."""
    head = _head(file)
    if is_torch(head):
        return read_torch(file)
    return read_parameters(file)


def _head(file: str) -> bytes:
    """How a file begins."""
    if not os.path.isfile(file):
        raise UserError(f"{file} is not a file; name a file of weights")
    try:
        with open(file, "rb") as stream:
            return stream.read(512)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def is_gluoncv_attention(arrays: Arrays) -> bool:
    """Whether a file is of one of GluonCV's residual attention nets."""
    return any(re.match(r"attention_module\d\.\d+\.trunk_branches\.", name) for name in arrays)


def _from_gluoncv_attention(net: gluon.Block, arrays: Arrays) -> Arrays:
    """GluonCV's residual attention nets; names that have no place in the net are kept."""
    if not isinstance(net, ResidualAttention):
        return arrays
    if net.options.mask_fusion != "gluoncv":
        raise UserError(
            "these weights of GluonCV were trained with its extra additions in the masks; build "
            "the net by GluonCV's name, such as 'residualattentionnet56', or with "
            "mask_fusion='gluoncv'"
        )
    places = residual_places(net, 0, lambda unit, number: f"attention_module{unit}.{number - 1}")
    renamed = {}
    for name, array in arrays.items():
        block, _, kind = name.rpartition(".")
        place = residual_place(block, places)
        name = f"{place}.{kind}" if place else name
        if name == "body.head.3.weight":  # a 1x1 convolution of the pooled features
            array = array.reshape((array.shape[0], -1))
        renamed[name] = array
    return renamed
