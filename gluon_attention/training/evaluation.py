"""Means of per-sample scores over a split, on any devices."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..datasets.sampling import Batches
from ..tasks.task import Losses, Task

Shards = List[Tuple[nd.NDArray, nd.NDArray]]
Means = Dict[str, float]


class Sums:
    """Running means of named per-sample vectors, left on their devices until they are read."""

    def __init__(self) -> None:
        self.vectors: Dict[str, List[nd.NDArray]] = {}
        self.totals: Dict[str, float] = {}
        self.counts: Dict[str, int] = {}

    def add(self, parts: Iterable[Losses], queue: int = 4) -> None:
        """Take vectors in; waits for those of `queue` calls ago, so that work cannot pile up."""
        for part in parts:
            for name, vector in part.items():
                self.vectors.setdefault(name, []).append(vector)
                if len(self.vectors[name]) > queue:
                    self.vectors[name][-queue - 1].wait_to_read()

    def take(self, other: Sums) -> None:
        """Add what another one holds."""
        other._read()
        for name, total in other.totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + total
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]

    def means(self) -> Means:
        self._read()
        return {name: total / self.counts[name] for name, total in self.totals.items()}

    def _read(self) -> None:
        for name, vectors in self.vectors.items():
            for vector in vectors:
                values = vector.asnumpy()
                self.totals[name] = self.totals.get(name, 0.0) + float(values.sum(dtype=np.float64))
                self.counts[name] = self.counts.get(name, 0) + len(values)
        self.vectors = {}


def evaluate(
    task: Task,
    batches: Batches,
    devices: Sequence[mx.Context],
    check: Callable[[], None] = lambda: None,
) -> Means:
    """Mean scores over every image of a split; `check` is called before each batch."""
    sums = Sums()
    for images, labels in batches.epoch(0):
        check()
        sums.add([task.scores(*shard) for shard in split(images, labels, devices)])
    return sums.means()


def measure(
    net: Any,
    task: Task,
    batches: Batches,
    devices: Sequence[mx.Context],
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> Dict[str, Any]:
    """What a test finds; locations that are drawn are the same each time."""
    mx.random.seed(seed)
    scores = evaluate(task, batches, devices, check)
    scores.update(box_scores(net, batches, devices[0]))
    error = 100 * (1 - next(iter(scores.values())))
    return dict(test_error=error, test=scores, test_images=len(batches.samples))


def box_scores(net: Any, batches: Batches, device: mx.Context) -> Means:
    """Shares of images whose box holds the region that matters, and whose middle lies in it.

    Of every box from the second scale on, and of the last without a number; empty for a network
    without boxes, and for a data set without regions.
    """
    if batches.samples.regions is None:
        return {}
    regions, found = batches.samples.regions(), []  # (N, 4)
    for images, _ in batches.epoch(0):
        boxes = net.attended_boxes(nd.array(images, ctx=device))
        if boxes is None:
            return {}
        found.append(boxes.asnumpy())
    boxes = np.concatenate(found)  # (N, K - 1, 3)
    middle, half = boxes[..., :2], boxes[..., 2:]
    low, high = regions[:, None, :2], regions[:, None, 2:]
    holds = (middle - half <= low) & (high <= middle + half)
    hits = (low <= middle) & (middle <= high)
    means = {}
    for name, good in (("holds_region", holds), ("centre_in_region", hits)):
        shares = good.all(axis=2).mean(axis=0)
        means.update({f"box_{scale}_{name}": float(s) for scale, s in enumerate(shares, 2)})
        means[f"box_{name}"] = float(shares[-1])
    return means


def accumulated(shards: Shards, parts: int) -> Iterator[Shards]:
    """The shards of a batch in so many smaller ones, one after the other."""
    parts = min(parts, max(len(images) for images, _ in shards))
    for part in range(parts):
        cut = []
        for images, labels in shards:
            rows = slice(len(images) * part // parts, len(images) * (part + 1) // parts)
            if rows.start < rows.stop:
                cut.append((images[rows], labels[rows]))
        if cut:
            yield cut


def split(images: Any, labels: Any, devices: Sequence[mx.Context]) -> Shards:
    """A batch cut into one part for each device; a short batch may leave devices out."""
    used = list(devices)[: len(images)]
    parts = (gluon.utils.split_and_load(a, used, even_split=False) for a in (images, labels))
    return list(zip(*parts))
