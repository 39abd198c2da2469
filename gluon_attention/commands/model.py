"""The network that a verb works on, and the pictures that it is shown, as flags tell them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import numpy as np

from .. import runtime
from ..datasets.image_folder import SUFFIXES
from ..datasets.pictures import SIDE, decode
from ..errors import UserError
from ..zoo.registry import read_options
from .open_model import Model, Told, open_model
from .verb import new_verb

SAMPLES = 1000  # episodes averaged at most
Picture = Tuple[str, np.ndarray]  # where it lies, (H, W, 3) uint8


def add_verb(
    verbs: Any, verb: str, help: str, run: Callable[..., None], *examples: str
) -> argparse.ArgumentParser:
    """A verb that works on a network, with the flags that all of them have."""
    parser = new_verb(verbs, verb, help, run, *examples)
    parser.add_argument(
        "model",
        metavar="NAME|FILE|RUN",
        help="a name that has weights, a .params file, or the folder of a training run",
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    told = parser.add_argument_group("what a FILE is, where nothing beside it says so")
    told.add_argument("--name", help="registered name of its network, see gluon-attention list")
    told.add_argument("--classes", type=int, metavar="N", help="length of its logits")
    told.add_argument("--options", metavar="TEXT", help="of the network, such as core=lstm,std=0.2")
    told.add_argument("--class-names", metavar="TXT", help="a file with one name a line")
    told.add_argument("--size", type=int, metavar="N", help="side of the inputs")
    for flag in ("--mean", "--std"):
        told.add_argument(flag, type=_numbers, metavar="N,N,N", help="of pixel / 255, per channel")
    parser.add_argument("--num-gpus", type=int, default=None, help="0 for the CPU")
    return parser


def opened(flags: argparse.Namespace, untrained: bool = False) -> Model:
    """The model that the flags of `add_verb` name."""
    if flags.size is not None and not 1 <= flags.size <= SIDE:
        raise UserError(f"--size must be a whole number from 1 to {SIDE}, not {flags.size}")
    names = _lines(flags.class_names) if flags.class_names else None
    options = None if flags.options is None else read_options(flags.options)
    told = Told(flags.name, flags.classes, options, names, flags.size, flags.mean, flags.std)
    return open_model(flags.model, told, runtime.devices(flags.num_gpus)[0], untrained)


def check_draws(net: Any) -> None:
    """Refuse to average over episodes of a network that draws none."""
    if not hasattr(net, "predict"):
        raise UserError("--samples is for networks that draw where they look; leave it out")


def pictures(words: Sequence[str]) -> Iterator[Picture]:
    """Pictures of files and folders; `-` is one picture, or a list of paths, on standard input."""
    return ((name, read(name)) for name in named(words))


def named(words: Sequence[str]) -> Iterator[str]:
    """Where those pictures lie; `-` is the one that is piped."""
    for word in words:
        if word == "-":
            yield from _piped()
        elif os.path.isdir(word):
            inside = (p for p in Path(word).rglob("*") if p.suffix.lower() in SUFFIXES)
            found = sorted(p for p in inside if not p.is_dir())
            if not found:
                raise UserError(f"{word} has no pictures: files that end in {', '.join(SUFFIXES)}")
            yield from map(str, found)
        else:
            yield word


def batches(items: Iterator[Picture], size: int) -> Iterator[List[Picture]]:
    """The same pictures, up to `size` at a time."""
    batch: List[Picture] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _piped() -> Iterator[str]:
    if sys.stdin is None:
        raise UserError("standard input is closed; pipe a picture into it, or name one")
    if _is_picture(sys.stdin.buffer.peek(16)[:16]):
        yield "-"
        return
    empty = True
    for line in map(bytes.strip, sys.stdin.buffer):
        try:
            path = line.decode()
        except UnicodeDecodeError:
            path = "\0"
        if "\0" in path:
            raise UserError("standard input is neither a picture nor a list of paths")
        if path:
            empty = False
            yield path
    if empty:
        raise UserError("standard input is empty; pipe a picture into it, or paths, one a line")


def _is_picture(head: bytes) -> bool:
    """Whether bytes begin a picture: a path can begin as some do, BMW.png as a BMP."""
    return (
        head.startswith((b"\xff\xd8", b"\x89PNG"))
        or (head.startswith(b"BM") and head[6:10] == bytes(4))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
    )


def read(path: str) -> np.ndarray:
    """The pixels of a picture, turned as it says."""
    if path == "-":
        return decode(sys.stdin.buffer.read(), "standard input", upright=True)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return decode(content, path, upright=True)


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-names {path} is no text file of names: {error}") from None


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not numbers such as 0.5,0.5,0.5") from None
