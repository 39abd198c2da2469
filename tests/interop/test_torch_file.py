"""PyTorch's files are read as data; a damaged or hostile one is refused in one sentence."""

from __future__ import annotations

import datetime
import io
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

from gluon_attention import UserError
from gluon_attention.interop import unpickler
from gluon_attention.interop.load import read
from gluon_attention.interop.tensor_table import TensorTable, fitting, out_features, reading
from gluon_attention.interop.torch_file import _Archive, _collect, read_torch
from gluon_attention.interop.unpickler import Global, Instance, read_pickle

import numpy as np
import pytest

BOTH_FORMATS = pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])


@pytest.fixture()
def state() -> dict:
    return {
        "conv.weight": np.random.randn(4, 3, 2, 2).astype("f4"),
        "bn.running_var": np.arange(4, dtype="f4"),
        "bn.num_batches_tracked": np.array(7, "i8"),
    }


@BOTH_FORMATS
def test_tensors_of_a_state_dict(state: dict, old: bool, torch_files: Any, tmp_path: Path) -> None:
    tensors = read_torch(torch_files.save(tmp_path / "x", state, old))
    assert list(tensors) == list(state)
    assert [tensor.shape for tensor in tensors.values()] == [a.shape for a in state.values()]
    for name in ("conv.weight", "bn.running_var", "conv.weight"):
        np.testing.assert_array_equal(tensors[name].array(), state[name])
    with pytest.raises(UserError, match="integers"):
        tensors["bn.num_batches_tracked"].array()


def test_types_of_numbers(torch_files: Any, tmp_path: Path) -> None:
    expected = np.array([[1.5, -2.25], [3.0, 0.0]], "f4")
    bfloat16 = (expected.view("u4") >> 16).astype("u2")
    for source in (expected.astype("f8"), expected.astype("f2"), bfloat16):
        array = read_torch(torch_files.save(tmp_path / "x", {"w": source}))["w"].array()
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected)


def test_views_of_one_storage(torch_files: Any, tmp_path: Path) -> None:
    base = np.arange(24, dtype="f4").reshape(4, 6)
    views = {"transposed": base.T, "column": base[:, 2], "part": base[1:, 1:3]}
    views["empty"] = np.zeros((4, 0), "f4")
    tensors = read_torch(torch_files.save(tmp_path / "x", {"base": base, **views}))
    for name, view in views.items():
        np.testing.assert_array_equal(tensors[name].array(), view)


@BOTH_FORMATS
def test_a_large_storage_is_read_once_for_all_its_views(
    old: bool, torch_files: Any, tmp_path: Path
) -> None:
    base = np.arange(400_000, dtype="f4")
    views = {str(row): base[1000 * row : 1000 * row + 1000] for row in range(400)}
    tensors = read_torch(torch_files.save(tmp_path / "x", views, old))
    for name, view in views.items():
        np.testing.assert_array_equal(tensors[name].array(), view)


def test_an_archive_of_big_endian_numbers_and_one_of_two_checkpoints(
    state: dict, torch_files: Any, tmp_path: Path
) -> None:
    swapped = {name: array.byteswap() for name, array in state.items()}
    file = torch_files.save(tmp_path / "x", swapped)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("net/byteorder", "big")
    np.testing.assert_array_equal(read_torch(file)["conv.weight"].array(), state["conv.weight"])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("other/data.pkl", b".")
    with pytest.raises(UserError, match="no checkpoint of torch.save"):
        read_torch(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")
    with pytest.raises(UserError, match="data.pkl is compressed or too large"):
        read_torch(file)


def test_a_stream_of_big_endian_numbers_and_one_whose_keys_lack_a_storage(
    state: dict, torch_files: Any, tmp_path: Path
) -> None:
    swapped = {name: array.byteswap() for name, array in state.items()}
    file = Path(torch_files.save(tmp_path / "x", swapped, old=True))
    machine, big = b"}X\x01\0\0\0aK\x01s.", b"}X\x0d\0\0\0little_endian\x89s."
    content = file.read_bytes()
    assert content.count(machine) == 1
    file.write_bytes(content.replace(machine, big))
    np.testing.assert_array_equal(
        read_torch(str(file))["conv.weight"].array(), state["conv.weight"]
    )
    last = b"X\x01\0\0\0002e."
    assert content.count(last) == 1
    file.write_bytes(content.replace(last, b"e."))
    with pytest.raises(UserError, match="storages are missing at its end"):
        read_torch(str(file))


def test_a_prefix_that_only_some_names_have_is_kept(torch_files: Any, tmp_path: Path) -> None:
    state = {name: np.ones(2, "f4") for name in ("module.weight", "fc.weight")}
    assert list(read_torch(torch_files.save(tmp_path / "x", state))) == list(state)


def test_the_bytes_that_are_read_are_limited(torch_files: Any, tmp_path: Path) -> None:
    """Entries of an archive can overlap: their sum says nothing of its size."""
    state = {name: np.ones(100_000, "f4") for name in "ab"}
    tensors = read_torch(torch_files.save(tmp_path / "x", state))
    for name in "abab":
        tensors[name].array()
    with pytest.raises(UserError, match="fewer numbers than declared"):
        for name in 6 * "ab":
            tensors[name].array()


@BOTH_FORMATS
def test_a_storage_that_is_a_part_of_another_is_refused(
    state: dict, old: bool, torch_files: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    plain = torch_files.storage

    def save(view: Any) -> str:
        storage = lambda base: plain(base)[:-2] + torch_files.write(view) + b"tQ"  # noqa: E731
        monkeypatch.setattr(torch_files, "storage", storage)
        return torch_files.save(tmp_path / "x", state, old)

    assert list(read_torch(save(None))) == list(state)
    with pytest.raises(UserError):
        read_torch(save(("1", 0, 4)))


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (b"ca\nb\n}b.", "a class is given a state"),
        (b"]K\x00K\x01s.", "items are added to an object without items"),
        (b"}K\x00\x85K\x01s.", "a key is a container"),
        (10 * b"N0" + b"N.", "too long for a network"),
    ],
)
def test_a_pickle_that_no_checkpoint_has_is_refused(
    code: bytes, match: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(unpickler, "MAX_READS", 15)
    with pytest.raises(ValueError, match=match):
        read_pickle(io.BytesIO(b"\x80\x02" + code), {})


def test_a_call_of_many_long_words_is_named_in_short(torch_files: Any, tmp_path: Path) -> None:
    call = torch_files.call("os.system", *(letter * 99 for letter in "abcd"))
    with pytest.raises(UserError) as error:
        read_torch(torch_files.save(tmp_path / "x", {"a": call}))
    words = ", ".join(repr(letter * 40) for letter in "abc")
    assert f"os.system({words}); nothing" in str(error.value)


def test_an_error_of_a_table_names_the_file_once() -> None:
    tensors = {"w": np.zeros((2, 3)), "flat": np.zeros(6)}
    with pytest.raises(
        UserError, match=r"^x.pt does not fit: 'w' is \(2, 3\) and has to be \(2,\)"
    ):
        with fitting("x.pt"):
            TensorTable(tensors).array("w", 2)
    with pytest.raises(UserError, match="^x.pt is empty$"), fitting("x.pt"):
        raise UserError("x.pt is empty")
    with pytest.raises(UserError, match="^x.pt is not loaded: it is old$"), reading("x.pt"):
        raise UserError("it is old")
    with pytest.raises(UserError, match="no matrix 'flat'"):
        out_features(tensors, "flat")


@BOTH_FORMATS
def test_a_whole_module_of_an_unknown_class(
    state: dict, old: bool, torch_files: Any, tmp_path: Path
) -> None:
    def module(path: str, **parts: Any) -> Any:
        return torch_files.whole(path, {"training": False, "_modules": {}, **parts})

    conv = {"weight": torch_files.call("torch._utils._rebuild_parameter", state["conv.weight"])}
    parts = {
        "conv": module("torch.nn.modules.conv.Conv2d", _parameters={**conv, "bias": None}),
        "bn": module("torch.nn.modules.BatchNorm2d", _buffers={"running_var": np.ones(4, "f4")}),
    }
    net = module("model.residual_attention_network.ResidualAttentionModel_92", _modules=parts)
    parallel = module("torch.nn.parallel.DataParallel", _modules={"module": net})
    bound = torch_files.call("__builtin__.getattr", net, "state_dict")
    for saved in (net, parallel, bound, {"epoch": 3, "net": net}):
        tensors = read_torch(torch_files.save(tmp_path / "x", saved, old))
        assert list(tensors) == ["conv.weight", "bn.running_var"]
        np.testing.assert_array_equal(tensors["conv.weight"].array(), state["conv.weight"])


def test_the_weights_among_other_things(state: dict, torch_files: Any, tmp_path: Path) -> None:
    averaged = {name: np.array(array + 1) for name, array in state.items()}
    optimizer = {"state": {0: {"momentum": np.ones(3, "f4")}}, "param_groups": [{"lr": 0.1}]}
    parallel = {f"module.{name}": array for name, array in state.items()}
    checkpoint = {"averaged": averaged, "optim_state": optimizer, "model_state": parallel}
    day = torch_files.call("datetime.datetime", datetime.datetime(2020, 1, 2).isoformat())
    file = torch_files.save(tmp_path / "x", {**checkpoint, "epoch": 3, "day": day})
    np.testing.assert_array_equal(read_torch(file)["conv.weight"].array(), state["conv.weight"])
    with pytest.raises(UserError, match="holds no weights"):
        read_torch(torch_files.save(tmp_path / "x", {"optim_state": optimizer}))


def test_one_of_several_unknown_sets_of_weights_is_not_guessed(
    state: dict, torch_files: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="several sets of weights, 'ema' and 'raw'"):
        read_torch(torch_files.save(tmp_path / "x", {"ema": state, "raw": dict(state)}))
    assert list(read_torch(torch_files.save(tmp_path / "x", {"raw": state}))) == list(state)


def test_the_counter_of_an_averaged_model_is_dropped(
    state: dict, torch_files: Any, tmp_path: Path
) -> None:
    averaged = {f"module.{name}": array for name, array in state.items()}
    averaged = {"n_averaged": np.array(5, "i8"), **averaged}
    assert list(read_torch(torch_files.save(tmp_path / "x", averaged))) == list(state)


class Bomb:
    """Runs a function of the standard library when Python reads its pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


@BOTH_FORMATS
def test_code_is_named_and_not_run(old: bool, torch_files: Any, tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    for function, argument in ((os.mkdir, str(trace)), (eval, f"open({str(trace)!r}, 'w')")):
        bomb = pickle.dumps({"w": Bomb(function, argument)}, 2)
        file = torch_files.save(tmp_path / "x", bomb, old)
        with pytest.raises(UserError, match=f"holds code.*{function.__name__}") as error:
            read_torch(file)
        assert "\n" not in str(error.value) and not trace.exists()
    chained = torch_files.call(torch_files.call("__builtin__.getattr", "x", "system"), "ls")
    with pytest.raises(UserError, match="holds code"):
        read_torch(torch_files.save(tmp_path / "x", {"w": chained}, old))


def test_files_without_weights_are_refused(torch_files: Any, tmp_path: Path) -> None:
    file = tmp_path / "x"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(UserError, match="no checkpoint of torch.save"):
        read_torch(str(file))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")
        archive.writestr("net/constants.pkl", b"\x80\x02).")
    with pytest.raises(UserError, match="TorchScript"):
        read_torch(str(file))
    file.write_bytes(bytes(257) + b"ustar" + bytes(250))
    with pytest.raises(UserError, match="save its state_dict again"):
        read(str(file))
    for path in ("torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor"):
        with pytest.raises(UserError, match="which are not supported"):
            read_torch(torch_files.save(file, {"w": torch_files.call(path, 1, 2)}))


def test_sizes_that_lie_are_refused(torch_files: Any, tmp_path: Path) -> None:
    file, base = tmp_path / "x", np.ones(6, "f4")
    for offset, shape, strides in (
        *((0, (7,), (1,)), (3, (2, 2), (2, 1)), (0, (1 << 40, 1 << 40), (0, 0)), (-1, (2,), (1,))),
        *((0, (2, 2), (1,)), (0, (3,), (-1,)), (0, (1,) * 9, (0,) * 9), (0, ("a",), (1,))),
    ):
        view = torch_files.view(base, offset, shape, strides)
        with pytest.raises(UserError, match="damaged"):
            read_torch(torch_files.save(file, {"w": view}))
    with pytest.raises(UserError, match="larger than the file"):
        read_torch(torch_files.save(file, {"w": base}, claim=1 << 50))
    with pytest.raises(UserError, match="fewer numbers"):
        read_torch(torch_files.save(file, {"w": base}, claim=9))["w"].array()


def test_a_stream_of_another_version_or_length_is_refused(torch_files: Any, tmp_path: Path) -> None:
    file = tmp_path / "x"
    torch_files.save(file, {"w": np.ones(6, "f4")}, old=True)
    content, version = file.read_bytes(), b"\x80\x02M\xe9\x03."
    assert content.count(version) == 1
    file.write_bytes(content.replace(version, b"\x80\x02M\xe8\x03."))
    with pytest.raises(UserError, match="of version 1000 of torch's files; 1001 is read"):
        read_torch(str(file))
    file.write_bytes(content[:-1])
    with pytest.raises(UserError, match="storages are missing at its end"):
        read_torch(str(file))


def test_a_storage_is_of_one_kind(torch_files: Any, tmp_path: Path) -> None:
    archive = _Archive(torch_files.save(tmp_path / "x", {"w": np.ones(6, "f4")}))
    reference = ("storage", Global("torch.FloatStorage"), "0", "cpu", 6)
    assert archive.persistent(reference) is archive.persistent(reference)
    for kind, count in (("Int", 6), ("Float", 5)):
        with pytest.raises(ValueError, match="two kinds"):
            archive.persistent((*reference[:1], Global(f"torch.{kind}Storage"), "0", "cpu", count))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"]" * 2_000_010 + b".",  # a list for every byte
        b"\x80\x02)" + b"\x85" * 100_000 + b"K\x01s.",
        b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.",  # a key nested so deep
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of four thousand million places
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02cos\nsystem\n}b.",
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02}X\x03\x00\x00\x00\xed\xa0\x80Ns.",  # a key that cannot be printed
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f].",  # a frame longer than all memory
        b"",
        b".",
    ],
    ids=range(11),
)
def test_hostile_pickles_are_refused(pickled: bytes, torch_files: Any, tmp_path: Path) -> None:
    file, start = torch_files.save(tmp_path / "x", pickled), time.process_time()
    with pytest.raises(UserError):
        read_torch(file)
    assert time.process_time() - start < 30


def test_modules_that_hold_each_other_are_refused() -> None:
    """Two children of each, thirty deep, and one that is its own child."""

    def module(**children: Instance) -> Instance:
        instance = Instance("a.Module")
        instance.state = {"_modules": children}
        return instance

    deep = module()
    for _ in range(30):
        deep = module(one=deep, two=deep)
    circular = module()
    circular.state["_modules"]["self"] = circular
    for instance in (deep, circular):
        with pytest.raises(ValueError, match="without end"):
            _collect(instance, "", {}, [0])


def test_each_pickle_of_a_stream_has_a_memo_of_its_own() -> None:
    stream = io.BytesIO(b"\x80\x02]q\x00." + b"\x80\x02h\x00.")
    assert read_pickle(stream, {}) == []
    with pytest.raises(ValueError):
        read_pickle(stream, {})


def test_byte_strings_of_python_2_are_text() -> None:
    assert read_pickle(io.BytesIO(b"\x80\x02U\x02a\xe9."), {}) == "a\xe9"
