"""Networks as files that do not need this package: MXNet's symbol and parameters, and ONNX."""

from __future__ import annotations

import importlib
import os
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

import mxnet as mx
import numpy as np
from mxnet import nd

from ..errors import UserError
from ..installation import pip_install
from ..ops.onednn import portable
from ..storage.atomic import write_bytes, write_text
from ..storage.params import write_parameters
from ..zoo.attention_net import AttentionNet

TOLERANCE = 1e-4  # of the largest output
INPUT = "data"


class Parity(NamedTuple):
    """The difference of another runtime from the net, as a share of the largest output."""

    largest: float  # over the images
    typical: float  # median over the images
    holds: bool  # whether it is below TOLERANCE, or as large as the net's own rounding


class Exported(NamedTuple):
    """A network as a graph of plain operators."""

    symbol: mx.sym.Symbol
    names: List[str]  # of its outputs
    parameters: Dict[str, nd.NDArray]


def as_graph(net: AttentionNet, trace: bool = False) -> Exported:
    """The graph of `net(data)`, or of its whole trace, without randomness."""
    nd.waitall()  # a backward pass may still be writing running statistics
    data = mx.sym.var(INPUT)
    with portable():
        if trace:
            outputs = dict(zip(net.Trace._fields, net.body(data, *net.zero_noise(mx.sym))))
        else:
            outputs = {"logits": net(data)}
    names: List[str] = []
    for name, value in outputs.items():
        several = isinstance(value, (list, tuple))
        names += [f"{name}_{k}" for k in range(len(value))] if several else [name]
    symbol = mx.sym.Group(flatten_outputs(outputs.values()))
    inputs = set(symbol.list_inputs())
    parameters = {
        k: p.data(p.list_ctx()[0]) for k, p in net.collect_params().items() if k in inputs
    }
    return Exported(symbol, names, parameters)


def flatten_outputs(outputs: Iterable[Any]) -> List[Any]:
    """The outputs of a network, some of which are lists, as one list."""
    return [v for out in outputs for v in (out if isinstance(out, (list, tuple)) else [out])]


def save(graph: Exported, prefix: str) -> List[str]:
    """Write `prefix-symbol.json` and `prefix-0000.params`, as `SymbolBlock.imports` reads them."""
    files = [f"{prefix}-symbol.json", f"{prefix}-0000.params"]
    write_text(files[0], graph.symbol.tojson())
    auxiliary = set(graph.symbol.list_auxiliary_states())
    arrays = {
        ("aux:" if name in auxiliary else "arg:") + name: value.as_in_context(mx.cpu())
        for name, value in graph.parameters.items()
    }
    write_parameters(files[1], lambda aside: nd.save(aside, arrays))
    return files


def require_onnx() -> Any:
    """The package onnx, or an error that says how to install it."""
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise UserError(f"ONNX needs its package: run `{pip_install('onnx')}`") from None


def export_onnx(
    net: AttentionNet,
    path: str,
    shape: Tuple[int, int, int],
    trace: bool = False,
    about: Optional[Dict[str, str]] = None,
) -> Optional[Parity]:
    """Write an ONNX model for images (N, *shape) and any N, checked in onnxruntime.

    Networks that choose locations amplify rounding: on a few images their logits change by
    percents if the seventh digit of the pixels changes. An error above 1e-4 is accepted only up to
    ten times the effect of a change of the sixth digit on the same output.

    Args:
        trace: export the whole trace, not the logits alone.
        about: metadata of the file, such as the names of the classes.

    Returns:
        The difference of onnxruntime from the net, or None where it is not installed. Nothing is
        written if the difference is too large.
    """
    onnx = require_onnx()
    from . import onnx_layers, onnx_ops  # noqa: F401 - importing them registers translations
    from .onnx_graph import translate

    graph = as_graph(net, trace)
    arrays = {name: value.asnumpy() for name, value in graph.parameters.items()}
    model = translate(graph.symbol, arrays, shape, graph.names, INPUT)
    onnx.helper.set_model_props(model, about or {})
    content = model.SerializeToString()
    parity = compare_onnx(net, content, shape, trace)
    if parity is not None and not parity.holds:
        raise UserError(
            f"the ONNX model differs by {parity.largest:.2g} of the largest output, so it was not "
            "written; please report this with the network's name and options"
        )
    write_bytes(path, content)
    return parity


def compare_onnx(
    net: AttentionNet, content: bytes, shape: Tuple[int, int, int], trace: bool = False
) -> Optional[Parity]:
    """The difference of onnxruntime from the net on noise; None where it is not installed."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # newer ones report their use otherwise
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])

    images = noise_images(shape)
    return parity(net, images, session.run(None, {INPUT: images}), trace)


def noise_images(shape: Tuple[int, int, int]) -> np.ndarray:
    """Fixed random images (N, *shape) to compare runtimes on."""
    count = 2 if shape[1] > 128 else 8
    return np.random.RandomState(0).uniform(size=(count, *shape)).astype("float32")


def parity(
    net: AttentionNet, images: np.ndarray, outputs: List[np.ndarray], trace: bool = False
) -> Parity:
    """The difference of the outputs of another runtime from those of the net."""

    def in_mxnet(images: np.ndarray) -> List[np.ndarray]:
        inputs = nd.array(images, ctx=net.device)
        values = net.trace(inputs) if trace else [net(inputs)]
        return [value.asnumpy() for value in flatten_outputs(values)]

    expected = in_mxnet(images)
    errors = _differences(expected, outputs)  # (N,)
    allowed = np.full(len(errors), TOLERANCE)
    if errors.max() > TOLERANCE:
        signs = np.random.RandomState(1).choice([-1, 1], images.shape)
        rounded = images * (1 + 1e-6 * signs).astype("float32")
        allowed += 10 * _differences(expected, in_mxnet(rounded))
    return Parity(float(errors.max()), float(np.median(errors)), bool((errors <= allowed).all()))


def _differences(one: List[np.ndarray], other: List[np.ndarray]) -> np.ndarray:
    """The largest difference in each image, as a share of the largest value of an output: (N,)."""
    shares = [
        np.abs(a - b).reshape(len(a), -1).max(axis=1) / max(np.abs(a).max(), 1e-30)
        for a, b in zip(one, other)
    ]
    return np.max(shares, axis=0)
