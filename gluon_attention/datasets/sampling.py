"""Batches of a data set: the order of an epoch, a worker's shard, a thread that works ahead."""

from __future__ import annotations

import functools
import inspect
import queue
import threading
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np

from ..errors import UserError
from .published import looked_into
from .view import View

Batch = Tuple[np.ndarray, np.ndarray]
Load = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Item = TypeVar("Item")
# Options of data sets that change nothing of what is in them, and so are not recorded.
NOT_RECORDED = ("root", "batch_size", "workers", "part", "download")


class Batches:
    """Labelled samples in batches; `load(rows, rng)` makes the images of some rows.

    What `load` returns is float32 (N, C, H, W), normalised; all that is random in it comes from
    `rng`. With `shuffle` this is a training set: another order each epoch, no short last batch,
    cut into equal shards by `part=(rank, workers)`. Without, the order of the rows is kept, the
    last batch may be short and every epoch is the same. Both are pure functions of `(seed, epoch)`.

    Attributes:
        samples: rows in this shard; `len(batches)` is the number of batches an epoch.
        regions: gives the place that matters in each image, where a data set knows it, (N, 4):
            left, top, right and bottom; an image spans -1 to 1. Nothing is trained on them.
        pictures: the batches of images that these hold features of, if they do.
    """

    regions: Optional[Callable[[], np.ndarray]] = None
    pictures: Optional[Batches] = None

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        classes: int,
        load: Load,
        *,
        shuffle: bool = False,
        seed: int = 0,
        part: Tuple[int, int] = (0, 1),
    ) -> None:
        rank, workers = part
        if batch_size < 1:
            raise UserError(f"batch size must be a whole number above 0, not {batch_size}")
        if seed < 0:
            raise UserError(f"seed must be a whole number from 0 up, not {seed}")
        if not 0 <= rank < workers:
            raise UserError(f"part must be (rank, workers) with 0 <= rank < workers, not {part}")
        self.labels = _checked(labels, classes)
        self.batch_size, self.load, self.shuffle, self.seed = batch_size, load, shuffle, seed
        self.part = part if shuffle else (0, 1)
        self.samples = len(self.labels) // self.part[1]
        if shuffle and self.samples < batch_size:
            each = f" for each of {workers} workers" if workers > 1 else ""
            raise UserError(
                f"{self.samples} training images{each} do not fill one batch of {batch_size}; "
                "use a smaller batch size or more images"
            )

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.shuffle)

    def epoch(self, index: int) -> Iterator[Batch]:
        """Batches of (images, labels) of one epoch, made ahead in a thread."""
        return prefetch(self._make(index))

    def rows(self, index: int) -> np.ndarray:
        """Rows of this shard in the order of an epoch."""
        if not self.shuffle:
            return np.arange(self.samples)
        rank, workers = self.part
        order = np.random.default_rng([self.seed, index, 0]).permutation(len(self.labels))
        return order[rank::workers][: self.samples]

    def identity(self, row: int) -> bytes:
        """What an image is made from, to know it again: other bytes, another image."""
        return self.load(np.array([row]), np.random.default_rng(0)).tobytes()

    def _make(self, index: int) -> Iterator[Batch]:
        order = self.rows(index)
        rank, workers = self.part
        for number in range(len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            # Every shard has its own stream, and 0 is taken by the order of the epoch.
            stream = [self.seed, index if self.shuffle else 0, number * workers + rank + 1]
            yield self.load(rows, np.random.default_rng(stream)), self.labels[rows]


class ArrayBatches(Batches):
    """Images held as uint8 (N, C, H, W), made float32 by `transform(images, rng)`."""

    def __init__(
        self,
        images: np.ndarray,
        labels: Sequence[int],
        batch_size: int,
        classes: int,
        *,
        transform: Transform,
        shuffle: bool = False,
        seed: int = 0,
        part: Tuple[int, int] = (0, 1),
    ) -> None:
        if len(images) != len(labels):
            raise UserError(f"{len(images)} images do not go with {len(labels)} labels")

        def load(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return transform(images[rows], rng)

        super().__init__(labels, batch_size, classes, load, shuffle=shuffle, seed=seed, part=part)


class Splits(NamedTuple):
    """A data set: three sets of batches and what is needed to show them."""

    train: Batches
    validation: Batches
    test: Batches
    classes: Sequence[str]
    mean: Sequence[float]  # of pixel / 255, per channel
    std: Sequence[float]
    view: Optional[View] = None  # how any other picture becomes an input
    source: Optional[Dict[str, Any]] = None  # the function that made it, and its options


DATASETS: Dict[str, Callable[..., Splits]] = {}


def recorded(load: Callable[..., Splits]) -> Callable[..., Splits]:
    """List a data set, and let its splits say what made them, so that others can load the same.

    Who asks for more validation images than there are is told so.
    """
    signature = inspect.signature(load)

    @functools.wraps(load)
    def loaded(*args: Any, **kwargs: Any) -> Splits:
        options = signature.bind(*args, **kwargs).arguments
        kept = {k: v for k, v in options.items() if k not in NOT_RECORDED}
        with looked_into():
            splits = load(*args, **kwargs)
        asked, held = kept.get("validation", 0), splits.validation.samples
        if asked > held:
            kept["validation"] = held
            if options.get("part", (0, 1))[0] == 0:
                told = "a tenth of the training images at most"
                print(f"validation on {held} images, not {asked}: {told}", flush=True)
        return splits._replace(source={"name": load.__name__, "options": kept})

    DATASETS[load.__name__] = loaded
    return loaded


class Normalise:
    """uint8 (N, C, H, W) to float32 with (pixel / 255 - mean) / std per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        mean64, std64 = np.asarray(mean), np.asarray(std)
        self.scale = (1 / (255 * std64)).astype(np.float32).reshape(-1, 1, 1)
        self.shift = (-mean64 / std64).astype(np.float32).reshape(-1, 1, 1)

    def __call__(self, images: np.ndarray, rng: Any = None) -> np.ndarray:
        out = images * self.scale
        out += self.shift
        return out


def hold_out(
    labels: np.ndarray, count: int, seed: int, tenth: bool = False
) -> Tuple[np.ndarray, np.ndarray]:
    """Rows to train on and `count` rows held out, the same share of every class; both sorted.

    With `tenth`, a tenth of them is held out at most.
    """
    count = min(count, max(len(labels) // 10, 1)) if tenth else count
    if not 0 <= count < len(labels):
        raise UserError(
            f"validation must be a number from 0 to {len(labels) - 1} images, not {count}"
        )
    shuffled = np.random.default_rng([seed, 0, 0]).permutation(len(labels))
    depth = np.empty(len(labels))  # how far down its class a row is, in (0, 1)
    rows = shuffled[np.argsort(labels[shuffled], kind="stable")]  # class by class
    starts, sizes = np.unique(labels[rows], return_index=True, return_counts=True)[1:]
    depth[rows] = (np.arange(len(rows)) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)
    order = shuffled[np.argsort(depth[shuffled], kind="stable")]
    return np.sort(order[count:]), np.sort(order[:count])


def mislabel(batches: Batches, share: float, classes: int, seed: int) -> None:
    """Give every image, with a probability of `share`, the label of another class."""
    rng, labels = np.random.default_rng([seed, 0, 0, 1]), batches.labels
    wrong = rng.random(len(labels)) < share
    others = (labels + rng.integers(1, classes, len(labels))) % classes
    batches.labels = np.where(wrong, others, labels).astype(labels.dtype)


def prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items, made up to `depth` ahead in a thread that ends when the consumer does."""
    ready: queue.SimpleQueue[Tuple[Any, Optional[BaseException]]] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    left = threading.Event()
    finished = StopIteration()

    def work() -> None:
        try:
            for item in items:
                room.acquire()
                if left.is_set():
                    return
                ready.put((item, None))
            ready.put((None, finished))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the consumer
            ready.put((None, error))

    # Not joined: at interpreter exit a daemon thread may never answer.
    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if error is finished:
                return
            if error is not None:
                raise error
            room.release()
            yield item
    finally:
        left.set()
        room.release()


def _checked(labels: Sequence[int], classes: int) -> np.ndarray:
    """Labels as int32, none out of range: MXNet's losses would clip them without a word."""
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"label {labels[wrong[0]]} of image {wrong[0]} is out of range; "
            f"{classes} classes have labels 0 to {classes - 1}"
        )
    return labels.astype(np.int32)
