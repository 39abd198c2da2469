"""Residual attention networks as programs of the native library."""

from __future__ import annotations

from typing import Any, Tuple

from mxnet import gluon

from ...native import Lowered, Program
from .module import AttentionModule, MaskLevel, NextUnit


def lower(program: Program, body: Any) -> Lowered:
    """Add a `ResidualAttentionBody` to a program."""
    x, masks = program.layers(program.images(), body.stem), []
    for step in body.steps:
        if isinstance(step, AttentionModule):
            x, mask = _module(program, x, step)
            masks.append(mask)
        else:
            x = _units(program, x, step)
    *activation, _, dense = body.head  # BN and its ReLU, unless units end with them
    for layer in activation[::2]:
        x = program.norm(x, layer, "relu")
    program.give_mean(x)
    return Lowered(dense, masks)


def _module(program: Program, x: int, module: AttentionModule) -> Tuple[int, int]:
    x = _units(program, x, module.before)
    trunk = _units(program, x, module.trunk)
    mask = _mask(program, x, module.mask)
    if module._fuse:
        mask = program.add(mask, trunk)
    options = module._options
    residual = options.attention == "residual"
    z = program.layers(mask, module.gate)
    weighted, mask = program.gate(z, trunk, options.mask_activation, residual)
    return _units(program, weighted, module.after), mask


def _mask(program: Program, x: int, block: gluon.Block) -> int:
    """A mask of some depth; one of depth 0 is a stack of units."""
    if not isinstance(block, MaskLevel):
        return _units(program, x, block)
    y = _units(program, x if block._local else program.pool(x), block.down)
    if block.inner is not None:
        wide = program.add(_mask(program, y, block.inner), _units(program, y, block.skip))
        y = _units(program, program.add(wide, y) if block._fuse else wide, block.up)
    return y if block._local else program.resize(y, like=x)


def _units(program: Program, x: int, block: gluon.Block) -> int:
    """A unit, or a stack of them."""
    if isinstance(block, NextUnit):
        return _next(program, x, block)
    if isinstance(block, gluon.nn.HybridSequential):
        for unit in block:
            x = _units(program, x, unit)
        return x
    return program.layers(x, block)


def _next(program: Program, x: int, unit: NextUnit) -> int:
    branch = program.layers(x, unit.branch)
    shortcut = program.layers(x, unit.shortcut) if len(unit.shortcut) else x
    return program.add(branch, shortcut, act="relu")
