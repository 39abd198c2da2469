"""Arithmetic, reductions and changes of shape in ONNX; layers are in `onnx_layers`.

There are translations of all operators in registered networks and Gluon's backbones.
"""

from __future__ import annotations

from typing import List, Sequence

import numpy as np

from .onnx_graph import Graph, Node, translates

UNARY = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "abs": "Abs",
    "sqrt": "Sqrt",
    "floor": "Floor",
}
BINARY = {
    "elemwise_add": "Add",
    "elemwise_sub": "Sub",
    "elemwise_mul": "Mul",
    "elemwise_div": "Div",
    "broadcast_add": "Add",
    "broadcast_sub": "Sub",
    "broadcast_mul": "Mul",
    "broadcast_div": "Div",
    "broadcast_maximum": "Max",
    "broadcast_minimum": "Min",
}
COMPARISON = {"broadcast_greater": "Greater", "broadcast_equal": "Equal"}
SCALAR = {
    "_plus_scalar": "Add",
    "_minus_scalar": "Sub",
    "_mul_scalar": "Mul",
    "_div_scalar": "Div",
    "_maximum_scalar": "Max",
    "_minimum_scalar": "Min",
}
REVERSED = {"_rminus_scalar": "Sub", "_rdiv_scalar": "Div"}  # the number comes first
REDUCE = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}
IDENTITY = ("BlockGrad", "_copy", "Dropout", "amp_cast", "amp_multicast")
END = 2**63 - 1  # of a slice that goes to the end


@translates(*UNARY)
def unary(graph: Graph, node: Node) -> str:
    return graph.add(UNARY[node.op], node.inputs[0])


@translates(*BINARY)
def binary(graph: Graph, node: Node) -> str:
    return graph.add(BINARY[node.op], *node.inputs)


@translates(*COMPARISON)
def comparison(graph: Graph, node: Node) -> str:
    truth = graph.add(COMPARISON[node.op], *node.inputs)
    return graph.add("Cast", truth, to=graph.onnx.TensorProto.FLOAT)


@translates(*SCALAR, *REVERSED)
def scalar(graph: Graph, node: Node) -> str:
    number = graph.constant(node.get("scalar"), node.input_dtypes[0])
    if node.op in REVERSED:
        return graph.add(REVERSED[node.op], number, node.inputs[0])
    return graph.add(SCALAR[node.op], node.inputs[0], number)


@translates(*IDENTITY)
def identity(graph: Graph, node: Node) -> List[str]:
    return node.inputs


@translates("square")
def square(graph: Graph, node: Node) -> str:
    return graph.add("Mul", node.inputs[0], node.inputs[0])


@translates("clip")
def clip(graph: Graph, node: Node) -> str:
    dtype = node.input_dtypes[0]
    low, high = (graph.constant(node.get(bound), dtype) for bound in ("a_min", "a_max"))
    return graph.add("Clip", node.inputs[0], low, high)


@translates("Cast")
def cast(graph: Graph, node: Node) -> str:
    if node.get("dtype") != "float32":
        raise node.unsupported(f"it casts to {node.get('dtype')}")
    return graph.add("Cast", node.inputs[0], to=graph.onnx.TensorProto.FLOAT)


@translates(*REDUCE)
def reduce(graph: Graph, node: Node) -> str:
    axes = node.get("axis", ())
    axes = [axes] if isinstance(axes, int) else list(axes) or range(len(node.input_shapes[0]))
    return reduce_axes(graph, node.op, node.inputs[0], axes, bool(node.get("keepdims", False)))


def reduce_axes(
    graph: Graph, op: str, name: str, axes: Sequence[int], keepdims: bool = True
) -> str:
    """Mean, sum or maximum over axes; in this version of ONNX only the sum has them as an input."""
    if op == "sum":
        return graph.add("ReduceSum", name, graph.integers(*axes), keepdims=int(keepdims))
    return graph.add(REDUCE[op], name, axes=list(axes), keepdims=int(keepdims))


@translates("Reshape", "Flatten", "reshape_like", "squeeze")
def reshape(graph: Graph, node: Node) -> str:
    if node.output_shapes[0].count(-1) > 1:
        raise node.unsupported("two sides of its shape depend on the batch")
    return graph.reshape(node.inputs[0], node.output_shapes[0])


@translates("expand_dims")
def expand_dims(graph: Graph, node: Node) -> str:
    axis = node.get("axis")
    axis = axis + len(node.output_shapes[0]) if axis < 0 else axis
    return graph.add("Unsqueeze", node.inputs[0], graph.integers(axis))


@translates("transpose")
def transpose(graph: Graph, node: Node) -> str:
    axes = node.get("axes") or range(len(node.input_shapes[0]))[::-1]
    return graph.add("Transpose", node.inputs[0], perm=list(axes))


def slice_axes(
    graph: Graph, name: str, axes: Sequence[int], begin: Sequence[int], end: Sequence[int]
) -> str:
    return graph.add("Slice", name, *(graph.integers(*values) for values in (begin, end, axes)))


@translates("slice_axis")
def slice_axis(graph: Graph, node: Node) -> str:
    begin, end = node.get("begin") or 0, node.get("end")
    return slice_axes(graph, node.inputs[0], [node.axis()], [begin], [END if end is None else end])


@translates("slice_like")
def slice_like(graph: Graph, node: Node) -> str:
    shape, sliced = node.input_shapes[0], node.output_shapes[0]
    axes = [axis for axis in range(len(shape)) if shape[axis] != sliced[axis]]
    if any(sliced[axis] == -1 for axis in axes):
        raise node.unsupported("it slices the batch")
    if not axes:
        return node.inputs[0]
    ends = [sliced[axis] for axis in axes]
    return slice_axes(graph, node.inputs[0], axes, [0] * len(axes), ends)


@translates("reverse")
def reverse(graph: Graph, node: Node) -> str:
    axes = node.get("axis")
    axes = [axes] if isinstance(axes, int) else list(axes)
    begin, end, step = ([value] * len(axes) for value in (-1, -END, -1))
    inputs = (graph.integers(*values) for values in (begin, end, axes, step))
    return graph.add("Slice", node.inputs[0], *inputs)


@translates("Concat")
def concat(graph: Graph, node: Node) -> str:
    return graph.add("Concat", *node.inputs, axis=node.get("dim", 1))


@translates("stack")
def stack(graph: Graph, node: Node) -> str:
    axis = node.get("axis", 0)
    parts = [graph.add("Unsqueeze", name, graph.integers(axis)) for name in node.inputs]
    return graph.add("Concat", *parts, axis=axis)


@translates("SliceChannel")
def split(graph: Graph, node: Node) -> List[str]:
    axis, count = node.axis(default=1), node.get("num_outputs")
    parts = graph.split("Split", count, node.inputs[0], axis=axis)
    if node.get("squeeze_axis", False):
        return [graph.add("Squeeze", part, graph.integers(axis)) for part in parts]
    return parts


@translates("broadcast_axis")
def broadcast(graph: Graph, node: Node) -> str:
    sides = [1 if side == -1 else side for side in node.output_shapes[0]]  # 1 keeps a side
    return graph.add("Expand", node.inputs[0], graph.integers(*sides))


@translates("Pad")
def pad(graph: Graph, node: Node) -> str:
    width = node.get("pad_width")
    sides = graph.integers(*width[::2], *width[1::2])
    value = graph.constant(node.get("constant_value", 0.0), node.input_dtypes[0])
    return graph.add("Pad", node.inputs[0], sides, value, mode=node.get("mode"))


@translates("zeros_like", "ones_like", "_zeros")
def fill(graph: Graph, node: Node) -> str:
    value, shape = float(node.op == "ones_like"), node.output_shapes[0]
    dtype = node.input_dtypes[0] if node.inputs else node.get("dtype", "float32")
    if -1 not in shape:
        return graph.constant(np.full(shape, value), dtype)
    one = graph.onnx.numpy_helper.from_array(np.full((1,), value, dtype))
    return graph.add("ConstantOfShape", graph.add("Shape", node.inputs[0]), value=one)


@translates("shape_array")
def shape_array(graph: Graph, node: Node) -> str:
    return graph.add("Shape", node.inputs[0])


@translates("_contrib_arange_like")
def arange_like(graph: Graph, node: Node) -> str:
    shape = node.output_shapes[0]
    if -1 in shape or node.get("repeat", 1) != 1:
        raise node.unsupported("it counts along the batch")
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    numbers = numbers * node.get("step", 1.0) + node.get("start", 0.0)
    return graph.constant(numbers, node.input_dtypes[0])
