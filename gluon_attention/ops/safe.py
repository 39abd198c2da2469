"""Operators that crash or leak in MXNet 1.9.1, written so that they do neither."""

from __future__ import annotations

from typing import Any

from mxnet import nd


def detach(F: Any, values: Any) -> Any:
    """The same values, through which no gradient flows.

    Outside of graphs, `BlockGrad` passes a zero gradient without a shape to the operator before it,
    and MXNet 1.9.1 crashes two operators further back (segmentation fault). So an NDArray is
    detached from its history instead.
    """
    return values.detach() if F is nd else F.BlockGrad(values)


def concat(F: Any, *parts: Any, chunk: int = 1) -> Any:
    """Arrays (N, k) as one (N, sum of k).

    The arrays get a third axis first: in MXNet 1.9.1 the backward pass of a concat of two axes,
    which oneDNN computes, leaks 2 KB each time, and a day of training RAM fills the memory.
    `chunk`, a divisor of every k, is the length of that axis and the size of each copy.
    """
    return F.flatten(F.concat(*(F.reshape(part, shape=(0, -1, chunk)) for part in parts), dim=1))
