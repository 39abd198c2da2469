"""What every export shares: names in its file, and the check of another runtime's outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List

from gluon_attention import UserError
from gluon_attention.export import graph
from gluon_attention.export.fusion import silence_stderr
from gluon_attention.export.graph import Parity, as_graph, export_onnx, parity, save

import mxnet as mx
import numpy as np
import pytest
from builders import small_ram
from mxnet import nd


class Sums:
    """Stands for a net whose logits are the sum of an image; its trace has a second output."""

    device = mx.cpu()

    def __call__(self, images: nd.NDArray) -> nd.NDArray:
        return images.sum(axis=(2, 3))

    def trace(self, images: nd.NDArray) -> List[Any]:
        return [self(images), [images.max(axis=(2, 3))]]


def test_one_wrong_image_of_one_output_is_enough() -> None:
    images = np.linspace(0.5, 1, 3, dtype="f4").reshape(3, 1, 1, 1)
    exact = images.reshape(3, 1)
    wrong = exact + np.array([[0], [0.01], [0]], "f4")
    same = Parity(0.0, 0.0, True)
    assert parity(Sums(), images, [exact]) == same
    assert parity(Sums(), images, [exact, wrong]) == same  # logits alone
    assert parity(Sums(), images, [exact, exact], trace=True) == same
    for outputs in ([exact, wrong], [wrong, exact], [exact, 2 * exact - wrong]):
        result = parity(Sums(), images, outputs, trace=True)
        assert result.largest == pytest.approx(0.01, rel=1e-4)
        assert result.typical == 0 and not result.holds
    assert parity(Sums(), 0 * images, [0 * exact]) == same  # shares of nothing


def test_a_model_that_differs_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("onnx")
    traces, net = [], small_ram()

    def compare(net: Any, content: bytes, shape: Any, trace: bool = False) -> Parity:
        traces.append(trace)
        return Parity(0.5, 0.0, False)

    monkeypatch.setattr(graph, "compare_onnx", compare)
    with pytest.raises(UserError, match="differs by 0.5 of the largest output"):
        export_onnx(net, str(tmp_path / "x.onnx"), (1, 28, 28), trace=True)
    assert traces == [True] and not list(tmp_path.iterdir())


def test_statistics_are_auxiliary_in_a_file(tmp_path: Path) -> None:
    exported = as_graph(small_ram())
    exported = exported._replace(symbol=mx.sym.BatchNorm(mx.sym.var("data"), name="bn"))
    names = ("bn_gamma", "bn_beta", "bn_moving_mean", "bn_moving_var")
    exported = exported._replace(parameters={name: nd.ones(2) for name in names})
    files = save(exported, str(tmp_path / "x"))
    kinds = ("arg", "arg", "aux", "aux")
    assert set(nd.load(files[1])) == {f"{kind}:{name}" for kind, name in zip(kinds, names)}


def test_stderr_is_silent_inside_alone(capfd: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with silence_stderr():
        os.write(2, b"inside\n")
    os.write(2, b"outside\n")
    assert capfd.readouterr().err == "outside\n"
    assert len(os.listdir("/proc/self/fd")) == before
