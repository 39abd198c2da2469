"""One worker of a job that is measured: trains on random images, on a core of its own.

python scaling_worker.py '{"folder": ..., "network": ..., "batch": ..., "steps": ..., ...}'

The first worker writes figures.json into the folder: seconds of a step, and bytes.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any, Dict

from gluon_attention import get_model
from gluon_attention.command_line import command
from gluon_attention.datasets.sampling import Normalise, Splits, array_samples
from gluon_attention.training import engine
from gluon_attention.training.config import Config
from gluon_attention.training.optimizers import trainable_numbers

import mxnet as mx
import numpy as np

CLASSES = 10


def carried() -> int:
    """Bytes that the loopback device has carried so far; 0 where that cannot be known."""
    try:
        with open("/proc/net/dev", encoding="utf-8") as file:
            line = next(line for line in file if line.strip().startswith("lo:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split(":")[1].split()[0])


def pin(rank: int) -> None:
    """Take the core of this rank."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):  # MXNet has started some
        os.sched_setaffinity(int(thread), {cores[rank % len(cores)]})


def data(asked: Dict[str, Any]) -> Splits:
    shape = (1, 28, 28) if asked["network"].startswith("ram") else (3, 32, 32)
    rng = np.random.RandomState(0)
    count = asked["batch"] * asked["steps"] * asked["workers"]
    images = rng.randint(256, size=(count, *shape)).astype("uint8")
    labels = np.arange(len(images)) % CLASSES
    kind = dict(classes=CLASSES, transform=Normalise((0.5,) * shape[0], (0.25,) * shape[0]))
    held = array_samples(images[:2], labels[:2], **kind)
    return Splits(
        train=array_samples(images, labels, **kind),
        validation=held,
        test=held,
        classes=[str(label) for label in range(CLASSES)],
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
    )


def complete(run: engine.Run, asked: Dict[str, Any]) -> Dict[str, Any]:
    """In place of training to the end: time some epochs of it."""
    pin(run.workers.rank)
    times, bytes_before = [], 0
    for epoch in range(asked["epochs"]):
        if epoch == 1:  # the first builds graphs
            bytes_before = carried()
        began = time.perf_counter()
        run.monitor.begin_epoch(epoch)
        run.train_epoch(epoch)
        mx.nd.waitall()
        times.append((time.perf_counter() - began) / asked["steps"])
    moved = (carried() - bytes_before) / (
        (asked["epochs"] - 1) * asked["steps"] * run.workers.count
    )
    if run.config.kvstore == "horovod":
        moved *= 2  # what one worker sends another one gets, and both have it on their way
    if not run.workers.rank:
        traffic = sum(optimizer.bytes_per_step(False) for optimizer in run.optimizers.values())
        figures = dict(
            seconds=statistics.median(times[1:]),
            counted=traffic if run.config.kvstore != "device" else 0,
            carried=moved if run.config.kvstore != "device" else 0,
            parameters=trainable_numbers(run.net),
        )
        with open(os.path.join(asked["folder"], "figures.json"), "w", encoding="utf-8") as file:
            json.dump(figures, file)
    return {}


def main() -> None:
    asked = json.loads(sys.argv[1])
    engine.Run.complete = lambda run: complete(run, asked)
    config = Config(
        log_dir=asked["folder"],
        num_gpus=0,
        batch_size=asked["batch"],
        kvstore=asked["kvstore"],
        epochs=asked["epochs"],
        optimizer="sgd",
        lr=1e-3,
    )
    engine.train(
        config,
        "run",
        lambda classes: get_model(asked["network"], classes=classes),
        lambda: data(asked),
    )


if __name__ == "__main__":
    command(main)
