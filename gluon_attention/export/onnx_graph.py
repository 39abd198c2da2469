"""Symbols of MXNet as ONNX graphs: the walk over operators, and the builder of graphs.

MXNet's own exporter is not used: it has no shapes, so that it lacks GridGenerator,
BilinearSampler, Pad and most forms of Reshape. Here shapes are inferred for two batch sizes: a
side that differs is the batch, written as -1, and every other side is a constant of the graph.
"""

from __future__ import annotations

import ast
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import mxnet as mx
import numpy as np

from ..errors import UserError

OPSET = 16  # the first with GridSample, which is the crop
IR = 8  # the version of the format that belongs to it
Shape = Tuple[int, ...]  # -1 is the batch


class Node(NamedTuple):
    """An operator of a symbol."""

    name: str
    op: str
    attrs: Dict[str, str]
    inputs: List[str]  # names in the ONNX graph
    input_shapes: List[Shape]
    input_dtypes: List[np.dtype]
    output_shapes: List[Shape]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute as a number, tuple, bool or None, if its text is one; else as text."""
        text = self.attrs.get(name)
        if text is None:
            return default
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text

    def axis(self, default: Optional[int] = None) -> int:
        """The attribute `axis`, counted from the front."""
        axis = self.get("axis", default)
        return axis + len(self.input_shapes[0]) if axis < 0 else axis

    def unsupported(self, reason: str) -> UserError:
        return UserError(f"{self.op} '{self.name}' cannot be exported to ONNX: {reason}")


Translation = Callable[["Graph", Node], Union[str, List[str]]]
TRANSLATIONS: Dict[str, Translation] = {}


def translates(*ops: str) -> Callable[[Translation], Translation]:
    """Register a function that adds an operator to a graph and returns the names of its outputs."""

    def register(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(ops, function))
        return function

    return register


class Graph:
    """Nodes and constants of an ONNX graph under construction."""

    def __init__(self) -> None:
        import onnx.numpy_helper

        self.onnx = onnx
        self.nodes: List[Any] = []
        self.constants: Dict[str, np.ndarray] = {}

    def constant(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        """Add a constant; returns its name."""
        name = name or f"constant{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(np.asarray(value, dtype))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Add a node with one output; returns its name."""
        return self.split(op, 1, *inputs, **attrs)[0]

    def split(self, op: str, count: int, *inputs: str, **attrs: Any) -> List[str]:
        """Add a node with several outputs; returns their names."""
        name = f"{op}{len(self.nodes)}"
        outputs = [name] if count == 1 else [f"{name}_{k}" for k in range(count)]
        self.nodes.append(self.onnx.helper.make_node(op, inputs, outputs, name=name, **attrs))
        return outputs

    def reshape(self, name: str, shape: Shape) -> str:
        return self.add("Reshape", name, self.integers(*shape))

    def model(self, inputs: Dict[str, Shape], outputs: Dict[str, Tuple[str, Shape]]) -> Any:
        """The graph as a model.

        Args:
            inputs: shapes by the names of the inputs.
            outputs: the name in the graph, and the shape, by the names of the outputs.
        """
        helper, float32 = self.onnx.helper, self.onnx.TensorProto.FLOAT

        def declare(name: str, shape: Shape) -> Any:
            sides = ["batch" if side == -1 else side for side in shape]
            return helper.make_tensor_value_info(name, float32, sides)

        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))
        graph = helper.make_graph(
            self.nodes,
            "gluon_attention",
            [declare(name, shape) for name, shape in inputs.items()],
            [declare(name, shape) for name, (_, shape) in outputs.items()],
            [self.onnx.numpy_helper.from_array(v, n) for n, v in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, producer_name="gluon_attention", opset_imports=[opset], ir_version=IR
        )


class _Output(NamedTuple):
    """Shape and type of an output of an operator."""

    shape: Shape
    dtype: np.dtype


def translate(
    symbol: mx.sym.Symbol,
    parameters: Dict[str, np.ndarray],
    image: Shape,
    names: Sequence[str],
    data: str = "data",
) -> Any:
    """The ONNX model of a symbol.

    Args:
        image: shape (C, H, W) of an image of the input `data`.
        names: of the outputs.
    """
    everything = mx.sym.Group([symbol.get_internals(), symbol])
    document = json.loads(everything.tojson())
    outputs = _inferred(everything, document, data, image)
    graph = Graph()
    values: List[List[str]] = []  # names in the ONNX graph, by node and output
    for index, entry in enumerate(document["nodes"]):
        name = entry["name"]
        if entry["op"] == "null":
            values.append([name])
            if name != data:
                graph.constant(parameters[name], name=name)
            continue
        origins = [origin[:2] for origin in entry["inputs"]]
        inputs = [outputs[node][number] for node, number in origins]
        node = Node(
            name,
            entry["op"],
            entry.get("attrs", {}),
            inputs=[values[node][number] for node, number in origins],
            input_shapes=[tensor.shape for tensor in inputs],
            input_dtypes=[tensor.dtype for tensor in inputs],
            output_shapes=[tensor.shape for _, tensor in sorted(outputs[index].items())],
        )
        if node.op not in TRANSLATIONS:
            raise node.unsupported("gluon_attention/export/onnx_ops.py has no translation of it")
        result = TRANSLATIONS[node.op](graph, node)
        values.append([result] if isinstance(result, str) else result)
    heads = [head[:2] for head in document["heads"][-len(names) :]]
    ends = [(values[node][number], outputs[node][number].shape) for node, number in heads]
    return graph.model({data: (-1, *image)}, dict(zip(names, ends)))


def _inferred(
    everything: mx.sym.Symbol, document: Dict[str, Any], data: str, image: Shape
) -> List[Dict[int, _Output]]:
    """Shape and type of all outputs inside a symbol, by node and output."""
    shapes_of_two, shapes_of_three = (
        everything.infer_shape(**{data: (batch, *image)})[1] for batch in (2, 3)
    )
    _, dtypes, _ = everything.infer_type(**{data: "float32"})
    outputs: List[Dict[int, _Output]] = [{} for _ in document["nodes"]]
    for head, two, three, dtype in zip(document["heads"], shapes_of_two, shapes_of_three, dtypes):
        shape = tuple(a if a == b else -1 for a, b in zip(two, three))
        outputs[head[0]][head[1]] = _Output(shape, np.dtype(dtype))
    return outputs
