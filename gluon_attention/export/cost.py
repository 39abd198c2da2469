"""What a network costs, from its graph and before it has weights."""

from __future__ import annotations

import json
from typing import NamedTuple, Tuple

import mxnet as mx
import numpy as np

from ..ops.onednn import portable
from ..zoo.attention_net import AttentionNet
from .graph import INPUT, flatten_outputs


class Cost(NamedTuple):
    """Of one image."""

    parameters: int  # that are trained, those that serve training alone among them
    multiply_adds: int  # of convolutions and fully connected layers, as papers count them


def cost(net: AttentionNet, shape: Tuple[int, int, int]) -> Cost:
    """The cost of an image (C, H, W)."""
    data = mx.sym.var(INPUT)
    with portable():
        parts = net.body(data, *net.zero_noise(mx.sym))  # logits first; a graph takes long to make
    whole = mx.sym.Group(flatten_outputs(parts))
    trained = {k for k, p in net.collect_params().items() if p.grad_req != "null"}
    shapes = dict(zip(whole.list_arguments(), whole.infer_shape(**{INPUT: (1, *shape)})[0]))
    parameters = sum(int(np.prod(s)) for name, s in shapes.items() if name in trained)
    return Cost(parameters, _multiply_adds(parts[0], shape))


def _multiply_adds(symbol: mx.sym.Symbol, shape: Tuple[int, int, int]) -> int:
    inside = symbol.get_internals()
    content = json.loads(inside.tojson())
    found = inside.infer_shape(**{INPUT: (1, *shape)})[1]
    shapes = {tuple(head[:2]): side for head, side in zip(content["heads"], found)}
    total = 0
    for index, node in enumerate(content["nodes"]):
        if node["op"] in ("Convolution", "FullyConnected"):
            weight = shapes[tuple(node["inputs"][1][:2])]  # (out, in, ...)
            total += int(np.prod(shapes[index, 0])) * int(np.prod(weight[1:]))
    return total
