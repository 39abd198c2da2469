"""A program for Atheris: inputs become files of weights, which are read or refused in one line.

`python guided.py CORPUS` and flags of libFuzzer start it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris
import mxnet  # noqa: F401 - whose modules are not instrumented

sys.path[:0] = [str(Path(__file__).parents[number]) for number in (1, 2)]
with atheris.instrument_imports(include=["gluon_attention"]):
    from gluon_attention.errors import UserError
    from gluon_attention.interop.load import read
    from gluon_attention.interop.tensors import Tensor

from torch_writer import TorchWriter  # noqa: E402


def check(content: bytes) -> None:
    """Read the content as a file of its own, and a pickle also within files of PyTorch."""
    FILE.write_bytes(content)
    read_all()
    for old in (False, True) if content.startswith(b"\x80") else ():
        TorchWriter().save(FILE, content, old)
        read_all()


def read_all() -> None:
    """Read the numbers of all tensors, or be refused in one line."""
    try:
        for tensor in read(str(FILE)).values():
            tensor.array() if isinstance(tensor, Tensor) else tensor.asnumpy()
    except UserError as error:
        assert len(str(error).splitlines()) == 1, str(error)


with tempfile.TemporaryDirectory() as folder:
    FILE = Path(folder, "x")
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
