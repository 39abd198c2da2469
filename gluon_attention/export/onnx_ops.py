"""What the operators of MXNet are in ONNX; each function adds nodes and names its outputs."""

from __future__ import annotations

from typing import List, Optional

import numpy as np

from .onnx_graph import Graph, Node, Shape, axis_of, translates

UNARY = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softsign": "Softsign",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "negative": "Neg",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "erf": "Erf",
}
BINARY = {
    "Add": ("elemwise_add", "_plus", "_add", "broadcast_add", "broadcast_plus"),
    "Sub": ("elemwise_sub", "_minus", "_sub", "broadcast_sub", "broadcast_minus"),
    "Mul": ("elemwise_mul", "_mul", "broadcast_mul"),
    "Div": ("elemwise_div", "_div", "broadcast_div"),
    "Pow": ("_power", "broadcast_power"),
    "Max": ("_maximum", "broadcast_maximum"),
    "Min": ("_minimum", "broadcast_minimum"),
}
SCALAR = {
    "_plus_scalar": "Add",
    "_minus_scalar": "Sub",
    "_mul_scalar": "Mul",
    "_div_scalar": "Div",
    "_power_scalar": "Pow",
    "_maximum_scalar": "Max",
    "_minimum_scalar": "Min",
}
REVERSED = {"_rminus_scalar": "Sub", "_rdiv_scalar": "Div", "_rpower_scalar": "Pow"}
REDUCE = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}
SAME = ("BlockGrad", "identity", "_copy", "Dropout", "make_loss", "amp_cast", "amp_multicast")


@translates(*UNARY)
def unary(graph: Graph, node: Node) -> str:
    return graph.add(UNARY[node.op], node.inputs[0])


@translates(*(name for names in BINARY.values() for name in names))
def binary(graph: Graph, node: Node) -> str:
    op = next(op for op, names in BINARY.items() if node.op in names)
    return graph.add(op, *node.inputs)


@translates(*SCALAR, *REVERSED)
def scalar(graph: Graph, node: Node) -> str:
    number = graph.constant(node.get("scalar"), node.dtypes[0])
    if node.op in REVERSED:
        return graph.add(REVERSED[node.op], number, node.inputs[0])
    return graph.add(SCALAR[node.op], node.inputs[0], number)


@translates(*SAME)
def same(graph: Graph, node: Node) -> List[str]:
    return node.inputs


@translates("square")
def square(graph: Graph, node: Node) -> str:
    return graph.add("Mul", node.inputs[0], node.inputs[0])


@translates("rsqrt")
def rsqrt(graph: Graph, node: Node) -> str:
    return graph.add("Reciprocal", graph.add("Sqrt", node.inputs[0]))


@translates("clip")
def clip(graph: Graph, node: Node) -> str:
    low, high = (graph.constant(node.get(side), node.dtypes[0]) for side in ("a_min", "a_max"))
    return graph.add("Clip", node.inputs[0], low, high)


@translates("Cast", "cast")
def cast(graph: Graph, node: Node) -> str:
    kinds = graph.onnx.TensorProto
    kind = {"float32": kinds.FLOAT, "int32": kinds.INT32, "int64": kinds.INT64}.get(
        node.get("dtype")
    )
    if kind is None:
        raise node.refuse(f"it casts to {node.get('dtype')}")
    return graph.add("Cast", node.inputs[0], to=kind)


@translates(*REDUCE)
def reduce(graph: Graph, node: Node) -> str:
    axes = node.get("axis", ())
    axes = (axes,) if isinstance(axes, int) else axes or range(len(node.shapes[0]))
    if node.get("exclude", False):
        axes = sorted(set(range(len(node.shapes[0]))) - set(axes))
    keep = int(node.get("keepdims", False))
    if not keep and len(axes) == len(node.shapes[0]):  # MXNet has no shape ()
        return reshaped(graph, reduced(graph, node.op, node.inputs[0], axes, 1), (1,))
    return reduced(graph, node.op, node.inputs[0], axes, keep)


def reduced(graph: Graph, op: str, name: str, axes: List[int], keep: int = 1) -> str:
    """Only the sum takes axes as an input in this version of ONNX."""
    if op == "sum":
        return graph.add("ReduceSum", name, graph.integers(*axes), keepdims=keep)
    return graph.add(REDUCE[op], name, axes=list(axes), keepdims=keep)


@translates("Reshape", "reshape", "Flatten", "flatten", "reshape_like")
def reshape(graph: Graph, node: Node) -> str:
    return reshaped(graph, node.inputs[0], node.outputs[0], node)


def reshaped(graph: Graph, name: str, shape: Shape, node: Optional[Node] = None) -> str:
    if node is not None and sum(side == -1 for side in shape) > 1:
        raise node.refuse("two sides of its shape follow the batch")
    return graph.add("Reshape", name, graph.integers(*shape))


@translates("expand_dims")
def expand_dims(graph: Graph, node: Node) -> str:
    axis = node.get("axis")
    axis = axis + len(node.outputs[0]) if axis < 0 else axis
    return graph.add("Unsqueeze", node.inputs[0], graph.integers(axis))


@translates("squeeze")
def squeeze(graph: Graph, node: Node) -> str:
    return reshaped(graph, node.inputs[0], node.outputs[0], node)


@translates("transpose")
def transpose(graph: Graph, node: Node) -> str:
    axes = node.get("axes") or range(len(node.shapes[0]))[::-1]
    return graph.add("Transpose", node.inputs[0], perm=list(axes))


@translates("SwapAxis", "swapaxes")
def swap(graph: Graph, node: Node) -> str:
    axes = list(range(len(node.shapes[0])))
    one, other = node.get("dim1", 0), node.get("dim2", 0)
    axes[one], axes[other] = axes[other], axes[one]
    return graph.add("Transpose", node.inputs[0], perm=axes)


END = 2**63 - 1


def sliced(graph: Graph, name: str, axes: List[int], begin: List[int], end: List[int]) -> str:
    return graph.add("Slice", name, *(graph.integers(*v) for v in (begin, end, axes)))


@translates("slice_axis")
def slice_axis(graph: Graph, node: Node) -> str:
    end = node.get("end")
    end = END if end is None else end
    return sliced(graph, node.inputs[0], [axis_of(node)], [node.get("begin") or 0], [end])


@translates("slice")
def slice_(graph: Graph, node: Node) -> str:
    begin, end, step = (node.get(k) or () for k in ("begin", "end", "step"))
    if any(s not in (None, 1) for s in step):
        raise node.refuse("it has steps")
    axes = list(range(len(begin)))
    ends = [END if e is None else e for e in end]
    return sliced(graph, node.inputs[0], axes, [b or 0 for b in begin], ends)


@translates("slice_like")
def slice_like(graph: Graph, node: Node) -> str:
    axes = node.get("axes") or range(len(node.shapes[1]))
    axes = [axis + len(node.shapes[0]) if axis < 0 else axis for axis in axes]
    cut = [axis for axis in axes if node.shapes[0][axis] != node.outputs[0][axis]]
    if any(node.outputs[0][axis] == -1 for axis in cut):
        raise node.refuse("it cuts the batch")
    if not cut:
        return node.inputs[0]
    return sliced(graph, node.inputs[0], cut, [0] * len(cut), [node.outputs[0][a] for a in cut])


@translates("reverse", "flip")
def reverse(graph: Graph, node: Node) -> str:
    axes = node.get("axis")
    axes = [axes] if isinstance(axes, int) else list(axes)
    steps, starts, ends = ([n] * len(axes) for n in (-1, -1, -END))
    inputs = (graph.integers(*values) for values in (starts, ends, axes, steps))
    return graph.add("Slice", node.inputs[0], *inputs)


@translates("Concat", "concat")
def concat(graph: Graph, node: Node) -> str:
    return graph.add("Concat", *node.inputs, axis=node.get("dim", 1))


@translates("stack")
def stack(graph: Graph, node: Node) -> str:
    axis = node.get("axis", 0)
    wide = [graph.add("Unsqueeze", name, graph.integers(axis)) for name in node.inputs]
    return graph.add("Concat", *wide, axis=axis)


@translates("SliceChannel", "split")
def split(graph: Graph, node: Node) -> List[str]:
    axis, count = axis_of(node, default=1), node.get("num_outputs")
    parts = graph.split("Split", count, node.inputs[0], axis=axis)
    if node.get("squeeze_axis", False):
        return [graph.add("Squeeze", part, graph.integers(axis)) for part in parts]
    return parts


@translates("broadcast_axis", "broadcast_to", "broadcast_like")
def broadcast(graph: Graph, node: Node) -> str:
    have, want = node.shapes[0], node.outputs[0]
    if any(w == -1 and h != -1 for h, w in zip(have, want)):  # as many as the other has
        return graph.add("Expand", node.inputs[0], graph.add("Shape", node.inputs[1]))
    sides = [1 if side == -1 else side for side in want]
    return graph.add("Expand", node.inputs[0], graph.integers(*sides))


@translates("tile")
def tile(graph: Graph, node: Node) -> str:
    return graph.add("Tile", node.inputs[0], graph.integers(*node.get("reps")))


@translates("Pad", "pad")
def pad(graph: Graph, node: Node) -> str:
    width = node.get("pad_width")
    sides = graph.integers(*width[::2], *width[1::2])
    value = graph.constant(node.get("constant_value", 0.0), node.dtypes[0])
    return graph.add("Pad", node.inputs[0], sides, value, mode=node.get("mode"))


@translates("zeros_like", "ones_like", "_zeros", "_ones", "_full")
def filled(graph: Graph, node: Node) -> str:
    value = node.get("value", 1.0 if "ones" in node.op else 0.0)
    dtype = node.dtypes[0] if node.dtypes else node.get("dtype", "float32")
    if -1 not in node.outputs[0]:
        return graph.constant(np.full(node.outputs[0], value), dtype)
    one = graph.onnx.numpy_helper.from_array(np.full((1,), value, dtype))
    return graph.add("ConstantOfShape", graph.add("Shape", node.inputs[0]), value=one)


@translates("shape_array")
def shape_array(graph: Graph, node: Node) -> str:
    return graph.add("Shape", node.inputs[0])


@translates("_contrib_arange_like")
def arange_like(graph: Graph, node: Node) -> str:
    shape = node.outputs[0]
    if -1 in shape or node.get("repeat", 1) != 1:
        raise node.refuse("it counts along the batch")
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return graph.constant(numbers * node.get("step", 1.0) + node.get("start", 0.0), node.dtypes[0])
