"""Outputs of converted networks against PyTorch itself; GLUON_ATTENTION_TORCH names a Python."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Tuple

from gluon_attention import get_model
from gluon_attention.interop.checkpoints import format_of
from gluon_attention.interop.load import load_backbone, load_weights, read
from gluon_attention.zoo.backbones import backbone

import numpy as np
import pytest
from mxnet import nd

pytestmark = pytest.mark.torch
REFERENCE = Path(__file__).resolve().parents[1] / "reference"
FILES = ("state", "parallel", "whole", "old")  # ways in which PyTorch saves the same weights
BACKBONES = {"resnet50": "resnet50_v1.5", "mobilenet": "mobilenetv2_1.0", "vgg19_bn": "vgg19_bn"}
NETWORKS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "residual56": ("residual_attention56", {}),
    "residual92": ("residual_attention92", {}),
    "residual92_448": ("residual_attention92_448", {}),
    "residual92_32": ("cifar_residual_attention92", {}),
    "ram": ("ram_28", {}),
    "ram_scales": ("ram_translated_60", {}),
    "glimpse": ("glimpse_resnet50", {}),
    "racnn_mobilenet_small": ("racnn_mobilenet_v2", dict(crops=(64, 64))),
    "racnn_vgg_small": ("racnn_vgg19", dict(crops=(32, 32))),
}


def write_checkpoints(kind: str, folder: Path) -> Tuple[nd.NDArray, np.ndarray]:
    """Checkpoints in a folder; images, and PyTorch's outputs for them in double precision."""
    python = os.environ.get("GLUON_ATTENTION_TORCH", "python3")
    script = [python, str(REFERENCE / "write_checkpoints.py"), kind, str(folder)]
    environment = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(folder)}
    subprocess.run(script, check=True, env={**os.environ, **environment})
    return nd.array(np.load(folder / "images.npy")), np.load(folder / "outputs.npy")


def assert_near(outputs: nd.NDArray, expected: np.ndarray, record: Any) -> None:
    """Equal but for the rounding of single precision, which random deep nets amplify."""
    difference = float(abs(outputs.asnumpy() - expected).max())
    record("difference", difference)
    print(f"largest difference {difference:.2g} of {abs(expected).max():.2g}")
    assert difference < 2e-4 * max(1, abs(expected).max())


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks(kind: str, tmp_path: Path, record_property: Any) -> None:
    images, expected = write_checkpoints(kind, tmp_path)
    name, more = NETWORKS[kind]
    for file in FILES:
        tensors = read(str(tmp_path / f"{file}.pt"))
        form = format_of(tensors)
        net = get_model(name, **{**form.options(tensors), **more})
        report = load_weights(net, str(tmp_path / f"{file}.pt"))
        assert report.tensors == len(tensors)
        trace = net.trace(images.flip(axis=1) if form.bgr else images)
        outputs = trace.scale_logits if expected.ndim == 3 else trace.logits
        assert_near(outputs, expected, record_property)


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbones(kind: str, tmp_path: Path, record_property: Any) -> None:
    images, expected = write_checkpoints(kind, tmp_path)
    for file in FILES:
        net = backbone(BACKBONES[kind])
        load_backbone(net, str(tmp_path / f"{file}.pt"))
        assert_near(net(images), expected, record_property)


def test_convert_compares(tmp_path: Path, monkeypatch: Any, shell: Any) -> None:
    write_checkpoints("ram", tmp_path)
    monkeypatch.chdir(REFERENCE)
    (tmp_path / "mine.py").write_text(
        "import write_checkpoints\n\ndef ram():\n    return write_checkpoints.KINDS['ram'][0]()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    words: List[str] = ["convert", str(tmp_path / "whole.pt"), "ram_28", "--json"]
    status, out, _ = shell(*words, "-o", tmp_path / "x.params", "--compare", "mine:ram")
    assert status == 0 and json.loads(out[0])["difference"] < 1e-4
