"""MobileNet's ReLU6 in oneDNN's blocks of 16 channels, which trains it several times faster."""

from __future__ import annotations

from typing import Any

from mxnet import gluon, sym
from mxnet.gluon import nn

from ..ops.onednn import blocked, for_onednn, relu6
from .freezing import walk_blocks


class ReflectedNorm(nn.BatchNorm):
    """A BatchNorm that gives 6 - y in graphs for oneDNN, for the `ReLU6` behind it."""

    channels = 0
    blocks_input = False  # whether its input is put into blocks of 16 first

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any, **rest: Any) -> Any:
        if for_onednn(F):
            gamma, beta = -gamma, 6 - beta
            x = blocked(F, x, self.channels) if self.blocks_input else x
        return super().hybrid_forward(F, x, gamma, beta, **rest)


class ReLU6(gluon.HybridBlock):
    """In place of those of Gluon and GluonCV, which are slow on a CPU."""

    def __init__(self, channels: int, norm: nn.BatchNorm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        vars(self)["_norm"] = norm  # not a child

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return relu6(F, x, self.channels, reflected=type(self._norm) is ReflectedNorm)


def replace_relu6(layers: nn.HybridSequential) -> None:
    """Put our ReLU6 where a sequence has another one behind a convolution and a BatchNorm."""
    made = layers(sym.var("images"))
    shapes = dict(zip(made.list_arguments(), made.infer_shape(images=(1, 3, 224, 224))[0]))
    for block in walk_blocks(layers):
        children = list(block._children.items())
        for (_, first), (_, norm), (name, last) in zip(children, children[1:], children[2:]):
            if type(last).__name__.lower() != "relu6" or type(norm) is not nn.BatchNorm:
                continue
            channels, inputs = shapes[first.weight.name][:2]
            if channels % 16 or norm._kwargs["fix_gamma"]:
                continue
            norm.__class__, norm.channels = ReflectedNorm, channels
            # Images come in plain memory; but for 24 channels, say, oneDNN takes blocks of 8, and
            # where they meet blocks of 16, it differentiates BatchNorm fifty times slower.
            norm.blocks_input = first._kwargs["num_group"] == 1 and inputs > 4 and inputs % 16 > 0
            block._children[name] = ReLU6(channels, norm)
