"""The learning rate as a pure function of the step."""

from __future__ import annotations

import copy
import math
from typing import Any, List, Sequence

from mxnet.lr_scheduler import LRScheduler  # a server reads this before mxnet is imported whole


def unreached(config: Any) -> List[str]:
    """Sentences on rates that the settings name and never come to."""
    told, end = [], f"--epochs {config.epochs}"
    if config.warmup_epochs >= config.epochs:
        warmup = f"--warmup-epochs {config.warmup_epochs:g}"
        told.append(f"note: the rate never reaches --lr, as {warmup} is no less than {end}")
    if config.lr_steps and min(config.lr_steps) >= config.epochs:
        told.append(f"note: the rate never falls, as no --lr-steps come before {end}")
    return told


class Schedule(LRScheduler):
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
        self.workers, self.first = 1, 0  # who count steps, and from which number
        self.peak, self.total, self.warmup = base_lr, epochs * steps, warmup_epochs * steps
        self.milestones, self.factor = [m * steps for m in milestones], factor

    def served(self, workers: int, scale: float) -> Schedule:
        """This schedule for a server, which counts the steps of all workers, from 1."""
        served = copy.copy(self)
        served.peak, served.workers, served.first = self.peak * scale, workers, 1
        return served

    def __call__(self, step: int) -> float:
        """Rate of the step that is about to be made, counted from 0."""
        step = (step - self.first) // self.workers
        if step < self.warmup:
            return self.peak * min(1, (step + 1) / self.warmup)
        if self.milestones:
            return self.peak * self.factor ** sum(step >= m for m in self.milestones)
        done = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.peak * (1 + math.cos(math.pi * min(1, done))) / 2
