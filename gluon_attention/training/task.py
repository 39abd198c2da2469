"""What a network is trained for: which losses move which parameters now.

A task knows nothing of devices, optimizers, logging or files; the engine knows nothing of losses.
"""
from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from mxnet import gluon, nd

Losses = Dict[str, nd.NDArray]


class Group(NamedTuple):
    """Parameters that one optimizer moves."""

    name: str
    blocks: Sequence[gluon.Block]
    lr_scale: float = 1.0


class Update(NamedTuple):
    """One move: descend the sum of the losses' parts in the parameters of a group."""

    group: str
    loss: Callable[[nd.NDArray, nd.NDArray], Losses]  # (images, labels) -> {name: (N,)}


class Task:
    """Base of all tasks. Losses and scores are per sample: the engine averages them."""

    def groups(self) -> List[Group]:
        """Every group of parameters that some update moves."""
        raise NotImplementedError

    def updates(self, epoch: int) -> List[Update]:
        """The moves made for each batch of an epoch: a pure function, so resuming needs no state."""
        raise NotImplementedError

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        """`{name: (N,)}`; the first is an accuracy in [0, 1] that chooses the best epoch."""
        raise NotImplementedError

    def pictures(self, images: nd.NDArray) -> Dict[str, Any]:
        """`{name: (H, W, 3) uint8}` drawn on a few validation images for the monitor."""
        return {}


class Classification(Task):
    """Cross entropy, with labels smoothed and images mixed until the last epochs."""

    def __init__(
        self, net: gluon.Block, classes: int, smoothing: float = 0.0, mixing: Any = None
    ) -> None:
        self.net, self.classes, self.smoothing, self.mixing = net, classes, smoothing, mixing
        self.top = min(5, classes)

    @classmethod
    def of(cls, net: gluon.Block, config: Any) -> "Classification":
        from .mixing import Mixing

        return cls(net, config.classes, config.label_smoothing, Mixing.of(config))
