"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Sequence

import mxnet as mx


class Schedule(mx.lr_scheduler.LRScheduler):
    """A linear warm-up from zero, then a cosine to zero or drops at milestones.

    It derives from MXNet's scheduler so that a parameter server can call it too.
    """

    def __init__(
        self,
        base_lr: float,
        epochs: int,
        steps: int,
        warmup_epochs: float = 0.0,
        milestones: Sequence[int] = (),
        factor: float = 0.1,
    ) -> None:
        """`steps` are those of one epoch; `milestones` are epochs, none means a cosine."""
        super().__init__(base_lr)
        self.peak, self.total, self.warmup = base_lr, epochs * steps, warmup_epochs * steps
        self.milestones, self.factor = [m * steps for m in milestones], factor

    def __call__(self, step: int) -> float:
        """Rate of the step that is about to be made, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup if self.warmup > 1 else self.peak
        if self.milestones:
            return self.peak * self.factor ** sum(step >= m for m in self.milestones)
        done = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.peak * (1 + math.cos(math.pi * min(1, done))) / 2
