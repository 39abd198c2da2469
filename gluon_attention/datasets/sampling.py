"""Samples of a data set, its three splits, and the batches of an epoch.

Data sets return `Samples`; training and evaluation divide them into `Batches`.
"""

from __future__ import annotations

import functools
import inspect
import queue
import threading
from dataclasses import dataclass, replace
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

import numpy as np

from ..errors import UserError
from .published import name_unreadable
from .view import View

Batch = Tuple[np.ndarray, np.ndarray]
Load = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Item = TypeVar("Item")
# Options of data sets that do not change images, and so are not recorded in a run.
NOT_RECORDED = ("root", "workers", "download")


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled images, loaded by row numbers.

    Attributes:
        labels: (N,), from 0 to `classes` - 1.
        load: `load(rows, rng)` returns the images of some rows, float32 (n, C, H, W), normalised;
            all randomness, such as augmentation, comes from `rng`.
        content: bytes that determine the image of a row, if they are cheaper than its pixels.
        regions: boxes of the objects, (N, 4): left, top, right and bottom, where an image spans -1
            to 1. For evaluation only.
        images: samples of the images, if these samples are cached features.
        load_epoch: `load_epoch(epoch, rows, rng)` in place of `load` in training, if the images of
            an epoch also depend on its number.
    """

    labels: np.ndarray
    classes: int
    load: Load
    content: Optional[Callable[[int], bytes]] = None
    regions: Optional[Callable[[], np.ndarray]] = None
    images: Optional[Samples] = None
    load_epoch: Optional[Callable[[int, np.ndarray, np.random.Generator], np.ndarray]] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _check_labels(self.labels, self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> np.ndarray:
        """The first images, at most `count` of them."""
        return self.load(np.arange(min(count, len(self))), np.random.default_rng(0))

    def identity(self, row: int) -> bytes:
        """Bytes that are equal for equal images only, as a key for caches."""
        if self.content is not None:
            return self.content(row)
        return self.load(np.array([row]), np.random.default_rng(0)).tobytes()


def array_samples(
    images: np.ndarray, labels: Sequence[int], classes: int, *, transform: Transform
) -> Samples:
    """Samples of images in memory, uint8 (N, C, H, W); `transform(images, rng)` returns float32."""
    if len(images) != len(labels):
        raise UserError(f"{len(images)} images and {len(labels)} labels differ in number")
    return Samples(labels, classes, lambda rows, rng: transform(images[rows], rng))


class Batches:
    """Samples in batches, in the order of an epoch.

    With `shuffle`, for training, the order is new each epoch, no batch is short, and
    `part=(rank, workers)` selects one of several equal shards. Without it, for evaluation, all rows
    are in order, each epoch is the same, and the last batch may be short. Order and random numbers
    are pure functions of seed, epoch, batch number and rank.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        part: Tuple[int, int] = (0, 1),
    ) -> None:
        workers = part[1]
        if batch_size < 1:
            raise UserError(f"batch size must be a whole number above 0, not {batch_size}")
        self.samples, self.batch_size, self.shuffle, self.seed = samples, batch_size, shuffle, seed
        self.part = part if shuffle else (0, 1)
        self.shard_size = len(samples) // self.part[1]
        if shuffle and self.shard_size < batch_size:
            each = f" for each of {workers} workers" if workers > 1 else ""
            raise UserError(
                f"{self.shard_size} training images{each} do not fill one batch of {batch_size}; "
                "use a smaller batch size or more images"
            )

    def __len__(self) -> int:
        full, rest = divmod(self.shard_size, self.batch_size)
        return full + (rest > 0 and not self.shuffle)

    def epoch(self, index: int) -> Iterator[Batch]:
        """Batches of (images, labels) of one epoch, loaded ahead in a thread."""
        return prefetch(self._load(index))

    def rows(self, index: int) -> np.ndarray:
        """Rows of this shard in the order of an epoch."""
        if not self.shuffle:
            return np.arange(self.shard_size)
        rank, workers = self.part
        order = np.random.default_rng([self.seed, index, 0]).permutation(len(self.samples))
        return order[rank::workers][: self.shard_size]

    def _load(self, index: int) -> Iterator[Batch]:
        order = self.rows(index)
        rank, workers = self.part
        load = self.samples.load
        if self.shuffle and self.samples.load_epoch:
            load = functools.partial(self.samples.load_epoch, index)
        for number in range(len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            # Every shard has its own stream; stream 0 is that of the epoch's order.
            stream = [self.seed, index if self.shuffle else 0, number * workers + rank + 1]
            images = load(rows, np.random.default_rng(stream))
            yield images, self.samples.labels[rows]


class Splits(NamedTuple):
    """A data set: samples for training, validation and test, and facts to display them."""

    train: Samples
    validation: Samples
    test: Samples
    classes: Sequence[str]
    mean: Sequence[float]  # of pixel / 255, per channel
    std: Sequence[float]
    view: Optional[View] = None  # from any other picture to an input
    source: Optional[Dict[str, Any]] = None  # name and options of the data set function

    @property
    def examples(self) -> Samples:
        """Samples to display: the validation samples, or else the training samples."""
        return self.validation if len(self.validation) else self.train


DATASETS: Dict[str, Callable[..., Splits]] = {}


def register(load: Callable[..., Splits]) -> Callable[..., Splits]:
    """Add a data set to `DATASETS`, and record its name and options as `Splits.source`.

    The recorded number of validation images is the actual one.
    """
    signature = inspect.signature(load)

    @functools.wraps(load)
    def load_recorded(*args: Any, **kwargs: Any) -> Splits:
        arguments = signature.bind(*args, **kwargs).arguments
        options = {k: v for k, v in arguments.items() if k not in NOT_RECORDED}
        with name_unreadable():
            splits = load(*args, **kwargs)
        if "validation" in options:
            options["validation"] = min(options["validation"], len(splits.validation))
        return splits._replace(source={"name": load.__name__, "options": options})

    DATASETS[load.__name__] = load_recorded
    return load_recorded


def smaller_validation(splits: Splits, count: int) -> List[str]:
    """A note if a data set holds out fewer than `count` validation images."""
    options = (splits.source or {}).get("options", {})
    if options.get("validation", count) >= count:
        return []
    limit = "a tenth of the training images at most"
    return [f"validation on {options['validation']} images, not {count}: {limit}"]


class Normalise:
    """uint8 (N, C, H, W) to float32 with (pixel / 255 - mean) / std per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        mean64, std64 = np.asarray(mean), np.asarray(std)
        self.scale = (1 / (255 * std64)).astype(np.float32).reshape(-1, 1, 1)
        self.shift = (-mean64 / std64).astype(np.float32).reshape(-1, 1, 1)

    def __call__(self, images: np.ndarray, rng: Optional[np.random.Generator] = None) -> np.ndarray:
        out = images * self.scale
        out += self.shift
        return out


def hold_out(
    labels: np.ndarray, count: int, seed: int, tenth: bool = False
) -> Tuple[np.ndarray, np.ndarray]:
    """Split rows, stratified by class, into sorted training rows and `count` sorted other rows.

    With `tenth`, `count` is at most a tenth of all rows.
    """
    count = min(count, max(len(labels) // 10, 1)) if tenth else count
    if not 0 <= count < len(labels):
        raise UserError(
            f"validation must be a number from 0 to {len(labels) - 1} images, not {count}"
        )
    shuffled = np.random.default_rng([seed, 0, 0]).permutation(len(labels))
    quantile = np.empty(len(labels))  # rank of a row within its class, in (0, 1)
    rows = shuffled[np.argsort(labels[shuffled], kind="stable")]  # class by class
    starts, sizes = np.unique(labels[rows], return_index=True, return_counts=True)[1:]
    ranks = np.arange(len(rows)) - np.repeat(starts, sizes)
    quantile[rows] = (ranks + 0.5) / np.repeat(sizes, sizes)
    order = shuffled[np.argsort(quantile[shuffled], kind="stable")]
    return np.sort(order[count:]), np.sort(order[:count])


def mislabel(samples: Samples, share: float, seed: int) -> Samples:
    """The same images; with probability `share` each has the label of another class."""
    rng, labels = np.random.default_rng([seed, 0, 0, 1]), samples.labels
    wrong = rng.random(len(labels)) < share
    others = (labels + rng.integers(1, samples.classes, len(labels))) % samples.classes
    return replace(samples, labels=np.where(wrong, others, labels))


def prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items, computed up to `depth` ahead in a thread that ends with the consumer."""
    ready: queue.SimpleQueue[Tuple[Any, Optional[BaseException]]] = queue.SimpleQueue()
    free_slots = threading.Semaphore(depth)
    abandoned = threading.Event()
    exhausted = StopIteration()

    def produce() -> None:
        try:
            for item in items:
                free_slots.acquire()
                if abandoned.is_set():
                    return
                ready.put((item, None))
            ready.put((None, exhausted))
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            ready.put((None, error))

    # Not joined: at interpreter exit a daemon thread may already be stopped.
    threading.Thread(target=produce, name="prefetch", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if error is exhausted:
                return
            if error is not None:
                raise error
            free_slots.release()
            yield item
    finally:
        abandoned.set()
        free_slots.release()


def _check_labels(labels: Sequence[int], classes: int) -> np.ndarray:
    """Labels as int32, after a check of their range, as MXNet's losses clip others silently."""
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"label {labels[wrong[0]]} of image {wrong[0]} is out of range; "
            f"{classes} classes have labels 0 to {classes - 1}"
        )
    return labels.astype(np.int32)
