"""The small networks that an episode of glimpses is made of."""

from __future__ import annotations

from math import gcd
from typing import Any

from mxnet import gluon

from ..ops.join import join


class GlimpseNetwork(gluon.HybridBlock):
    """What is seen and where it is seen, in one vector."""

    def __init__(self, what: int, where: int, width: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = gcd(what, where)
        with self.name_scope():
            self.what = gluon.nn.Dense(what, activation="relu", in_units=in_units, prefix="what_")
            self.where = gluon.nn.Dense(where, activation="relu", in_units=2, prefix="where_")
            self.both = gluon.nn.Dense(
                width, activation="relu", in_units=what + where, prefix="both_"
            )

    def hybrid_forward(self, F: Any, windows: Any, location: Any) -> Any:
        return self.both(join(F, self.what(windows), self.where(location), run=self.run))


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
        gates = self.step(join(F, seen, self.hidden(F, state), run=self.run))
        if self.kind == "rnn":
            return F.Activation(gates, act_type="relu")
        enter, keep, leave, fresh = F.split(gates, num_outputs=4, axis=1)
        memory = F.slice_axis(state, axis=1, begin=self.width, end=None)
        # The 1 lets a new network remember.
        memory = F.sigmoid(keep + 1) * memory + F.sigmoid(enter) * F.tanh(fresh)
        return join(F, F.sigmoid(leave) * F.tanh(memory), memory, run=self.width)


class Locator(gluon.HybridBlock):
    """The mean of the next location."""

    def __init__(self, mean: str, hidden: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        with self.name_scope():
            self.hidden = gluon.nn.Dense(
                hidden, activation="relu", in_units=in_units, prefix="hidden_"
            )
            self.place = gluon.nn.Dense(2, in_units=hidden, prefix="place_")

    def hybrid_forward(self, F: Any, hidden: Any) -> Any:
        place = self.place(self.hidden(hidden))
        return F.tanh(place) if self.mean == "tanh" else F.clip(place, -1, 1)
