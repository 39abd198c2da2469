"""Layers that training leaves as they were loaded."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from typing import Iterator

from mxnet import gluon
from mxnet.gluon import nn


def walk_blocks(block: gluon.Block) -> Iterator[gluon.Block]:
    """A block and all in it, in the order in which they are called."""
    yield block
    for child in block._children.values():
        yield from walk_blocks(child)


def freeze(block: gluon.Block) -> None:
    """Leave everything in a block as it was loaded, and out of checkpoints."""
    freeze_bn(block)
    for parameter in block.collect_params().values():
        parameter.grad_req = "null"
        parameter.constant = True  # a checkpoint need not keep it


def freeze_bn(block: gluon.Block) -> None:
    """Make every BatchNorm in a block a fixed affine map."""
    if isinstance(block, nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
        for parameter in block.params.values():
            parameter.grad_req = "null"
    for child in block._children.values():
        freeze_bn(child)


def frozen_stats_twin(block: gluon.Block) -> gluon.Block:
    """The same layers over the same parameters, that never move the statistics of BatchNorm.

    What they give while training is what the block gives otherwise. It is for gradients through a
    network that stands still: outside of training MXNet's BatchNorm is slow to differentiate.
    """
    twin = copy(block)
    known = vars(twin)
    known["_children"] = OrderedDict()
    if isinstance(block, gluon.HybridBlock):
        known.update(_cached_graph=(), _cached_op=None)
    if isinstance(block, nn.BatchNorm):
        known["_kwargs"] = dict(block._kwargs, use_global_stats=True)
    for name, child in block._children.items():
        other = known["_children"][name] = frozen_stats_twin(child)
        known.update({key: other for key, value in vars(block).items() if value is child})
    return twin
