"""Frozen layers, which training does not change."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from typing import Iterator, Tuple

from mxnet import gluon
from mxnet.gluon import nn


def walk_blocks(block: gluon.Block) -> Iterator[gluon.Block]:
    """A block and all blocks inside it, in the order in which they are called."""
    yield block
    for child in block._children.values():
        yield from walk_blocks(child)


def named_blocks(block: gluon.Block, path: str = "") -> Iterator[Tuple[str, gluon.Block]]:
    """All blocks in a block, by their paths, as the names of their parameters begin."""
    for name, child in block._children.items():
        yield path + name, child
        yield from named_blocks(child, f"{path}{name}.")


def freeze(block: gluon.Block) -> None:
    """Exclude all parameters of a block from training and from checkpoints."""
    freeze_bn(block)
    for parameter in block.collect_params().values():
        parameter.grad_req = "null"
        parameter.constant = True  # read by training.checkpoint


def freeze_bn(block: gluon.Block) -> None:
    """Make every BatchNorm in a block a fixed affine map."""
    if isinstance(block, nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
        for parameter in block.params.values():
            parameter.grad_req = "null"
    for child in block._children.values():
        freeze_bn(child)


def frozen_stats_twin(block: gluon.Block) -> gluon.Block:
    """A copy of a block that shares its parameters, with BatchNorm that keeps its statistics.

    In training mode it computes what the block computes in inference mode, by the native library
    if that computes the block. It serves gradients through a network that is not trained: MXNet's
    BatchNorm is slow to differentiate in inference mode.
    """
    twin = copy(block)
    attributes = vars(twin)
    attributes["_children"] = OrderedDict()
    native_twin = attributes.pop("native", None)  # which would move statistics
    if isinstance(block, gluon.HybridBlock):
        attributes.update(_cached_graph=(), _cached_op=None)
    if isinstance(block, nn.BatchNorm):
        attributes["_kwargs"] = dict(block._kwargs, use_global_stats=True)
    for name, child in block._children.items():
        copied = attributes["_children"][name] = frozen_stats_twin(child)
        attributes.update({key: copied for key, value in vars(block).items() if value is child})
    if native_twin is not None:
        twin.native = native_twin.of_frozen(twin)
    return twin
