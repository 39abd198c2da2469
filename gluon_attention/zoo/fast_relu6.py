"""MobileNet's ReLU6 in oneDNN's blocks of 16 channels, which trains it several times faster.

MXNet's clip works in plain memory, and there takes longer than the convolutions. From ReLU and
depthwise 1x1 convolutions, which keep the blocks, ReLU6(y) is relu(6 - relu(6 - y)):

    convolution -> BatchNorm: y -> clip(y, 0, 6)                             before
    convolution -> ReflectedNorm: 6 - y -> relu -> 6 - x -> relu             after

The first 6 - y costs nothing: BatchNorm computes it with -gamma and 6 - beta. `replace_relu6`
rewrites the layers of a network that way; outside of graphs for oneDNN they compute as before.
"""

from __future__ import annotations

from typing import Any

from mxnet import gluon, sym
from mxnet.gluon import nn

from ..ops.onednn import blocked, for_onednn, relu6
from .freezing import walk_blocks


class ReflectedNorm(nn.BatchNorm):
    """A BatchNorm that returns 6 - y in graphs for oneDNN, for the `ReLU6` behind it."""

    is_batch_norm = True  # for the native library, to which 6 - y is y
    channels = 0
    blocks_input = False  # whether it first converts its input to blocks of 16

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any, **rest: Any) -> Any:
        if for_onednn(F):
            gamma, beta = -gamma, 6 - beta
            x = blocked(F, x, self.channels) if self.blocks_input else x
        return super().hybrid_forward(F, x, gamma, beta, **rest)


class ReLU6(gluon.HybridBlock):
    """The ReLU6 behind a BatchNorm, in place of that of Gluon or GluonCV."""

    def __init__(self, channels: int, norm: nn.BatchNorm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        vars(self)["_norm"] = norm  # not a child

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return relu6(F, x, self.channels, reflected=type(self._norm) is ReflectedNorm)


def replace_relu6(layers: nn.HybridSequential) -> None:
    """Rewrite every sequence of a convolution, a BatchNorm and a ReLU6 in place."""
    graph = layers(sym.var("images"))
    shapes = dict(zip(graph.list_arguments(), graph.infer_shape(images=(1, 3, 224, 224))[0]))
    for block in walk_blocks(layers):
        children = list(block._children.items())
        for (_, conv), (_, norm), (name, last) in zip(children, children[1:], children[2:]):
            if type(last).__name__.lower() != "relu6" or type(norm) is not nn.BatchNorm:
                continue
            channels, inputs = shapes[conv.weight.name][:2]
            if channels % 16 or norm._kwargs["fix_gamma"]:
                continue
            norm.__class__, norm.channels = ReflectedNorm, channels
            # Images are in plain memory. For 24 channels, say, oneDNN uses blocks of 8; where they
            # meet blocks of 16, its gradient of BatchNorm is fifty times slower.
            norm.blocks_input = conv._kwargs["num_group"] == 1 and inputs > 4 and inputs % 16 > 0
            block._children[name] = ReLU6(channels, norm)
