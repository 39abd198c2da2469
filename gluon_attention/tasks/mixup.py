"""Mixup (Zhang et al. 2018): a batch and its labels mixed with a permutation of themselves."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np
from mxnet import nd


class Mixing:
    """Mixes a batch until an epoch; the share is one for the batch or one for each pair."""

    def __init__(self, alpha: float, each: bool = False, until: Optional[int] = None) -> None:
        self.alpha, self.each, self.until = alpha, each, until

    @classmethod
    def from_config(cls, config: Any) -> Optional[Mixing]:
        """What the settings ask for: None without mixup."""
        if not getattr(config, "mix_up", False):  # only some scripts have the flag
            return None
        return cls(config.alpha, config.mix_up_each, round(config.epochs * (1 - config.mix_up_off)))

    def active(self, epoch: int) -> bool:
        return self.until is None or epoch < self.until

    def __call__(self, images: nd.NDArray, targets: nd.NDArray) -> Tuple[nd.NDArray, nd.NDArray]:
        """Mixed images (N, C, H, W) and targets (N, classes); draws from numpy's global state."""
        count, ctx = len(images), images.context
        order = nd.array(np.random.permutation(count), ctx=ctx, dtype="int32")
        drawn = np.random.beta(self.alpha, self.alpha, size=count if self.each else 1)
        share = nd.array(np.broadcast_to(drawn, count), ctx=ctx)  # (N,)
        return tuple(self._mix(a, share, order) for a in (images, targets))

    @staticmethod
    def _mix(values: nd.NDArray, share: nd.NDArray, order: nd.NDArray) -> nd.NDArray:
        share = share.reshape((-1,) + (1,) * (values.ndim - 1)).astype(values.dtype)
        others = nd.take(values, order)
        return others + nd.broadcast_mul(values - others, share)
