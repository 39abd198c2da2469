"""`launch`: train on several machines."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import UserError
from ..launch import launch, read_hosts

MOST = 1024  # processes of a kind


def add_parser(verbs: Any) -> None:
    job = verbs.add_parser(
        "launch",
        help="train on several machines",
        epilog="gluon-attention launch -n 2 -- python train/cifar10_train.py --kvstore dist_sync",
    )
    job.add_argument("-n", "--workers", type=int, default=2, help="processes that train")
    job.add_argument("-s", "--servers", type=int, default=1, help="processes that sum gradients")
    job.add_argument("--hostfile", help="one host a line for ssh; all processes here without it")
    job.add_argument("command", nargs=argparse.REMAINDER, help="of a worker, after --")
    job.set_defaults(run=run)


def run(flags: argparse.Namespace) -> None:
    words = flags.command[1:] if flags.command[:1] == ["--"] else flags.command
    if not words:
        raise UserError("launch needs a command: gluon-attention launch -n 2 -- python train/...")
    if not (1 <= flags.workers <= MOST and 1 <= flags.servers <= MOST):
        raise UserError(f"launch needs one worker and one server at least, and {MOST} at most")
    hosts = read_hosts(flags.hostfile) if flags.hostfile else []
    sys.exit(launch(words, flags.workers, flags.servers, hosts))
