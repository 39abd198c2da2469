"""Fused layers: the same logits from fewer operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

from gluon_attention import UserError, get_model
from gluon_attention.__main__ import main
from gluon_attention.export.fusion import fuse, load_block
from gluon_attention.export.graph import as_graph, save

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("cifar_residual_attention56_slim", (3, 32, 32), {}),
        ("racnn_mobilenet_v2", (3, 64, 64), dict(crops=(32,), backbone="tiny")),
        ("ram_28", (1, 28, 28), {}),
    ],
)
def test_logits_stay_the_same_with_fewer_operators(
    name: str, shape: Tuple[int, int, int], options: Dict[str, Any], tmp_path: Path, capfd: Any
) -> None:
    net = get_model(name, **options)
    net.initialize(net.initializer)
    images = nd.random.uniform(shape=(3, *shape))
    net.trace(images)
    graph = as_graph(net)
    fused = fuse(graph)
    block = load_block(tuple(save(fused, str(tmp_path / "net"))))
    expected = net(images).asnumpy()
    np.testing.assert_allclose(block(images).asnumpy(), expected, atol=1e-5 * abs(expected).max())
    fewer, all_nodes = (json.loads(g.symbol.tojson())["nodes"] for g in (fused, graph))
    assert sum(n["op"] != "null" for n in fewer) < sum(n["op"] != "null" for n in all_nodes)
    assert capfd.readouterr().err == ""  # no log of MXNet's


def test_export_writes_a_fused_graph(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", "ram_28", "-o", str(tmp_path / "ram"), "--fused"])
    assert stop.value.code == 0
    assert (tmp_path / "ram-fused-symbol.json").exists()
    assert "ram-fused-0000.params" in capsys.readouterr().out


def test_a_build_without_onednn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: False)
    with pytest.raises(UserError, match="--fused needs oneDNN"):
        fuse(as_graph(get_model("ram_28", pretrained=True)))
