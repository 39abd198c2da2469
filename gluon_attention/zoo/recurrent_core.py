"""One recurrent step, as RAM and the glimpse network take it."""

from __future__ import annotations

from math import gcd
from typing import Any

from mxnet import gluon

from ..ops.safe import concat


class Core(gluon.HybridBlock):
    """One step of the recurrence; the state is one array, the part that others read comes first."""

    def __init__(self, kind: str, width: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.width, self.run = kind, width, gcd(in_units, width)
        self.state_width = width if kind == "rnn" else 2 * width
        with self.name_scope():
            gates = 1 if kind == "rnn" else 4
            self.step = gluon.nn.Dense(gates * width, in_units=in_units + width, prefix="step_")

    def hidden(self, F: Any, state: Any) -> Any:
        """What others read of a state (N, state_width): (N, width).

        That of `rnn` is all of it, and is sliced nevertheless: without that operator MXNet dies
        while it quantizes the graph.
        """
        return F.slice_axis(state, axis=1, begin=0, end=self.width)

    def hybrid_forward(self, F: Any, seen: Any, state: Any) -> Any:
        gates = self.step(concat(F, seen, self.hidden(F, state), run=self.run))
        if self.kind == "rnn":
            return F.Activation(gates, act_type="relu")
        enter, keep, leave, fresh = F.split(gates, num_outputs=4, axis=1)
        memory = F.slice_axis(state, axis=1, begin=self.width, end=None)
        # The 1 lets a new network remember.
        memory = F.sigmoid(keep + 1) * memory + F.sigmoid(enter) * F.tanh(fresh)
        return concat(F, F.sigmoid(leave) * F.tanh(memory), memory, run=self.width)
