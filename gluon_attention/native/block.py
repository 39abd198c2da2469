"""A Gluon block that the native library can compute."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Sequence

from mxnet import autograd, gluon, nd

from .predictor import Predictor
from .twin import Twin


class NativeBlock:
    """Mixin of a block with a `lower` method.

    Attributes:
        native: the twin that computes the block inside of `autograd.record`, or anywhere if the
            block is not trained.
        predictor: computes the block in inference, within `predicting`.
    """

    native: Optional[Twin] = None
    predictor: Optional[Predictor] = None

    def forward(self, *args: Any) -> Any:
        if isinstance(args[0], nd.NDArray):
            recording, training = autograd.is_recording(), autograd.is_training()
            if self.native is not None and (recording and training or not self.native.trained):
                return self.native(*args)
            if self.predictor is not None and not recording and not training:
                return self.predictor(*args)
        return super().forward(*args)


@contextmanager
def predicting(
    net: gluon.Block, parts: Sequence[NativeBlock], predictors: Sequence[Predictor]
) -> Iterator[None]:
    """A context in which predictors compute parts of a network; blocks around them run eagerly."""
    graphs = [block for block in _around(net, parts) if getattr(block, "_active", False)]
    for block in graphs if predictors else ():
        block._active = False
    for part, predictor in zip(parts, predictors):
        part.predictor = predictor
    try:
        yield
    finally:
        for block in graphs:
            block._active = True
        for part in parts:
            part.predictor = None


def _around(block: gluon.Block, parts: Sequence[gluon.Block]) -> List[gluon.Block]:
    """A block and its descendants, without the parts and their descendants."""
    if any(block is part for part in parts):
        return []
    inner = (_around(child, parts) for child in block._children.values())
    return [block, *(one for blocks in inner for one in blocks)]
