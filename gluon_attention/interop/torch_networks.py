"""Converters of public PyTorch networks.

For each, `*_options(tensors)` gives the options of a net of the zoo that computes the same, as far
as a file tells, and `*_arrays(net, supply, options)` its parameters by the names of that net.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

import numpy as np

from ..errors import UserError
from ..zoo.glimpse.network import GlimpseNet
from ..zoo.racnn.network import RACNN
from ..zoo.ram.network import RecurrentAttention
from ..zoo.residual_attention.module import AttentionModule, MaskLevel
from ..zoo.residual_attention.network import ResidualAttention
from .tensor_table import Arrays, TensorTable, check_options, out_features
from .torchvision import backbone_arrays

# Residual attention: `ResidualAttentionModel_56`, `_92`, `_448input` and `_92_32input_update`.


def residual_options(tensors: Arrays) -> Dict[str, Any]:
    return {"classes": out_features(tensors, "fc.weight"), "mask_fusion": "gluoncv"}


def residual_arrays(net: ResidualAttention, supply: TensorTable, wanted: Dict[str, Any]) -> Arrays:
    origin = "PyTorch's ResidualAttentionModel"
    check_options(origin, {"mask_fusion": net.options.mask_fusion}, {"mask_fusion": "gluoncv"})
    first = -1 if "residual_block0.conv1.weight" in supply.left else 0
    places = residual_places(
        net, first, lambda unit, number: f"attention_module{unit}" + f"_{number}" * (number > 1)
    )
    parameters = net._collect_params_with_prefix()
    arrays: Arrays = {}
    for name in list(supply.left):
        block, _, kind = name.rpartition(".")
        ours = residual_place(block, places)
        if ours is None:
            continue
        if f"{ours}.gamma" in parameters:
            kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
        if f"{ours}.{kind}" in arrays:
            raise UserError(f"'{name}' is in it under two names")
        if f"{ours}.{kind}" in parameters:
            arrays[f"{ours}.{kind}"] = supply.take(name)
    return arrays


def residual_place(block: str, places: Dict[str, str]) -> Optional[str]:
    """`attention_module1.skip1_connection_residual_block.conv4` in the net."""
    parts = block.split(".")
    for count in (3, 2, 1):
        ours = places.get(".".join(parts[:count]))
        if ours is not None and len(parts) >= count:
            rest = ["downsample" if part == "conv4" else part for part in parts[count:]]
            if ours.endswith("*"):  # a stack of units; one alone has no number
                rest = rest if rest[:1] and rest[0].isdigit() else ["0", *rest]
            return ".".join([ours.rstrip("*").rstrip("."), *rest])
    return None


def residual_places(
    net: ResidualAttention, unit: int, module: Callable[[int, int], str]
) -> Dict[str, str]:
    """`{block of theirs: its name in the net}`, with a `*` where that is a stack of units.

    `unit` is the number before that of their first unit; `module` gives the name of a module from
    the number of the unit it follows and its own, from 1.
    """
    places = {"conv1": "body.stem", "mpool2": "body.head", "fc": "body.head.3"}
    number = 0
    for index, step in enumerate(net.body.steps):
        here = f"body.steps.{index}"
        if isinstance(step, AttentionModule):
            number += 1
            for theirs, ours in _module_parts(step).items():
                places[f"{module(unit, number)}.{theirs}"] = f"{here}.{ours}"
        else:
            unit, number = unit + 1, 0
            places[f"residual_block{unit}"] = here
    return places


def _module_parts(module: AttentionModule) -> Dict[str, str]:
    """The same in a module. The large nets number parts of the mask down, up, to the gate."""
    parts = {
        "first_residual_blocks": "before*",
        "trunk_branches": "trunk*",
        "last_blocks": "after*",
    }
    levels, level = [], module.mask if isinstance(module.mask, MaskLevel) else None
    while level is not None:
        levels.append("mask" + ".inner" * len(levels))
        level = level.inner
    depth = len(levels)
    for number, path in enumerate(levels, 1):
        parts[f"softmax{number}_blocks"] = f"{path}.down*"
        parts[f"skip{number}_connection_residual_block"] = f"{path}.skip"
        if number < depth:
            parts[f"down_residual_blocks{number}"] = f"{path}.down*"
            parts[f"softmax{2 * depth - number}_blocks"] = f"{path}.up*"
            parts[f"up_residual_blocks{depth - number}"] = f"{path}.up*"
    lowest = f"{levels[-1]}.down*" if levels else "mask*"
    parts.update(middle_2r_blocks=lowest, conv1_1_blocks="gate")
    if not levels:
        parts["softmax1_blocks"] = "mask*"
    parts[f"softmax{2 * max(depth, 1)}_blocks"] = "gate"
    return parts


# Recurrent attention: `sensor`, `rnn`, `locator`, `classifier` and `baseliner`.


def recurrent_options(tensors: Arrays) -> Dict[str, Any]:
    names = ("sensor.fc1", "sensor.fc2", "sensor.fc3", "rnn.i2h", "locator.fc")
    return dict(
        classes=out_features(tensors, "classifier.fc.weight"),
        widths=tuple(out_features(tensors, f"{name}.weight") for name in names),
        retina="pixels",
        move="absolute",
    )


def recurrent_arrays(
    net: RecurrentAttention, supply: TensorTable, wanted: Dict[str, Any]
) -> Arrays:
    options = net.options
    have = dict(retina=options.retina, move=options.move, core=options.core)
    same = dict(retina="pixels", move="absolute", core="rnn")
    check_options("PyTorch's RecurrentAttention", have, same)

    def both(one: str, other: str, ours: str) -> Arrays:
        """Two layers whose outputs are added are one layer of both inputs."""
        length = out_features(supply.left, f"{one}.weight")
        weights = [supply.array(f"{name}.weight", length, None) for name in (one, other)]
        biases = [supply.array(f"{name}.bias", length) for name in (one, other)]
        return {
            f"{ours}.weight": np.concatenate(weights, axis=1),
            f"{ours}.bias": biases[0] + biases[1],
        }

    alone = {
        "sensor.fc1": "glimpse.what",
        "sensor.fc2": "glimpse.where",
        "locator.fc": "locator.hidden",
        "locator.fc_lt": "locator.mean",
        "baseliner.fc": "baseline",
        "classifier.fc": "head",
    }
    arrays = both("sensor.fc3", "sensor.fc4", "body.glimpse.both")
    arrays.update(both("rnn.i2h", "rnn.h2h", "body.core.step"))
    for theirs, ours in alone.items():
        for kind in ("weight", "bias"):
            arrays[f"body.{ours}.{kind}"] = supply.take(f"{theirs}.{kind}")
    for kind in ("weight", "bias"):  # after each glimpse it guesses what it would answer
        arrays[f"body.step_head.{kind}"] = arrays[f"body.head.{kind}"]
    return arrays


# RA-CNN: three backbones `b1` to `b3`, each with a classifier, and two attention proposal nets.


def scales_options(tensors: Arrays) -> Dict[str, Any]:
    mobile = "b1.features.18.0.weight" in tensors
    return dict(
        classes=out_features(tensors, "classifier1.weight"),
        backbone="mobilenetv2_1.0_320" if mobile else "vgg19_bn",
        apn="plain" if mobile else "paper",
        descriptor="scaled",
        boxes="pixels",
        smallest=(2 / 3,),
        largest=1.0 if mobile else 2.0,
    )


def scales_arrays(net: RACNN, supply: TensorTable, wanted: Dict[str, Any]) -> Arrays:
    body = net.body
    apns = {"MaxPool2D": "paper", "Flatten": "plain"}
    found = [type(getattr(apn, "layers", [0])[0]).__name__ for apn in body.apns]
    have = dict(
        apn=apns.get(found[0], "light") if found else "none",
        descriptor=body.heads[0].descriptor,
        boxes="pixels" if body.pixels else "bounded",
        shrink=body.shrink,
        shared=body.shared,
    )
    same = {name: value for name, value in wanted.items() if name != "classes"}
    check_options("PyTorch's RACNN", have, {**same, "shrink": 1, "shared": False})
    if body.scales != 3:
        raise UserError(f"PyTorch's RACNN has three scales and the net has {body.scales}")
    arrays: Arrays = {}
    answers = []
    for scale in range(3):
        inner = backbone_arrays(body.backbones[scale], supply, f"b{scale + 1}.")
        for name, array in inner.items():
            if name == "0.weight":  # of blue, green and red there, of red, green and blue here
                array = array.array()[:, ::-1]
            arrays[f"body.backbones.{scale}.layers.{name}"] = array
        channels = body.heads[scale].channels
        weight = supply.array(f"classifier{scale + 1}.weight", net.classes, channels)
        bias = supply.array(f"classifier{scale + 1}.bias", net.classes)
        answers.append((weight * 10, bias))  # a scaled descriptor is a tenth of theirs
        arrays[f"body.heads.{scale}.classifier.weight"] = weight * 10
        arrays[f"body.heads.{scale}.classifier.bias"] = bias
    # Theirs has no answer of all scales together: the mean of their logits.
    arrays["body.fused.weight"] = np.concatenate([weight for weight, _ in answers], axis=1) / 3
    arrays["body.fused.bias"] = sum(bias for _, bias in answers) / 3
    for number, apn in enumerate(body.apns):
        last = len(apn.layers) - 1
        for theirs, ours in ((0, last - 1), (2, last)):
            for kind, shape in (("weight", (3, None)), ("bias", (3,))):
                name = f"apn{number + 1}.{theirs}.{kind}"
                # They speak of rows before columns.
                array = supply.array(name, *shape)[[1, 0, 2]] if theirs else supply.take(name)
                arrays[f"body.apns.{number}.layers.{ours}.{kind}"] = array
    return arrays


# The glimpse network: `glimpse.resnet` (and once more `context.resnet`), `core`, `location`.


def glimpse_options(tensors: Arrays) -> Dict[str, Any]:
    hidden = out_features(tensors, "core.weight_hh") // 4
    patches = tensors["core.weight_ih"].shape[-1] // 2048
    return dict(
        classes=out_features(tensors, "action.fc.weight"),
        backbone="resnet50_v1.5_5x5",
        patches=patches,
        start_size=1 if patches > 2 else 2,
        reach=1.0,
        hidden=hidden,
        location="mirrored",
    )


def glimpse_arrays(net: GlimpseNet, supply: TensorTable, wanted: Dict[str, Any]) -> Arrays:
    controller = net.controller
    have = dict(location="mirrored" if controller.mirrored else "other", reach=controller.reach)
    shown = {name: value for name, value in wanted.items() if name != "classes"}
    check_options("PyTorch's Recurrent_Attention", have, shown)
    found = backbone_arrays(net.encoder.backbone, supply, "glimpse.resnet.")
    arrays = {f"body.encoder.backbone.layers.{name}": array for name, array in found.items()}
    hidden = controller.core.width
    weight, bias = [], np.zeros(4 * hidden, "float32")
    for kind in ("ih", "hh"):
        weight.append(supply.array(f"core.weight_{kind}", 4 * hidden, None))
        bias += supply.array(f"core.bias_{kind}", 4 * hidden)
    enter, keep, fresh, leave = np.arange(4 * hidden).reshape(4, hidden)
    order = np.concatenate([enter, keep, leave, fresh])
    bias[keep] -= 1  # which a core adds
    arrays["body.controller.core.step.weight"] = np.concatenate(weight, axis=1)[order]
    arrays["body.controller.core.step.bias"] = bias[order]
    names = {"fc1": "first_score"}
    if controller.glimpses > 1:
        names.update(W_v="key", W_g="query", W_h="score")
    for theirs, ours in names.items():
        name = f"location.{theirs}.weight"
        array = supply.take(name).array()
        flat = array.reshape(len(array), -1)
        weight = flat if ours == "query" else flat[:, :, None, None]
        arrays[f"body.controller.{ours}.weight"] = weight
    for theirs, ours in (("action", "head"), ("baseline", "baseline")):
        for kind in ("weight", "bias"):
            arrays[f"body.controller.{ours}.{kind}"] = supply.take(f"{theirs}.fc.{kind}")
    return arrays
