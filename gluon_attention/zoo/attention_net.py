"""What every network of the zoo is: logits when called, and a trace that shows how it got there."""

from __future__ import annotations

import re
import warnings
from contextlib import ExitStack
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np
from mxnet import autograd, gluon, init, nd

from ..errors import UserError
from ..ops.onednn import portable
from ..tasks.task import Classification, Task


def check_samples(samples: int) -> None:
    """Refuse to average over no episode."""
    if samples < 1:
        raise UserError(f"samples must be a whole number above 0, not {samples}")


class AttentionNet(gluon.HybridBlock):
    """A network around a `body` that returns logits first, then all it can show.

    `net(images)` and `net.body(images)` are two graphs over the same parameters: hybridized, the
    first never computes or keeps what only the second returns. Randomness is always an argument of
    the body, and zeros where nothing is drawn: a hybridized body takes no other number of arguments
    the next time.
    """

    Trace: Callable[..., NamedTuple]  # of what `body` returns
    classes: int  # length of the logits
    recipe: Dict[str, Any]  # arguments of `get_model` that made it, if that did
    renamed: Tuple[Tuple[str, str], ...] = ()  # (pattern, replacement) of parameters' old names
    initializer = init.MSRAPrelu()  # of what has no weights yet when training starts
    dtypes: Tuple[str, ...] = ("float32",)  # that it trains in, with weights in float32

    def __init__(self, body: gluon.HybridBlock, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.body = body

    @property
    def device(self) -> Any:
        """The first device that the parameters are on."""
        return next(iter(self.collect_params().values())).list_ctx()[0]

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        """The arguments of `body` after the images with which nothing is drawn."""
        return ()

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.body(images, *self.zero_noise(F))[0]

    def trace(self, images: Any) -> NamedTuple:
        """Logits and whatever the paper exposes, as a named tuple."""
        if not isinstance(images, nd.NDArray):
            raise UserError(
                "images must be an NDArray (N, C, H, W), as mx.nd.array(images) makes one, "
                f"not {type(images).__name__}"
            )
        with images.context:  # where the zeros are made
            return self.episode(images, *self.zero_noise(nd))

    def episode(self, images: nd.NDArray, *noise: nd.NDArray) -> NamedTuple:
        """The trace of images where that noise is drawn."""
        return self.Trace(*self.body(images, *noise))

    def infer_shape(self, *args: Any) -> None:
        """From the graph of the body, in which every parameter has a use."""
        self.body.infer_shape(*args, *self.zero_noise(nd))

    def cast(self, dtype: Any) -> None:
        """As Gluon's, to the types that all operators of the network know."""
        types = ["float32", *(["float16"] if "float16" in self.dtypes else [])]
        try:
            known = np.dtype(dtype).name in types
        except TypeError:  # bfloat16, which numpy does not know
            known = False
        if not known:
            raise UserError(
                f"this network can be cast to {' or '.join(types)}, not {dtype}; for bfloat16 in "
                "training see --dtype"
            )
        super().cast(dtype)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """As Gluon's, of a graph that leaves out what only speeds this build of MXNet up."""
        if self._cached_graph and not self._backend:
            self._cached_graph = ()
            with portable():
                self._get_graph(nd.zeros((1,)))
        super().export(*args, **kwargs)

    def optimize_for(self, *args: Any, **kwargs: Any) -> None:
        """As Gluon's, for inference only: a fused network would train without learning."""
        if not self._backend:
            self._clear_cached_op()
        super().optimize_for(*args, **kwargs)

    def _build_cache(self, *args: Any) -> None:
        with ExitStack() as stack:
            if self._backend:
                stack.enter_context(portable())
            stack.enter_context(warnings.catch_warnings())
            # Some parameters serve only the trace: that is intended.
            warnings.filterwarnings("ignore", ".* is not used by any computation")
            super()._build_cache(*args)

    def forward(self, *args: Any) -> Any:
        if self._backend and autograd.is_training():
            raise UserError("a fused network cannot be trained: train one that is not")
        return super().forward(*args)

    @classmethod
    def current_name(cls, name: str) -> str:
        """The name of a parameter as this version calls it, whatever version saved it."""
        for pattern, replacement in cls.renamed:
            name = re.sub(pattern, replacement, name)
        return name

    def grown(self, arrays: Dict[str, Any]) -> Dict[str, Any]:
        """Weights of a smaller network of this kind as this one has them, to be trained on."""
        return arrays

    def objective(self, config: Any) -> Task:
        """The task that trains this network; `config` is a `training.config.Config`."""
        return Classification.from_config(self, config)
