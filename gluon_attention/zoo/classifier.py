"""The linear layer from features to logits, which a network can omit or replace."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

_left_out = False


@contextmanager
def without_classifiers() -> Iterator[None]:
    """Build graphs inside without classifiers: they end at the classifiers' input."""
    global _left_out
    before, _left_out = _left_out, True
    try:
        yield
    finally:
        _left_out = before


class Classifier(nn.Dense):
    """`nn.Dense` from features to `classes` logits; with 0 classes, the features themselves."""

    def __init__(self, classes: int, **kwargs: Any) -> None:
        removed = {} if classes else {"params": gluon.ParameterDict("removed_")}  # shared with none
        super().__init__(max(classes, 1), **kwargs, **removed)
        self._initializers = {name: p.init for name, p in self._reg_params.items()}
        if not classes:
            self._remove()
            self._params = gluon.ParameterDict(self.prefix)

    def hybrid_forward(self, F: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
        if _left_out or weight is None:
            return F.flatten(x) if self._flatten else x
        return super().hybrid_forward(F, x, weight, bias)

    def reset(self, classes: int, initializer: mx.init.Initializer) -> None:
        """Replace the weights by untrained ones of so many classes, on the same devices."""
        old = self.weight
        ready = old is None or old._data is not None or bool(old._deferred_init)
        devices = None
        if old is not None:
            self._in_units = old.shape[1]
            devices = old.list_ctx() if ready else None
            self._remove()
        self._units, self.params._shared = classes, None  # no other net shares the new weights
        shapes = {"weight": (classes, self._in_units), "bias": (classes,)}
        for name, init in self._initializers.items():
            parameter = self.params.get(
                name, shape=shapes[name], init=init, allow_deferred_init=True
            )
            setattr(self, name, parameter)
        if ready:
            self.initialize(initializer, ctx=devices)

    def _remove(self) -> None:
        for name in self._initializers:
            vars(self)[name] = None
            self.params._params.pop(self._reg_params.pop(name).name)
