"""Graphs of whole numbers of 8 bits, for MXNet's oneDNN builds on a CPU."""

from __future__ import annotations

import json
import logging
from typing import List, NamedTuple, Tuple

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.contrib import quantization

from ..errors import UserError
from ..zoo.attention_net import AttentionNet
from .fusion import load_block, need_onednn, silence_stderr
from .graph import INPUT, Exported

# oneDNN has no product of a mask, which has no sign, with features, which have one.
EXCLUDED = ["elemwise_mul"]
NARROW = 16
BATCH = 16


class Change(NamedTuple):
    """What the numbers of 8 bits did to the answers on the calibration images."""

    distance: float  # of all logits, as a share of their length
    same: float  # share of images with the same answer


def quantize(graph: Exported, images: np.ndarray) -> Exported:
    """The graph with ranges of its features as they are on some images, float32 (N, C, H, W)."""
    need_onednn("--int8")
    if not len(images):
        raise UserError("8 bits need images that show how large the features are; there are none")
    auxiliary = set(graph.symbol.list_auxiliary_states())
    given = {name: value.as_in_context(mx.cpu()) for name, value in graph.parameters.items()}
    batches = mx.io.NDArrayIter(nd.array(images), batch_size=min(BATCH, len(images)))
    with silence_stderr():
        symbol, arguments, states = quantization.quantize_model_mkldnn(
            graph.symbol,
            {name: value for name, value in given.items() if name not in auxiliary},
            {name: value for name, value in given.items() if name in auxiliary},
            data_names=(INPUT,),
            label_names=None,
            ctx=mx.cpu(),
            excluded_op_names=EXCLUDED,
            excluded_sym_names=narrow(graph),
            calib_mode="naive",  # on masks the entropy of a histogram cuts too much
            calib_data=batches,
            num_calib_examples=len(images),
            quantized_dtype="auto",
            logger=logging.getLogger(__name__),
        )
    return Exported(symbol, graph.names, {**arguments, **states})


def narrow(graph: Exported) -> List[str]:
    """Layers that read a few numbers, such as a location: what 8 bits lose there is not made up."""
    nodes = json.loads(graph.symbol.tojson())["nodes"]
    found = set()
    for node in nodes:
        if node["op"] == "FullyConnected":
            weight = graph.parameters[nodes[node["inputs"][1][0]]["name"]]
            if weight.shape[1] < NARROW:
                found.add(node["name"])
    return sorted(found)


def compare(net: AttentionNet, files: Tuple[str, str], images: np.ndarray) -> Change:
    """What files of a quantized graph answer, next to the net."""
    block, starts = load_block(files), range(0, len(images), BATCH)
    with silence_stderr():
        found = [block(nd.array(images[k : k + BATCH])) for k in starts]
        theirs = np.concatenate([part.asnumpy() for part in found])
    parts = [net(nd.array(images[k : k + BATCH], ctx=net.device)) for k in starts]
    ours = np.concatenate([part.asnumpy() for part in parts])
    return Change(
        float(np.linalg.norm(theirs - ours) / max(np.linalg.norm(ours), 1e-30)),
        float((theirs.argmax(axis=1) == ours.argmax(axis=1)).mean()),
    )
