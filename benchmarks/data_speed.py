"""Images per second that one core makes of each training set, decoded and augmented.

python benchmarks/data_speed.py --cub200 data/CUB_200_2011 --dogs data/stanford_dogs
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from gluon_attention import UserError
from gluon_attention.datasets import cifar10, cub200, imagenet, mnist, stanford_dogs
from gluon_attention.datasets.mnist import TASKS
from gluon_attention.datasets.sampling import Batches, Splits

from figures import rows
from figures.flags import Parser, number

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SAMPLE = os.path.join(ROOT, "data", "sample")
DECODED = dict(validation=1, workers=1)


def loaders(flags: Any) -> Dict[str, Callable[[], Splits]]:
    """What makes each training set; nothing is downloaded."""
    made = {"cifar10": lambda: cifar10(flags.cifar10, download=False)}
    for task in TASKS:
        made[f"mnist_{task}"] = lambda task=task: mnist(flags.mnist, task=task, download=False)
    made["imagenet"] = lambda: imagenet(flags.imagenet, **DECODED)
    if flags.cub200:
        made["cub200"] = lambda: cub200(flags.cub200, **DECODED)
    if flags.dogs:
        made["dogs"] = lambda: stanford_dogs(flags.dogs, **DECODED)
    return made


def endless(batches: Batches) -> Iterator[Any]:
    """Batches of epoch after epoch."""
    index = 0
    while True:
        yield from batches.epoch(index)
        index += 1


def rate(batches: Batches, seconds: float) -> float:
    """Images per second over about `seconds`, after a first batch."""
    stream = endless(batches)
    next(stream)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(stream)[0])
    return images / (time.perf_counter() - start)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every data set that is there."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for name in ("cifar10", "mnist", "imagenet"):
        known = os.path.join(SAMPLE, name)
        parser.add_argument(f"--{name}", default=known, metavar="PATH", help="its sample if absent")
    for name in ("cub200", "dogs"):
        parser.add_argument(f"--{name}", metavar="PATH", help="left out if absent")
    parser.add_argument("--batch", type=number(int, 1), default=128, metavar="N")
    parser.add_argument("--seconds", type=number(float, 0.01), default=3.0, metavar="N")
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, load in loaders(flags).items():
        try:
            samples = load().train
            batches = Batches(samples, min(flags.batch, len(samples)), shuffle=True)
            found = rate(batches, flags.seconds)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        print(f"{name:20}{found:12,.0f} images/s on one core")
        if flags.write:
            rows.append([rows.measured("input", name, "images_per_second", found, "images/s")])


if __name__ == "__main__":
    main()
