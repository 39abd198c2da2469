"""The learning rate as a pure function of the step."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, List, Sequence

from mxnet.lr_scheduler import LRScheduler  # a parameter server imports this before all of mxnet

if TYPE_CHECKING:
    from .config import Config


def schedule_warnings(config: Config) -> List[str]:
    """Sentences on learning rates that the settings name and never reach."""
    notes, end = [], f"--epochs {config.epochs}"
    if config.warmup_epochs >= config.epochs:
        warmup = f"--warmup-epochs {config.warmup_epochs:g}"
        notes.append(f"note: the learning rate never reaches --lr: {warmup} is no less than {end}")
    if config.lr_steps and min(config.lr_steps) >= config.epochs:
        notes.append(f"note: the learning rate never falls: no --lr-steps are below {end}")
    return notes


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
        self.workers, self.first = 1, 0  # workers whose steps are counted, number of the first
        self.peak, self.total, self.warmup = base_lr, epochs * steps, warmup_epochs * steps
        self.milestones, self.factor = [m * steps for m in milestones], factor

    def for_server(self, workers: int, lr_scale: float) -> Schedule:
        """This schedule for a server, which counts the steps of all workers, from 1."""
        schedule = copy.copy(self)
        schedule.peak, schedule.workers, schedule.first = self.peak * lr_scale, workers, 1
        return schedule

    def __call__(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        step = (step - self.first) // self.workers
        if step < self.warmup:
            return self.peak * min(1, (step + 1) / self.warmup)
        if self.milestones:
            return self.peak * self.factor ** sum(step >= m for m in self.milestones)
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.peak * (1 + math.cos(math.pi * min(1, progress))) / 2
