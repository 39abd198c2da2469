"""The recurrent step of RAM and of the glimpse network."""

from __future__ import annotations

from math import gcd
from typing import Any

from mxnet import gluon

from ..ops.safe import concat


def zeros_like_batch(F: Any, batch: Any, width: int) -> Any:
    """Zeros (N, width) for a batch of N of any shape."""
    column = F.zeros_like(F.slice_axis(F.flatten(batch), axis=1, begin=0, end=1))  # (N, 1)
    return F.broadcast_axis(column, axis=1, size=width)


class RecurrentCore(gluon.HybridBlock):
    """One step of an RNN or LSTM whose state is one array: the hidden state comes first."""

    def __init__(self, kind: str, width: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.width, self.chunk = kind, width, gcd(in_units, width)
        self.state_width = width if kind == "rnn" else 2 * width
        with self.name_scope():
            gates = 1 if kind == "rnn" else 4
            self.step = gluon.nn.Dense(gates * width, in_units=in_units + width, prefix="step_")

    def hidden(self, F: Any, state: Any) -> Any:
        """The hidden state (N, width) of a state (N, state_width).

        Of an `rnn` it is the whole state. The slice stays even there, because MXNet crashes when it
        quantizes a graph without it.
        """
        return F.slice_axis(state, axis=1, begin=0, end=self.width)

    def hybrid_forward(self, F: Any, inputs: Any, state: Any) -> Any:
        gates = self.step(concat(F, inputs, self.hidden(F, state), chunk=self.chunk))
        if self.kind == "rnn":
            return F.Activation(gates, act_type="relu")
        input_gate, forget_gate, output_gate, candidate = F.split(gates, num_outputs=4, axis=1)
        cell = F.slice_axis(state, axis=1, begin=self.width, end=None)
        # The 1 keeps the forget gate open in a fresh network.
        cell = F.sigmoid(forget_gate + 1) * cell + F.sigmoid(input_gate) * F.tanh(candidate)
        return concat(F, F.sigmoid(output_gate) * F.tanh(cell), cell, chunk=self.width)
