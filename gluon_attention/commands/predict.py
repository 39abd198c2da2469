"""`predict`: the most probable classes of pictures."""

from __future__ import annotations

import argparse
import json
from typing import Any, List, NamedTuple, Optional

import numpy as np
from mxnet import nd

from ..command_line import printable
from ..fields import number
from ._flags import (
    add_batch_size,
    add_devices,
    add_json,
    add_network,
    add_samples,
    add_verb,
    model_of,
    require_sampling,
)
from ._pictures import add_pictures, in_batches, picture_paths, read_picture


class Prediction(NamedTuple):
    """A class, and how probable it is."""

    name: str
    label: int
    probability: float


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "predict",
        "most probable classes of pictures",
        run,
        "ram_28 digit.png",
        "runs/cifar10-cifar_residual_attention92 photos/ --top 3",
        "net.params --model residual_attention56 --class-names names.txt cat.jpg",
        "ram_28 --json - < digit.png",
    )
    add_network(parser)
    add_pictures(parser)
    parser.add_argument(
        "--top", type=number(int, 1), default=5, metavar="N", help="classes a picture (default: 5)"
    )
    add_samples(parser, "one episode without noise")
    add_batch_size(parser, 16, "pictures a step")
    add_devices(parser)
    add_json(parser)


def run(flags: argparse.Namespace) -> None:
    model = model_of(flags)
    if flags.samples:
        require_sampling(model.net)
    model.net.hybridize()
    # Each picture is resized before the next is read: memory holds one decoded picture.
    inputs = ((path, model.view(read_picture(path))) for path in picture_paths(flags.images))
    for batch in in_batches(inputs, flags.batch_size):
        images = nd.array(np.stack([image for _, image in batch]), ctx=model.device)
        rows = probabilities(model.net, images, flags.samples).asnumpy()  # (N, classes)
        for (path, _), row in zip(batch, rows):
            labels = np.argsort(-row, kind="stable")[: flags.top]
            show(path, [Prediction(model.classes[k], int(k), float(row[k])) for k in labels], flags)


def probabilities(net: Any, images: nd.NDArray, samples: Optional[int] = None) -> nd.NDArray:
    """The probability of each class (N, classes), averaged over episodes if there are samples."""
    return net.predict(images, samples) if samples else nd.softmax(net(images))


def show(path: str, predictions: List[Prediction], flags: argparse.Namespace) -> None:
    if flags.json:
        records = [
            {"class": p.name, "label": p.label, "probability": p.probability} for p in predictions
        ]
        print(json.dumps(dict(image=path, predictions=records)), flush=True)
    else:
        line = "  ".join(f"{p.name} {100 * p.probability:.1f} %" for p in predictions)
        print(printable(f"{path}: {line}"), flush=True)
