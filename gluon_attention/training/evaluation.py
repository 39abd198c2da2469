"""Means of per-sample scores over a split, on any devices."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..datasets.sampling import Batches
from ..tasks.losses import PREDICTED, Losses, is_top1
from ..tasks.task import Task

Shards = List[Tuple[nd.NDArray, nd.NDArray]]
Means = Dict[str, float]


class Sums:
    """Running means of named per-sample vectors, which stay on their devices until `means()`."""

    def __init__(self) -> None:
        self.vectors: Dict[str, List[nd.NDArray]] = {}
        self.totals: Dict[str, float] = {}
        self.counts: Dict[str, int] = {}

    def add(self, parts: Iterable[Losses], queue: int = 4) -> None:
        """Add vectors; wait for those of `queue` calls ago, to bound how far the host is ahead."""
        for part in parts:
            for name, vector in part.items():
                self.vectors.setdefault(name, []).append(vector)
                if len(self.vectors[name]) > queue:
                    self.vectors[name][-queue - 1].wait_to_read()

    def merge(self, other: Sums) -> None:
        """Add the sums of another object."""
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
    predicted: Optional[List[nd.NDArray]] = None,
) -> Means:
    """Mean scores over every image of a split.

    Args:
        check: called before each batch.
        predicted: list to which the class predicted for each image is added.
    """
    sums = Sums()
    for images, labels in batches.epoch(0):
        check()
        scores = [task.scores(*shard) for shard in split(images, labels, devices)]
        classes = [shard.pop(PREDICTED) for shard in scores if PREDICTED in shard]
        if predicted is not None:
            predicted.extend(classes)
        sums.add(scores)
    return sums.means()


def class_counts(labels: np.ndarray, predicted: Sequence[nd.NDArray], classes: int) -> np.ndarray:
    """The confusion matrix: images by label (rows) and by predicted class (columns)."""
    columns = np.concatenate([part.asnumpy() for part in predicted]).astype(int)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, columns), 1)
    return counts


def class_accuracies(counts: np.ndarray) -> np.ndarray:
    """The share of correct predictions per class; NaN for a class without images."""
    totals = counts.sum(axis=1)
    return np.divide(counts.diagonal(), totals, out=np.full(len(counts), np.nan), where=totals > 0)


def worst_classes(counts: np.ndarray) -> List[int]:
    """Classes that have images, the least accurate first."""
    order = np.argsort(class_accuracies(counts), kind="stable").tolist()
    return [label for label in order if counts[label].any()]


def frequent_mistakes(counts: np.ndarray, most: int) -> List[List[int]]:
    """Label, predicted class and number of images of the most frequent mistakes."""
    wrong = counts - np.diag(counts.diagonal())
    cells = np.argsort(-wrong, axis=None, kind="stable")[:most].tolist()
    return [
        [*divmod(cell, len(counts)), int(wrong.flat[cell])] for cell in cells if wrong.flat[cell]
    ]


def measure(
    net: Any,
    task: Task,
    batches: Batches,
    devices: Sequence[mx.Context],
    seed: int,
    check: Callable[[], None] = lambda: None,
    predicted: Optional[List[nd.NDArray]] = None,
) -> Dict[str, Any]:
    """Test error and scores; sampled locations are the same in every call."""
    mx.random.seed(seed)
    scores = evaluate(task, batches, devices, check, predicted)
    scores.update(box_scores(net, batches, devices[0]))
    error = 100 * (1 - next(iter(scores.values())))
    return dict(test_error=error, test=scores, test_images=len(batches.samples))


def mirrored_error(net: Any, batches: Batches, devices: Sequence[mx.Context]) -> float:
    """Error in per cent with probabilities averaged over each image and its mirror image."""
    sums = Sums()
    for images, labels in batches.epoch(0):
        for part, part_labels in split(images, labels, devices):
            probabilities = net.predict(part) + net.predict(part.flip(axis=3))
            sums.add([{"accuracy": is_top1(probabilities, part_labels)}])
    return 100 * (1 - sums.means()["accuracy"])


def box_scores(net: Any, batches: Batches, device: mx.Context) -> Means:
    """Scores of a network's boxes; empty without boxes or without regions in the data set."""
    if batches.samples.regions is None:
        return {}
    regions, parts = batches.samples.regions(), []  # (N, 4)
    for images, _ in batches.epoch(0):
        boxes = net.attended_boxes(nd.array(images, ctx=device))
        if boxes is None:
            return {}
        parts.append(boxes.asnumpy())
    return region_scores(np.concatenate(parts), regions)


def region_scores(boxes: np.ndarray, regions: np.ndarray) -> Means:
    """Shares of images whose box contains the region, has its centre in it, or overlaps it.

    A box overlaps if the intersection is at least half of the union. There is a share for the box
    of each scale from the second on; names without a number are for the last.

    Args:
        boxes: (N, K - 1, 3 or 4), as `ops.attention_crop` defines them.
        regions: (N, 4), left, top, right and bottom, in the same coordinates.
    """
    centre, half = boxes[..., :2], boxes[..., 2:]
    low, high = regions[:, None, :2], regions[:, None, 2:]
    contains = (centre - half <= low) & (high <= centre + half)
    inside = (low <= centre) & (centre <= high)
    common = np.minimum(centre + half, high) - np.maximum(centre - half, low)
    intersection = np.prod(np.maximum(common, 0), axis=2)
    area = np.prod(np.broadcast_to(2 * half, common.shape), axis=2)  # squares have one half side
    overlaps = 2 * intersection >= area + np.prod(high - low, axis=2) - intersection
    means = {}
    for name, holds in (
        ("holds_region", contains.all(axis=2)),
        ("centre_in_region", inside.all(axis=2)),
        ("overlaps_region", overlaps),
    ):
        shares = holds.mean(axis=0)
        means.update({f"box_{scale}_{name}": float(s) for scale, s in enumerate(shares, 2)})
        means[f"box_{name}"] = float(shares[-1])
    return means


def split_parts(shards: Shards, parts: int) -> Iterator[Shards]:
    """Split the shards of a batch into several parts, for gradient accumulation."""
    parts = min(parts, max(len(images) for images, _ in shards))
    for part in range(parts):
        smaller = []
        for images, labels in shards:
            rows = slice(len(images) * part // parts, len(images) * (part + 1) // parts)
            if rows.start < rows.stop:
                smaller.append((images[rows], labels[rows]))
        if smaller:
            yield smaller


def split(images: Any, labels: Any, devices: Sequence[mx.Context]) -> Shards:
    """Split a batch over the devices; a short batch may leave some devices without images."""
    contexts = list(devices)[: len(images)]
    parts = (gluon.utils.split_and_load(a, contexts, even_split=False) for a in (images, labels))
    return list(zip(*parts))
