"""Memory layouts on a CPU, where oneDNN keeps feature maps in blocks of 16 channels.

Operators that oneDNN lacks, such as products, read and write plain memory. The operators after them
stay in plain memory, where BatchNorm and sums are several times slower, until a convolution brings
the feature map back into blocks.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator

import mxnet as mx

_features = mx.runtime.Features()
_onednn = (
    _features.is_enabled("MKLDNN")
    and not _features.is_enabled("CUDA")
    and os.environ.get("MXNET_MKLDNN_ENABLED", "1") != "0"
)


@contextmanager
def portable() -> Iterator[None]:
    """Graphs built inside have no operators of this module: for export, fusion and quantization."""
    global _onednn
    before, _onednn = _onednn, False
    try:
        yield
    finally:
        _onednn = before


def for_onednn(F: Any) -> bool:
    """Whether `F` builds a graph that only this build of MXNet, with oneDNN, will run."""
    return _onednn and F is not mx.nd


def blocked(F: Any, x: Any, channels: int) -> Any:
    """`x` (N, channels, H, W) itself, which a graph converts to the blocked layout."""
    if not for_onednn(F):
        return x
    # A 1 computed from x has its dtype. slice_axis, because F.slice divides by zero on blocked x.
    one = F.slice_axis(F.slice_axis(x, axis=0, begin=0, end=1), axis=1, begin=0, end=1)
    one = F.ones_like(F.max(one, keepdims=True))  # (1, 1, 1, 1)
    # BlockGrad comes last, so that no gradient of the ones is computed.
    ones = F.BlockGrad(F.broadcast_axis(one, axis=0, size=channels))
    return F.Convolution(x, ones, no_bias=True, **_each(channels))


def relu6(F: Any, x: Any, channels: int, reflected: bool = False) -> Any:
    """ReLU6 of `x` (N, channels, H, W), float32; with `reflected` the input of a graph is 6 - x.

    Graphs compute 6 - relu(6 - relu(x)), or relu(6 - relu(6 - x)), in blocks: MXNet's clip, in
    plain memory, takes longer than the convolutions of a MobileNet.
    """
    if not for_onednn(F):
        return F.clip(x, 0, 6)
    minus, sixes = -F.ones((channels, 1, 1, 1)), F.full((channels,), 6)
    x = F.Activation(x, act_type="relu")
    x = F.Activation(F.Convolution(x, minus, sixes, **_each(channels)), act_type="relu")
    return x if reflected else F.Convolution(x, minus, sixes, **_each(channels))


def _each(channels: int) -> Dict[str, Any]:
    """Options of a depthwise 1x1 convolution."""
    return dict(kernel=(1, 1), num_filter=channels, num_group=channels)
