"""Images per second that the training sets held in memory make on one core."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from gluon_attention import UserError  # noqa: E402
from gluon_attention.datasets.cifar import cifar10  # noqa: E402
from gluon_attention.datasets.mnist import TASKS, mnist  # noqa: E402

from figures import rows  # noqa: E402
from figures.flags import Parser, number  # noqa: E402

SAMPLE = os.path.join(ROOT, "data", "sample")


def loaders(cifar: str, mnist_root: str, batch: int) -> Dict[str, Callable[[], Any]]:
    """What makes each training set; nothing is downloaded."""
    made = {"cifar10": lambda: cifar10(cifar, batch, download=False).train}
    for task in TASKS:
        made[f"mnist_{task}"] = lambda task=task: (
            mnist(mnist_root, batch, task=task, download=False).train
        )
    return made


def endless(batches: Any) -> Iterator[Any]:
    """Batches of epoch after epoch."""
    index = 0
    while True:
        yield from batches.epoch(index)
        index += 1


def rate(batches: Any, seconds: float) -> float:
    """Images per second over about `seconds`, after a first batch."""
    stream = endless(batches)
    next(stream)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(stream)[0])
    return images / (time.perf_counter() - start)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every data set that is there."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cifar", default=os.path.join(SAMPLE, "cifar10"), metavar="PATH")
    parser.add_argument("--mnist", default=os.path.join(SAMPLE, "mnist"), metavar="PATH")
    parser.add_argument("--batch", type=number(int, 1), default=128, metavar="N")
    parser.add_argument("--seconds", type=number(float, 0.01), default=3.0, metavar="N")
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, load in loaders(flags.cifar, flags.mnist, flags.batch).items():
        try:
            found = rate(load(), flags.seconds)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        print(f"{name:20}{found:12,.0f} images/s on one core")
        if flags.write:
            row = rows.measured(
                "input", name, f"b{flags.batch}_images_per_second", found, "images/s"
            )
            rows.append([row])


if __name__ == "__main__":
    main()
