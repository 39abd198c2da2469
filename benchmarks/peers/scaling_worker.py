"""One worker of the job of scaling.py: trains on random images, on a core of its own.

python scaling_worker.py '{"folder": ..., "network": ..., "batch": ..., "steps": ..., ...}'

Worker I writes figures-I.json into the folder: seconds of a step, and bytes.
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


def traffic() -> np.ndarray:
    """Bytes so far that the loopback device carried, and that cards received and sent.

    Zeros where the system does not count them.
    """
    try:
        with open("/proc/net/dev", encoding="utf-8") as file:
            lines = [line.partition(":") for line in file if ":" in line]
    except OSError:
        return np.zeros(3)
    counts = {name.strip(): [int(n) for n in numbers.split()] for name, _, numbers in lines}
    loopback = counts.pop("lo", [0])[0]
    return np.array([loopback, *(sum(count[at] for count in counts.values()) for at in (0, 8))])


def pin(rank: int) -> None:
    """Run all threads of this process on the core of its rank."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):  # MXNet has started threads
        os.sched_setaffinity(int(thread), {cores[rank % len(cores)]})


def random_data(case: Dict[str, Any]) -> Splits:
    """Random images of the size that the network takes."""
    shape = (1, 28, 28) if case["network"].startswith("ram") else (3, 32, 32)
    rng = np.random.RandomState(0)
    count = case["batch"] * case["steps"] * case["workers"]
    images = rng.randint(256, size=(count, *shape)).astype("uint8")
    labels = np.arange(len(images)) % CLASSES
    kind = dict(classes=CLASSES, transform=Normalise((0.5,) * shape[0], (0.25,) * shape[0]))
    two = array_samples(images[:2], labels[:2], **kind)
    return Splits(
        train=array_samples(images, labels, **kind),
        validation=two,
        test=two,
        classes=[str(label) for label in range(CLASSES)],
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
    )


def complete(run: engine.Run, case: Dict[str, Any]) -> Dict[str, Any]:
    """Replaces `Run.complete`: time some epochs."""
    pin(run.workers.rank)
    times, before = [], 0
    if run.folder.writes:
        run.monitor.open()
    for epoch in range(case["epochs"]):
        if epoch == 1:  # the first epoch builds graphs
            before = traffic()
        began = time.perf_counter()
        run.monitor.begin_epoch(epoch)
        run.train_epoch(epoch)
        mx.nd.waitall()
        times.append((time.perf_counter() - began) / case["steps"])
    loopback, received, sent = (traffic() - before) / ((case["epochs"] - 1) * case["steps"])
    if case["machines"]:
        loopback += received  # each byte is counted where it arrives
    else:
        loopback /= run.workers.count  # which share the device
    if run.config.kvstore == "horovod":
        loopback *= 2  # the device counts bytes once that one worker sends and another receives
    counted = sum(optimizer.bytes_per_step(False) for optimizer in run.optimizers.values())
    distributed = run.config.kvstore != "device"
    figures = dict(
        seconds=statistics.median(times[1:]),
        counted=counted * distributed,
        carried=loopback * distributed,
        card=received + sent,
        parameters=trainable_numbers(run.net),
    )
    path = os.path.join(case["folder"], f"figures-{run.workers.rank}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(figures, file)
    return {}


def main() -> None:
    """Train as one worker of the job."""
    case = json.loads(sys.argv[1])
    engine.Run.complete = lambda run: complete(run, case)
    config = Config(
        log_dir=case["folder"],
        num_gpus=0,
        batch_size=case["batch"],
        kvstore=case["kvstore"],
        epochs=case["epochs"],
        optimizer="sgd",
        lr=1e-3,
    )
    engine.train(
        config,
        "run",
        lambda classes: get_model(case["network"], classes=classes),
        lambda: random_data(case),
    )


if __name__ == "__main__":
    command(main)
