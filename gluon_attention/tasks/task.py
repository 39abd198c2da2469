"""Tasks: which losses train which parameters in an epoch, and which scores are measured.

A task does not depend on devices, optimizers, logging or files; the engine does not on losses.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mxnet import gluon, nd

from .. import fields
from .losses import Losses, cross_entropy, smooth_labels, top_scores

if TYPE_CHECKING:
    from ..training.config import Config
    from ..zoo.attention_net import AttentionNet


class Group(NamedTuple):
    """Parameters that one optimizer updates."""

    name: str
    blocks: Sequence[gluon.Block]
    lr_scale: float = 1.0


class Update(NamedTuple):
    """One optimizer step on the sum of the losses, for one group of parameters or several."""

    groups: Sequence[str]  # names
    loss: Callable[[nd.NDArray, nd.NDArray], Losses]  # (images, labels) -> {name: (N,)}


class Task(ABC):
    """Base of all tasks. Losses and scores are per sample: the engine averages them.

    Attributes:
        mixes: whether it supports mixup.
        samples: number of episodes that `scores` averages; None if `scores` samples nothing.
    """

    mixes = False
    samples: Optional[int] = None

    @abstractmethod
    def groups(self) -> List[Group]:
        """Every group of parameters that some update trains."""

    @abstractmethod
    def updates(self, epoch: int) -> List[Update]:
        """The updates of each batch; they depend on the epoch alone, so resuming needs no state."""

    @abstractmethod
    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        """`{name: (N,)}`; the first is an accuracy in [0, 1] that chooses the best epoch.

        The score `PREDICTED` is the class behind that accuracy; it is not averaged.
        """


class OneLoss(Task):
    """A task that trains all parameters of one `net` by one loss."""

    net: gluon.Block

    def groups(self) -> List[Group]:
        return [Group("net", [self.net])]

    def updates(self, epoch: int) -> List[Update]:
        return [Update(["net"], self.loss)]

    @abstractmethod
    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        """`{name: (N,)}`, the terms of the loss."""


class Mixup:
    """Mixup (Zhang et al. 2018): a batch mixed with a permutation of itself, with one weight.

    Args:
        alpha: of the distribution Beta(alpha, alpha) of the weight.
        until: first epoch without mixup; None for no end.
    """

    def __init__(self, alpha: float, until: Optional[int] = None) -> None:
        self.alpha, self.until = alpha, until

    @classmethod
    def from_config(cls, config: Config) -> Optional[Mixup]:
        """The mixup of a configuration; None without it."""
        if not getattr(config, "mix_up", False):  # only some scripts have the flag
            return None
        return cls(config.alpha, round(config.epochs * (1 - config.mix_up_off)))

    def active(self, epoch: int) -> bool:
        return self.until is None or epoch < self.until

    def __call__(self, images: nd.NDArray, targets: nd.NDArray) -> Tuple[nd.NDArray, nd.NDArray]:
        """Mixed images (N, C, H, W) and targets (N, classes); draws from numpy's global state."""
        order = nd.array(np.random.permutation(len(images)), ctx=images.context, dtype="int32")
        weight = float(np.random.beta(self.alpha, self.alpha))

        def mix(values: nd.NDArray) -> nd.NDArray:
            partners = nd.take(values, order)
            return partners + (values - partners) * weight

        return mix(images), mix(targets)


class Classification(OneLoss):
    """Cross entropy with label smoothing, and with mixup until the last epochs."""

    mixes = True

    def __init__(
        self,
        net: gluon.Block,
        classes: int,
        smoothing: float = 0.0,
        mixup: Optional[Mixup] = None,
    ) -> None:
        self.net, self.classes, self.smoothing, self.mixup = net, classes, smoothing, mixup

    @classmethod
    def from_config(cls, net: AttentionNet, config: Config) -> Classification:
        """The task of a configuration."""
        return cls(net, net.classes, config.label_smoothing, Mixup.from_config(config))

    def updates(self, epoch: int) -> List[Update]:
        mixed = self.mixup is not None and self.mixup.active(epoch)
        return [Update(["net"], self.mixed_loss if mixed else self.loss)]

    def loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        return self._cross_entropy(images, self._targets(labels))

    def mixed_loss(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        return self._cross_entropy(*self.mixup(images, self._targets(labels)))

    def _targets(self, labels: nd.NDArray) -> nd.NDArray:
        return smooth_labels(labels, self.classes, self.smoothing)

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Losses:
        return top_scores(self.net(images), labels)

    def _cross_entropy(self, images: nd.NDArray, targets: nd.NDArray) -> Losses:
        return {"cross_entropy": cross_entropy(self.net(images), targets)}


def options_from(defaults: Any, config: Config) -> Any:
    """The options of a task (a dataclass), with values from the fields of a config they share."""
    names = {field.name for field in dataclasses.fields(defaults)}
    return fields.replace(defaults, {n: v for n, v in vars(config).items() if n in names})
