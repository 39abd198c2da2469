"""Images per second that one core decodes and augments, for each training set.

python benchmarks/data_speed.py --cub200 data/CUB_200_2011 --dogs data/stanford_dogs
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import cifar10, cub200, imagenet, mnist, stanford_dogs
from gluon_attention.datasets.mnist import TASKS
from gluon_attention.datasets.sampling import Batches, Splits
from gluon_attention.fields import number

from figures import rows

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"
OF_PICTURES = dict(validation=1, workers=1)


def loaders(flags: argparse.Namespace) -> Dict[str, Callable[[], Splits]]:
    """A function per data set that reads it; nothing is downloaded."""
    functions = {"cifar10": lambda: cifar10(flags.cifar10, download=False)}
    for task in TASKS:
        functions[f"mnist_{task}"] = lambda task=task: mnist(flags.mnist, task=task, download=False)
    functions["imagenet"] = lambda: imagenet(flags.imagenet, **OF_PICTURES)
    if flags.cub200:
        functions["cub200"] = lambda: cub200(flags.cub200, **OF_PICTURES)
    if flags.dogs:
        functions["dogs"] = lambda: stanford_dogs(flags.dogs, **OF_PICTURES)
    return functions


def endless(batches: Batches) -> Iterator[Any]:
    """Batches of epoch after epoch."""
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def images_per_second(batches: Batches, seconds: float) -> float:
    """Speed over about `seconds`, after a first batch."""
    stream = endless(batches)
    next(stream)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(stream)[0])
    return images / (time.perf_counter() - start)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure all data sets that are present."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for name in ("cifar10", "mnist", "imagenet"):
        folder = str(SAMPLE / name)
        parser.add_argument(
            f"--{name}", default=folder, metavar="PATH", help="folder of the data (default: sample)"
        )
    for name in ("cub200", "dogs"):
        parser.add_argument(f"--{name}", metavar="PATH", help="folder of the data (default: none)")
    parser.add_argument(
        "--batch", type=number(int, 1), default=128, metavar="N", help="batch size (default: 128)"
    )
    parser.add_argument(
        "--seconds", type=number(float, 0.01), default=3.0, metavar="X", help="time per data set"
    )
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, load in loaders(flags).items():
        try:
            samples = load().train
            batches = Batches(samples, min(flags.batch, len(samples)), shuffle=True)
            speed = images_per_second(batches, flags.seconds)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        print(f"{name:20}{speed:12,.0f} images/s on one core")
        if flags.write:
            rows.append([rows.measured("input", name, "images_per_second", speed, "images/s")])


if __name__ == "__main__":
    command(main)
