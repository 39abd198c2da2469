"""Layers in ONNX: convolutions, BatchNorm, pooling, matrix products, the crop."""

from __future__ import annotations

from typing import List

import numpy as np

from .onnx_graph import Graph, Node, translates
from .onnx_ops import reduce_axes

ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def pair(node: Node, name: str, default: int) -> List[int]:
    """An attribute for height and width."""
    return list(node.get(name) or ()) or [default, default]


@translates("Convolution")
def convolution(graph: Graph, node: Node) -> str:
    padding = pair(node, "pad", 0)
    return graph.add(
        "Conv",
        *node.inputs,
        kernel_shape=list(node.get("kernel")),
        strides=pair(node, "stride", 1),
        dilations=pair(node, "dilate", 1),
        pads=padding * 2,
        group=node.get("num_group", 1),
    )


@translates("FullyConnected")
def dense(graph: Graph, node: Node) -> str:
    name, rank = node.inputs[0], len(node.input_shapes[0])
    if rank != 2 and not node.get("flatten", True):
        weight = graph.add("Transpose", node.inputs[1], perm=[1, 0])
        product = graph.add("MatMul", name, weight)
        return graph.add("Add", product, node.inputs[2]) if len(node.inputs) > 2 else product
    if rank != 2:
        name = graph.add("Flatten", name, axis=1)
    return graph.add("Gemm", name, *node.inputs[1:], transB=1)


@translates("BatchNorm")
def batch_norm(graph: Graph, node: Node) -> str:
    name, gamma, *others = node.inputs
    if node.axis(default=1) != 1:
        raise node.unsupported("its channels are not axis 1")
    if node.get("fix_gamma", True):
        gamma = graph.constant(np.ones_like(graph.constants[gamma]))
    return graph.add("BatchNormalization", name, gamma, *others, epsilon=node.get("eps", 1e-3))


@translates("Activation")
def activation(graph: Graph, node: Node) -> str:
    kind = node.get("act_type")
    if kind not in ACTIVATIONS:
        raise node.unsupported(f"it is of the kind {kind}")
    return graph.add(ACTIVATIONS[kind], node.inputs[0])


@translates("Pooling")
def pooling(graph: Graph, node: Node) -> str:
    kind = node.get("pool_type", "max")
    if kind not in ("max", "avg"):
        raise node.unsupported(f"it pools by {kind}")
    if node.get("global_pool", False):
        return graph.add("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", node.inputs[0])
    attrs = dict(
        kernel_shape=list(node.get("kernel")),
        strides=pair(node, "stride", 1),
        pads=pair(node, "pad", 0) * 2,
        ceil_mode=int(node.get("pooling_convention", "valid") == "full"),
    )
    if kind == "max":
        return graph.add("MaxPool", node.inputs[0], **attrs)
    attrs["count_include_pad"] = int(node.get("count_include_pad", True))
    return graph.add("AveragePool", node.inputs[0], **attrs)


@translates("_contrib_AdaptiveAvgPooling2D")
def adaptive_pooling(graph: Graph, node: Node) -> str:
    """Means over cells that may overlap by a pixel, as a matrix product for each side."""
    sides, cells = node.input_shapes[0][2:], node.output_shapes[0][2:]
    if cells == (1, 1):
        return graph.add("GlobalAveragePool", node.inputs[0])
    rows, columns = (_cell_weights(side, count) for side, count in zip(sides, cells))
    name = graph.add("MatMul", graph.constant(rows), node.inputs[0])
    return graph.add("MatMul", name, graph.constant(columns.T))


def _cell_weights(side: int, cells: int) -> np.ndarray:
    """The weight of each pixel of a side in the mean of each cell: (cells, side)."""
    pixel, cell = np.arange(side), np.arange(cells)[:, None]
    inside = (pixel >= cell * side // cells) & (pixel < -(-(cell + 1) * side // cells))
    return inside / inside.sum(axis=1, keepdims=True)


@translates("softmax")
def softmax(graph: Graph, node: Node) -> str:
    if node.get("temperature") not in (None, 1.0) or node.get("use_length", False):
        raise node.unsupported("it has a temperature or lengths")
    return graph.add("Softmax", node.inputs[0], axis=node.axis(default=-1))


@translates("L2Normalization")
def l2_normalization(graph: Graph, node: Node) -> str:
    axes = {"instance": range(1, len(node.input_shapes[0])), "channel": [1]}
    mode, name = node.get("mode", "instance"), node.inputs[0]
    if mode not in axes:
        raise node.unsupported(f"it is of the mode {mode}")
    squares = reduce_axes(graph, "sum", graph.add("Mul", name, name), axes[mode])
    squares = graph.add("Add", squares, graph.constant(node.get("eps", 1e-10)))
    return graph.add("Div", name, graph.add("Sqrt", squares))


@translates("dot")
def dot(graph: Graph, node: Node) -> str:
    if any(node.get(f"transpose_{factor}", False) for factor in ("a", "b")):
        raise node.unsupported("it transposes a factor")
    if len(node.input_shapes[1]) != 2:
        raise node.unsupported("its second factor is no matrix")
    return graph.add("MatMul", *node.inputs)


@translates("GridGenerator")
def grid(graph: Graph, node: Node) -> str:
    """Coordinates x and y (N, 2, H, W) of the pixels of a window, from its matrix (N, 6)."""
    if node.get("transform_type") != "affine":
        raise node.unsupported("it warps")
    height, width = node.get("target_shape")
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    pixels = graph.constant(np.stack([x.ravel(), y.ravel(), np.ones(height * width)]))  # (3, HW)
    matrix = graph.reshape(node.inputs[0], (-1, 2, 3))
    return graph.reshape(graph.add("MatMul", matrix, pixels), (-1, 2, height, width))


@translates("BilinearSampler")
def sampler(graph: Graph, node: Node) -> str:
    """The crop: in ONNX as in MXNet corners are aligned and pixels outside are zero.

    Two products with matrices of bilinear weights would take four times as long.
    """
    coordinates = graph.add("Transpose", node.inputs[1], perm=[0, 2, 3, 1])  # (N, H, W, 2)
    attrs = dict(mode="bilinear", padding_mode="zeros", align_corners=1)
    return graph.add("GridSample", node.inputs[0], coordinates, **attrs)
