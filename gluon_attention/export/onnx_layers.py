"""What the layers of MXNet are in ONNX: convolutions, norms, products, the crop."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from .onnx_graph import Graph, Node, axis_of, translates
from .onnx_ops import UNARY, reduced, reshaped

ACTIVATIONS = {**UNARY, "softrelu": "Softplus"}


def sides(node: Node, name: str, default: int) -> List[int]:
    """A pair of numbers for height and width."""
    value = node.get(name) or ()
    return list(value) or [default, default]


@translates("Convolution")
def convolution(graph: Graph, node: Node) -> str:
    before = sides(node, "pad", 0)
    return graph.add(
        "Conv",
        *node.inputs,
        kernel_shape=list(node.get("kernel")),
        strides=sides(node, "stride", 1),
        dilations=sides(node, "dilate", 1),
        pads=before + before,
        group=node.get("num_group", 1),
    )


@translates("FullyConnected")
def dense(graph: Graph, node: Node) -> str:
    name, rank = node.inputs[0], len(node.shapes[0])
    flat = node.get("flatten", True)
    if not flat and rank != 2:
        product = graph.add("MatMul", name, graph.add("Transpose", node.inputs[1], perm=[1, 0]))
        return graph.add("Add", product, node.inputs[2]) if len(node.inputs) > 2 else product
    if rank != 2:
        name = graph.add("Flatten", name, axis=1)
    return graph.add("Gemm", name, *node.inputs[1:], transB=1)


@translates("BatchNorm")
def batch_norm(graph: Graph, node: Node) -> str:
    name, gamma, *others = node.inputs
    if axis_of(node, default=1) != 1:
        raise node.refuse("its channels are not axis 1")
    if node.get("fix_gamma", True):
        gamma = graph.constant(np.ones_like(graph.constants[gamma]))
    return graph.add("BatchNormalization", name, gamma, *others, epsilon=node.get("eps", 1e-3))


@translates("LayerNorm")
def layer_norm(graph: Graph, node: Node) -> str:
    name, gamma, beta = node.inputs
    if axis_of(node, default=-1) != len(node.shapes[0]) - 1:
        raise node.refuse("it is not over the last axis")
    away = graph.add("Sub", name, reduced(graph, "mean", name, [-1]))
    spread = reduced(graph, "mean", graph.add("Mul", away, away), [-1])
    spread = graph.add("Sqrt", graph.add("Add", spread, graph.constant(node.get("eps", 1e-5))))
    return graph.add("Add", graph.add("Mul", graph.add("Div", away, spread), gamma), beta)


@translates("Activation")
def activation(graph: Graph, node: Node) -> str:
    return graph.add(ACTIVATIONS[node.get("act_type")], node.inputs[0])


@translates("LeakyReLU")
def leaky(graph: Graph, node: Node) -> str:
    kind, name, slope = node.get("act_type", "leaky"), node.inputs[0], node.get("slope", 0.25)
    if kind in ("leaky", "elu"):
        return graph.add("LeakyRelu" if kind == "leaky" else "Elu", name, alpha=slope)
    if kind == "selu":
        return graph.add("Selu", name)
    if kind == "prelu":
        channels = node.shapes[1][0]
        wide = reshaped(graph, node.inputs[1], (channels, *(1,) * (len(node.shapes[0]) - 2)))
        return graph.add("PRelu", name, wide)
    raise node.refuse(f"it is of the kind {kind}")


@translates("Pooling")
def pooling(graph: Graph, node: Node) -> str:
    kind = node.get("pool_type", "max")
    if kind not in ("max", "avg"):
        raise node.refuse(f"it pools by {kind}")
    if node.get("global_pool", False):
        return graph.add("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", node.inputs[0])
    before = sides(node, "pad", 0)
    options = dict(
        kernel_shape=list(node.get("kernel")), strides=sides(node, "stride", 1), pads=before * 2
    )
    options["ceil_mode"] = int(node.get("pooling_convention", "valid") == "full")
    if kind == "max":
        return graph.add("MaxPool", node.inputs[0], **options)
    counted = int(node.get("count_include_pad", True))
    return graph.add("AveragePool", node.inputs[0], count_include_pad=counted, **options)


@translates("_contrib_AdaptiveAvgPooling2D")
def adaptive(graph: Graph, node: Node) -> str:
    """Means over parts that may overlap by a pixel, as products with a matrix for each side."""
    if node.outputs[0][2:] == (1, 1):
        return graph.add("GlobalAveragePool", node.inputs[0])
    down, across = (_parts(*pair) for pair in zip(node.shapes[0][2:], node.outputs[0][2:]))
    name = graph.add("MatMul", graph.constant(down), node.inputs[0])
    return graph.add("MatMul", name, graph.constant(across.T))


def _parts(length: int, count: int) -> np.ndarray:
    """Shares that pixels have in the means of `count` parts of a side: (count, length)."""
    pixel, part = np.arange(length), np.arange(count)[:, None]
    inside = (pixel >= part * length // count) & (pixel < -(-(part + 1) * length // count))
    return inside / inside.sum(axis=1, keepdims=True)


@translates("softmax", "log_softmax")
def softmax(graph: Graph, node: Node) -> str:
    if node.get("temperature") not in (None, 1.0) or node.get("use_length", False):
        raise node.refuse("it has a temperature or lengths")
    op = "Softmax" if node.op == "softmax" else "LogSoftmax"
    return graph.add(op, node.inputs[0], axis=axis_of(node, default=-1))


@translates("L2Normalization")
def l2(graph: Graph, node: Node) -> str:
    rank, name = len(node.shapes[0]), node.inputs[0]
    axes = dict(instance=range(1, rank), channel=[1], spatial=range(2, rank))
    total = reduced(
        graph, "sum", graph.add("Mul", name, name), list(axes[node.get("mode", "instance")])
    )
    total = graph.add("Add", total, graph.constant(node.get("eps", 1e-10)))
    return graph.add("Div", name, graph.add("Sqrt", total))


@translates("dot")
def dot(graph: Graph, node: Node) -> str:
    if len(node.shapes[1]) != 2:
        raise node.refuse("its second factor is no matrix")
    return product(graph, node)


@translates("batch_dot")
def product(graph: Graph, node: Node) -> str:
    factors: List[Any] = []
    for name, shape, side in zip(node.inputs, node.shapes, "ab"):
        transposed = node.get(f"transpose_{side}", False)
        axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        if transposed and node.op == "dot" and len(shape) != 2:
            raise node.refuse("it transposes more than a matrix")
        factors.append(graph.add("Transpose", name, perm=axes) if transposed else name)
    return graph.add("MatMul", *factors)


@translates("GridGenerator")
def grid(graph: Graph, node: Node) -> str:
    """Where a window looks: (N, 2, H, W) of x and y from the matrix (N, 6)."""
    if node.get("transform_type") != "affine":
        raise node.refuse("it warps")
    height, width = node.get("target_shape")
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    places = graph.constant(np.stack([x.ravel(), y.ravel(), np.ones(height * width)]))  # (3, HW)
    matrix = reshaped(graph, node.inputs[0], (-1, 2, 3))
    return reshaped(graph, graph.add("MatMul", matrix, places), (-1, 2, height, width))


@translates("BilinearSampler")
def sampler(graph: Graph, node: Node) -> str:
    """Corners are aligned and zeros lie outside, in ONNX's operator as in MXNet's.

    A crop as two products with matrices of hat functions has the same values to 6e-5, the rounding
    of their weights, and takes four times as long.
    """
    places = graph.add("Transpose", node.inputs[1], perm=[0, 2, 3, 1])
    options = dict(mode="bilinear", padding_mode="zeros", align_corners=1)
    return graph.add("GridSample", node.inputs[0], places, **options)
