"""The learning rate as a pure function of the step."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, List

from mxnet.lr_scheduler import LRScheduler  # a parameter server imports this before all of mxnet

if TYPE_CHECKING:
    from .config import Config


def schedule_warnings(config: Config) -> List[str]:
    """Notes on learning rates of the settings that the schedule never reaches."""
    notes, end = [], f"--epochs {config.epochs}"
    if config.warmup_epochs >= config.epochs:
        warmup = f"--warmup-epochs {config.warmup_epochs:g}"
        notes.append(f"note: the learning rate never reaches --lr: {warmup} is no less than {end}")
    if config.lr_steps and min(config.lr_steps) >= config.epochs:
        notes.append(f"note: the learning rate never falls: no --lr-steps are below {end}")
    if config.swa_lr is not None and not config.swa:
        notes.append("note: --swa-lr has no effect: no epochs are averaged by --swa")
    return notes


def averaged_epochs(config: Config) -> int:
    """The number of last epochs whose weights --swa averages; at least one if it is set."""
    return max(1, round(config.epochs * config.swa)) if config.swa else 0


class Schedule(LRScheduler):
    """A linear warm-up from zero, then a fall to zero or to a constant end, or drops at milestones.

    It derives from MXNet's scheduler because a parameter server calls it, too.
    """

    def __init__(self, config: Config, steps: int) -> None:
        """`steps` are those of an epoch."""
        super().__init__(config.lr)
        self.workers, self.first = 1, 0  # workers in a count of steps, its start
        self.peak, self.warmup = config.lr, config.warmup_epochs * steps
        self.milestones = [epoch * steps for epoch in config.lr_steps]
        self.factor, self.decay = config.lr_factor, config.decay
        self.constant = bool(config.swa) and config.swa_lr is not None
        self.end = config.swa_lr if self.constant else 0.0  # rate at which the fall ends
        self.total = config.epochs * steps
        if self.constant:
            self.total -= averaged_epochs(config) * steps

    def for_server(self, workers: int, lr_scale: float) -> Schedule:
        """A copy for a parameter server, which counts the steps of all workers from 1."""
        schedule = copy.copy(self)
        schedule.peak, schedule.end = self.peak * lr_scale, self.end * lr_scale
        schedule.workers, schedule.first = workers, 1
        return schedule

    def __call__(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        step = (step - self.first) // self.workers
        if self.constant and step >= self.total:
            return self.end
        if step < self.warmup:
            return self.peak * min(1, (step + 1) / self.warmup)
        if self.milestones:
            return self.peak * self.factor ** sum(step >= m for m in self.milestones)
        progress = min(1, (step - self.warmup) / max(1, self.total - self.warmup))
        left = 1 - progress if self.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.end + (self.peak - self.end) * left
