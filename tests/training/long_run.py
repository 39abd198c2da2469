"""Trains a small network of a family for many steps and prints its resident memory on the way.

python long_run.py FAMILY STEPS FOLDER

Prints megabytes after a tenth of the steps and after all of them, as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Tuple

from gluon_attention import get_model
from gluon_attention.datasets.sampling import Normalise, Splits, array_samples
from gluon_attention.training.config import Config, setting
from gluon_attention.training.engine import train
from gluon_attention.training.monitor import Monitor

import numpy as np

BATCH, CLASSES = 4, 3
FAMILIES = {  # name, shape of an image, options
    "residual": ("cifar_residual_attention56_slim", (3, 8, 8), {}),
    "recurrent": ("ram_28", (1, 28, 28), dict(glimpses=3, widths=(16, 16, 32, 32, 16))),
    "glimpse": (
        "glimpse_mobilenet_v2",
        (3, 64, 64),
        dict(backbone="tiny", patch=16, start_size=1, hidden=16, glimpses=2, frozen=False),
    ),
    "closer": ("racnn_mobilenet_v2", (3, 32, 32), dict(backbone="tiny", crops=(16, 16))),
}


@dataclass(frozen=True)
class Both(Config):
    stages: Tuple[int, ...] = setting((0, 0, 0), "answers and boxes with every batch")
    samples: int = setting(1, "episodes")


def data(shape, steps):
    rng = np.random.RandomState(0)
    images = rng.randint(256, size=(steps * BATCH, *shape)).astype("uint8")
    labels = np.arange(len(images)) % CLASSES
    kind = dict(classes=CLASSES, transform=Normalise((0.5,) * shape[0], (0.25,) * shape[0]))
    held = array_samples(images[:8], labels[:8], **kind)
    return Splits(
        train=array_samples(images, labels, **kind),
        validation=held,
        test=held,
        classes=["a", "b", "c"],
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
    )


def resident():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main():
    family, steps, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    name, shape, options = FAMILIES[family]
    epochs = 20 if steps > 1000 else 10  # each has its own costs
    memory, end_epoch = [], Monitor.end_epoch

    def measured(self, *words):
        end_epoch(self, *words)
        memory.append(resident())

    Monitor.end_epoch = measured
    kind = dict(epochs=epochs, batch_size=BATCH, optimizer="adam", lr=1e-3, num_gpus=0)
    config = Both(**kind, log_dir=folder)
    train(
        config,
        "run",
        lambda classes: get_model(name, classes=classes, **options),
        lambda: data(shape, steps // epochs),
    )
    # The most, as the allocator gives memory back now and then.
    print(json.dumps([max(memory[: epochs // 10]), max(memory[epochs // 10 :])]))


if __name__ == "__main__":
    main()
