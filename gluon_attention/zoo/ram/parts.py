"""The small networks inside an episode of glimpses."""

from __future__ import annotations

from math import gcd
from typing import Any

from mxnet import gluon

from ...ops.safe import concat


class GlimpseNetwork(gluon.HybridBlock):
    """Patches of a glimpse and their location (what and where) as one vector."""

    def __init__(self, what: int, where: int, width: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk = gcd(what, where)
        with self.name_scope():
            self.what = gluon.nn.Dense(what, activation="relu", in_units=in_units, prefix="what_")
            self.where = gluon.nn.Dense(where, activation="relu", in_units=2, prefix="where_")
            self.both = gluon.nn.Dense(
                width, activation="relu", in_units=what + where, prefix="both_"
            )

    def hybrid_forward(self, F: Any, patches: Any, location: Any) -> Any:
        return self.both(concat(F, self.what(patches), self.where(location), chunk=self.chunk))


class Locator(gluon.HybridBlock):
    """The mean of the next location, in [-1, 1]: (N, width) to (N, 2)."""

    def __init__(self, hidden: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.hidden = gluon.nn.Dense(
                hidden, activation="relu", in_units=in_units, prefix="hidden_"
            )
            self.mean = gluon.nn.Dense(2, in_units=hidden, prefix="mean_")

    def hybrid_forward(self, F: Any, hidden: Any) -> Any:
        return F.tanh(self.mean(self.hidden(hidden)))
