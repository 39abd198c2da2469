"""Weights from files: this package's own and GluonCV's, told apart by the names they hold."""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, NamedTuple

from mxnet import gluon, nd
from mxnet.base import MXNetError

from ..errors import UserError
from ..zoo.attention_module import AttentionModule, MaskLevel
from ..zoo.backbones import Backbone, freeze_bn
from ..zoo.residual_attention import ResidualAttention

Arrays = Dict[str, nd.NDArray]


class Format(NamedTuple):
    """Where a file may come from: how it is recognised, and how it is put in the net's names."""

    origin: str
    recognise: Callable[[Arrays], bool]
    convert: Callable[[gluon.Block, Arrays], Arrays]


def load_weights(net: gluon.Block, file: str, ctx: Any = None) -> None:
    """Load a file of this package or GluonCV's into a net that it fits exactly.

    `ctx` is the device or devices of parameters that have none yet. Arrays are cast to the types
    of the parameters.
    """
    arrays = _read(file)
    origin = "gluon_attention"
    for known in FORMATS:
        if known.recognise(arrays):
            origin, arrays = known.origin, known.convert(net, arrays)
            break
    parameters = net._collect_params_with_prefix()
    _check(file, origin, arrays, parameters)
    for name, parameter in parameters.items():
        parameter._load_init(arrays[name], ctx, cast_dtype=True)


def load_backbone(backbone: Backbone, file: str, ctx: Any = None) -> None:
    """Load the features of a whole network, saved from Gluon's zoo or GluonCV's; its head is left.

    GluonCV's MobileNetV2 has no expansion in its first bottleneck and Gluon's has: there, what the
    file lacks becomes an identity that is not trained. What it is given has been through a ReLU6,
    and so has what it gives.
    """
    arrays = _read(file)
    parameters = backbone.layers._collect_params_with_prefix()
    if not any("." in name for name in arrays):  # saved by an old version of MXNet
        arrays = {key: arrays[old] for key, old in backbone.legacy.items() if old in arrays}
    else:
        prefix = "features." if any(name.startswith("features.") for name in arrays) else ""
        arrays = {n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)}
    longer = "3.out.7.gamma" in parameters and "3.out.7.gamma" not in arrays
    if longer and "3.out.4.gamma" in arrays:
        arrays = _with_identity(arrays)
        convolution, norm = backbone.layers[3].out[:2]
        convolution.weight.grad_req = "null"
        freeze_bn(norm)
    _check(file, "a backbone", {n: arrays[n] for n in parameters if n in arrays}, parameters)
    for name, parameter in parameters.items():
        parameter._load_init(arrays[name], ctx, cast_dtype=True)


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


def _read(file: str) -> Arrays:
    if not os.path.isfile(file):
        raise UserError(f"{file} is not a file; name a .params file of parameters")
    try:
        arrays = nd.load(file)
    except MXNetError:
        arrays = None
    if not isinstance(arrays, dict) or not arrays:
        raise UserError(
            f"{file} holds no named parameters: it is cut off, damaged or of another kind; "
            "name a whole .params file"
        )
    return arrays


def _check(file: str, origin: str, arrays: Arrays, parameters: Dict[str, gluon.Parameter]) -> None:
    """Refuse a file at the first parameter that is missing, of another shape, or too much."""
    advice = "build the net with the name, classes and options that the file was saved from"
    for name, parameter in parameters.items():
        if name not in arrays:
            raise UserError(f"{file} ({origin}) has no '{name}', which the net has; {advice}")
        have, want = arrays[name].shape, parameter.shape or ()
        known = len(have) == len(want) and all(w in (0, h) for h, w in zip(have, want))
        if not known:
            wanted = "(" + ", ".join("any" if w == 0 else str(w) for w in want) + ")"
            raise UserError(
                f"'{name}' is {have} in {file} ({origin}) and {wanted} in the net; {advice}"
            )
    extra = [name for name in arrays if name not in parameters]
    if extra:
        raise UserError(f"{file} ({origin}) has '{extra[0]}', which the net has not; {advice}")


def _is_gluoncv_attention(arrays: Arrays) -> bool:
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
    places = _gluoncv_places(net)
    renamed = {}
    for name, array in arrays.items():
        match = re.match(r"(attention_module\d\.\d+\.\w+|\w+)\.(.*)", name)
        if match and match[1] in places:
            name = f"{places[match[1]]}.{match[2]}".replace(".conv4.", ".downsample.")
        if name == "body.head.3.weight":  # a 1x1 convolution of the pooled features
            array = array.reshape((array.shape[0], -1))
        renamed[name] = array
    return renamed


def _gluoncv_places(net: ResidualAttention) -> Dict[str, str]:
    """`{name of a block of GluonCV's: its name in the net}`."""
    places = {"conv1": "body.stem", "mpool2": "body.head", "fc": "body.head.3"}
    units = modules = 0
    for index, step in enumerate(net.body.steps):
        if isinstance(step, AttentionModule):
            block = f"attention_module{units}.{modules}"
            modules += 1
            for theirs, ours in _gluoncv_parts(step).items():
                places[f"{block}.{theirs}"] = f"body.steps.{index}.{ours}"
        else:
            units, modules = units + 1, 0
            places[f"residual_block{units}"] = f"body.steps.{index}"
    return places


def _gluoncv_parts(module: AttentionModule) -> Dict[str, str]:
    """The same for the parts of a module. Those of its mask are numbered down, up, to the gate."""
    parts = {
        "first_residual_blocks": "before",
        "trunk_branches": "trunk",
        "last_blocks": "after.0",
    }
    if not isinstance(module.mask, MaskLevel):
        return {**parts, "softmax1_blocks": "mask", "softmax2_blocks": "gate"}
    depth, level = 0, module.mask
    while level is not None:
        path = "mask" + ".inner" * depth
        depth, level = depth + 1, level.inner
        parts[f"softmax{depth}_blocks"] = f"{path}.down"
        parts[f"skip{depth}_connection_residual_block"] = f"{path}.skip"
    for up in range(1, depth):
        parts[f"softmax{depth + up}_blocks"] = "mask" + ".inner" * (depth - 1 - up) + ".up"
    return {**parts, f"softmax{2 * depth}_blocks": "gate"}


FORMATS = [Format("GluonCV", _is_gluoncv_attention, _from_gluoncv_attention)]
