"""Files of MXNet's weights and checkpoints: read, or refused in one sentence."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Sequence

from gluon_attention import UserError, load_weights
from gluon_attention.storage.params import read_parameters, write_parameters
from gluon_attention.training import checkpoint

import mxnet as mx
import numpy as np
import pytest
from fuzzing import DAMAGE, damaged
from hypothesis import strategies as st
from mxnet import gluon, nd
from mxnet.base import MXNetError

SETTINGS = {"lr": 0.1}
NO_AVERAGE = SimpleNamespace(values={})


def layer():
    net = gluon.nn.Dense(3, in_units=2)
    net.initialize()
    return net


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Bytes of a file of weights and of a checkpoint, both of a small layer."""
    folder, net = tmp_path_factory.mktemp("contents"), layer()
    net.save_parameters(str(folder / "net.params"))
    progress = checkpoint.Progress(epoch=1, counts={}, history=[{}], settings=SETTINGS)
    checkpoint.save(str(folder), net, {}, NO_AVERAGE, progress)
    return {name: (folder / name).read_bytes() for name in ("net.params", "last.npz")}


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "float16", "uint8", "int8", "int32", "int64", "bool"]
)
def test_arrays_are_read_as_mxnet_reads_them(tmp_path, kind):
    path, rng = str(tmp_path / "a.params"), np.random.default_rng(0)
    arrays = {
        "one": nd.array(rng.integers(2, size=7), dtype=kind),
        "näme": nd.array(rng.integers(2, size=(2, 3, 4)), dtype=kind),
    }
    nd.save(path, arrays)
    arrays, expected = read_parameters(path), nd.load(path)
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name].asnumpy(), array.asnumpy())


@pytest.mark.parametrize("old", [True, False])
def test_older_forms_are_read_as_mxnet_reads_them(tmp_path, old):
    path = tmp_path / "old.params"
    shape = struct.pack("<IIqq", 0xF993FAC8, 2, 1, 2) if old else struct.pack("<III", 2, 1, 2)
    content = struct.pack("<QQQ", 0x112, 0, 1) + shape + struct.pack("<iiiff", 1, 0, 0, 3, 4)
    path.write_bytes(content + struct.pack("<QQ", 1, 4) + b"name")
    arrays, expected = read_parameters(str(path)), nd.load(str(path))
    np.testing.assert_array_equal(arrays["name"].asnumpy(), expected["name"].asnumpy())


@pytest.mark.parametrize(
    "arrays", [[nd.zeros((2,))], {"sparse": mx.nd.sparse.zeros("row_sparse", (2, 2))}]
)
def test_unnamed_and_sparse_arrays_are_refused(tmp_path, arrays):
    nd.save(str(tmp_path / "a.params"), arrays)
    with pytest.raises(UserError, match="holds no named parameters"):
        read_parameters(str(tmp_path / "a.params"))


def params_file(*arrays: bytes, names: Sequence[str] = ("a",), tail: bytes = b"") -> bytes:
    """The content of a `.params` file."""
    named = [struct.pack("<Q", len(name)) + name.encode("latin-1") for name in names]
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays)), *arrays, struct.pack("<Q", len(names))]
    return b"".join([*parts, *named, tail])


def dense(
    storage: int = 0,
    shape: Sequence[int] = (2, 1),
    dtype: int = 0,
    count: int = 2,
    magic: int = 0xF993FAC9,
) -> bytes:
    """An array of so many numbers of 32 bits as it is in a file."""
    head = struct.pack("<Iii", magic, storage, len(shape))
    return head + struct.pack(f"<{len(shape)}q3i{4 * count}x", *shape, 1, 0, dtype)


@pytest.mark.parametrize(
    "content",
    [
        params_file(names=()),
        params_file(dense(), tail=b"x"),
        params_file(dense(), dense(), names=("a", "a")),
        params_file(dense(), names=("a", "b")),
        params_file(dense(), names=("\xff",)),
        params_file(dense(storage=-1)),
        params_file(dense(shape=())),
        params_file(dense(shape=(0, 2))),
        params_file(dense(shape=(-2, -1))),
        params_file(dense(shape=(1,) * 32 + (2,))),
        params_file(dense(shape=(1,), dtype=8)),
        params_file(dense(shape=(), count=1)),
        params_file(dense(shape=(0, 2), count=0)),
        params_file(dense(storage=1, magic=0xF993FACA)),
        struct.pack("<QQ", 0x112, 1) + params_file(dense())[16:],
    ],
    ids=range(15),
)
def test_a_value_out_of_range_is_refused(tmp_path, content):
    for magic in (0xF993FAC9, 0xF993FACA):  # of nd's arrays, and of np's
        (tmp_path / "x.params").write_bytes(params_file(dense(magic=magic)))
        assert read_parameters(str(tmp_path / "x.params"))["a"].shape == (2, 1)
    (tmp_path / "x.params").write_bytes(content)
    with pytest.raises(UserError, match="cut off, damaged"):
        read_parameters(str(tmp_path / "x.params"))


def test_a_failing_disk_is_told_from_other_errors_of_mxnet(tmp_path):
    def failing(message):
        def save(path):
            raise MXNetError(message)

        return save

    path = str(tmp_path / "x.params")
    with pytest.raises(UserError, match="cannot write .*x.params: the disk is full, or fails"):
        write_parameters(path, failing("src/io/local_filesys.cc:38: Check failed: fwrite"))
    with pytest.raises(MXNetError, match="shapes differ"):
        write_parameters(path, failing("shapes differ"))
    assert not list(tmp_path.iterdir())


def test_every_part_of_a_file_is_refused(tmp_path, contents):
    for length in range(len(contents["net.params"])):
        (tmp_path / "net.params").write_bytes(contents["net.params"][:length])
        with pytest.raises(UserError, match="cut off, damaged"):
            read_parameters(str(tmp_path / "net.params"))


@pytest.mark.parametrize("at", [0, 16, 24, 28, 32, 36, 44, 60])
def test_a_length_that_lies_is_refused(tmp_path, contents, at):
    content = bytearray(contents["net.params"])
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "net.params").write_bytes(content)
    with pytest.raises(UserError, match="cut off, damaged"):
        load_weights(layer(), str(tmp_path / "net.params"))


def test_damaged_checkpoints_are_read_or_refused(fuzz, tmp_path, contents, capsys):
    last, previous, set_apart = (
        tmp_path / name for name in ("last.npz", "previous.npz", "damaged-last.npz")
    )

    def check(example):
        content = damaged(contents["last.npz"], example)
        last.write_bytes(content)
        previous.write_bytes(contents["last.npz"])
        saved = checkpoint.load(str(tmp_path), SETTINGS)
        assert saved.progress.epoch == 1 and saved.arrays["net/weight"].shape == (3, 2)
        assert previous.read_bytes() == contents["last.npz"]
        assert (last if last.exists() else set_apart).read_bytes() == content

    fuzz(15, DAMAGE, check)
    capsys.readouterr()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def test_foreign_checkpoints_are_refused(fuzz, refused, tmp_path):
    fields = ["epoch", "counts", "best", "best_epoch", "history", "settings"]
    good = dict(epoch=0, counts={}, best=0.0, best_epoch=0, history=[], settings={})
    names = st.sampled_from(["net/weight", "net/bias", "net/other", "average/weight"])
    arrays = st.dictionaries(names, st.lists(st.integers(0, 3), max_size=3).map(tuple))
    examples = st.tuples(st.dictionaries(st.sampled_from(fields), ANYTHING), arrays)

    def check(example):
        progress, shapes = example
        content = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        document = json.dumps({**good, **progress}).encode()
        np.savez(tmp_path / "last.npz", progress=np.frombuffer(document, np.uint8), **content)
        net = layer()

        def resume():
            saved = checkpoint.load(str(tmp_path), {})
            checkpoint.restore(saved, net, {}, NO_AVERAGE)

        refused(resume)

    fuzz(15, examples, check)
