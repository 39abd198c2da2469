"""Blocks whose exported graph runs in any build of MXNet."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any

from mxnet import gluon, nd

from ..ops.onednn import portable


class PortableBlock(gluon.HybridBlock):
    """A block that need not use all of its parameters in `hybrid_forward`."""

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Gluon's `export`, of one input and without operators for this build of MXNet alone."""
        if self._cached_graph and not self._backend:
            self._cached_graph = ()
            with portable():
                self._get_graph(nd.zeros((1,)))
        super().export(*args, **kwargs)

    def _build_cache(self, *args: Any) -> None:
        with ExitStack() as stack:
            if self._backend:
                stack.enter_context(portable())
            stack.enter_context(warnings.catch_warnings())
            # Some parameters serve only the trace, or only a second glimpse: that is intended.
            warnings.filterwarnings("ignore", ".* is not used by any computation")
            super()._build_cache(*args)
