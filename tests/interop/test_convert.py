"""`gluon-attention convert`: a file of weights, what stands beside it, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop import convert as conversion
from gluon_attention.interop.convert import convert, difference
from gluon_attention.interop.tensors import Storage, Tensor

import numpy as np
import pytest
from foreign_states import arrays_of, import_gluoncv, with_statistics
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


def document_of(target: Path) -> Dict[str, Any]:
    return json.loads(target.with_suffix(".json").read_text())


def test_the_written_files_make_the_same_network(
    torch_files: Any, tmp_path: Path, shell: Any
) -> None:
    source = torch_files.save(tmp_path / "ckpt.pth.tar", {"model_state": ram_state()})
    target = tmp_path / "out" / "ram.params"
    words = ("convert", source, "RAM_28", "-o", target, "--options", "glimpses=4")
    status, out, err = shell(*words)
    assert (status, err) == (0, []) and "all 18 parameters" in out[1] and "from 20" in out[1]
    network, data = document_of(target)["network"], document_of(target)["data"]
    assert network["name"] == "ram_28" and network["classes"] == 7
    assert data == dict(mean=[0.1307], std=[0.3081])
    assert "get_model('ram_28', classes=7" in out[2] and "glimpses=4" in out[2]
    options = dict(retina="pixels", glimpses=4)
    net, other = (get_model("ram_28", 7, **options) for _ in range(2))
    load_weights(net, str(target))
    load_weights(other, source)
    images = nd.random.normal(shape=(3, 1, 28, 28))
    np.testing.assert_array_equal(net(images).asnumpy(), other(images).asnumpy())
    report = json.loads("".join(shell(*words, "--json")[1]))
    assert report["tensors"] == 20 and report["unused"] == [] and report["parameters"] == 18


def test_assumed_options_are_printed(torch_files: Any, tmp_path: Path, shell: Any) -> None:
    source, target = torch_files.save(tmp_path / "x.pth", ram_state()), tmp_path / "x.params"
    out = shell("convert", source, "ram_28", "-o", target, "--options", "glimpses=4")[1]
    assert "std=0.05" in out[3] and "patch=8" in out[3] and "glimpses" not in out[3]
    assert len(out) == 4
    assert document_of(target)["network"]["options"]["std"] == 0.05
    shell("convert", source, "ram_28", "-o", target, "--options", "std=0.17")
    assert document_of(target)["network"]["options"]["std"] == 0.17
    shell("convert", source, "ram_translated_60", "-o", target, "--options", "patch=8,scales=1")
    assert document_of(target)["network"]["options"]["start"] == "uniform"
    state = {**ram_state(), "sensor.fc1.weight": np.ones((128, 3 * 144), "f4")}
    source = torch_files.save(tmp_path / "x.pth", state)
    assert "glimpse_scale" in shell("convert", source, "ram_translated_60", "-o", target)[1][4]


def test_statistics_of_grey_digits_are_not_given_to_coloured_images(
    torch_files: Any, tmp_path: Path, shell: Any
) -> None:
    state = {**ram_state(), "sensor.fc1.weight": np.ones((128, 3 * 64), "f4")}
    source, target = torch_files.save(tmp_path / "x.pth", state), tmp_path / "x.params"
    assert shell("convert", source, "ram_28", "-o", target, "--options", "channels=3")[0] == 0
    assert "data" not in document_of(target)


def test_gluoncv_networks_keep_their_normalisation(tmp_path: Path, shell: Any) -> None:
    source, target = tmp_path / "source.params", tmp_path / "target.params"
    network = import_gluoncv().model_zoo.get_model("cifar_residualattentionnet56")
    network.initialize()
    network(nd.zeros((1, 3, 32, 32)))
    network.save_parameters(str(source))
    for name in ("cifar_residual_attention56", "cifar_residualattentionnet56"):
        assert shell("convert", source, name, "-o", target)[0] == 0
        data = document_of(target)["data"]
        assert data == dict(mean=[0.4914, 0.4822, 0.4465], std=[0.2023, 0.1994, 0.2010])
        source, target = target, tmp_path / "again.params"  # the name alone tells, too


def test_gluoncv_networks_keep_their_masks(tmp_path: Path, shell: Any) -> None:
    network = import_gluoncv().model_zoo.get_model("cifar_residualattentionnet56")
    state = arrays_of(with_statistics(network, 2, 3, 32, 32))
    source = str(tmp_path / "source.params")
    nd.save(source, {name: nd.array(array) for name, array in state.items()})
    words = ("convert", source, "cifar_residual_attention56", "-o", tmp_path / "x.params")
    status, _, err = shell(*words, "--options", "mask_fusion=none")
    assert status == 2 and "mask_fusion='gluoncv'" in err[0]


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
    "kind, fact",
    [
        ("absent", "is not a file; name a file of weights"),
        ("itself", "choose another to write"),
        ("json", "must not end in .json"),
        ("other", "and cifar_residual_attention92 is no such network"),
        ("text", "of another kind; name a whole file of weights"),
        ("image", "holds no named parameters"),
        ("cut", "is cut off or damaged"),
        ("code", "holds code: Python's own reader would call os.system('rm'); nothing"),
        ("unknown", "checkpoint of an unknown network and begins with 'a.weight'"),
        ("lacking", "it has no 'rnn.h2h.weight'"),
        ("folded", "it has no matrix 'classifier.fc.weight'"),
        ("python", "could not be run by"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    kind: str, fact: str, torch_files: Any, tmp_path: Path, shell: Any, monkeypatch: Any
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
    status, out, err = shell("convert", source, name, "-o", target, *more)
    assert status == 2 and out == [] and len(err) == 1 and fact in err[0]
    assert kind in ("python", "itself") or not target.exists()


def test_what_the_caller_says_is_not_replaced_by_the_file(torch_files: Any, tmp_path: Path) -> None:
    source = torch_files.save(tmp_path / "ram.json", ram_state())
    with pytest.raises(UserError, match="is the source, too"):
        convert(source, "ram_28", str(tmp_path / "ram.params"))
    with pytest.raises(UserError, match=r"is \(7, 256\) .* \(5, 256\) in the net"):
        convert(source, "ram_28", str(tmp_path / "x.params"), classes=5)
    converted = convert(source, "ram_28", str(tmp_path / "x.params"), options={"glimpses": 6})
    assert set(converted.arguments) == {"name", "classes", "retina", "std"}  # no defaults


@pytest.mark.parametrize("scales", [False, True])
def test_outputs_are_compared_in_the_colours_and_shape_of_the_source(
    monkeypatch: Any, scales: bool
) -> None:
    """The net sees blue last and the source sees it first; the net answers by the last colour."""

    def outputs(module: str, images: np.ndarray, folder: str) -> np.ndarray:
        assert np.load(f"{folder}/weights.npz").files == ["w"]
        expected = images[:, 0].mean(axis=(1, 2)).reshape(2, 1) + [[0.5], [0.25]]
        return expected[:, None] if scales else expected

    class Net:
        def trace(self, images: nd.NDArray) -> Any:
            logits = images[:, -1].mean(axis=(1, 2)).reshape((2, 1))
            return SimpleNamespace(logits=logits, scale_logits=logits.expand_dims(1))

    def tensor(code: str) -> Tensor:
        return Tensor(Storage(code, 1, lambda: bytes(8), "<"), 0, (1,), (1,))

    monkeypatch.setattr(conversion, "read", lambda source: {"w": tensor("f4"), "n": tensor("i8")})
    monkeypatch.setattr(conversion, "format_of", lambda tensors: SimpleNamespace(bgr=True))
    monkeypatch.setattr(conversion, "torch_outputs", outputs)
    converted = SimpleNamespace(arguments={"name": "racnn_detail"}, net=Net())
    assert difference(converted, "x", "m:c")["difference"] == pytest.approx(0.5)
    monkeypatch.setattr(conversion, "torch_outputs", lambda *_: np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"m:c returns \(2, 3\), and the net \(2, 1\)"):
        difference(converted, "x", "m:c")
