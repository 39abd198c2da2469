"""`gluon-attention convert`: a file of weights, what stands beside it, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict

from gluon_attention import get_model, load_weights
from gluon_attention.__main__ import main

import numpy as np
import pytest
from mxnet import nd

State = Dict[str, np.ndarray]


def ram_state() -> State:
    shapes = {
        **{"sensor.fc1": (128, 64), "sensor.fc2": (128, 2), "sensor.fc3": (256, 128)},
        **{"sensor.fc4": (256, 128), "rnn.i2h": (256, 256), "rnn.h2h": (256, 256)},
        **{"locator.fc": (128, 256), "locator.fc_lt": (2, 128)},
        **{"classifier.fc": (7, 256), "baseliner.fc": (1, 256)},
    }
    state = {
        f"{name}.weight": np.random.randn(*shape).astype("f4") for name, shape in shapes.items()
    }
    return {**state, **{f"{n}.bias": np.ones(s[0], "f4") for n, s in shapes.items()}}


def call(capsys: Any, *words: Any) -> Any:
    """Exit status, lines of output and of errors."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out.splitlines(), shown.err.splitlines()


def test_convert_writes_what_a_network_is_made_from(
    torch_files: Any, tmp_path: Path, capsys: Any
) -> None:
    source = torch_files.save(tmp_path / "ckpt.pth.tar", {"model_state": ram_state()})
    target = tmp_path / "out" / "ram.params"
    words = ("convert", source, "RAM_28", "-o", target, "--options", "glimpses=4")
    status, out, err = call(capsys, *words)
    assert (status, err) == (0, []) and "all 18 parameters" in out[1]
    about = json.loads(target.with_suffix(".json").read_text())
    assert about["network"]["name"] == "ram_28" and about["network"]["classes"] == 7
    assert about["data"] == dict(mean=[0.1307], std=[0.3081])  # what it was trained with
    assert "get_model('ram_28', classes=7" in out[2] and "glimpses=4" in out[2]
    net = get_model("ram_28", 7, retina="pixels", glimpses=4)
    load_weights(net, str(target))
    other = get_model("ram_28", 7, retina="pixels", glimpses=4)
    load_weights(other, source)
    images = nd.random.normal(shape=(3, 1, 28, 28))
    np.testing.assert_array_equal(net(images).asnumpy(), other(images).asnumpy())
    told = json.loads("".join(call(capsys, *words, "--json")[1]))
    assert told["tensors"] == 20 and told["unused"] == [] and told["parameters"] == 18


def test_what_gluoncv_trained_keeps_its_normalisation(tmp_path: Path, capsys: Any) -> None:
    import gluoncv

    source, target = tmp_path / "theirs.params", tmp_path / "ours.params"
    theirs = gluoncv.model_zoo.get_model("cifar_residualattentionnet56")
    theirs.initialize()
    theirs(nd.zeros((1, 3, 32, 32)))
    theirs.save_parameters(str(source))
    for name in ("cifar_residual_attention56", "cifar_residualattentionnet56"):
        assert call(capsys, "convert", source, name, "-o", target)[0] == 0
        data = json.loads(target.with_suffix(".json").read_text())["data"]
        assert data == dict(mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.2010])
        source, target = target, tmp_path / "again.params"  # the name alone tells, too


def spoiled(kind: str, torch_files: Any) -> State:
    """A checkpoint of RAM, or what is in its place."""
    state = ram_state()
    if kind == "lacking":
        del state["rnn.h2h.weight"]
    if kind == "folded":
        state["classifier.fc.weight"] = state["classifier.fc.weight"].ravel()
    others = {
        "code": {"a": torch_files.call("os.system", "rm")},
        "unknown": {"a.weight": np.ones((2, 2), "f4")},
    }
    return others.get(kind, state)


@pytest.mark.parametrize(
    "kind, sentence",
    [
        ("absent", "is not a file; name a file of weights"),
        ("itself", "choose another to write"),
        ("json", "must not end in .json"),
        ("other", "and cifar_residual_attention92 is no such network"),
        ("text", "of another kind; name a whole file of weights"),
        ("image", "holds no named parameters"),
        ("cut", "is cut off or damaged"),
        ("code", "holds code: to read it as Python does would call os.system('rm'); nothing"),
        ("unknown", "checkpoint of no network known here and begins with 'a.weight'"),
        ("lacking", "it has no 'rnn.h2h.weight'"),
        ("folded", "it has no matrix 'classifier.fc.weight'"),
        ("python", "could not be run by"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    kind: str, sentence: str, torch_files: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("GLUON_ATTENTION_TORCH", "/bin/false")
    source = tmp_path / "x"
    torch_files.save(source, spoiled(kind, torch_files))
    contents = {"text": b"two words\n" * 9, "image": b"\x89PNG\r\n\x1a\n" + bytes(99)}
    contents["cut"] = source.read_bytes()[:5000]
    source.write_bytes(contents.get(kind, source.read_bytes()))
    if kind == "absent":
        os.remove(source)
    name = "cifar_residual_attention92" if kind == "other" else "ram_28"
    target = source if kind == "itself" else tmp_path / ("y.json" if kind == "json" else "y")
    more = ["--compare", "a:b"] if kind == "python" else []
    status, out, err = call(capsys, "convert", source, name, "-o", target, *more)
    assert status == 2 and out == [] and len(err) == 1 and sentence in err[0]
    assert kind in ("python", "itself") or not target.exists()
