"""`launch`: train on several machines."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import UserError
from ..training.launch import launch, read_hosts
from ._flags import new_verb

MOST = 1024  # processes of a kind


def add_parser(verbs: Any) -> None:
    job = new_verb(
        verbs,
        "launch",
        "train on several machines",
        run,
        "-n 2 -- python train/cifar10_train.py --kvstore dist_sync",
        description=(
            "Train on several machines, or in several processes of one: start workers, servers and "
            "what brings them together, and end all of them when one fails."
        ),
    )
    for short, name, number, help in (
        ("-n", "--workers", 2, "processes that train"),
        ("-s", "--servers", 1, "processes that sum gradients"),
    ):
        told = f"{help} (default: {number})"
        job.add_argument(short, name, type=int, default=number, metavar="N", help=told)
    job.add_argument("--hostfile", help="one host a line for ssh; all processes here without it")
    job.add_argument("command", nargs=argparse.REMAINDER, help="of a worker, after --")


def run(flags: argparse.Namespace) -> None:
    words = flags.command[1:] if flags.command[:1] == ["--"] else flags.command
    if not words:
        raise UserError("launch needs a command: gluon-attention launch -n 2 -- python train/...")
    if not (1 <= flags.workers <= MOST and 1 <= flags.servers <= MOST):
        raise UserError(f"launch needs one worker and one server at least, and {MOST} at most")
    hosts = read_hosts(flags.hostfile) if flags.hostfile else []
    sys.exit(launch(words, flags.workers, flags.servers, hosts))
