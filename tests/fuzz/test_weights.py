"""Files of weights of every format, damaged and made up: read, or refused in one sentence."""

from __future__ import annotations

import gc
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from gluon_attention import UserError
from gluon_attention.interop.load import read
from gluon_attention.interop.tensors import CALLS, Storage, Tensor
from gluon_attention.interop.unpickler import read_pickle
from gluon_attention.storage.safetensors_file import write_safetensors

import numpy as np
import pytest
from fuzzing import DAMAGE, bounded, damaged
from hypothesis import strategies as st
from mxnet import nd
from torch_writer import TorchWriter

FORMATS = ("params", "safetensors", "zip", "stream", "pdparams")
MORE = 200  # times as many cases in the slow tier: 20,000 of all
STATE = {
    "conv.weight": np.arange(24, dtype="f4").reshape(2, 3, 2, 2),
    "fc.weight": np.ones((3, 2), "f8"),
    "bn.num_batches_tracked": np.array(7, "i8"),
}


def write_weights(form: str, file: Path) -> bytes:
    """The content of a whole file of a format."""
    writer = TorchWriter()
    if form == "params":
        nd.save(str(file), {name: nd.array(array) for name, array in STATE.items() if array.ndim})
    elif form == "safetensors":
        pytest.importorskip("safetensors")
        write_safetensors(str(file), STATE, {"format": "pt"})
    elif form == "pdparams":
        file.write_bytes(pickle.dumps({**STATE, "StructuredToParameterName@@": {"a": "b"}}, 4))
    else:
        module = writer.whole("a.Net", {"_parameters": {"w": np.ones(5, "f4")}})
        writer.save(file, {"state_dict": STATE, "net": module, "e": 3}, old=form == "stream")
    return file.read_bytes()


def read_all(file: Path) -> None:
    """Read the tensors of a file, and the numbers of each."""
    for tensor in read(str(file)).values():
        tensor.storage.values() if isinstance(tensor, Tensor) else tensor.asnumpy()


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_are_read_or_refused(
    form: str, fuzz: Callable[..., None], refused: Callable[..., bool], tmp_path: Path
) -> None:
    content, file = write_weights(form, tmp_path / "whole"), tmp_path / "x"
    read_all(tmp_path / "whole")
    refusals = []

    def check(damage: Any) -> None:
        file.write_bytes(damaged(content, damage))
        refusals.append(refused(lambda: read_all(file)))

    fuzz(12, DAMAGE, check, MORE)
    assert any(refusals)


def opcode(code: bytes, size: int) -> Any:
    """An operation of a pickle and its argument, a number of that many bytes."""
    numbers = st.one_of(st.integers(0, 3), st.integers(0, 256**size - 1))
    return numbers.map(lambda number: code + number.to_bytes(size, "little"))


NAMES = ("torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage", "collections\nOrderedDict")
NAMES += ("builtins\ntuple", "numpy.core.multiarray\n_reconstruct", "numpy\ndtype", "os\nsystem")
WHOLE = (b"X\x07\0\0\0storage", b"X\x01\0\0\0w", b"X\x03\0\0\0cpu", b"X\x02\0\0\0f4", b"C\x01a")
OPERATIONS = st.one_of(
    st.sampled_from([bytes([code]) for code in b"(0N])}tuaesbRQ.\x81\x85\x86\x87\x88\x94"]),
    st.sampled_from([f"c{name}\n".encode() for name in NAMES]),
    st.sampled_from(WHOLE),
    *(opcode(code, size) for code, size in ((b"K", 1), (b"J", 4), (b"q", 1), (b"h", 1))),
    *(opcode(code, size) for code, size in ((b"r", 4), (b"X", 4), (b"B", 4), (b"\x95", 8))),
)
PICKLES = st.lists(OPERATIONS, max_size=40).map(lambda parts: b"\x80\x02" + b"".join(parts) + b".")


def test_any_pickle_is_data_or_refused(
    fuzz: Callable[..., None], refused: Callable[..., bool], tmp_path: Path
) -> None:
    """As it is, which is Paddle's format, and within both of PyTorch's."""
    file, writer = tmp_path / "x", TorchWriter()

    def check(content: bytes) -> None:
        storage = Storage("f4", 4, lambda: bytes(16), "<")
        try:
            read_pickle(io.BytesIO(content), CALLS, lambda reference: storage)
        except (UserError, ValueError):
            pass
        file.write_bytes(content)
        refused(lambda: read_all(file))
        for old in (False, True):
            writer.save(file, content, old)
            refused(lambda: read_all(file))

    fuzz(40, PICKLES, check, MORE)


def test_a_case_that_takes_too_much_fails() -> None:
    gc.collect()  # what earlier tests left would be given back meanwhile
    with bounded(memory=1 << 26, seconds=5):
        np.ones(1 << 20)
    with pytest.raises(AssertionError, match="MB were taken, more than 16"), bounded(1 << 24):
        np.ones(1 << 25)
    with pytest.raises(AssertionError, match="seconds of CPU"), bounded(seconds=-1):
        sum(range(1000))


@pytest.mark.slow
def test_inputs_that_reach_new_lines_are_read_or_refused(tmp_path: Path) -> None:
    """Atheris, Python's libFuzzer, goes on from those inputs that run lines no other did."""
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for form in FORMATS:
        write_weights(form, corpus / form)
    limits = ["-runs=20000", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-timeout=60"]
    program = Path(__file__).with_name("guided.py")
    command = [sys.executable, str(program), str(corpus), f"-artifact_prefix={tmp_path}/", *limits]
    process = subprocess.run([*command, "-seed=1"], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-4000:]
