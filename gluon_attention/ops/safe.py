"""Operators that crash or leak in MXNet 1.9.1, written so that they do neither."""

from __future__ import annotations

from typing import Any

from mxnet import nd


def detach(F: Any, values: Any) -> Any:
    """The same values, through which no gradient flows.

    Outside of graphs `BlockGrad` gives the operator before it a zero gradient without a shape; two
    operators further back MXNet 1.9.1 crashes on it (segmentation fault). So an NDArray is detached
    from its history instead.
    """
    return values.detach() if F is nd else F.BlockGrad(values)


def concat(F: Any, *parts: Any, chunk: int = 1) -> Any:
    """Arrays (N, k) as one (N, sum of k).

    Over three axes, because the backward pass of a concat of two axes, which oneDNN computes in
    MXNet 1.9.1, leaks 2 KB each time: a day of training with RAM fills a machine's memory.
    `chunk` is the length of the third axis, a divisor of every k: so many numbers are copied at
    once.
    """
    return F.flatten(F.concat(*(F.reshape(part, shape=(0, -1, chunk)) for part in parts), dim=1))
