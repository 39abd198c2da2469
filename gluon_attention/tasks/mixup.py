"""Mixup (Zhang et al. 2018): a batch and its labels mixed with a permutation of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

import numpy as np
from mxnet import nd

if TYPE_CHECKING:
    from ..training.config import Config


class Mixup:
    """Mixup of batches up to an epoch, with one weight for the batch or one for each pair."""

    def __init__(self, alpha: float, each: bool = False, until: Optional[int] = None) -> None:
        self.alpha, self.each, self.until = alpha, each, until

    @classmethod
    def from_config(cls, config: Config) -> Optional[Mixup]:
        """The mixup of a configuration; None without it."""
        if not getattr(config, "mix_up", False):  # only some scripts have the flag
            return None
        return cls(config.alpha, config.mix_up_each, round(config.epochs * (1 - config.mix_up_off)))

    def active(self, epoch: int) -> bool:
        return self.until is None or epoch < self.until

    def __call__(self, images: nd.NDArray, targets: nd.NDArray) -> Tuple[nd.NDArray, nd.NDArray]:
        """Mixed images (N, C, H, W) and targets (N, classes); draws from numpy's global state."""
        count, ctx = len(images), images.context
        order = nd.array(np.random.permutation(count), ctx=ctx, dtype="int32")
        weights = np.random.beta(self.alpha, self.alpha, size=count if self.each else 1)
        weights = nd.array(np.broadcast_to(weights, count), ctx=ctx)  # (N,)
        return tuple(self._mix(values, weights, order) for values in (images, targets))

    @staticmethod
    def _mix(values: nd.NDArray, weights: nd.NDArray, order: nd.NDArray) -> nd.NDArray:
        weights = weights.reshape((-1,) + (1,) * (values.ndim - 1)).astype(values.dtype)
        partners = nd.take(values, order)
        return partners + nd.broadcast_mul(values - partners, weights)
