"""`explain`: pictures of what a network attends to."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import numpy as np

from ..command_line import printable
from ..errors import UserError
from ..fields import number
from ._flags import add_network, add_verb, model_of
from ._pictures import add_pictures, picture_paths, read_picture

if TYPE_CHECKING:
    from .open_model import Model

BATCH = 16  # pictures per trace


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "explain",
        "pictures of what a network attends to: masks, glimpses or boxes",
        run,
        "ram_cluttered_60 digits/ -o looks",
        "ram_28 digit.png -o look.gif",
        "ram_cluttered_60 digits/ -o look.html",
        "runs/cifar10-cifar_residual_attention92 cat.png dog.png -o masks.png --channel 3",
    )
    add_network(parser)
    add_pictures(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help=".png, .gif or .html page of all images, or folder for a file per image",
    )
    parser.add_argument(
        "--gif", action="store_true", help="animations instead of pictures in the folder"
    )
    parser.add_argument(
        "--channel",
        type=number(int, 0),
        metavar="N",
        help="channel of the masks to draw (default: mean of all channels; in a page: several)",
    )


def run(flags: argparse.Namespace) -> None:
    from ..explain.page import MOST_PICTURES

    suffix = output_suffix(flags.output, flags.gif)
    model = model_of(flags)
    if model.net.look is None:
        raise UserError(f"{model.name} has no attention to draw")
    if flags.channel is not None and model.net.shows != "masks":
        raise UserError(f"--channel is for networks with masks, and {model.name} has none")
    animated, paths = flags.gif or suffix == ".gif", list(picture_paths(flags.images))
    if suffix == ".html" and len(paths) > MOST_PICTURES:
        raise UserError(
            f"{len(paths):,} pictures are too many for a page; give up to {MOST_PICTURES}, or a "
            "folder as -o for a file per picture"
        )
    if suffix:
        jobs = [(flags.output, paths)]
    else:
        names = (stem + (".gif" if animated else ".png") for stem in unique_stems(paths))
        jobs = [(os.path.join(flags.output, name), [path]) for name, path in zip(names, paths)]
    refuse_overwriting([target for target, _ in jobs], paths)
    if suffix == ".html":
        records = [write_page(model, paths, flags.output, flags.channel)]
    else:
        records = [draw(model, group, target, animated, flags.channel) for target, group in jobs]
    for record in records:
        print(json.dumps(record) if flags.json else printable(record["file"]))


def output_suffix(output: str, gif: bool) -> str:
    """The suffix of the one file of all images; empty if `output` is a folder of files."""
    suffix = "" if os.path.isdir(output) else os.path.splitext(output)[1].lower()
    if suffix not in ("", ".png", ".gif", ".html"):
        raise UserError(f"-o {output} must end in .png, .gif or .html, or be a folder")
    if os.path.isfile(output) and not suffix:
        raise UserError(f"-o {output} is a file; give a folder, or a name in .png, .gif or .html")
    if gif and suffix in (".png", ".html"):
        raise UserError(f"--gif excludes {suffix}: leave it out, or let -o {output} end in .gif")
    return suffix


def unique_stems(paths: Sequence[str]) -> List[str]:
    """Names of files without suffix; equal ones get numbers."""
    stems: Dict[str, None] = {}
    for path in paths:
        first = os.path.splitext(os.path.basename(path))[0] if path != "-" else "stdin"
        stem, count = first, 1
        while stem in stems:
            count += 1
            stem = f"{first}-{count}"
        stems[stem] = None
    return list(stems)


def refuse_overwriting(targets: Sequence[str], paths: Sequence[str]) -> None:
    """Refuse to overwrite an input picture."""
    inputs = {os.path.realpath(path) for path in paths}
    for target in targets:
        if os.path.realpath(target) in inputs:
            raise UserError(f"{target} is an input picture; choose another -o")


def draw(
    model: Model, paths: List[str], target: str, animated: bool, channel: Optional[int]
) -> Dict[str, Any]:
    """Draw the attention to some pictures in one file."""
    from ..explain.pictures import animation, paint, picture
    from ..explain.tiles import save_gif, save_png

    view, rows = model.view, []
    pixels = np.stack([view.pixels(read_picture(path)) for path in paths])
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        rows += paint(model.net, batch, view.mean, view.std, channel, model.classes)
    if animated:
        save_gif(target, animation(rows))
    else:
        save_png(target, picture(rows))
    return {"file": target, "shows": model.net.shows, "images": paths}


def write_page(
    model: Model, paths: Sequence[str], target: str, channel: Optional[int]
) -> Dict[str, Any]:
    """Write a page of some pictures."""
    from ..explain.page import Entry, Page

    page, view = Page(model.name, model.classes), model.view
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        entries = [Entry(os.path.basename(path) if path != "-" else "stdin") for path in batch]
        pixels = np.stack([view.pixels(read_picture(path)) for path in batch])
        page.add(model.net, entries, pixels, view.mean, view.std, channel)
    page.save(target)
    return {"file": target, "shows": "page", "images": list(paths)}
