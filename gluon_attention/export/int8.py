"""Graphs that compute in integers of 8 bits, for MXNet's oneDNN builds on a CPU.

Their files contain float32 weights, which MXNet quantizes when it loads them.
"""

from __future__ import annotations

import json
from typing import List, NamedTuple, Tuple

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.contrib import quantization

from ..errors import UserError
from ..zoo.attention_net import AttentionNet
from .fusion import load_block, require_onednn, silence_stderr
from .graph import INPUT, Exported

# oneDNN has no product of a mask, which is unsigned, with features, which are signed.
EXCLUDED = ["elemwise_mul"]
NARROW = 16  # inputs below which a layer stays in float32
BATCH = 16


class Change(NamedTuple):
    """The effect of 8 bits on the logits of the calibration images."""

    distance: float  # of all logits, as a share of their norm
    same: float  # share of images with the same class


def quantize(graph: Exported, images: np.ndarray) -> Exported:
    """The graph in 8 bits, with ranges of features calibrated on images, float32 (N, C, H, W)."""
    require_onednn("--int8")
    if not len(images):
        raise UserError("8 bits need images for calibration; there are none")
    auxiliary = set(graph.symbol.list_auxiliary_states())
    arrays = {name: value.as_in_context(mx.cpu()) for name, value in graph.parameters.items()}
    batches = mx.io.NDArrayIter(nd.array(images), batch_size=min(BATCH, len(images)))
    with silence_stderr():
        symbol, arguments, states = quantization.quantize_model_mkldnn(
            graph.symbol,
            {name: value for name, value in arrays.items() if name not in auxiliary},
            {name: value for name, value in arrays.items() if name in auxiliary},
            data_names=(INPUT,),
            label_names=None,
            ctx=mx.cpu(),
            excluded_op_names=EXCLUDED,
            excluded_sym_names=narrow_layers(graph),
            calib_mode="naive",  # the entropy of a histogram clips masks too much
            calib_data=batches,
            num_calib_examples=len(images),
            quantized_dtype="auto",
        )
    return Exported(symbol, graph.names, {**arguments, **states})


def narrow_layers(graph: Exported) -> List[str]:
    """Dense layers with few inputs, such as a location, whose errors do not average out."""
    nodes = json.loads(graph.symbol.tojson())["nodes"]
    names = set()
    for node in nodes:
        if node["op"] == "FullyConnected":
            weight = graph.parameters[nodes[node["inputs"][1][0]]["name"]]
            if weight.shape[1] < NARROW:
                names.add(node["name"])
    return sorted(names)


def compare(net: AttentionNet, files: Tuple[str, str], images: np.ndarray) -> Change:
    """The difference of the logits of a saved quantized graph from those of the net."""
    block, starts = load_block(files), range(0, len(images), BATCH)
    with silence_stderr():
        parts = [block(nd.array(images[k : k + BATCH])) for k in starts]
        quantized = np.concatenate([part.asnumpy() for part in parts])
    parts = [net(nd.array(images[k : k + BATCH], ctx=net.device)) for k in starts]
    logits = np.concatenate([part.asnumpy() for part in parts])
    return Change(
        float(np.linalg.norm(quantized - logits) / max(np.linalg.norm(logits), 1e-30)),
        float((quantized.argmax(axis=1) == logits.argmax(axis=1)).mean()),
    )
