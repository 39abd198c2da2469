"""Flags that verbs share: the network of a verb, and the layout of `--help`.

Modules of verbs import MXNet inside functions, so that reading flags does not need it.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

from ..datasets.pictures import MAX_SIDE
from ..errors import UserError
from ..fields import number
from ..storage.atomic import read_bytes
from ..zoo.registry import read_options
from .description import LARGEST_MEAN, SMALLEST_STD

if TYPE_CHECKING:
    from ..zoo.attention_net import AttentionNet
    from .open_model import Model

MOST_SAMPLES = 1000  # episodes averaged
MOST_NAMES = 1 << 20  # bytes of a file of class names
LARGEST_BATCH = 10**6
WIDTH = 79  # of a description in --help


def add_verb(
    verbs: Any,
    verb: str,
    help: str,
    run: Callable[..., None],
    *examples: str,
    description: str = "",
) -> argparse.ArgumentParser:
    """Add a verb, with a description and complete examples in its `--help`.

    Args:
        help: one line for the list of all verbs, without a full stop.
        examples: arguments of the verb.
        description: sentences in place of `help`, if it is too short.
    """
    heading = "examples:" if len(examples) > 1 else "example:"
    parser = verbs.add_parser(
        verb,
        help=help,
        description=textwrap.fill(description or help[0].upper() + help[1:] + ".", WIDTH),
        epilog="\n".join((heading, *(f"  gluon-attention {verb} {e}" for e in examples))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="output as JSON, for scripts")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `model_of` reads, and --json."""
    parser.add_argument(
        "model",
        metavar="NAME|FILE|RUN",
        help="name of a network with weights, .params file, or folder of a training run",
    )
    group = parser.add_argument_group("network of a FILE without a .json beside it")
    group.add_argument(
        "--model", dest="network", metavar="NAME", help="registered name (gluon-attention list)"
    )
    group.add_argument("--classes", type=number(int, 1), metavar="N", help="number of classes")
    group.add_argument(
        "--options",
        metavar="TEXT",
        help="options of the network (gluon-attention info), such as core=lstm,std=0.2",
    )
    group.add_argument(
        "--class-names", metavar="TXT", help="text file with one class name per line"
    )
    group.add_argument(
        "--size", type=number(int, 1, MAX_SIDE), metavar="N", help="side of the inputs"
    )
    for flag, noun, low in (
        ("--mean", "mean", -LARGEST_MEAN),
        ("--std", "standard deviation", SMALLEST_STD),
    ):
        group.add_argument(
            flag,
            type=number(Tuple[float, ...], low, LARGEST_MEAN),
            metavar="X,...",
            help=f"{noun} of each channel, in units of pixel / 255",
        )
    parser.add_argument(
        "--num-gpus",
        type=number(int, 0),
        metavar="N",
        help="number of GPUs; 0 is the CPU (default: all GPUs, or else the CPU)",
    )
    add_json(parser)


def add_batch_size(parser: Any, default: Optional[int], noun: str, meaning: str = "") -> None:
    """Add --batch-size; `meaning` describes a default of None."""
    parser.add_argument(
        "-b",
        "--batch-size",
        type=number(int, 1, LARGEST_BATCH),
        default=default,
        metavar="N",
        help=f"{noun} (default: {meaning or default})",
    )


def add_samples(parser: Any, meaning: str) -> None:
    """Add --samples; `meaning` describes its default, None."""
    parser.add_argument(
        "-m",
        "--samples",
        type=number(int, 1, MOST_SAMPLES),
        metavar="N",
        help=f"episodes averaged, for networks that sample glimpses (default: {meaning})",
    )


def add_native(parser: Any) -> None:
    parser.add_argument(
        "--native",
        choices=("auto", "0", "1"),
        default="auto",
        help="prediction by the native library on a CPU; auto: if it is built and supports the "
        "network (default: auto)",
    )


def model_of(flags: argparse.Namespace, untrained: bool = False) -> Model:
    """The network of the flags of `add_network`, on the first device."""
    from ..training.devices import choose_devices
    from .open_model import Overrides, open_model

    overrides = Overrides(
        name=flags.network,
        classes=flags.classes,
        options=None if flags.options is None else read_options(flags.options),
        class_names=_lines(flags.class_names) if flags.class_names else None,
        size=flags.size,
        mean=flags.mean,
        std=flags.std,
    )
    return open_model(flags.model, overrides, choose_devices(flags.num_gpus)[0], untrained)


def require_sampling(net: AttentionNet) -> None:
    """Refuse `--samples` for a network without sampling."""
    if net.samples is None:
        raise UserError("--samples is for networks that sample glimpses; leave it out")


def _lines(path: str) -> List[str]:
    try:
        text = read_bytes(path, MOST_NAMES + 1).decode()
    except ValueError as error:  # a UserError, too
        raise UserError(f"--class-names {path} is no text file of names: {error}") from None
    if len(text) > MOST_NAMES:
        raise UserError(f"--class-names {path} is larger than {MOST_NAMES:,} bytes")
    return [line.strip() for line in text.splitlines() if line.strip()]
