"""`.safetensors` files in and out, and damaged ones."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from gluon_attention import UserError, get_model, load_weights, transform_of
from gluon_attention.commands.open_model import open_model
from gluon_attention.interop.load import read
from gluon_attention.storage.safetensors_file import (
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from gluon_attention.zoo.pretrained import find_weights

import numpy as np
import pytest
from builders import images_of

OPTIONS = dict(patch=4, glimpses=2, widths=(8, 8, 8, 8, 8))


def file_of(
    folder: Path, header: Any, data: bytes = bytes(16), length: Optional[int] = None
) -> str:
    """A file of a header, as JSON or as text, and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    length = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + text + data)
    return str(path)


def tensor(begin: int, end: int, *shape: int, dtype: str = "F32") -> Dict[str, Any]:
    return dict(dtype=dtype, shape=shape, data_offsets=[begin, end])


def test_there_and_back(tmp_path: Path, shell: Any) -> None:
    pytest.importorskip("safetensors")
    first, second = tmp_path / "ram.safetensors", tmp_path / "again.params"
    assert shell("convert", "ram_28", "-o", first)[0] == 0
    assert list(tmp_path.iterdir()) == [first]  # it holds its description
    assert shell("convert", first, "-o", second)[0] == 0
    model, shipped = open_model(str(first)), open_model("ram_28")
    assert model[1:5] == shipped[1:5]
    assert transform_of(str(first)).view == shipped.view
    original = read(find_weights("ram_28")["file"])
    for file in (first, second):
        arrays = read(str(file))
        assert set(arrays) == set(original)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.asnumpy(), original[name].asnumpy())
    document = json.loads((tmp_path / "again.json").read_text())
    assert document["network"]["name"] == "ram_28"
    assert document["data"]["source"] == {"name": "mnist", "options": {"task": "28"}}
    images = images_of(2, 28, 1)
    net = get_model("ram_28")
    load_weights(net, str(first))
    assert (net(images) == shipped.net(images)).min().asscalar()


def test_options_are_kept(tmp_path: Path, shell: Any) -> None:
    pytest.importorskip("safetensors")
    net = get_model("ram_28", classes=3, **OPTIONS)
    net.initialize()
    net.save_parameters(str(tmp_path / "x.params"))
    network = dict(name="ram_28", classes=3, options=OPTIONS)
    document = dict(network=network, data=dict(classes=["a", "b", "c"]))
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert shell("convert", tmp_path / "x.params", "-o", tmp_path / "y.safetensors")[0] == 0
    model = open_model(str(tmp_path / "y.safetensors"))
    assert model.net.arguments == net.arguments and list(model.classes) == ["a", "b", "c"]


def test_other_packages_read_it(tmp_path: Path, shell: Any) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    shell("convert", "ram_28", "-o", tmp_path / "x.safetensors")
    arrays = numpy.load_file(str(tmp_path / "x.safetensors"))
    expected = read(find_weights("ram_28")["file"])
    np.testing.assert_array_equal(arrays["body.head.bias"], expected["body.head.bias"].asnumpy())


def test_brain_floats_of_another_origin(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    values = np.array([1.5, -2.0, 0.25, 64.0], "float32")
    halves = (values.view("u4") >> 16).astype("u2")
    arrays = read(file_of(tmp_path, {"a": tensor(0, 8, 2, 2, dtype="BF16")}, halves.tobytes()))
    np.testing.assert_array_equal(arrays["a"].array(), values.reshape(2, 2))
    with pytest.raises(UserError, match="checkpoint of an unknown network"):
        load_weights(get_model("ram_28"), str(tmp_path / "x.safetensors"))


DAMAGED: Dict[str, List[Any]] = {
    "huge header": [{"a": tensor(0, 16, 4)}, bytes(16), 2**63],
    "header beyond the end": [{"a": tensor(0, 16, 4)}, bytes(16), 1000],
    "overlap": [{"a": tensor(0, 8, 2), "b": tensor(4, 16, 3)}],
    "hole": [{"a": tensor(0, 4, 1), "b": tensor(8, 16, 2)}],
    "beyond the end": [{"a": tensor(0, 32, 8)}],
    "backwards": [{"a": tensor(16, 0, 4)}],
    "huge shape": [{"a": tensor(0, 16, 2**62, 4)}],
    "negative": [{"a": tensor(0, 16, -4)}],
    "nested": [b"{" * 100_000],
    "cut": [b'{"a":'],
    "metadata": [{"a": tensor(0, 16, 4), "__metadata__": {"x": 5}}],
    "nothing": [{}, b""],
    "type": [{"a": tensor(0, 16, 16, dtype="F8_E4M3")}],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused(kind: str, tmp_path: Path, shell: Any) -> None:
    pytest.importorskip("safetensors")
    file = file_of(tmp_path, *DAMAGED[kind])
    with pytest.raises(UserError) as refused:
        read(file)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 400
    status, _, errors = shell("convert", file, "ram_28", "-o", tmp_path / "y.safetensors")
    assert status == 2 and len(errors) == 1 and not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("network", ["{", "[1]", '{"name": 5}'])
def test_metadata_of_the_wrong_kind(network: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    header = {"a": tensor(0, 16, 4), "__metadata__": dict(network=network)}
    with pytest.raises(UserError, match="whole JSON|must be"):
        open_model(file_of(tmp_path, header))


def test_arrays_keep_their_shapes(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    arrays = {"columns": np.arange(6, dtype="f4").reshape(2, 3).T, "scalar": np.array(7, "i8")}
    write_safetensors(str(tmp_path / "x"), arrays, {"a": "b"})
    tensors, metadata = read_safetensors(str(tmp_path / "x"))
    assert metadata == {"a": "b"} and tensors["scalar"].shape == ()
    assert tensors["columns"].shape == (3, 2)
    assert tensors["columns"].content == arrays["columns"].tobytes()


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    error = pytest.importorskip("safetensors").SafetensorError

    def fail(*_: Any) -> None:
        raise error("IO error: No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(UserError, match="cannot write .*x: .*No space left"):
        write_safetensors(str(tmp_path / "x"), {}, {})
    with pytest.raises(UserError, match="none"):
        read_metadata(str(tmp_path / "none"))
    assert not list(tmp_path.iterdir())


def test_without_the_package(tmp_path: Path, shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    file = file_of(tmp_path, {"a": tensor(0, 16, 4)})
    for words in (
        ("predict", file, "x.png"),
        ("convert", "ram_28", "-o", tmp_path / "y.safetensors"),
    ):
        status, _, errors = shell(*words)
        assert status == 2 and len(errors) == 1 and "pip install safetensors" in errors[0]
    assert not (tmp_path / "y.safetensors").exists()


def test_a_file_that_says_nothing(tmp_path: Path, shell: Any) -> None:
    pytest.importorskip("safetensors")
    file = file_of(tmp_path, {"a": tensor(0, 16, 4)})
    status, _, errors = shell("convert", file, "-o", tmp_path / "y.params")
    assert status == 2 and "give its registered name after it" in errors[0]
