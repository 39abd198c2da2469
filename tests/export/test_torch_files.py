"""State dicts and modules for PyTorch, and their numbers where it is installed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, Tuple

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.export.torch_files import export_torch, state_dict, torch_module
from gluon_attention.installation import INTERPRETER
from gluon_attention.interop.torch_process import MISSING, torch_python
from gluon_attention.storage.safetensors_file import write_safetensors
from gluon_attention.zoo.attention_net import AttentionNet

import numpy as np
import pytest
from builders import images_of
from mxnet import autograd, init, nd

SLIM = "cifar_residual_attention56_slim"
DEPLOYMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
RAM = dict(patch=4, glimpses=3, widths=(8, 8, 12, 16, 8))
RACNN = dict(classes=5, crops=(32, 40), smallest=(0.4, 0.5))
GLIMPSE = dict(classes=5, patch=16, hidden=12, std=0.1)
TINY = dict(GLIMPSE, backbone="tiny")
CASES: Dict[str, Tuple[str, Dict[str, Any], Tuple[int, int, int]]] = {
    "slim": (SLIM, {}, (3, 32, 32)),
    "gluoncv": (SLIM, dict(mask_fusion="gluoncv"), (3, 32, 40)),
    "channel": (SLIM, dict(mask_activation="channel", attention="naive"), (3, 32, 32)),
    "spatial": (SLIM, dict(mask_activation="spatial", mask="local"), (3, 32, 32)),
    "next": ("cifar_residual_attention56", dict(unit="next"), (3, 16, 16)),
    "imagenet": ("residual_attention56", {}, (3, 64, 64)),
    "features": (SLIM, dict(classes=0), (3, 32, 32)),
    "ram": ("ram_28", RAM, (1, 28, 28)),
    "ram of scales": ("ram_cluttered_60", dict(RAM, channels=3), (3, 40, 30)),
    "ram of pixels": ("ram_28", dict(RAM, retina="pixels", scales=2), (1, 28, 28)),
    "ram of lstm": ("ram_28", dict(RAM, core="lstm", policy="random"), (1, 28, 28)),
    "racnn": ("racnn_mobilenet_v2", RACNN, (3, 48, 48)),
    "racnn of vgg": ("racnn_vgg19", dict(RACNN, shared=True, apn="paper"), (3, 64, 64)),
    "racnn of resnet": ("racnn_vgg19", dict(RACNN, backbone="resnet18_v2", shrink=2), (3, 96, 96)),
    "racnn without APN": ("racnn_detail", dict(locate="activation", crops=(40, 48)), (3, 96, 96)),
    "racnn of tiny": ("racnn_vgg19", dict(RACNN, backbone="tiny", apn="plain"), (3, 32, 32)),
    "racnn of features": ("racnn_vgg19", dict(RACNN, backbone="tiny", classes=0), (3, 32, 40)),
    "glimpse": ("glimpse_resnet50", GLIMPSE, (3, 64, 64)),
    "glimpse of three": (
        "glimpse_mobilenet_v2",
        dict(GLIMPSE, patches=3, start_size=1),
        (3, 80, 64),
    ),
    "glimpse once": ("glimpse_mobilenet_v2", dict(GLIMPSE, glimpses=1, regions=3), (3, 64, 64)),
    "glimpse of tiny": (
        "glimpse_resnet50",
        dict(TINY, location="mirrored", reach=1.0),
        (3, 64, 64),
    ),
    "glimpse of features": (
        "glimpse_resnet50",
        dict(TINY, policy="center", classes=0),
        (3, 64, 64),
    ),
}


def network(kind: str) -> AttentionNet:
    """A random network whose BatchNorm has statistics of its features, and that looks around."""
    name, options, shape = CASES[kind]
    net = get_model(name, **options)
    net.initialize(init.Xavier() if "ram" in name else net.initializer)
    images = images_of(2, shape[1], shape[0])
    net(images)
    for name, parameter in net._collect_params_with_prefix().items():
        if re.search(r"(score|box|fused|\.layers\.[23])\.weight", name) and "backbone" not in name:
            parameter.set_data(nd.random.normal(scale=0.3, shape=parameter.shape))
    with autograd.train_mode():
        for _ in range(3):
            net(images)
    return net


def interpreter(folder: Path, script: str) -> str:
    """A program in place of a Python with PyTorch."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_names_and_arguments() -> None:
    net = network("slim")
    state, module = state_dict(net), torch_module(net)
    assert {"stem.0.weight", "steps.0.bn1.num_batches_tracked", "head.3.bias"} <= set(state)
    assert not [name for name in state if name.endswith(("gamma", "beta"))]
    assert module.arguments["stages"] == [[64, 1, 2, 3, 1], [128, 2, 2, 2, 1], [256, 2, 2, 1, 1]]
    json.dumps(module.arguments)


def test_files_without_pytorch(tmp_path: Path, shell: Any, monkeypatch: Any) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    monkeypatch.setenv(INTERPRETER, interpreter(tmp_path, f"exit {MISSING}"))
    status, out, _ = shell("export", "ram_28", "-o", tmp_path / "x" / "ram", "--torch")
    assert status == 0 and out[-1].startswith("not compared: no PyTorch here")
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert {"ram-torch.safetensors", "torch_ram.py", "ram.json"} <= names
    state = numpy.load_file(str(tmp_path / "x" / "ram-torch.safetensors"))
    assert state["glimpse.what.weight"].shape == (128, 64)


@pytest.mark.parametrize("script", ["exit 1", "echo broken >&2; exit 2"])
def test_a_python_that_fails(script: str, tmp_path: Path, shell: Any, monkeypatch: Any) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.setenv(INTERPRETER, interpreter(tmp_path, script))
    status, _, errors = shell("export", "ram_28", "-o", tmp_path / "x" / "ram", "--torch")
    assert status == 2 and "could not be run by" in errors[0] and len(errors) == 1
    assert not (tmp_path / "x").exists()


def test_refusals(tmp_path: Path, shell: Any) -> None:
    pytest.importorskip("safetensors")
    for options, reason in (
        (dict(boxes="pixels"), "--torch does not support boxes='pixels'"),
        (dict(backbone="densenet121"), "--torch does not support the layer HybridConcurrent"),
        (dict(backbone="squeezenet1.0"), "--torch does not support max pooling with ceil_mode"),
    ):
        with pytest.raises(UserError, match=reason):
            torch_module(get_model("racnn_vgg19", **options))
    with pytest.raises(UserError, match="of the four papers, and this is PatchClassifier"):
        torch_module(get_model("glimpse_resnet50_stage1", backbone="tiny", patch=16))
    status, _, errors = shell("export", "ram_28", "-o", tmp_path / "x", "--torch", "--trace")
    assert status == 2 and errors == ["error: --torch has logits only; leave out --trace"]


@pytest.mark.torch
@pytest.mark.parametrize("kind", CASES)
def test_pytorch_computes_the_same(kind: str, tmp_path: Path) -> None:
    net = network(kind)
    files, parity = export_torch(net, str(tmp_path / "net"), CASES[kind][2], {})
    if parity is None:
        pytest.skip(f"{torch_python()} has no torch, or no safetensors")
    print(kind, parity)
    assert parity.holds and parity.largest < 1e-4
    assert [Path(file).parent for file in files] == [tmp_path] * 2


@pytest.mark.parametrize("kind", ["slim", "ram of lstm", "racnn of tiny", "glimpse of tiny"])
def test_there_and_back(kind: str, tmp_path: Path, shell: Any, monkeypatch: Any) -> None:
    pytest.importorskip("safetensors")
    net, (name, options, shape) = network(kind), CASES[kind]
    about = {"network": json.dumps(net.arguments)}
    monkeypatch.setenv(INTERPRETER, interpreter(tmp_path, f"exit {MISSING}"))
    (file, _), _ = export_torch(net, str(tmp_path / "x"), shape, about)
    assert shell("convert", file, "-o", tmp_path / "y.params")[0] == 0
    document = json.loads((tmp_path / "y.json").read_text())
    assert document["network"] == json.loads(about["network"])
    write_safetensors(file, state_dict(net), {})  # as PyTorch writes it after fine-tuning
    for source in (str(tmp_path / "y.params"), file):
        again = get_model(name, **options)
        load_weights(again, source)
        pairs = zip(*(each._collect_params_with_prefix().values() for each in (net, again)))
        assert all((one.data() == other.data()).min().asscalar() for one, other in pairs)
    with pytest.raises(UserError, match=r"x-torch.safetensors \(PyTorch\) and \(9, "):
        load_weights(get_model(name, **{**options, "classes": 9}), file)


@pytest.mark.torch
def test_the_page_works(tmp_path: Path, shell: Any) -> None:
    status, out, _ = shell("export", "ram_28", "-o", tmp_path / "ram", "--torch")
    assert status == 0
    if out[-1].startswith("not compared"):
        pytest.skip(out[-1])
    assert out[-1].startswith("PyTorch differs by")
    images = images_of(1, 28, 1)
    np.save(str(tmp_path / "image.npy"), images.asnumpy())
    page = DEPLOYMENT.read_text(encoding="utf-8").split("## In PyTorch")[1]
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    script = f"import numpy\nimage, classes = numpy.load('image.npy'), range(10)\n{block}"
    process = subprocess.run(
        [torch_python(), "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    logits = get_model("ram_28", pretrained=True)(images)
    assert int(process.stdout) == int(logits.argmax(axis=1).asscalar())
