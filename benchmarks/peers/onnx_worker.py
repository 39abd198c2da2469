"""A contestant on ONNX Runtime: our network as `gluon-attention export --onnx` writes it.

The export runs in a process of its own, `onnx_worker.py export CASE FILE`, so that neither MXNet's
memory nor its threads count here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, Optional

import numpy as np
from protocol import Ready, options_of, serve

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INPUT = "data"


def export(case: Dict[str, Any], path: str) -> None:
    """Write the graph of a case with random weights."""
    sys.path.insert(0, ROOT)
    import gluon_attention
    from gluon_attention.export.graph import export_onnx

    import mxnet as mx

    net = gluon_attention.get_model(case["network"], case["classes"], **options_of(case))
    mx.random.seed(0)
    net.initialize(mx.init.Xavier())
    net.trace(mx.nd.zeros((1, *case["shape"])))
    export_onnx(net, path, tuple(case["shape"]))


def setup(case: Dict[str, Any]) -> Ready:
    """Export the network, quantize it for 8 bits, and load it."""
    import onnx
    import onnxruntime

    images = np.random.RandomState(0).normal(size=(case["batch"], *case["shape"]))
    images = images.astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        command = [sys.executable, os.path.abspath(__file__), "export", json.dumps(case), path]
        subprocess.run(command, check=True, stdout=sys.stderr)
        sizes = [int(np.prod(w.dims)) for w in onnx.load(path).graph.initializer]
        if case["dtype"] == "int8":
            path = quantized(path, images[:16], folder)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(steps: int) -> None:
        for _ in range(steps):
            session.run(None, {INPUT: images})

    return Ready(run, sum(sizes), f"onnxruntime {onnxruntime.__version__}")


def quantized(path: str, images: np.ndarray, folder: str) -> str:
    """Path of the graph in 8 bits: ONNX Runtime's own fusion, static quantization per channel, and
    the types that its guide advises for VNNI."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Dict[str, np.ndarray]] = iter([{INPUT: images}])

        def get_next(self) -> Optional[Dict[str, np.ndarray]]:
            return next(self.left, None)

    fused, target = os.path.join(folder, "fused.onnx"), os.path.join(folder, "int8.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = fused
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = dict(activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    quantize_static(fused, target, Images(), per_channel=True, **types)
    return target


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(json.loads(sys.argv[2]), sys.argv[3])
    else:
        serve(setup)
