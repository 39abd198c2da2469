"""Graphs in 8 bits: what is left out, and how little the answers move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gluon_attention import UserError, get_model
from gluon_attention.datasets import mnist
from gluon_attention.export import int8
from gluon_attention.export.graph import as_graph, save
from gluon_attention.export.int8 import compare, narrow, quantize

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon import nn

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def test_masks_stay_in_32_bits_and_answers_where_they_were(tmp_path: Path, capfd: object) -> None:
    net = get_model("cifar_residual_attention56_slim")
    net.initialize(net.initializer)
    images = np.random.uniform(size=(8, 3, 16, 16)).astype("float32")
    net(nd.array(images[:1]))
    made = quantize(as_graph(net), images)
    nodes = json.loads(made.symbol.tojson())["nodes"]
    ops = [node["op"] for node in nodes]
    assert ops.count("elemwise_mul") == 3 and "_contrib_quantized_elemwise_add" in ops
    assert sum(op == "_sg_mkldnn_conv" for op in ops) > 100
    change = compare(net, tuple(save(made, str(tmp_path / "net"))), images)
    assert change.distance < 0.1
    assert capfd.readouterr().err == ""  # MXNet would tell of every layer


def test_locations_are_read_in_32_bits(tmp_path: Path) -> None:
    net = get_model("ram_28", pretrained=True)
    graph = as_graph(net)
    (read,) = narrow(graph)
    assert read.endswith("glimpse_where_fwd")
    splits = mnist(str(SAMPLE / "mnist"), download=False)
    images = splits.test.first(64)
    made = quantize(graph, images)
    parts = (read.replace("fwd", "weight"), read.replace("glimpse_where_fwd", "answer_weight"))
    kept = [name in made.parameters for name in parts]
    assert kept == [True, False]  # the other one is in 8 bits, under another name
    change = compare(net, tuple(save(made, str(tmp_path / "ram"))), images)
    assert change.same > 0.9


def test_a_change_is_a_share_of_the_logits_and_of_the_images(monkeypatch: Any) -> None:
    images = np.random.randn(20, 3).astype("float32")
    theirs = images.copy()
    theirs[:5] = 2 * np.roll(images[:5], 1, axis=1)  # another answer
    parts = iter([theirs[:16], theirs[16:]])
    monkeypatch.setattr(int8, "load_block", lambda files: lambda given: nd.array(next(parts)))
    net = nn.HybridLambda(lambda F, x: x)
    net.device = mx.cpu()
    change = int8.compare(net, ("", ""), images)
    wanted = np.linalg.norm(theirs - images) / np.linalg.norm(images)
    assert change == pytest.approx((wanted, 0.75), rel=1e-5)


def test_no_images() -> None:
    net = get_model("ram_28", pretrained=True)
    with pytest.raises(UserError, match="there are none"):
        quantize(as_graph(net), np.zeros((0, 1, 28, 28), "float32"))


def test_a_build_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: False)
    with pytest.raises(UserError, match="--int8 needs oneDNN, which this build of MXNet lacks"):
        quantize(as_graph(get_model("ram_28", pretrained=True)), np.zeros((1, 1, 28, 28)))
