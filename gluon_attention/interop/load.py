"""Weights from files, whose content shows whether they are this package's, PyTorch's or others'."""

from __future__ import annotations

import os
import re
from typing import Any, List, NamedTuple, Sequence

from mxnet import gluon, nd

from ..errors import UserError
from ..storage.atomic import read_bytes
from ..storage.params import read_parameters
from ..storage.safetensors_file import is_safetensors, read_safetensors
from ..zoo.backbones import Backbone
from ..zoo.freezing import walk_blocks
from ..zoo.loading import check_arrays, load_arrays, set_parameters
from .checkpoints import convert_tensors, format_of
from .paddle_file import PICKLE, read_paddle
from .tensor_table import Arrays, TensorTable, as_numpy, fitting
from .tensors import Tensor, from_safetensors
from .torch_file import is_torch, read_torch
from .torchvision import backbone_arrays, freeze_identity, identity, is_torchvision


class LoadReport(NamedTuple):
    """The result of loading a file."""

    origin: str
    tensors: int  # in the file
    unused: List[str]  # names of tensors that the network does not use
    parameters: int  # of the net


def load_weights(
    net: gluon.Block,
    file: str,
    ctx: Any = None,
    new_head: bool = False,
    overrides: Sequence[str] = (),
) -> LoadReport:
    """Load a file of this package, or of a source that docs/weights.md lists, into a net.

    Args:
        net: its parameters must fit the file exactly; they keep their types.
        file: its kind is detected by its content, not by its name.
        ctx: device or devices of parameters that have none yet.
        new_head: for fine-tuning: accept a file of another number of classes, and initialise the
            head; accept weights of a smaller network, such as RAM of fewer scales.
        overrides: options of the net that may differ from those of the file.
    """
    tensors = read(file)
    form = format_of(tensors)
    origin, arrays, unused = "gluon_attention", tensors, []
    if form is not None:
        with fitting(file):
            arrays, unused = convert_tensors(form, net, tensors, overrides)
            arrays = {name: as_numpy(array) for name, array in arrays.items()}
        origin = form.origin
    elif set(from_module(tensors)) & set(net._collect_params_with_prefix()):
        with fitting(file):
            arrays = {name: as_numpy(array) for name, array in from_module(tensors).items()}
        origin, unused = "PyTorch", [name for name in tensors if name.endswith(COUNTER)]
    else:
        _refuse_backbone(net, file, tensors)
        _refuse_unknown(file, tensors)
    load_arrays(net, arrays, file, origin, ctx, new_head)
    parameters = len(net._collect_params_with_prefix())
    return LoadReport(origin, len(tensors), unused, parameters)


COUNTER = ".num_batches_tracked"


def from_module(tensors: Arrays) -> Arrays:
    """The state dict of a module of `export --torch`, by the names of parameters here."""
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if f"{stem}.running_mean" in tensors:
            last = {"weight": "gamma", "bias": "beta"}.get(last, last)
        if not name.endswith(COUNTER):
            arrays[f"body.{stem}.{last}"] = tensor
    return arrays


def _refuse_backbone(net: gluon.Block, file: str, tensors: Arrays) -> None:
    """Refuse a file of a backbone alone for a net that contains a backbone."""
    backbones = [block for block in walk_blocks(net) if isinstance(block, Backbone)]
    if not backbones:
        return
    numbered = any(re.match(r"(features\.)?\d+\.", name) for name in tensors)
    if numbered or is_torchvision(tensors) or set(tensors) >= set(backbones[0].legacy.values()):
        raise UserError(
            f"{file} holds only a backbone of {type(net).__name__}; give it to a training script "
            "as --backbone-weights, or to load_backbone"
        )


def _refuse_unknown(file: str, tensors: Arrays) -> None:
    name, tensor = next(iter(tensors.items()))
    if isinstance(tensor, Tensor):
        raise UserError(
            f"{file} does not fit: it is a checkpoint of an unknown network and begins with "
            f"{ascii(name)[:60]}; docs/weights.md lists the known ones"
        )


# Names of the backbone's parameters in files of whole networks begin with one of these: GluonCV's,
# and those of the first stage of the glimpse network.
PREFIXES = ("features.", "body.encoder.backbone.layers.")


def load_backbone(backbone: Backbone, file: str) -> None:
    """Load a network of Gluon's zoo, GluonCV's or torchvision's without its head.

    The first bottleneck of Gluon's MobileNetV2 has an expansion that GluonCV's and torchvision's
    lack. It becomes a frozen identity, which is exact: its ReLU6 does not change its input, the
    output of a ReLU6.
    """
    parameters = backbone.layers._collect_params_with_prefix()
    arrays = read(file)
    if isinstance(next(iter(arrays.values())), Tensor):
        arrays = _from_torchvision(backbone, file, arrays)
    elif not any("." in name for name in arrays):  # saved by an old version of MXNet
        arrays = {key: arrays[old] for key, old in backbone.legacy.items() if old in arrays}
    else:
        prefix = next((p for p in PREFIXES if any(n.startswith(p) for n in arrays)), "")
        arrays = {n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)}
    expands = "3.out.7.gamma" in parameters and "3.out.7.gamma" not in arrays
    if expands and "3.out.4.gamma" in arrays:
        arrays = _with_identity(arrays, backbone)
        freeze_identity(backbone)
    arrays = {name: arrays[name] for name in parameters if name in arrays}
    check_arrays(arrays, parameters, file, "a backbone")
    set_parameters(parameters, arrays)


def _from_torchvision(backbone: Backbone, file: str, tensors: Arrays) -> Arrays:
    if not is_torchvision(tensors):
        raise UserError(
            f"{file} is a PyTorch checkpoint, but none of torchvision's ResNet-50, MobileNetV2 "
            "or VGG"
        )
    with fitting(file):
        arrays = backbone_arrays(backbone, TensorTable(tensors))
        return {name: as_numpy(array) for name, array in arrays.items()}


def _with_identity(arrays: Arrays, backbone: Backbone) -> Arrays:
    """The arrays with an identity in front of the first bottleneck: 1x1 convolution, BatchNorm."""
    moved = {}
    for name, array in arrays.items():
        match = re.match(r"3\.out\.(\d+)\.(.*)", name)
        moved[f"3.out.{int(match[1]) + 3}.{match[2]}" if match else name] = array
    for name in ("0.weight", "1.gamma", "1.beta", "1.running_mean", "1.running_var"):
        moved[f"3.out.{name}"] = identity(name[2:], backbone)
    return moved


OWN = {"format": "gluon_attention"}  # in the metadata of a .safetensors file of this package


def _read_safetensors(file: str) -> Arrays:
    """NDArrays from a file of this package, `Tensor`s from another file."""
    raw, metadata = read_safetensors(file)
    with fitting(file):
        tensors = {name: from_safetensors(name, each) for name, each in raw.items()}
        if not OWN.items() <= metadata.items():
            return tensors
        return {name: nd.array(tensor.array()) for name, tensor in tensors.items()}


def read(file: str) -> Arrays:
    """The arrays of a file by name: NDArrays from this package's, `Tensor`s from another."""
    if not os.path.isfile(file):
        raise UserError(f"{file} is not a file; name a file of weights")
    head = read_bytes(file, 512)
    if is_safetensors(head):
        return _read_safetensors(file)
    if is_torch(head):
        return read_torch(file)
    if head.startswith(PICKLE):
        return read_paddle(file)
    return read_parameters(file)
