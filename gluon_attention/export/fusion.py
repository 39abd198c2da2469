"""Graphs whose layers are joined, for MXNet's oneDNN builds on a CPU."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import contextmanager
from typing import Iterator, Tuple

import mxnet as mx
from mxnet import gluon

from ..errors import UserError
from .graph import INPUT, Exported, save


def fuse(graph: Exported) -> Exported:
    """Convolutions that do the BatchNorm, sum and ReLU that follow them in the same pass.

    The graph computes what it did, in inference alone: a fused graph does not learn.
    """
    need_onednn("--fused")
    with silence_stderr():
        return graph._replace(symbol=graph.symbol.get_backend_symbol("MKLDNN"))


def load_block(files: Tuple[str, str]) -> gluon.SymbolBlock:
    """A saved graph, with its memory planned once."""
    with silence_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot decide type")  # of an input, as always
        block = gluon.SymbolBlock.imports(files[0], [INPUT], files[1])
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def as_block(graph: Exported) -> gluon.SymbolBlock:
    """A graph as its files are used."""
    with tempfile.TemporaryDirectory() as folder:
        return load_block(tuple(save(graph, os.path.join(folder, "net"))))


def need_onednn(flag: str) -> None:
    if not mx.runtime.Features().is_enabled("MKLDNN"):
        raise UserError(f"{flag} needs oneDNN, which this build of MXNet lacks; leave it out")


@contextmanager
def silence_stderr() -> Iterator[None]:
    """MXNet tells of every operator on the file that is standard error, whatever Python says."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
