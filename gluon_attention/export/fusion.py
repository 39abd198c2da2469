"""Graphs whose layers are fused, for MXNet's oneDNN builds on a CPU."""

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
    """The same graph with BatchNorm, sum and ReLU computed within the convolution before them.

    For inference only: a fused layer has no gradient.
    """
    require_onednn("--fused")
    with silence_stderr():
        return graph._replace(symbol=graph.symbol.get_backend_symbol("MKLDNN"))


def load_block(files: Tuple[str, str]) -> gluon.SymbolBlock:
    """A saved graph as a block with static memory."""
    with silence_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot decide type")  # of the input, in every graph
        block = gluon.SymbolBlock.imports(files[0], [INPUT], files[1])
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def as_block(graph: Exported) -> gluon.SymbolBlock:
    """A graph as a block, saved to files and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        return load_block(tuple(save(graph, os.path.join(folder, "net"))))


def require_onednn(flag: str) -> None:
    """Refuse a flag that needs oneDNN in a build of MXNet without it."""
    if not mx.runtime.Features().is_enabled("MKLDNN"):
        raise UserError(f"{flag} needs oneDNN, which this build of MXNet lacks; leave it out")


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard MXNet's log of every operator, which goes to file descriptor 2, not to sys.stderr."""
    original = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
