"""`explain`: pictures of what a network attends to."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from typing import Any, Dict, List

import numpy as np

from .. import explain
from ..deploy.models import Model
from ..errors import UserError
from .model import Picture, add_verb, opened, pictures


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "explain",
        "draw what a network attends to: masks, glimpses or boxes",
        run,
        "ram_cluttered_60 digits/ -o looks",
        "ram_28 digit.png -o look.gif",
        "runs/cifar10-cifar_residual_attention92 cat.png dog.png -o masks.png --channel 3",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, or - (a pipe)")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="a .png or .gif of all images, or a folder that gets a file for each",
    )
    parser.add_argument("--gif", action="store_true", help="animations in the folder, not pictures")
    parser.add_argument("--channel", type=int, help="of every mask, instead of the mean of all")


def run(flags: argparse.Namespace) -> None:
    ending = os.path.splitext(flags.output)[1].lower()
    if ending not in ("", ".png", ".gif"):
        raise UserError(f"-o {flags.output} must end in .png or .gif, or be a folder")
    if os.path.isfile(flags.output) and not ending:
        raise UserError(f"-o {flags.output} is a file; give a folder, or a name in .png or .gif")
    model = opened(flags)
    if not set(explain.PAINTERS) & set(model.net.Trace._fields):
        raise UserError(f"{model.name} shows nothing of what it attends to")
    if ending:
        everything = list(pictures(flags.images))
        made = draw(model, everything, flags.output, ending == ".gif", flags.channel)
    else:
        made, taken = [], Counter()
        for item in pictures(flags.images):
            stem = os.path.splitext(os.path.basename(item[0]))[0] if item[0] != "-" else "stdin"
            taken[stem] += 1
            stem += f"-{taken[stem]}" if taken[stem] > 1 else ""
            path = os.path.join(flags.output, stem + (".gif" if flags.gif else ".png"))
            made += draw(model, [item], path, flags.gif, flags.channel)
    for record in made:
        print(json.dumps(record) if flags.json else record["file"])


def draw(
    model: Model, items: List[Picture], path: str, moving: bool, channel: Any
) -> List[Dict[str, Any]]:
    """Write what the network attends to in some pictures, one file for each kind of attention."""
    raw = np.stack([model.view.pixels(picture) for _, picture in items])
    painter = explain.animations if moving else explain.pictures
    found = painter(model.net, raw, model.view.mean, model.view.std, channel, model.classes)
    made, (stem, ending) = [], os.path.splitext(path)
    for kind, drawn in found.items():
        file = path if len(found) == 1 else f"{stem}-{kind}{ending}"
        (explain.save_gif if moving else explain.save_png)(file, drawn)
        made.append({"file": file, "shows": kind, "images": [name for name, _ in items]})
    return made
