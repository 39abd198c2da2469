"""`explain`: pictures of what a network attends to."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict, List, Sequence

import numpy as np

from ..errors import UserError
from ..explain import painters as explain
from ..explain.tiles import below
from ._flags import add_verb, opened
from ._pictures import named, read
from .open_model import Model

BATCH = 16  # pictures that a network is traced over at once


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
    ending = ending_of(flags.output, flags.gif)
    model = opened(flags)
    kinds = [kind for kind in explain.PAINTERS if kind in model.net.Trace._fields]
    if not kinds:
        raise UserError(f"{model.name} shows nothing of what it attends to")
    if flags.channel is not None and "masks" not in kinds:
        raise UserError(f"--channel is for networks with masks, and {model.name} has none")
    moving, names = flags.gif or ending == ".gif", list(named(flags.images))
    if ending:
        jobs = [(flags.output, names)]
    else:
        files = (stem + (".gif" if moving else ".png") for stem in stems(names))
        jobs = [(os.path.join(flags.output, file), [name]) for file, name in zip(files, names)]
    refuse_inputs([target for target, _ in jobs], names, kinds)
    made = []
    for target, some in jobs:
        made += draw(model, some, target, moving, flags.channel)
    for record in made:
        print(json.dumps(record) if flags.json else record["file"])


def ending_of(output: str, gif: bool) -> str:
    """How the one file of all images ends; empty if `output` is a folder of files."""
    ending = "" if os.path.isdir(output) else os.path.splitext(output)[1].lower()
    if ending not in ("", ".png", ".gif"):
        raise UserError(f"-o {output} must end in .png or .gif, or be a folder")
    if os.path.isfile(output) and not ending:
        raise UserError(f"-o {output} is a file; give a folder, or a name in .png or .gif")
    if gif and ending == ".png":
        raise UserError(f"--gif makes no .png: leave it out, or let -o {output} end in .gif")
    return ending


def stems(names: Sequence[str]) -> List[str]:
    """Names of files without their endings, no two of them equal."""
    found: Dict[str, None] = {}
    for name in names:
        first = os.path.splitext(os.path.basename(name))[0] if name != "-" else "stdin"
        stem, number = first, 1
        while stem in found:
            number += 1
            stem = f"{first}-{number}"
        found[stem] = None
    return list(found)


def refuse_inputs(targets: Sequence[str], names: Sequence[str], kinds: Sequence[str]) -> None:
    """Refuse to write over a picture that is to be read."""
    inputs = {os.path.realpath(name) for name in names}
    for target in targets:
        for file in [target, *(with_kind(target, kind) for kind in kinds)]:
            if os.path.realpath(file) in inputs:
                raise UserError(f"{file} is a picture to be read; choose another -o")


def with_kind(path: str, kind: str) -> str:
    """The file of one kind of attention, of a network that shows several."""
    stem, ending = os.path.splitext(path)
    return f"{stem}-{kind}{ending}"


def draw(
    model: Model, names: List[str], path: str, moving: bool, channel: Any
) -> List[Dict[str, Any]]:
    """Write what the network attends to in some pictures, one file for each kind of attention."""
    raw = np.stack([model.view.pixels(read(name)) for name in names])
    painter, view = explain.animations if moving else explain.pictures, model.view
    parts = [
        painter(model.net, raw[at : at + BATCH], view.mean, view.std, channel, model.classes)
        for at in range(0, len(raw), BATCH)
    ]
    made = []
    for kind in parts[0]:
        drawn = [part[kind] for part in parts]
        file = path if len(parts[0]) == 1 else with_kind(path, kind)
        if moving:
            explain.save_gif(file, [below(frames) for frames in zip(*drawn)])
        else:
            explain.save_png(file, below(drawn))
        made.append({"file": file, "shows": kind, "images": names})
    return made
