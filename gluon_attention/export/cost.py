"""Parameters and multiply-adds of a network, from its graph: no weights are needed.

`python -m gluon_attention.export.cost > gluon_attention/zoo/costs.py` writes those of all names.
"""

from __future__ import annotations

import json
from typing import Iterable, NamedTuple, Tuple

import mxnet as mx
import numpy as np

from ..ops.onednn import portable
from ..zoo.attention_net import AttentionNet
from ..zoo.build import get_model
from ..zoo.registry import entry, list_models
from .graph import INPUT, flatten_outputs


class Cost(NamedTuple):
    """The cost of one image."""

    parameters: int  # trained ones, with those of baselines and other parts for training
    multiply_adds: int  # of convolutions and dense layers, as papers count them


def cost(net: AttentionNet, shape: Tuple[int, int, int]) -> Cost:
    """The cost of an image (C, H, W)."""
    data = mx.sym.var(INPUT)
    with portable():
        outputs = net.body(data, *net.zero_noise(mx.sym))  # logits first
    graph = mx.sym.Group(flatten_outputs(outputs))
    trained = {k for k, p in net.collect_params().items() if p.grad_req != "null"}
    shapes = dict(zip(graph.list_arguments(), graph.infer_shape(**{INPUT: (1, *shape)})[0]))
    parameters = sum(int(np.prod(s)) for name, s in shapes.items() if name in trained)
    return Cost(parameters, _multiply_adds(outputs[0], shape))


def _multiply_adds(symbol: mx.sym.Symbol, shape: Tuple[int, int, int]) -> int:
    internals = symbol.get_internals()
    document = json.loads(internals.tojson())
    output_shapes = internals.infer_shape(**{INPUT: (1, *shape)})[1]
    shapes = {tuple(head[:2]): s for head, s in zip(document["heads"], output_shapes)}
    total = 0
    for index, node in enumerate(document["nodes"]):
        if node["op"] in ("Convolution", "FullyConnected"):
            weight = shapes[tuple(node["inputs"][1][:2])]  # (out, in, ...)
            total += int(np.prod(shapes[index, 0])) * int(np.prod(weight[1:]))
    return total


def costs_source(names: Iterable[str]) -> str:
    """The table of these names in `zoo/costs.py`."""
    rows = [(name, *cost(get_model(name), entry(name).shape)) for name in names]
    return "".join(f'    "{name}": ({size:_}, {adds:_}),\n' for name, size, adds in rows)


if __name__ == "__main__":
    print('"""Parameters and multiply-adds of every name, as `export.cost` counts them."""\n')
    print("COSTS = {\n" + costs_source(list_models(aliases=True)) + "}")
