"""Flags that verbs share: the network that a verb works on, and the layout of its `--help`."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any, Callable, List, Tuple

from ..datasets.pictures import MAX_SIDE
from ..errors import UserError
from ..training.devices import choose_devices
from ..zoo.registry import read_options
from .open_model import Model, Overrides, open_model

SAMPLES = 1000  # largest number of episodes averaged
WIDTH = 79  # of the text of --help


def new_verb(
    verbs: Any,
    verb: str,
    help: str,
    run: Callable[..., None],
    *examples: str,
    description: str = "",
) -> argparse.ArgumentParser:
    """A verb that says what it does, and shows examples that can be copied whole.

    Args:
        help: one line for the list of all verbs, without a full stop.
        examples: the words after the verb.
        description: sentences, where `help` does not say enough.
    """
    head = "examples:" if len(examples) > 1 else "example:"
    parser = verbs.add_parser(
        verb,
        help=help,
        description=textwrap.fill(description or help[0].upper() + help[1:] + ".", WIDTH),
        epilog="\n".join((head, *(f"  gluon-attention {verb} {e}" for e in examples))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


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
    told.add_argument(
        "--model",
        dest="network",
        metavar="NAME",
        help="registered name of its network, see gluon-attention list",
    )
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
    if flags.size is not None and not 1 <= flags.size <= MAX_SIDE:
        raise UserError(f"--size must be a whole number from 1 to {MAX_SIDE}, not {flags.size}")
    names = _lines(flags.class_names) if flags.class_names else None
    options = None if flags.options is None else read_options(flags.options)
    told = Overrides(
        flags.network, flags.classes, options, names, flags.size, flags.mean, flags.std
    )
    return open_model(flags.model, told, choose_devices(flags.num_gpus)[0], untrained)


def check_draws(net: Any) -> None:
    """Refuse to average over episodes of a network that draws none."""
    if not hasattr(net, "predict"):
        raise UserError("--samples is for networks that draw where they look; leave it out")


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
