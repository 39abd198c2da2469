"""One worker of a job: trains a small network without BatchNorm, in one group or in two.

A third has convolutions so wide that oneDNN lays out their weights anew.

python distributed_run.py FOLDER GROUPS [flags of Config]

With POISON=RANK in the environment that worker sees a batch that is not of numbers; with
PAUSE=SECONDS all wait before each batch of training.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, NamedTuple

from gluon_attention.command_line import command
from gluon_attention.datasets.sampling import Batches, Normalise, Splits, array_samples
from gluon_attention.tasks.task import Classification, Group, Update
from gluon_attention.training import engine
from gluon_attention.training.config import Config
from gluon_attention.zoo.attention_net import AttentionNet

import numpy as np
from mxnet import gluon


class Logits(NamedTuple):
    logits: Any


class Two(Classification):
    """The first layer and the last, each moved by its own optimizer."""

    def groups(self):
        first, last, _ = self.net.body
        return [Group("first", [first], 0.5), Group("last", [last])]

    def updates(self, epoch):
        return [Update(["first"], self.loss), Update(["last"], self.loss)]


class Net(AttentionNet):
    Trace, classes = Logits, 3

    def __init__(self, task, wide):
        super().__init__()
        self.task, self.body = task, gluon.nn.HybridSequential()
        if wide:
            self.body.add(gluon.nn.Conv2D(32, 3, padding=1), gluon.nn.Conv2D(32, 3, padding=1))
        self.body.add(gluon.nn.Dense(16, activation="tanh"), gluon.nn.Dense(3))
        self.body.add(gluon.nn.HybridLambda(lambda F, x: (x,)))

    def objective(self, config):
        return self.task.from_config(self, config)


class DisturbedBatches(Batches):
    """The third training batch of one rank is NaN, or all are late."""

    def epoch(self, index):
        for number, (images, labels) in enumerate(super().epoch(index)):
            time.sleep(float(os.environ.get("PAUSE", 0)) * self.shuffle)
            poisoned = self.shuffle and str(self.part[0]) == os.environ.get("POISON")
            yield (
                images * np.float32(np.nan if poisoned and (index, number) == (0, 2) else 1),
                labels,
            )


def data():
    rng = np.random.RandomState(0)
    labels = np.arange(1280) % 3
    images = (rng.randint(60, size=(1280, 1, 6, 6)) + 60 * labels[:, None, None, None]).astype(
        "uint8"
    )
    kind = dict(classes=3, transform=Normalise((0.5,), (0.25,)))
    train_set = array_samples(images, labels, **kind)
    held = array_samples(images[:100], labels[:100], **kind)
    return Splits(train_set, held, held, ["a", "b", "c"], (0.5,), (0.25,))


def main():
    folder, groups, *flags = sys.argv[1:]
    config = Config.parse([*flags, "--log-dir", folder, "--num-gpus", "0"])
    if {"POISON", "PAUSE"} & set(os.environ):
        engine.Batches = DisturbedBatches
    task, wide = Two if groups == "2" else Classification, groups == "3"
    engine.train(config, "run", lambda classes: Net(task, wide), data)


if __name__ == "__main__":
    command(main)
