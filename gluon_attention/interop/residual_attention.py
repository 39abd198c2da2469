"""Converters of residual attention networks, from PyTorch and from Gluon.

All sources but haoxintong's have the same names for the blocks of a module, as they derive from
each other. The depth of a mask is the number of its poolings.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from ..errors import UserError
from ..zoo.residual_attention.module import AttentionModule, MaskLevel
from ..zoo.residual_attention.network import ResidualAttention
from .tensor_table import Arrays, TensorTable

Blocks = Dict[str, str]  # `{name of a block at the source: name in the net}`

TRUNK = {"first_residual_blocks": "before", "trunk_branches": "trunk", "last_blocks": "after"}
# tengshaofeng's network for CIFAR.
NAMED_MASKS: Dict[int, Blocks] = {
    0: {"middle_2r_blocks": "mask", "conv1_1_blocks": "gate"},
    1: {"middle_2r_blocks": "mask.down", "conv1_1_blocks": "gate"},
    2: {
        "down_residual_blocks1": "mask.down",
        "skip1_connection_residual_block": "mask.skip",
        "middle_2r_blocks": "mask.inner.down",
        "up_residual_blocks1": "mask.up",
        "conv1_1_blocks": "gate",
    },
}
HAOXINTONG_TRUNK = {"pre": "before", "trunk_branch": "trunk", "post": "after"}
STACKS = ("before", "trunk", "after", "mask", "down", "up")  # blocks of ours that hold units
CLASSIFIER = "body.head.3.weight"
# Options that no source has: a network with other values is not equivalent.
FIXED = dict(mask_activation="mixed", attention="residual", mask="encoder_decoder", unit="preact")


def fused_options(tensors: Arrays) -> Dict[str, Any]:
    """Options for sources whose masks also add the trunk and the down path."""
    return dict(classes=_classes(tensors, "fc.weight"), mask_fusion="gluoncv", **FIXED)


def plain_options(tensors: Arrays) -> Dict[str, Any]:
    """Options for sources with the paper's masks."""
    return dict(classes=_classes(tensors, "output.weight"), mask_fusion="none", **FIXED)


def _classes(tensors: Arrays, name: str) -> int:
    """The number of classes: rows of the last matrix, which may be a 1x1 convolution."""
    shape = tensors[name].shape if name in tensors else ()
    if len(shape) not in (2, 4) or shape[2:] not in ((), (1, 1)):
        raise UserError(f"it has no matrix '{name}', which every such checkpoint has")
    return shape[0]


def _levels(depth: int) -> List[str]:
    """The levels of a mask here, from the outermost."""
    return ["mask" + ".inner" * level for level in range(depth)]


def numbered_mask(depth: int) -> Blocks:
    """GluonCV, PistonY and tengshaofeng (large images) number blocks in the order of calls."""
    levels = _levels(depth)
    places = [f"{level}.down" for level in levels] or ["mask"]
    places += [f"{level}.up" for level in levels[-2::-1]]
    blocks = {f"softmax{n}_blocks": place for n, place in enumerate([*places, "gate"], 1)}
    for number, level in enumerate(levels[:-1], 1):
        blocks[f"skip{number}_connection_residual_block"] = f"{level}.skip"
    return blocks


def named_mask(depth: int) -> Blocks:
    return NAMED_MASKS.get(depth, {})


def haoxintong_mask(depth: int) -> Blocks:
    """haoxintong numbers levels of a mask from that of the deepest network, of three levels."""
    levels, blocks = _levels(depth), {"mask_branch.output": "gate"}
    for number, level in enumerate(levels, 4 - depth):
        blocks[f"mask_branch.down_res_unit_{number}"] = f"{level}.down"
        if level != levels[-1]:
            blocks[f"mask_branch.skip_connection_{number}"] = f"{level}.skip"
            blocks[f"mask_branch.up_res_unit_{number}"] = f"{level}.up"
    return blocks


def tengshaofeng(net: ResidualAttention, table: TensorTable) -> Arrays:
    """Arrays of PyTorch's `ResidualAttentionModel_*`, by the names of the net."""
    named = any(".middle_2r_blocks." in name for name in table.remaining)
    first = 0 if "residual_block0.conv1.weight" in table.remaining else 1
    if table.remaining["conv1.0.weight"].shape[2:] == (5, 5):
        raise UserError(
            "its first convolution is 5x5 with pooling behind it, as in "
            "ResidualAttentionModel_92_32input; no network of the zoo has that"
        )
    masks = named_mask if named else numbered_mask
    return _rename(net, table, _blocks(net, first, _suffixed, masks))


def pistony(net: ResidualAttention, table: TensorTable) -> Arrays:
    """Arrays of PistonY's `ResidualAttentionModel*`, the origin of GluonCV's."""
    if "residual_block0.conv1.weight" in table.remaining:
        raise UserError(
            "its first module uses a block twice, as in PistonY's ResidualAttentionModel_448input; "
            "no network of the zoo does that"
        )
    return _flat_classifier(_rename(net, table, _blocks(net, 1, _suffixed, numbered_mask)))


def gluoncv(net: ResidualAttention, table: TensorTable) -> Arrays:
    """Arrays of GluonCV's `residualattentionnet*` and `cifar_residualattentionnet*`."""
    return _flat_classifier(_rename(net, table, _blocks(net, 1, _indexed, numbered_mask)))


def haoxintong(net: ResidualAttention, table: TensorTable) -> Arrays:
    """Arrays of haoxintong's `AttentionNet*`: one sequence of layers, `features`."""
    first, steps = len(net.body.stem), list(net.body.steps)
    blocks = {
        "features.0": "body.stem.0",
        "features.1": "body.stem.1",
        f"features.{first + len(steps)}": "body.head.0",
        "output": "body.head.3",
    }
    for index, step in enumerate(steps):
        theirs, ours = f"features.{first + index}", f"body.steps.{index}"
        if not isinstance(step, AttentionModule):
            blocks[theirs] = ours
            continue
        parts = {**HAOXINTONG_TRUNK, **haoxintong_mask(_depth(step))}
        for part, place in parts.items():
            blocks[f"{theirs}.{part}"] = f"{ours}.{place}"
        # The lowest level is two stacks of r units there, and one of 2r here.
        lowest, level = step.mask, f"{ours}.mask"
        while getattr(lowest, "inner", None) is not None:
            lowest, level = lowest.inner, f"{level}.inner"
        count = len(getattr(lowest, "down", ())) // 2
        for unit in range(count):
            place = f"{level}.down.{count + unit}"
            blocks[f"{theirs}.mask_branch.up_res_unit_3.{unit}"] = place
    return _rename(net, table, blocks)


def _suffixed(stage: int, number: int) -> str:
    """`attention_module2`, then `attention_module2_2`."""
    return f"attention_module{stage}" + (f"_{number}" if number > 1 else "")


def _indexed(stage: int, number: int) -> str:
    """`attention_module2.0`, then `attention_module2.1`."""
    return f"attention_module{stage}.{number - 1}"


def _blocks(
    net: ResidualAttention,
    first: int,
    module_name: Callable[[int, int], str],
    masks: Callable[[int], Blocks],
) -> Blocks:
    """Names of all blocks.

    Args:
        first: number of the first unit outside of modules.
        module_name: returns the name of a module from the number of the unit before it, and its
            own number, from 1.
        masks: blocks of a mask by its depth.
    """
    blocks = {"conv1": "body.stem", "mpool2": "body.head", "fc": "body.head.3"}
    stage, number = first - 1, 0
    for index, step in enumerate(net.body.steps):
        ours = f"body.steps.{index}"
        if isinstance(step, AttentionModule):
            number += 1
            for part, place in {**TRUNK, **masks(_depth(step))}.items():
                blocks[f"{module_name(stage, number)}.{part}"] = f"{ours}.{place}"
        else:
            stage, number = stage + 1, 0
            blocks[f"residual_block{stage}"] = ours
    return blocks


def _depth(module: AttentionModule) -> int:
    """The number of poolings in the mask of a module."""
    depth, level = 0, module.mask
    while isinstance(level, MaskLevel):
        depth, level = depth + 1, level.inner
    return depth


def _rename(net: ResidualAttention, table: TensorTable, blocks: Blocks) -> Arrays:
    """Arrays by the names of the net; other arrays remain in the table."""
    parameters = net._collect_params_with_prefix()
    arrays: Arrays = {}
    for name in list(table.remaining):
        ours = _parameter_name(name, blocks, parameters)
        if ours in parameters and ours not in arrays:
            arrays[ours] = table.pop(name)
    return arrays


def _parameter_name(name: str, blocks: Blocks, parameters: Dict[str, Any]) -> Optional[str]:
    """From `residual_block1.conv4.weight` to `body.steps.0.downsample.weight`."""
    block = next((block for block in blocks if name.startswith(f"{block}.")), None)
    if block is None:
        return None
    ours, rest = blocks[block], name[len(block) + 1 :]
    if ours.endswith(STACKS) and not rest[0].isdigit():
        rest = f"0.{rest}"  # sources number the units of a stack only if there are several
    layer, _, kind = f"{ours}.{rest}".rpartition(".")
    layer = layer[:-5] + "downsample" if layer.endswith("conv4") else layer
    if f"{layer}.gamma" in parameters:  # PyTorch calls the scale of a BatchNorm weight
        kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
    return f"{layer}.{kind}"


def _flat_classifier(arrays: Arrays) -> Arrays:
    """The 1x1 convolution that classifies the pooled features, as a matrix."""
    weight = arrays.get(CLASSIFIER)
    if weight is not None and len(weight.shape) == 4:
        arrays[CLASSIFIER] = weight.reshape((weight.shape[0], -1))
    return arrays
