"""`predict`: the most probable classes of pictures."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any, List, Optional

import numpy as np

from ..command_line import printable
from ..errors import UserError
from ..fields import number
from ._flags import (
    add_batch_size,
    add_native,
    add_network,
    add_samples,
    add_verb,
    model_of,
    require_sampling,
)
from ._pictures import add_pictures, in_batches, picture_paths, read_picture

if TYPE_CHECKING:
    from .open_model import Model


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
        "ram_28 photos/ --csv --top 1 > classes.csv",
    )
    add_network(parser)
    add_pictures(parser)
    parser.add_argument(
        "--top", type=number(int, 1), default=5, metavar="N", help="number of classes (default: 5)"
    )
    add_samples(parser, "one episode without noise")
    add_batch_size(parser, 16, "pictures per step")
    add_native(parser)
    parser.add_argument(
        "--csv", action="store_true", help="output as a table, a row per class, for spreadsheets"
    )


def run(flags: argparse.Namespace) -> None:
    from ..training.accelerate import prediction

    if flags.csv and flags.json:
        raise UserError("--csv and --json are two formats: leave one out")
    model = model_of(flags)
    if flags.samples:
        require_sampling(model.net)
    model.net.hybridize()
    table = csv.writer(sys.stdout, lineterminator="\n") if flags.csv else None
    if table:
        table.writerow(("image", "rank", "class", "label", "probability"))
    # A generator, so that memory holds one decoded picture at a time.
    inputs = ((path, model.view(read_picture(path))) for path in picture_paths(flags.images))
    with prediction(model.net, flags.native, [model.device]):
        for batch in in_batches(inputs, flags.batch_size):
            images = np.stack([image for _, image in batch])
            for (path, _), row in zip(batch, probabilities(model, images, flags.samples)):
                labels = np.argsort(-row, kind="stable")[: flags.top].tolist()
                names, shares = [model.classes[label] for label in labels], row[labels].tolist()
                if table:
                    rows = zip(names, labels, (f"{share:.6g}" for share in shares))
                    table.writerows((path, rank, *cells) for rank, cells in enumerate(rows, 1))
                else:
                    show(path, names, labels, shares, flags.json)


def probabilities(model: Model, images: np.ndarray, samples: Optional[int]) -> np.ndarray:
    """Probabilities (N, classes), averaged over episodes if `samples` is set."""
    from mxnet import nd

    pixels = nd.array(images, ctx=model.device)
    shares = model.net.predict(pixels, samples) if samples else model.net(pixels).softmax()
    return shares.asnumpy()


def show(
    path: str, names: List[str], labels: List[int], shares: List[float], as_json: bool
) -> None:
    """Print the most probable classes of a picture."""
    if as_json:
        keys = ("class", "label", "probability")
        predictions = [dict(zip(keys, values)) for values in zip(names, labels, shares)]
        print(json.dumps(dict(image=path, predictions=predictions)), flush=True)
    else:
        line = "  ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares))
        print(printable(f"{path}: {line}"), flush=True)
