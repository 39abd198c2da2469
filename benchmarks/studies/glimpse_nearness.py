"""How close interpolated features of the feature grid are to features of the true patches.

python benchmarks/studies/glimpse_nearness.py runs/NAME --data-dir data/CUB_200_2011
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

from gluon_attention import datasets
from gluon_attention.command_line import Parser, command
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import Batches
from gluon_attention.fields import number
from gluon_attention.zoo.glimpse.feature_cache import fast_copy

import mxnet as mx
import numpy as np
from mxnet import nd


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Compare on test images and print one line a figure."""
    flags = parse(argv)
    model = open_model(flags.run)
    source = model.source or {}
    options = dict(source.get("options") or {}, augment=False)
    splits = getattr(datasets, source["name"])(flags.data_dir, **options)
    batches = Batches(splits.test, flags.batch)
    for name, value in compare(model.net, batches, flags.images).items():
        print(f"{name:34}{value:8.4f}")


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("run", help="folder of a run of stanford_dogs_train.py")
    parser.add_argument("--data-dir", required=True, metavar="PATH", help="folder of its data set")
    count = dict(type=number(int, 1), metavar="N")
    parser.add_argument("--images", help="number of test images (default: all)", **count)
    parser.add_argument("--batch", default=16, help="batch size (default: 16)", **count)
    return parser.parse_args(argv)


def compare(net: Any, batches: Batches, limit: Optional[int]) -> Dict[str, float]:
    """Means over images of accuracies, agreement and distances; `limit` is a number of images."""
    encoder, columns = fast_copy(net.encoder, mx.cpu()), []
    for pixels, labels in batches.epoch(0):
        images = nd.array(pixels)
        exact, patches = episode(net, images, encoder)
        near, interpolated = episode(net, net.encode(images, encoder=encoder), encoder)
        cosine = (patches * interpolated).sum(axis=2) / (norm(patches) * norm(interpolated))
        columns.append(
            [
                exact.argmax(axis=1) == labels,
                near.argmax(axis=1) == labels,
                exact.argmax(axis=1) == near.argmax(axis=1),
                cosine.mean(axis=1),  # of (N, T)
                (norm(patches - interpolated) / norm(patches)).mean(axis=1),
            ]
        )
        if limit and sum(len(column[0]) for column in columns) >= limit:
            break
    names = ("accuracy of patches", "accuracy of cached features", "same class")
    names += ("cosine of features", "relative distance of features")
    return {n: float(np.concatenate(parts).mean()) for n, parts in zip(names, zip(*columns))}


def episode(net: Any, images: nd.NDArray, encoder: Any) -> Any:
    """Logits (N, classes) and features of every glimpse (N, T, features).

    `images` are images (N, C, H, W) or cached features.
    """
    features = []
    with recorded_inputs(net.controller.core, features):
        if images.ndim == 3:
            logits = net.trace(images).logits
        else:
            logits = unroll_on_patches(net, images, encoder)
    return logits.asnumpy(), np.stack([part.asnumpy() for part in features], axis=1)


def unroll_on_patches(net: Any, images: nd.NDArray, encoder: Any) -> nd.NDArray:
    """Logits of the network with its encoder replaced by a faster copy."""
    patches = net.encoder
    centre = nd.zeros((len(images), 2))
    levels = [patches.downscaled(nd, images, side) for side in patches.sides]

    def look(location: nd.NDArray) -> nd.NDArray:
        pairs = zip(levels, patches.sides)
        views = [patches.crop_patch(nd, level, location, side) for level, side in pairs]
        return nd.concat(*(encoder(view).mean(axis=(2, 3)) for view in views), dim=1)

    context = encoder(patches.crop_patch(nd, patches.downscaled(nd, images, 1.0), centre, 1.0))
    return net.controller.unroll(nd, context, look, *net.zero_noise(nd))[0]


@contextmanager
def recorded_inputs(block: Any, inputs: List[Any]) -> Iterator[None]:
    """Append the first argument of every call of a block."""
    hook = block.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield
    finally:
        hook.detach()


def norm(vectors: np.ndarray) -> np.ndarray:
    """Lengths along the last axis."""
    return np.linalg.norm(vectors, axis=2)


if __name__ == "__main__":
    command(main)
