"""Graphs in 8 bits: the layers that stay in float32, and how little the logits move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gluon_attention import UserError, get_model
from gluon_attention.datasets import mnist
from gluon_attention.export import int8
from gluon_attention.export.graph import as_graph, save
from gluon_attention.export.int8 import compare, narrow_layers, quantize

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon import nn

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def test_products_with_masks_stay_in_float32(tmp_path: Path, capfd: Any) -> None:
    net = get_model("cifar_residual_attention56_slim")
    net.initialize(net.initializer)
    images = np.random.uniform(size=(8, 3, 16, 16)).astype("float32")
    net(nd.array(images[:1]))
    graph = quantize(as_graph(net), images)
    nodes = json.loads(graph.symbol.tojson())["nodes"]
    ops = [node["op"] for node in nodes]
    assert ops.count("elemwise_mul") == 3 and "_contrib_quantized_elemwise_add" in ops
    assert sum(op == "_sg_mkldnn_conv" for op in ops) > 100
    change = compare(net, tuple(save(graph, str(tmp_path / "net"))), images)
    assert change.distance < 0.1
    assert capfd.readouterr().err == ""  # no log of MXNet's


def test_a_layer_that_reads_a_location_stays_in_float32(tmp_path: Path) -> None:
    net = get_model("ram_28", pretrained=True)
    graph = as_graph(net)
    (narrow,) = narrow_layers(graph)
    assert narrow.endswith("glimpse_where_fwd")
    images = mnist(str(SAMPLE / "mnist"), download=False).test.first(64)
    quantized = quantize(graph, images)
    head = narrow.replace("glimpse_where_fwd", "head_weight")
    assert narrow.replace("fwd", "weight") in quantized.parameters
    assert head in graph.parameters and head not in quantized.parameters  # renamed, in 8 bits
    change = compare(net, tuple(save(quantized, str(tmp_path / "ram"))), images)
    assert change.same > 0.9


def test_compare_gives_shares_of_the_norm_and_of_the_images(monkeypatch: Any) -> None:
    images = np.random.randn(20, 3).astype("float32")
    logits = images.copy()
    logits[:5] = 2 * np.roll(images[:5], 1, axis=1)  # another class
    parts = iter([logits[:16], logits[16:]])
    monkeypatch.setattr(int8, "load_block", lambda files: lambda batch: nd.array(next(parts)))
    net = nn.HybridLambda(lambda F, x: x)
    net.device = mx.cpu()
    change = int8.compare(net, ("", ""), images)
    distance = np.linalg.norm(logits - images) / np.linalg.norm(images)
    assert change == pytest.approx((distance, 0.75), rel=1e-5)


def test_calibration_needs_images() -> None:
    net = get_model("ram_28", pretrained=True)
    with pytest.raises(UserError, match="there are none"):
        quantize(as_graph(net), np.zeros((0, 1, 28, 28), "float32"))


def test_a_build_without_onednn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: False)
    with pytest.raises(UserError, match="--int8 needs oneDNN"):
        quantize(as_graph(get_model("ram_28", pretrained=True)), np.zeros((1, 1, 28, 28)))
