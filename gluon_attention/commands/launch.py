"""`launch`: training on several machines."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import UserError
from ..fields import number
from ..training.launch import launch, read_hosts
from ._flags import add_verb

MOST = 1024  # processes of one kind


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "launch",
        "training on several machines",
        run,
        "-n 2 -- gluon-attention train cifar10 --kvstore dist_sync",
        description=(
            "Train on several machines, or in several processes of one: start workers, servers and "
            "a scheduler that connects them, and end all of them when one fails."
        ),
    )
    for short, flag, default, noun in (
        ("-n", "--workers", 2, "processes that train"),
        ("-s", "--servers", 1, "processes that sum gradients"),
    ):
        parser.add_argument(
            short,
            flag,
            type=number(int, 1, MOST),
            default=default,
            metavar="N",
            help=f"{noun} (default: {default})",
        )
    parser.add_argument(
        "--hostfile",
        metavar="TXT",
        help="text file with one host per line, for ssh (default: all processes run here)",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="command that each worker runs, after --"
    )


def run(flags: argparse.Namespace) -> None:
    words = flags.command[1:] if flags.command[:1] == ["--"] else flags.command
    if not words:
        raise UserError(
            "launch needs a command: gluon-attention launch -n 2 -- gluon-attention train ..."
        )
    hosts = read_hosts(flags.hostfile) if flags.hostfile else []
    sys.exit(launch(words, flags.workers, flags.servers, hosts))
