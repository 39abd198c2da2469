"""How near features that are read between remembered positions are to those of the patches there.

python benchmarks/glimpse_nearness.py runs/cub200-glimpse_resnet50 --data-dir data/CUB_200_2011
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

from gluon_attention import UserError, datasets
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import Batches
from gluon_attention.zoo.glimpse.feature_cache import fast

import mxnet as mx
import numpy as np
from figures.flags import Parser, number
from mxnet import nd


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Compare on test images and print one line a figure."""
    flags = parse(argv)
    try:
        model = open_model(flags.run)
    except UserError as error:
        Parser().error(str(error))
    source = model.source or {}
    options = dict(source.get("options") or {}, augment=False)
    splits = getattr(datasets, source["name"])(flags.data_dir, **options)
    for name, value in compare(model.net, Batches(splits.test, flags.batch), flags.images).items():
        print(f"{name:34}{value:8.4f}")


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("run", help="folder of a run of stanford_dogs_train.py")
    parser.add_argument("--data-dir", required=True, metavar="PATH", help="folder of its data set")
    count = dict(type=number(int, 1), metavar="N")
    parser.add_argument("--images", default=10**9, help="of the test set; all if absent", **count)
    parser.add_argument("--batch", default=16, help="images at once", **count)
    return parser.parse_args(argv)


def compare(net: Any, batches: Batches, images: int) -> Dict[str, float]:
    """Means over images: of both accuracies, of agreement, and of what the glimpses saw."""
    see, found = fast(net.encoder, mx.cpu()), []
    for pixels, labels in batches.epoch(0):
        pixels = nd.array(pixels)
        exact, cut = episode(net, pixels, see)
        near, read = episode(net, net.encode(pixels, see=see), see)
        same = (cut * read).sum(axis=2) / (norm(cut) * norm(read))  # (N, T)
        found.append(
            [
                exact.argmax(axis=1) == labels,
                near.argmax(axis=1) == labels,
                exact.argmax(axis=1) == near.argmax(axis=1),
                same.mean(axis=1),
                (norm(cut - read) / norm(cut)).mean(axis=1),
            ]
        )
        if sum(len(part[0]) for part in found) >= images:
            break
    names = ("accuracy of patches", "accuracy of remembered features", "same answer")
    names += ("cosine of features", "relative distance of features")
    return {n: float(np.concatenate(parts).mean()) for n, parts in zip(names, zip(*found))}


def episode(net: Any, images: nd.NDArray, see: Any) -> Any:
    """Logits (N, classes) and what every glimpse saw (N, T, features)."""
    seen = []
    with watched(net.controller.core, seen):
        if images.ndim == 3:
            logits = net.trace(images).logits
        else:
            logits = through(net, images, see)
    return logits.asnumpy(), np.stack([part.asnumpy() for part in seen], axis=1)


def through(net: Any, images: nd.NDArray, see: Any) -> nd.NDArray:
    """What the network answers, its visual network replaced by a faster copy."""
    encoder = net.encoder
    middle = nd.zeros((len(images), 2))
    levels = [encoder.downscaled(nd, images, side) for side in encoder.sides]

    def look(where: nd.NDArray) -> nd.NDArray:
        views = [
            encoder.crop_patch(nd, level, where, side) for level, side in zip(levels, encoder.sides)
        ]
        return nd.concat(*(see(view).mean(axis=(2, 3)) for view in views), dim=1)

    context = see(encoder.crop_patch(nd, encoder.downscaled(nd, images, 1.0), middle, 1.0))
    return net.controller.unroll(nd, context, look, *net.zero_noise(nd))[0]


@contextmanager
def watched(block: Any, calls: List[Any]) -> Iterator[None]:
    """Collect the first argument of every call of a block."""
    hook = block.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    try:
        yield
    finally:
        hook.detach()


def norm(vectors: np.ndarray) -> np.ndarray:
    """Lengths along the last axis."""
    return np.linalg.norm(vectors, axis=2)


if __name__ == "__main__":
    main()
