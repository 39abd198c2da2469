"""`predict`: what pictures show."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from mxnet import nd

from ..errors import UserError
from ._flags import SAMPLES, add_verb, check_draws, opened
from ._pictures import batches, pictures

BATCH = 16


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "predict",
        "say what pictures show",
        run,
        "ram_28 digit.png",
        "runs/cifar10-cifar_residual_attention92 photos/ --top 3",
        "net.params --model residual_attention56 --class-names names.txt cat.jpg",
        "ram_28 --json - < digit.png",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, or - (a pipe)")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="answers a picture (default: 5)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="episodes averaged, if it draws them (default: 0, one without noise)",
    )


def run(flags: argparse.Namespace) -> None:
    if flags.top < 1:
        raise UserError(f"--top must be a whole number above 0, not {flags.top}")
    if not 0 <= flags.samples <= SAMPLES:
        raise UserError(
            f"--samples must be a whole number from 0 to {SAMPLES}, not {flags.samples}"
        )
    model = opened(flags)
    model.net.hybridize()
    for batch in batches(pictures(flags.images), BATCH):
        inputs = np.stack([model.view(picture) for _, picture in batch])
        found = probabilities(
            model.net, nd.array(inputs, ctx=model.device), flags.samples
        ).asnumpy()
        for (path, _), shares in zip(batch, found):
            best = np.argsort(-shares, kind="stable")[: flags.top]
            show(path, [(model.classes[k], int(k), float(shares[k])) for k in best], flags.json)


def probabilities(net: Any, images: nd.NDArray, samples: int = 0) -> nd.NDArray:
    """Of each class, (N, classes); of drawn episodes if there are to be samples."""
    if not samples:
        return nd.softmax(net(images))
    check_draws(net)
    return net.predict(images, samples)


def show(path: str, answers: Any, as_json: bool) -> None:
    if as_json:
        named = [dict(zip(("class", "label", "probability"), answer)) for answer in answers]
        print(json.dumps(dict(image=path, answers=named)), flush=True)
    else:
        told = "  ".join(f"{name} {100 * share:.1f} %" for name, _, share in answers)
        print(f"{path}: {told}", flush=True)
