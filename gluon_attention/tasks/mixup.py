"""Mixup (Zhang et al. 2018): a batch and its labels mixed with a permutation of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

import numpy as np
from mxnet import nd

if TYPE_CHECKING:
    from ..training.config import Config


class Mixup:
    """Mixup of batches, with one weight a batch; `until` is the first epoch without it."""

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
