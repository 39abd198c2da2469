"""Symbols of MXNet as graphs of ONNX: what is walked, and what the translations build with.

Shapes are inferred for two batch sizes. A side that differs is the batch, -1 from here on, and
everything else is a constant of the graph. MXNet's own exporter knows no shapes, so that it lacks
what the networks here need: it has neither their crop nor most ways to write `reshape`.
"""

from __future__ import annotations

import ast
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import mxnet as mx
import numpy as np

from ..errors import UserError

OPSET = 16  # the first with GridSample, which is the crop
IR = 8  # what came out with it
Shape = Tuple[int, ...]


class Node(NamedTuple):
    """An operator of a symbol."""

    name: str
    op: str
    attrs: Dict[str, str]
    inputs: List[str]  # names of ONNX
    shapes: List[Shape]  # of the inputs; -1 is the batch
    outputs: List[Shape]
    dtypes: List[np.dtype]  # of the inputs

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, as what it is: a number, a tuple, None, or else a word."""
        text = self.attrs.get(name)
        if text is None:
            return default
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text

    def refuse(self, why: str) -> UserError:
        return UserError(f"{self.op} '{self.name}' cannot be exported to ONNX: {why}")


Translation = Callable[["Graph", Node], Union[str, List[str]]]
TRANSLATIONS: Dict[str, Translation] = {}


def translates(*ops: str) -> Callable[[Translation], Translation]:
    """Make a function the translation of some operators; it gives the names of their outputs."""

    def note(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(ops, function))
        return function

    return note


class Graph:
    """Nodes and constants of an ONNX graph in the making."""

    def __init__(self) -> None:
        import onnx.numpy_helper

        self.onnx = onnx
        self.nodes: List[Any] = []
        self.constants: Dict[str, np.ndarray] = {}

    def constant(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        """The name of a constant."""
        name = name or f"constant{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(np.asarray(value, dtype))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """The output of a new node."""
        return self.split(op, 1, *inputs, **attrs)[0]

    def split(self, op: str, count: int, *inputs: str, **attrs: Any) -> List[str]:
        """The outputs of a new node that has several."""
        name = f"{op}{len(self.nodes)}"
        outputs = [name] if count == 1 else [f"{name}_{k}" for k in range(count)]
        self.nodes.append(self.onnx.helper.make_node(op, inputs, outputs, name=name, **attrs))
        return outputs

    def model(self, inputs: Dict[str, Shape], outputs: Dict[str, Tuple[str, Shape]]) -> Any:
        """All that was added, as a model of named inputs and outputs; -1 is any batch."""
        helper, number = self.onnx.helper, self.onnx.TensorProto.FLOAT

        def told(name: str, shape: Shape) -> Any:
            sides = ["batch" if side == -1 else side for side in shape]
            return helper.make_tensor_value_info(name, number, sides)

        for name, (made, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [made], [name], name=f"give_{name}"))
        graph = helper.make_graph(
            self.nodes,
            "gluon_attention",
            [told(name, shape) for name, shape in inputs.items()],
            [told(name, shape) for name, (_, shape) in outputs.items()],
            [self.onnx.numpy_helper.from_array(v, n) for n, v in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, producer_name="gluon_attention", opset_imports=[opset], ir_version=IR
        )


def translate(
    symbol: mx.sym.Symbol,
    parameters: Dict[str, np.ndarray],
    image: Shape,
    names: Sequence[str],
    data: str = "data",
) -> Any:
    """An ONNX model of a symbol with one input, `data`: images of the shape (C, H, W)."""
    graph, everything = Graph(), mx.sym.Group([symbol.get_internals(), symbol])
    shapes, dtypes = _inferred(everything, data, image)
    content = json.loads(everything.tojson())
    heads = [tuple(head[:2]) for head in content["heads"]]
    places = {head: place for place, head in enumerate(heads)}
    made: Dict[Tuple[int, int], str] = {}
    outside: Dict[str, Shape] = {}
    for index, entry in enumerate(content["nodes"]):
        origins = [tuple(origin[:2]) for origin in entry["inputs"]]
        own = [place for (number, _), place in sorted(places.items()) if number == index]
        name = entry["name"]
        if entry["op"] == "null":
            made[index, 0] = name
            if name == data:
                outside[name] = (-1, *image)
            else:
                graph.constant(parameters[name], name=name)
            continue
        node = Node(
            name,
            entry["op"],
            entry.get("attrs", {}),
            [made[origin] for origin in origins],
            [shapes[places[origin]] for origin in origins],
            [shapes[place] for place in own],
            [dtypes[places[origin]] for origin in origins],
        )
        if node.op not in TRANSLATIONS:
            raise node.refuse("gluon_attention/export/onnx_ops.py has no translation of it")
        found = TRANSLATIONS[node.op](graph, node)
        for number, output in enumerate([found] if isinstance(found, str) else found):
            made[index, number] = output
    last = heads[-len(names) :]
    wanted = {name: (made[head], shapes[places[head]]) for name, head in zip(names, last)}
    return graph.model(outside, wanted)


def _inferred(inside: mx.sym.Symbol, data: str, image: Shape) -> Tuple[List[Shape], List[Any]]:
    """Shapes of all outputs inside a symbol, with -1 for what follows the batch, and types."""
    found: List[List[Shape]] = [inside.infer_shape(**{data: (n, *image)})[1] for n in (2, 3)]
    shapes = [tuple(a if a == b else -1 for a, b in zip(*pair)) for pair in zip(*found)]
    _, dtypes, _ = inside.infer_type(**{data: "float32"})
    return shapes, [np.dtype(dtype) for dtype in dtypes]


def axis_of(node: Node, name: str = "axis", default: Optional[int] = None) -> int:
    """An axis counted from the front."""
    axis = node.get(name, default)
    return axis + len(node.shapes[0]) if axis < 0 else axis
